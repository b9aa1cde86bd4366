package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/api"
)

// Log is the kernel's log. The zero value opens /dev/kmsg.
type Log struct {
	// Path names the device; empty means /dev/kmsg.
	Path string
	// File is the device, opened for this process by somebody who may, as by
	// systemd (ListenSpecial=); nil: Path is opened. It stays the caller's.
	File *os.File

	filter      filter
	overwritten atomic.Uint64
}

// Watch calls handle with what the kernel says from now on, as long as it means
// trouble, until ctx ends. A GPU's Xid, and an error of a Jetson's GPU, is told
// once in 10 minutes, and no more than 100 events are in 10 seconds. Calls come
// from this goroutine; while handle runs, the kernel keeps some thousand lines.
//
// The error is ErrAbsent where there is no such log, as in a container, and
// fs.ErrPermission for a process that may not read it: with
// kernel.dmesg_restrict=1 that takes CAP_SYSLOG. It may not be called twice at
// the same time.
func (l *Log) Watch(ctx context.Context, handle func(api.KernelEvent)) error {
	f, err := l.open()
	if err != nil {
		return err
	}
	defer f.Close()
	if err := toEnd(f); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })() // ends a read that waits
	return l.follow(ctx, f, handle)
}

// Missed returns how many lines the kernel overwrote before they were read, and
// how many events were beyond the limit of Watch.
func (l *Log) Missed() (lines, events uint64) {
	return l.overwritten.Load(), l.filter.withheld.Load()
}

func (l *Log) open() (*os.File, error) {
	if l.File != nil {
		// What systemd hands over waits in reads, and would not see ctx end.
		fd, err := unix.FcntlInt(l.File.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("taking over the kernel's log: %w", err)
		}
		if err := unix.SetNonblock(fd, true); err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("taking over the kernel's log: %w", err)
		}
		return os.NewFile(uintptr(fd), l.File.Name()), nil
	}
	path := l.Path
	if path == "" {
		path = "/dev/kmsg"
	}
	// Not waiting for a FIFO's writer; and so that a read can be ended.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		return nil, fmt.Errorf("%w: %w", ErrAbsent, err)
	case err != nil:
		return nil, fmt.Errorf("opening the kernel's log: %w", err)
	}
	return f, nil
}

// toEnd goes to the end of the log. Anything but the device itself is refused:
// containers have a FIFO there, or /dev/null.
func toEnd(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("looking at the kernel's log: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Mode()&os.ModeCharDevice == 0 || st.Rdev != unix.Mkdev(1, 11) {
		return fmt.Errorf("%w: %s is something else", ErrAbsent, f.Name())
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return fmt.Errorf("going to the end of the kernel's log: %w", err)
	}
	return nil
}

// follow reads one record after the other.
func (l *Log) follow(ctx context.Context, log io.Reader, handle func(api.KernelEvent)) error {
	buf := make([]byte, maxRecord)
	var next uint64 // the number that the record after the last has; 0: not known
	for ctx.Err() == nil {
		n, err := log.Read(buf)
		switch {
		case errors.Is(err, unix.EPIPE): // too slow; the next read goes on with the oldest there is
			continue
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("reading the kernel's log: %w", err)
		}
		r, ok := parseRecord(buf[:n])
		if !ok {
			continue
		}
		if next != 0 && r.sequence > next {
			l.overwritten.Add(r.sequence - next)
		}
		next = r.sequence + 1
		now := time.Now()
		if e, ok := l.filter.take(r, now); ok {
			e.Time = written(r.age, uptime(), now)
			handle(e)
		}
	}
	return ctx.Err()
}

// late is how long ago a line may have been written, if we are to believe its
// clock: a process that was stopped catches up within seconds.
const late = time.Minute

// written tells when a record was written, by its age and that of the machine.
// The log's clock begins a little apart from every other, 40 ms on an emulated
// machine, and drifts; when it makes no sense the line was written now.
func written(age, uptime time.Duration, now time.Time) time.Time {
	if ago := uptime - age; ago > 0 && ago < late {
		now = now.Add(-ago)
	}
	return now.UTC().Round(0)
}

// uptime is the clock that is closest to the log's: it too stands still while
// the machine sleeps, and nobody slews it.
func uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_RAW, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
