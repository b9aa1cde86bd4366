package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Bounds of a walk. What is beyond them stays, and the step says so.
const (
	maxDepth   = 16
	maxEntries = 200_000 // in one place
)

// place is a directory whose files may go.
type place struct {
	dir   string
	match func(name string) bool // by the file's own name; nil: all
	depth int                    // of folders below dir; 0: none
	keep  uint64                 // bytes that stay in all, the youngest
	spare int                    // files that stay, the youngest
}

// file is one that may go, by its directory below the place.
type file struct {
	dir   string
	name  string
	bytes uint64
	age   int64 // time of the last change, in nanoseconds
}

// tree is an open place. All that is opened is opened below it, a name at a
// time, without following a link or entering another mount. (openat2 could do
// that in one call, but RestrictSUIDSGID= takes it away from units.)
type tree struct {
	fd    int
	path  string
	mount uint64
}

var errOtherDevice = errors.New("on another file system")

// openTree opens a place that lies on this device.
func openTree(path string, device uint64) (*tree, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return nil, &os.PathError{Op: "fstat", Path: path, Err: err}
	}
	mount, err := mountOf(fd)
	if err == nil && st.Dev != device {
		err = errOtherDevice
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &tree{fd, path, mount}, nil
}

func (t *tree) Close() { _ = unix.Close(t.fd) }

// open opens a folder of the tree.
func (t *tree) open(rel string) (*os.File, error) {
	path := filepath.Join(t.path, rel)
	fd, err := unix.Openat(t.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for name := range strings.SplitSeq(rel, "/") {
		if err != nil || name == "." {
			break
		}
		parent := fd
		fd, err = unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		_ = unix.Close(parent)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	d := os.NewFile(uintptr(fd), path)
	switch mount, err := mountOf(fd); {
	case err != nil:
		_ = d.Close()
		return nil, err
	case mount != t.mount:
		_ = d.Close()
		return nil, &os.PathError{Op: "open", Path: path, Err: unix.EXDEV}
	}
	return d, nil
}

// mountOf names the mount that a folder is reached by: a file system that is
// mounted twice has two. Kernels have said so since 5.8.
func mountOf(fd int) (uint64, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_MNT_ID, &st); err != nil {
		return 0, fmt.Errorf("asking for the mount: %w", err)
	}
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return 0, errors.New("asking for the mount: this kernel is older than 5.8")
	}
	return st.Mnt_id, nil
}

// files lists what may go, oldest first, less what is to be kept. After an
// error the list holds what was found until then.
func (t *tree) files(ctx context.Context, p place) ([]file, error) {
	var found []file
	entries := 0
	var errs []error
	type folder struct {
		rel   string
		depth int
	}
	for todo := []folder{{".", 0}}; len(todo) > 0; {
		at := todo[0]
		todo = todo[1:]
		err := t.list(at.rel, func(name string, st *unix.Stat_t) error {
			if entries++; entries > maxEntries {
				return fmt.Errorf("more than %d entries", maxEntries)
			}
			switch st.Mode & unix.S_IFMT {
			case unix.S_IFDIR:
				if at.depth < min(p.depth, maxDepth) {
					todo = append(todo, folder{filepath.Join(at.rel, name), at.depth + 1})
				}
			case unix.S_IFREG:
				if p.match == nil || p.match(name) {
					found = append(found, file{at.rel, name, onDisk(st), st.Mtim.Nano()})
				}
			}
			return ctx.Err()
		})
		switch {
		case err == nil, errors.Is(err, unix.ENOENT), errors.Is(err, unix.EXDEV): // gone, or a mount point
		default:
			errs = append(errs, err)
		}
		if entries > maxEntries || ctx.Err() != nil {
			break
		}
	}
	slices.SortFunc(found, func(a, b file) int { return int(max(-1, min(1, a.age-b.age))) })
	return spared(found, p), errors.Join(errs...)
}

// spared takes away what is to be kept, from the youngest on.
func spared(oldestFirst []file, p place) []file {
	n := len(oldestFirst) - min(p.spare, len(oldestFirst))
	for kept := uint64(0); n > 0 && p.keep > 0; n-- {
		if kept += oldestFirst[n-1].bytes; kept > p.keep {
			break
		}
	}
	return oldestFirst[:n]
}

// list calls each with the entries of a folder of the tree, in no order.
func (t *tree) list(rel string, each func(name string, st *unix.Stat_t) error) error {
	d, err := t.open(rel)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(1024)
		for _, name := range names {
			var st unix.Stat_t
			if err := unix.Fstatat(int(d.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				continue // gone meanwhile
			}
			if err := each(name, &st); err != nil {
				return err
			}
		}
		if len(names) == 0 || err != nil {
			return nil // the end: io.EOF, or a folder that was removed while it was read
		}
	}
}

// remove removes one file, if it still is one.
func (t *tree) remove(f file) error {
	d, err := t.open(f.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	var st unix.Stat_t
	if err := unix.Fstatat(int(d.Fd()), f.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil // gone, or something else by now
	}
	if err := unix.Unlinkat(int(d.Fd()), f.name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "unlink", Path: filepath.Join(t.path, f.dir, f.name), Err: err}
	}
	return nil
}
