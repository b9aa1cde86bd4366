package usb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Stick is one that is mounted.
type Stick struct {
	root  *os.File
	alive func()
}

func openStick(mnt string, alive func()) (*Stick, error) {
	root, err := openDir(unix.AT_FDCWD, mnt)
	if err != nil {
		return nil, fmt.Errorf("opening the root folder: %w", err)
	}
	return &Stick{root, alive}, nil
}

// Open opens a bundle that was found: a regular file on this stick, reached
// through no link, and of the size that it was found with.
//
// A name has one part, for which openat with O_NOFOLLOW says all that openat2 could;
// and openat2 is what RestrictSUIDSGID= of systemd forbids, since its arguments are
// behind a pointer.
func (s *Stick) Open(b Bundle) (*File, error) {
	if b.Name != filepath.Base(b.Name) {
		return nil, fmt.Errorf("%q is no name in the root folder", b.Name)
	}
	fd, err := unix.Openat(int(s.root.Fd()), b.Name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", b.Name, err)
	}
	f := &File{os.NewFile(uintptr(fd), b.Name), s.alive}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != b.Size {
		return nil, errors.Join(fmt.Errorf("%s is not what it was a moment ago", b.Name), f.Close())
	}
	return f, nil
}

// File is a bundle on a stick.
type File struct {
	*os.File
	alive func()
}

// Read implements io.Reader.
func (f *File) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	f.alive()
	return n, gone(err)
}
