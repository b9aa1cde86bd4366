package kernel

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/api"
)

// device gives what the kernel would, a record or an error per read.
type device struct {
	reads []any
	end   func()
}

func (d *device) Read(p []byte) (int, error) {
	if len(d.reads) == 0 {
		d.end()
		return 0, os.ErrDeadlineExceeded
	}
	next := d.reads[0]
	d.reads = d.reads[1:]
	if err, ok := next.(error); ok {
		return 0, err
	}
	return copy(p, next.(string)), nil
}

func TestOverrunIsCountedAndReadingGoesOn(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var l Log
	var got []api.KernelEvent
	err := l.follow(ctx, &device{end: cancel, reads: []any{
		"6,100,1,-;hello\n",
		unix.EPIPE,
		"4,180,2,-;EXT4-fs error (device sda1): x\n",
		"what is this?",
		&fs.PathError{Op: "read", Path: "/dev/kmsg", Err: unix.EPIPE},
		"4,200,3,-;INFO: task a:1 blocked for more than 120 seconds.\n",
	}}, func(e api.KernelEvent) { got = append(got, e) })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if len(got) != 2 || got[0].Device != "sda1" || got[1].Kind != api.KernelHungTask {
		t.Errorf("events %+v", got)
	}
	if lines, events := l.Missed(); lines != 79+19 || events != 0 {
		t.Errorf("%d lines and %d events missed", lines, events)
	}
}

func TestBrokenDeviceIsAnError(t *testing.T) {
	var l Log
	err := l.follow(t.Context(), &device{reads: []any{unix.EIO}}, nil)
	if !errors.Is(err, unix.EIO) {
		t.Errorf("error %v", err)
	}
	if err = l.follow(t.Context(), &device{reads: []any{io.EOF}}, nil); !errors.Is(err, io.EOF) {
		t.Errorf("error %v", err)
	}
}

func TestWhatIsNotTheKernelsLogIsAbsent(t *testing.T) {
	dir := t.TempDir()
	fifo, file := filepath.Join(dir, "fifo"), filepath.Join(dir, "file")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("6,1,2,-;EXT4-fs error (device sda1): x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "none"), fifo, file, dir, "/dev/null"} {
		l := Log{Path: path}
		if err := l.Watch(t.Context(), nil); !errors.Is(err, ErrAbsent) {
			t.Errorf("%s: %v", path, err)
		}
	}
	given, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer given.Close()
	if err := (&Log{File: given}).Watch(t.Context(), nil); !errors.Is(err, ErrAbsent) {
		t.Errorf("a file that was given: %v", err)
	}
}

func TestNothingOldIsRead(t *testing.T) {
	f, err := (&Log{}).open()
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	buf := make([]byte, maxRecord)
	if _, err := f.Read(buf); err != nil {
		t.Skip(err) // an empty log proves nothing
	}
	for range 10 { // the kernel may say something meanwhile
		if err := toEnd(f); err != nil {
			t.Fatal(err)
		}
		if _, err = unix.Read(int(f.Fd()), buf); errors.Is(err, unix.EAGAIN) {
			return
		}
	}
	t.Errorf("there is more after the end: %v, %q", err, buf[:100])
}

// The real log, opened here or handed over as systemd does, which is without
// O_NONBLOCK: the end of ctx ends a read that waits.
func TestWatchEndsAtOnce(t *testing.T) {
	given, err := os.Open("/dev/kmsg")
	if err != nil {
		t.Skip(err)
	}
	defer given.Close()
	for name, l := range map[string]*Log{"opened": {}, "handed over": {File: given}} {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- l.Watch(ctx, func(api.KernelEvent) {})
		}()
		select {
		case err := <-done:
			t.Skip(err) // a container may show the device and refuse it
		case <-time.After(50 * time.Millisecond): // it waits
		}
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: Watch does not end", name)
		}
	}
}

func TestLinesTimeIsBelievedWhenItMakesSense(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name        string
		age, uptime time.Duration
		ago         time.Duration
	}{
		{"a moment ago", time.Hour, time.Hour + 3*time.Millisecond, 3 * time.Millisecond},
		{"we were stopped", time.Hour, time.Hour + 40*time.Second, 40 * time.Second},
		{"in the future", time.Hour, time.Hour - time.Second, 0},
		{"clocks apart", time.Hour, 2 * time.Hour, 0},
	} {
		if got := written(c.age, c.uptime, now); !got.Equal(now.Add(-c.ago)) {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
