// Package journal reads the systemd journal by running journalctl: pages of
// what there is, and what comes, entry by entry.
//
// Its arguments are fixed words, numbers, times and cursors that were checked,
// and names of units, which the caller vouches for; there is no shell. Lines,
// bytes and time are bounded. Messages come out harmless: a service that logs
// what a stranger sent it, line ends and escapes included, logs one line.
//
// It does not know which units may be read or by whom, it keeps nothing, and it
// does not write to the journal.
package journal

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

const (
	readWithin = 5 * time.Second
	maxLine    = 512 << 10 // of journalctl's output; an entry that is longer is left out
	maxPage    = 4 << 20   // bytes of messages in one page
	maxStderr  = 1 << 10
)

// ErrCursor says that a cursor is none of a journal's.
var ErrCursor = errors.New("not a cursor")

// Journal reads the machine's journal. The zero value is ready to use.
type Journal struct {
	Program string // journalctl, unless it lies elsewhere
	Dir     string // of other journal files than the machine's
}

// Read returns entries of these units, newest first, as q asks; units named
// api.KernelLog are the kernel, and names may be patterns such as
// arasul-usb@*.service. A page that takes longer than five seconds, or holds
// more than 4 MiB, ends early, and Next goes on where it ended.
func (j *Journal) Read(ctx context.Context, units []string, q api.LogQuery) (page api.LogPage, err error) {
	page.Entries = []api.LogEntry{}
	args, err := arguments(units, q)
	if err != nil {
		return page, err
	}
	// One more than asked for tells whether there is a next page.
	args = append(args, "--reverse", "--lines="+strconv.Itoa(q.Lines+1))
	if q.Before != "" {
		args = append(args, "--after-cursor="+q.Before) // after in the order of reading
	}
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	bytes, early := 0, false
	err = j.run(ctx, args, func(e api.LogEntry) bool {
		if e.Time.Before(q.Since) {
			return false
		}
		if bytes += len(e.Message); len(page.Entries) == q.Lines || bytes > maxPage {
			early = true
			return false
		}
		page.Entries = append(page.Entries, e)
		return true
	})
	if ctx.Err() != nil && len(page.Entries) > 0 {
		early, err = true, nil
	}
	if n := len(page.Entries); early && n > 0 {
		page.Next = page.Entries[n-1].Cursor
	}
	return page, err
}

// Follow hands each entry to each, oldest first: those after the cursor
// q.After, or else the newest q.Lines, and then every new one, until ctx ends or
// each fails, whose error it returns.
func (j *Journal) Follow(ctx context.Context, units []string, q api.LogQuery, each func(api.LogEntry) error) error {
	args, err := arguments(units, q)
	if err != nil {
		return err
	}
	// By itself --follow means this boot only, and the end of the one before would
	// never be copied; --merge takes that back. It would show journals of other
	// machines, too, where some are received.
	args = append(args, "--follow", "--merge")
	if q.After != "" {
		args = append(args, "--after-cursor="+q.After, "--no-tail")
	} else {
		args = append(args, "--lines="+strconv.Itoa(q.Lines))
	}
	var failure error
	err = j.run(ctx, args, func(e api.LogEntry) bool {
		failure = each(e)
		return failure == nil
	})
	switch {
	case failure != nil:
		return failure
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		return errors.New("reading journal: journalctl ended")
	}
	return err
}

// arguments says to journalctl which entries are asked for.
func arguments(units []string, q api.LogQuery) ([]string, error) {
	args := []string{
		"--output=json", "--no-pager", "--quiet", "--all", "--utc",
		"--output-fields=MESSAGE,PRIORITY,_TRANSPORT,_PID,_SYSTEMD_UNIT,UNIT,COREDUMP_UNIT,OBJECT_SYSTEMD_UNIT",
	}
	for _, c := range []string{q.Before, q.After} {
		if c != "" && !api.IsLogCursor(c) {
			return nil, fmt.Errorf("%w: %.40q", ErrCursor, c)
		}
	}
	if q.Severity != "" {
		n := slices.Index(api.Severities, q.Severity)
		if n < 0 {
			return nil, fmt.Errorf("no severity: %.40q", string(q.Severity))
		}
		args = append(args, "--priority="+strconv.Itoa(n))
	}
	if !q.Since.IsZero() && q.Before == "" && q.After == "" { // journalctl takes one of them
		args = append(args, fmt.Sprintf("--since=@%d", q.Since.Unix()))
	}
	if len(units) == 0 {
		return nil, errors.New("no unit to read about")
	}
	kernel := slices.Contains(units, api.KernelLog)
	if kernel && len(units) > 1 { // journalctl can only ask for what is both
		return nil, errors.New("the kernel is asked for alone")
	}
	if kernel {
		return append(args, "_TRANSPORT=kernel"), nil
	}
	for _, u := range units {
		args = append(args, "--unit="+u)
	}
	return args, nil
}

// run runs journalctl and hands its entries to each, until that wants no more.
func (j *Journal) run(ctx context.Context, args []string, each func(api.LogEntry) bool) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	program := j.Program
	if program == "" {
		program = "/usr/bin/journalctl"
	}
	if j.Dir != "" {
		args = append([]string{"--directory=" + j.Dir}, args...)
	}
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // journalctl; arguments are made from checked values only
	cmd.Env = []string{"LC_ALL=C.UTF-8", "PATH=/usr/bin:/bin"}
	cmd.WaitDelay = time.Second
	complaint := &start{left: maxStderr}
	cmd.Stderr = complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("reading journal: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("reading journal: %w", err)
	}
	enough := false
	lines := bufio.NewReaderSize(out, 64<<10)
	for !enough {
		line, err := readLine(lines)
		if err != nil {
			break // Wait knows more
		}
		if e, ok := parse(line); ok {
			enough = !each(e)
		}
	}
	if enough {
		stop()
	}
	err = cmd.Wait()
	if enough || err == nil {
		return nil
	}
	return fmt.Errorf("reading journal: %w: %s", err, strings.TrimSpace(complaint.text.String()))
}

// readLine returns the next line, empty when it is too long.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for tooLong := false; ; {
		part, err := r.ReadSlice('\n')
		if tooLong = tooLong || len(line)+len(part) > maxLine; tooLong {
			line = nil
		} else {
			line = append(line, part...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return bytes.TrimSuffix(line, []byte{'\n'}), err
		}
	}
}

// start keeps the beginning of what is written to it.
type start struct {
	text strings.Builder
	left int
}

func (s *start) Write(p []byte) (int, error) {
	n := min(len(p), s.left)
	s.left -= n
	s.text.Write(p[:n])
	return len(p), nil
}
