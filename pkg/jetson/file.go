package jetson

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxFile is more than any file we read has.
const maxFile = 64 << 10

// read returns a small file of /proc or /sys without the blanks and NULs around
// it.
//
// It makes the system calls itself: a sensor whose part of the chip has no power
// answers EAGAIN, and package os takes that for "wait until readable", which
// never comes. The same flag keeps a FIFO in the way from holding us.
func read(path string) (string, error) {
	fd, err := retry(func() (int, error) {
		return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	})
	if err != nil {
		return "", fmt.Errorf("opening %s: %w", path, err)
	}
	defer unix.Close(fd)
	buf := make([]byte, 0, 512)
	for {
		if len(buf) == cap(buf) {
			if len(buf) >= maxFile {
				return "", fmt.Errorf("reading %s: larger than %d bytes", path, maxFile)
			}
			buf = append(buf, make([]byte, len(buf))...)[:len(buf)]
		}
		n, err := retry(func() (int, error) { return unix.Read(fd, buf[len(buf):cap(buf)]) })
		if err != nil {
			return "", fmt.Errorf("reading %s: %w", path, err)
		}
		if n <= 0 {
			return strings.Trim(string(buf), "\x00 \t\r\n"), nil
		}
		buf = buf[:len(buf)+n]
	}
}

// write puts text into a file of /sys, in one write as the kernel wants it.
func write(path, text string) error {
	fd, err := retry(func() (int, error) {
		return unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_TRUNC, 0)
	})
	if err != nil {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	_, err = retry(func() (int, error) { return unix.Write(fd, []byte(text)) })
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// retry calls again what a signal interrupted, a limited number of times.
func retry(call func() (int, error)) (n int, err error) {
	for range 100 {
		if n, err = call(); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	return n, err
}

// number reads a file that holds one decimal number from lo to hi.
func number(path string, lo, hi int64) (int64, error) {
	text, err := read(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %q is no number", path, clip(text))
	}
	if n < lo || n > hi {
		return 0, fmt.Errorf("%s: %d is not between %d and %d", path, n, lo, hi)
	}
	return n, nil
}

// hertz reads a file that holds a frequency.
func hertz(path string) (uint64, error) {
	n, err := number(path, 1, 1e11)
	return uint64(n), err
}

func clip(s string) string { return s[:min(len(s), 40)] }

// sizes of nvmap's list, in bytes.
var units = map[byte]uint64{'B': 1, 'K': 1 << 10, 'M': 1 << 20, 'G': 1 << 30}

// parseSize reads a number with one of the units above, like 1234K.
func parseSize(s string) (uint64, bool) {
	if s == "" {
		return 0, false
	}
	unit, ok := units[s[len(s)-1]]
	if ok {
		s = s[:len(s)-1]
	} else {
		unit = 1
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n * unit, err == nil && n <= math.MaxInt64/unit
}
