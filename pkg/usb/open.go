package usb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

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
// Each part of the name is opened by itself, for which openat with O_NOFOLLOW says all
// that openat2 could; and openat2 is what RestrictSUIDSGID= of systemd forbids, since
// its arguments are behind a pointer.
func (s *Stick) Open(b Bundle) (*File, error) {
	dir := s.root
	name, inside := strings.CutPrefix(b.Name, Folder+"/")
	if name != filepath.Base(name) {
		return nil, fmt.Errorf("%q is nowhere that is searched", b.Name)
	}
	if inside {
		var err error
		if dir, err = openDir(int(s.root.Fd()), Folder); err != nil {
			return nil, fmt.Errorf("opening %s: %w", Folder, err)
		}
		defer dir.Close()
	}
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
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
