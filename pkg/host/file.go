package host

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxFile is more than any file we read has: /proc/stat of a machine with
// thousands of interrupts is about 100 KiB.
const maxFile = 1 << 20

// buffer is what all files are read into, one after the other.
type buffer struct{ bytes []byte }

// file is one file of /proc or /sys that stays open between reads.
//
// It makes the system calls itself. Some drivers answer a read of a sleeping
// sensor with EAGAIN (the power-gated zones of a Jetson do), and package os
// takes that for "wait until readable", which never comes. Here it is an error
// like any other.
type file struct {
	path string
	fd   int // -1 while it is not open
}

func newFile(root, path string) *file {
	return &file{path: filepath.Join(root, path), fd: -1}
}

// read returns the whole file, valid until the next read into the same buffer.
// After an error the file is closed, and opened anew by the next read.
func (f *file) read(buf *buffer) ([]byte, error) {
	if f.fd < 0 {
		fd, err := retry(func() (int, error) {
			// Non-blocking, so that a FIFO in the way cannot hold us either.
			return unix.Open(f.path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		})
		if err != nil {
			return nil, fmt.Errorf("opening %s: %w", f.path, err)
		}
		f.fd = fd
	}
	if buf.bytes == nil {
		buf.bytes = make([]byte, 16<<10)
	}
	for n := 0; ; {
		if n == len(buf.bytes) {
			if n >= maxFile {
				f.close()
				return nil, fmt.Errorf("reading %s: larger than %d bytes", f.path, maxFile)
			}
			buf.bytes = append(buf.bytes, make([]byte, n)...)
		}
		m, err := retry(func() (int, error) { return unix.Pread(f.fd, buf.bytes[n:], int64(n)) })
		if err != nil {
			f.close()
			return nil, fmt.Errorf("reading %s: %w", f.path, err)
		}
		if m <= 0 {
			return buf.bytes[:n], nil
		}
		n += m
	}
}

// readOnce returns a file that is not worth keeping open.
func readOnce(root, path string, buf *buffer) ([]byte, error) {
	f := newFile(root, path)
	defer f.close()
	return f.read(buf)
}

func (f *file) close() {
	if f.fd >= 0 {
		_ = unix.Close(f.fd) // it was only read
		f.fd = -1
	}
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

// cutLine returns the first line without its end, and what follows.
func cutLine(text []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(text, []byte{'\n'})
	return line, rest
}

// cutField returns the first word of a line, nil when there is none, and what
// follows.
func cutField(line []byte) (field, rest []byte) {
	start := 0
	for start < len(line) && blank(line[start]) {
		start++
	}
	end := start
	for end < len(line) && !blank(line[end]) {
		end++
	}
	if start == end {
		return nil, nil
	}
	return line[start:end], line[end:]
}

// skipFields drops the first n words of a line.
func skipFields(line []byte, n int) []byte {
	for range n {
		_, line = cutField(line)
	}
	return line
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

// parseUint reads a decimal number of nothing but digits.
func parseUint(b []byte) (uint64, bool) {
	if len(b) > 20 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b), 10, 64)
	return n, err == nil
}

// parseDecimal reads a number like 12.34: no sign, no exponent, no infinity.
func parseDecimal(b []byte) (float64, bool) {
	if len(b) == 0 || len(b) > 24 {
		return 0, false
	}
	for _, c := range b {
		if c != '.' && (c < '0' || c > '9') {
			return 0, false
		}
	}
	n, err := strconv.ParseFloat(string(b), 64)
	return n, err == nil
}
