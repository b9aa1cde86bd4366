package heal

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"time"
)

const (
	recordBytes  = 32 << 20         // of all segments together
	segmentBytes = 2 << 20          // of one, before it is compressed
	segmentAge   = 6 * time.Hour    // from the first to the last line of one
	flushEvery   = 10 * time.Second // as much is lost when the healer is killed
	maxPending   = 1 << 20          // bytes that wait for the disk
)

// FileRecorder keeps observations in a folder, so that Replay can run them
// again. Record puts them into memory, Run moves them to the disk.
//
// When the disk is slower than the healer, or full, observations are dropped and
// counted, and a new segment begins when there is room again: its header says how
// many are missing. The healer never waits.
type FileRecorder struct {
	files *segments
	room  int // bytes that may wait for the disk
	log   *slog.Logger

	mu      sync.Mutex // held no longer than it takes to encode an observation
	base    time.Time  // when the first observation came, with its monotonic reading
	pending []chunk
	waiting int  // bytes in pending
	lost    int  // observations since the last header
	torn    bool // what comes next has to begin a new segment

	size    int           // of the segment
	begun   time.Duration // when it began, after base
	known   known         // what it has said
	policy  string
	reboot  bool
	boot    string
	running *Command
}

// chunk is a part of a segment on its way to the disk.
type chunk struct {
	begins bool // a new segment
	lines  int
	data   []byte
}

// NewRecorder makes a recorder for a folder, which Run creates if need be. What
// is recorded before Run is called waits in memory.
func NewRecorder(dir string, log *slog.Logger) *FileRecorder {
	return &FileRecorder{files: &segments{dir: dir, max: recordBytes, each: segmentBytes}, room: maxPending, log: log, torn: true}
}

// Record takes in an observation that is about to be decided upon.
func (r *FileRecorder) Record(p *Policy, before State, o Observation, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.base.IsZero() {
		r.base, r.running = now, before.Running
	}
	if r.waiting > r.room {
		r.lost++
		r.torn = true
		return
	}
	elapsed := now.Sub(r.base)
	if r.torn || r.size > r.files.each || elapsed-r.begun > segmentAge || p.Hash != r.policy || p.AllowReboot != r.reboot || o.Boot != r.boot {
		r.begin(p, before, o, elapsed)
	}
	l, isNew, full := r.known.encode(o, now)
	if full {
		r.begin(p, before, o, elapsed)
		l, isNew, _ = r.known.encode(o, now)
	}
	if l.Command = r.command(before, now); !isNew && l.Command == nil {
		return
	}
	l.Now = secondsOf(elapsed)
	r.put(l, false)
}

// begin begins a new segment, which leans on none before it.
func (r *FileRecorder) begin(p *Policy, before State, o Observation, elapsed time.Duration) {
	before.Incidents = slices.DeleteFunc(slices.Clone(before.Incidents), func(i Incident) bool { return !i.Open() })
	r.put(header{
		Version: recordVersion, Base: r.base.Round(0), Begun: secondsOf(elapsed), Boot: o.Boot, Booted: secondsOf(elapsed - o.Uptime),
		Policy: string(p.Text), AllowReboot: p.AllowReboot, Lost: r.lost, State: before,
	}, true)
	r.torn, r.lost, r.begun, r.known = false, 0, elapsed, newKnown()
	r.policy, r.reboot, r.boot = p.Hash, p.AllowReboot, o.Boot
}

// command returns the command that was given since the last observation.
func (r *FileRecorder) command(before State, now time.Time) *recordedCommand {
	c, was := before.Running, r.running
	r.running = c
	if c == nil || was != nil && was.Incident == c.Incident && was.Attempt == c.Attempt && was.Action == c.Action {
		return nil
	}
	out := &recordedCommand{Command: *c}
	if inc := before.incident(c.Incident); inc != nil {
		out.Rule, out.About = inc.Rule, inc.Unit
		out.Begun = secondsOf(last(inc).StartedAt.Sub(now))
	}
	return out
}

// put adds a line to what waits for the disk.
func (r *FileRecorder) put(v any, begins bool) {
	data, err := json.Marshal(v)
	if err != nil {
		panic("heal: " + err.Error()) // only words of ours are in it
	}
	data = append(data, '\n')
	if begins {
		r.size = 0
	}
	if begins || len(r.pending) == 0 {
		r.pending = append(r.pending, chunk{begins: begins})
	}
	c := &r.pending[len(r.pending)-1]
	c.data = append(c.data, data...)
	if !begins {
		c.lines++
	}
	r.size += len(data)
	r.waiting += len(data)
}

// Run moves what was recorded to the disk until ctx ends. A disk that takes
// nothing is no error: there is no recording then.
func (r *FileRecorder) Run(ctx context.Context) error {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			r.flush()
			r.files.close()
			return ctx.Err()
		case <-tick.C:
			r.flush()
		}
	}
}

// flush writes what waits. What the disk does not take is lost.
func (r *FileRecorder) flush() {
	r.mu.Lock()
	chunks := r.pending
	r.pending, r.waiting = nil, 0
	r.mu.Unlock()
	was := r.files.failed
	for i, c := range chunks {
		if r.files.write(c) == nil {
			continue
		}
		r.mu.Lock()
		for _, lost := range chunks[i:] {
			r.lost += lost.lines
		}
		r.torn = true
		r.mu.Unlock()
		break
	}
	switch {
	case was == nil && r.files.failed != nil:
		r.log.Warn("observations are not kept for replay", "path", r.files.dir, "err", r.files.failed)
	case was != nil && r.files.failed == nil:
		r.log.Info("observations are kept for replay again", "path", r.files.dir)
	}
}

var _ Recorder = (*FileRecorder)(nil)
