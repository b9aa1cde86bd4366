// Package stable is the disk as an update uses it: the few calls by which
// anything reaches it, each with what a power cut leaves of it.
//
// A name is where a file is found, its content is what it holds, and each is on
// stable storage only once it was synced: Sync is about the content of a file,
// SyncDir about the names in a folder. What was not synced may be there after a
// power cut, may be there in part, or not, each piece of it by itself. Replace
// and Create are the two orders of these calls that are right.
//
// FS is an interface so that a double can lose what was not synced: package
// stabletest. It is for small files, is not a general file system, and does not
// lock.
package stable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// FS is a file system. Names are absolute paths. Errors can be asked for
// fs.ErrNotExist.
type FS interface {
	// Read returns the whole content; more than limit bytes is an error.
	Read(name string, limit int64) ([]byte, error)
	// List returns the names in a folder, sorted.
	List(dir string) ([]string, error)
	// Write makes the file or replaces its content, which is not durable.
	Write(name string, data []byte, perm fs.FileMode) error
	// Append adds to a file that is there, which is not durable.
	Append(name string, data []byte) error
	// Truncate cuts a file to size bytes, which is not durable.
	Truncate(name string, size int64) error
	// Rename gives a file another name, replacing who had it, which is not durable.
	Rename(from, to string) error
	// Remove takes a file or an empty folder away, which is not durable. That it
	// is not there is no error.
	Remove(name string) error
	// Mkdir makes a folder, which is not durable. That it is there is no error.
	Mkdir(name string, perm fs.FileMode) error
	// Sync makes the content of a file durable, not its name.
	Sync(name string) error
	// SyncDir makes the names in a folder durable: what was made, renamed and
	// removed there.
	SyncDir(dir string) error
}

// Replace replaces the content of a file, whole or not at all. When it returns
// nil that is durable. On error the old content is there, or the new one when
// only the last step failed.
func Replace(f FS, name string, data []byte, perm fs.FileMode) error {
	tmp := name + ".new"
	if err := f.Write(tmp, data, perm); err != nil {
		return fmt.Errorf("writing %s: %w", tmp, err)
	}
	if err := f.Sync(tmp); err != nil {
		return fmt.Errorf("syncing %s: %w", tmp, err)
	}
	if err := f.Rename(tmp, name); err != nil {
		return err
	}
	if err := f.SyncDir(filepath.Dir(name)); err != nil {
		return fmt.Errorf("syncing %s: %w", filepath.Dir(name), err)
	}
	return nil
}

// Delete takes a file away. When it returns nil that is durable.
func Delete(f FS, name string) error {
	if err := f.Remove(name); err != nil {
		return err
	}
	if err := f.SyncDir(filepath.Dir(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("syncing %s: %w", filepath.Dir(name), err)
	}
	return nil
}

// MkdirAll makes a folder and those above it that are missing, durably.
func MkdirAll(f FS, dir string, perm fs.FileMode) error {
	if _, err := f.List(dir); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := MkdirAll(f, parent, perm); err != nil {
			return err
		}
	}
	if err := f.Mkdir(dir, perm); err != nil {
		return err
	}
	return f.SyncDir(parent)
}

// Free is how many bytes of the file system that holds a folder can still be written, by
// others than root.
func Free(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("measuring the disk of %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil //nolint:gosec // no disk has 2^63 bytes
}

// OS is the real file system. Links are not followed at the end of a path that
// is written.
type OS struct{}

// Read implements FS.
func (OS) Read(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return data, nil
}

// List implements FS.
func (OS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// Write implements FS.
func (OS) Write(name string, data []byte, perm fs.FileMode) error {
	return write(name, data, os.O_CREATE|os.O_TRUNC, perm)
}

// Append implements FS.
func (OS) Append(name string, data []byte) error { return write(name, data, os.O_APPEND, 0) }

func write(name string, data []byte, flags int, perm fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|unix.O_NOFOLLOW|flags, perm)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// Truncate implements FS.
func (OS) Truncate(name string, size int64) error { return os.Truncate(name, size) }

// Rename implements FS.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove implements FS.
func (OS) Remove(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Mkdir implements FS.
func (OS) Mkdir(name string, perm fs.FileMode) error {
	if err := os.Mkdir(name, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// Sync implements FS.
func (OS) Sync(name string) error { return syncPath(name) }

// SyncDir implements FS.
func (OS) SyncDir(dir string) error { return syncPath(dir) }

func syncPath(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
