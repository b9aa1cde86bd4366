package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNotAllowed says that the kernel sets no alarm for this process. It wants
// CAP_SYS_RESOURCE for a window that is no multiple of 2 s; older ones (before
// 6.5, or where the distribution did not take the change over) for any.
var ErrNotAllowed = errors.New("the kernel wants CAP_SYS_RESOURCE for a pressure alarm")

// WatchPressure calls alarm whenever tasks have waited for stall in a window,
// some of them at any time, until ctx ends; once per window at most. Path is a
// pressure file of /proc/pressure or of a control group. Window is 500 ms to
// 10 s; without CAP_SYS_RESOURCE it must be a multiple of 2 s, and the alarm
// may be late by 2 s.
//
// The error is ErrAbsent where the kernel does not measure pressure, and
// ErrNotAllowed when it does not want to be asked: then the averages in the
// file are there to be read now and then.
func WatchPressure(ctx context.Context, path string, stall, window time.Duration, alarm func()) error {
	if stall <= 0 || stall > window || window < 500*time.Millisecond || window > 10*time.Second {
		return fmt.Errorf("pressure alarm at %v in %v: want a stall within a window of 500ms to 10s", stall, window)
	}
	fd, err := openPressure(path, stall, window)
	if err != nil {
		return err
	}
	defer unix.Close(fd)

	// The end of ctx wakes the poll by closing the pipe.
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("making a pipe: %w", err)
	}
	defer r.Close()
	defer w.Close()
	defer context.AfterFunc(ctx, func() { w.Close() })()

	// The runtime's poller knows no POLLPRI, and an epoll within it would eat
	// the alarm: the kernel tells each to the first who asks.
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}, {Fd: int32(r.Fd())}}
	for ctx.Err() == nil {
		_, err := unix.Poll(fds, -1)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("waiting for %s: %w", path, err)
		case fds[0].Revents&(unix.POLLERR|unix.POLLNVAL) != 0: // the control group is gone
			return fmt.Errorf("waiting for %s: %w", path, ErrAbsent)
		case fds[0].Revents&unix.POLLPRI != 0:
			alarm()
		}
	}
	return ctx.Err()
}

// openPressure sets the alarm, which lives as long as the file is open.
func openPressure(path string, stall, window time.Duration) (int, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EOPNOTSUPP):
		return -1, fmt.Errorf("opening %s: %w: %w", path, ErrAbsent, err) // no CONFIG_PSI, or psi=0
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES), errors.Is(err, unix.EROFS):
		return -1, fmt.Errorf("opening %s: %w: %w", path, ErrNotAllowed, err)
	case err != nil:
		return -1, fmt.Errorf("opening %s: %w", path, err)
	}
	// The kernel puts its end over the last character.
	order := fmt.Sprintf("some %d %d\x00", stall.Microseconds(), window.Microseconds())
	if _, err := unix.Write(fd, []byte(order)); err != nil {
		unix.Close(fd)
		if errors.Is(err, unix.EINVAL) && window%(2*time.Second) != 0 {
			err = ErrNotAllowed // this is how it says so
		}
		return -1, fmt.Errorf("setting the alarm of %s: %w", path, err)
	}
	return fd, nil
}
