package heal

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	maxLine    = 16 << 20 // the state in a header; an observation is some hundred bytes
	maxSegment = 64 << 20 // uncompressed; a real one is 2 MB
)

// past is a recording, as far as it is asked for.
type past struct {
	paths []string
	given []given // commands that were really given, oldest first
}

// given is a command that was really given, and how it ended.
type given struct {
	recordedCommand
	begun, ended time.Time // ended is zero when nobody knows
	problem      string
}

// segment is one file of a recording.
type segment struct {
	header
	policy  *Policy
	follows bool // it goes on where the one before ended
}

func (h *header) time(s seconds) time.Time { return h.Base.Add(s.duration()) }

// openPast finds the segments that hold what happened since a time.
func openPast(dir string, since time.Time) (*past, error) {
	numbers, names, err := list(dir)
	if err != nil {
		return nil, fmt.Errorf("reading recording: %w", err)
	}
	p := &past{}
	for _, n := range numbers {
		path := filepath.Join(dir, names[n])
		var begun time.Time
		err := readSegment(path, func(h *header) error { begun = h.time(h.Begun); return errEnough }, nil)
		switch {
		case errors.Is(err, errEnough):
		case err != nil:
			continue // spoiled, or empty because the power failed
		}
		if !begun.After(since) {
			p.paths = nil // this one holds the state at that time
		}
		p.paths = append(p.paths, path)
	}
	if len(p.paths) == 0 {
		return nil, fmt.Errorf("reading recording: nothing was recorded in %s", dir)
	}
	return p, p.findCommands()
}

// errEnough ends the reading of a segment.
var errEnough = errors.New("enough")

// readSegment hands the header and the lines of a segment over. Lines that are
// spoiled, such as the last one after a kill, are left out.
func readSegment(path string, begin func(*header) error, each func(*line) error) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && strings.HasSuffix(path, plain) {
		f, err = os.Open(path + ".gz") // compressed meanwhile
		path += ".gz"
	}
	if err != nil {
		return err
	}
	defer f.Close()
	var in io.Reader = f
	if strings.HasSuffix(path, packed) {
		if in, err = gzip.NewReader(f); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	lines := bufio.NewScanner(io.LimitReader(in, maxSegment))
	lines.Buffer(nil, maxLine)
	if !lines.Scan() {
		return fmt.Errorf("%s: empty: %w", path, errors.Join(lines.Err(), io.ErrUnexpectedEOF))
	}
	var h header
	if err := json.Unmarshal(lines.Bytes(), &h); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if h.Version != recordVersion {
		return fmt.Errorf("%s: version %d is not one this program knows (%d)", path, h.Version, recordVersion)
	}
	if err := begin(&h); err != nil {
		return err
	}
	for lines.Scan() {
		var l line
		if json.Unmarshal(lines.Bytes(), &l) != nil {
			continue
		}
		if err := each(&l); err != nil {
			return err
		}
	}
	return lines.Err()
}

// findCommands goes through the recording once, to know beforehand how the
// commands ended.
func (p *past) findCommands() error {
	for i, path := range p.paths {
		var h *header
		err := readSegment(path, func(head *header) error {
			h = head
			if c := h.State.Running; c != nil && i == 0 {
				p.give(recordedCommand{Command: *c}, h.time(h.Begun))
			}
			return nil
		}, func(l *line) error {
			now := h.time(l.Now)
			if l.Command != nil {
				p.give(*l.Command, now.Add(l.Command.Begun.duration()))
			}
			if l.Result != nil {
				p.ended(l.Result, now)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("reading recording: %w", err)
		}
	}
	return nil
}

func (p *past) give(c recordedCommand, begun time.Time) {
	p.given = append(p.given, given{recordedCommand: c, begun: begun})
}

func (p *past) ended(res *Result, at time.Time) {
	for i := len(p.given) - 1; i >= 0; i-- {
		if g := &p.given[i]; g.Incident == res.Incident && g.Attempt == res.Attempt && g.ended.IsZero() {
			g.ended, g.problem = at, res.Error
			return
		}
	}
}

// endedAt says which of the commands given ended at a moment with a result; -1
// when there is none.
func (p *past) endedAt(res *Result, at time.Time) int {
	if res == nil {
		return -1
	}
	return slices.IndexFunc(p.given, func(g given) bool {
		return g.Incident == res.Incident && g.Attempt == res.Attempt && g.ended.Equal(at)
	})
}

// play hands the recording over, segment by segment and line by line.
func (p *past) play(begin func(*segment) error, each func(*segment, *line, time.Time)) error {
	var before *segment
	policies := map[string]*Policy{}
	for _, path := range p.paths {
		var s *segment
		err := readSegment(path, func(h *header) error {
			s = &segment{header: *h, follows: before != nil && before.Base.Equal(h.Base) && h.Lost == 0}
			key := fmt.Sprint(h.AllowReboot, h.Policy)
			if s.policy = policies[key]; s.policy == nil {
				policy, err := ParsePolicy("the policy in "+path, []byte(h.Policy))
				if err != nil {
					return err
				}
				policy.AllowReboot = h.AllowReboot
				policies[key], s.policy = policy, policy
			}
			return begin(s)
		}, func(l *line) error {
			each(s, l, s.time(l.Now))
			return nil
		})
		if err != nil {
			return fmt.Errorf("reading recording: %w", err)
		}
		before = s
	}
	return nil
}
