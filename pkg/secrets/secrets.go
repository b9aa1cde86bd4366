// Package secrets makes the keys that the appliance keeps to itself: random
// bytes in files that only root can read, handed to daemons as systemd
// credentials.
//
// A key that is sound is never touched, whatever else has to be repaired: the
// sessions and second factors of the owner hang on it. It does not read a key
// for anybody, encrypt one, or replace one because it is old.
package secrets

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/atomicfile"
)

// Dir is where the keys lie on an installed machine.
const Dir = "/var/lib/arasul/secrets"

// keyBytes is how long a key is.
const keyBytes = 32

// maxAside bounds the bad keys that are kept for whoever wants to know.
const maxAside = 9

// Keys are the names of all keys, which are also the names of their
// credentials: what signs sessions, and what seals the secrets of second
// factors.
var Keys = []string{"session-key", "totp-key"}

// Generate makes the keys that dir lacks and says what it did, a line each,
// nothing when all was well. It may run at any time, and several times at once:
// runs wait for each other. Power may fail at any instant: a key is there whole
// or not at all, and what an interrupted run has left is removed. A file that
// cannot be a key is set aside, not deleted.
func Generate(dir string) (did []string, err error) {
	folder, did, err := open(dir)
	if err != nil {
		return nil, advise(dir, err)
	}
	defer folder.Close() // and with it the lock
	if err := tidy(dir); err != nil {
		return did, advise(dir, err)
	}
	for _, name := range Keys {
		done, err := ensure(filepath.Join(dir, name))
		did = append(did, done...)
		if err != nil {
			return did, advise(dir, err)
		}
	}
	return did, nil
}

// open makes the folder what it should be and locks it.
func open(dir string) (folder *os.File, did []string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err // names the path
	}
	folder, err = os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			_ = folder.Close()
		}
	}()
	if err := unix.Flock(int(folder.Fd()), unix.LOCK_EX); err != nil {
		return nil, nil, fmt.Errorf("locking %s: %w", dir, err)
	}
	info, err := folder.Stat()
	if err != nil {
		return nil, nil, err
	}
	did, err = restrict(folder, info, 0o700)
	return folder, did, err
}

// tidy removes the files that runs before this one have begun.
func tidy(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		for _, name := range Keys {
			if strings.HasPrefix(e.Name(), "."+name+".") && e.Type().IsRegular() {
				if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// ensure makes the key at path, unless there is a sound one.
func ensure(path string) (did []string, err error) {
	why, repaired, err := inspect(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case why == "":
		return repaired, nil
	default:
		aside, err := setAside(path)
		if err != nil {
			return nil, err
		}
		did = append(did, fmt.Sprintf("%s is no key (%s): set aside as %s", path, why, filepath.Base(aside)))
	}
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // never fails
	if err := atomicfile.Write(path, key, 0o600); err != nil {
		return did, fmt.Errorf("making %s: %w", path, err)
	}
	return append(did, path+" made"), nil
}

// inspect says why the file at path cannot be a key, and restricts who may read
// it when it can be.
func inspect(path string) (why string, did []string, err error) {
	// Not to be held up by a pipe, nor led elsewhere by a link.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, unix.ELOOP):
		return "a link", nil, nil
	case err != nil:
		return "", nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", nil, err
	}
	if !info.Mode().IsRegular() {
		return "not a file", nil, nil
	}
	if info.Size() != keyBytes {
		return fmt.Sprintf("%d bytes instead of %d", info.Size(), keyBytes), nil, nil
	}
	key := make([]byte, keyBytes)
	if _, err := io.ReadFull(f, key); err != nil {
		return "", nil, fmt.Errorf("reading %s: %w", path, err)
	}
	// What a file system may leave of a file whose blocks had not been written.
	if bytes.Count(key, key[:1]) == keyBytes {
		return "one byte, repeated", nil, nil
	}
	did, err = restrict(f, info, 0o600)
	return "", did, err
}

// restrict gives a file the mode that it should have, and wants it to be ours.
func restrict(f *os.File, info fs.FileInfo, mode fs.FileMode) (did []string, err error) {
	if owner := info.Sys().(*syscall.Stat_t).Uid; int(owner) != os.Geteuid() {
		return nil, fmt.Errorf("%s belongs to user %d: chown root:root %[1]s", f.Name(), owner)
	}
	if info.Mode().Perm() == mode && info.Mode()&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) == 0 {
		return nil, nil
	}
	if err := f.Chmod(mode); err != nil {
		return nil, err
	}
	return []string{fmt.Sprintf("%s had mode %03o, now %03o", f.Name(), info.Mode().Perm(), mode)}, nil
}

// setAside renames what is at path to the first free name beside it, or to the
// last one.
func setAside(path string) (aside string, err error) {
	for n := 1; n <= maxAside; n++ {
		aside = fmt.Sprintf("%s.broken.%d", path, n)
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return aside, os.Rename(path, aside)
}

// advise adds what a person can do.
func advise(dir string, err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fmt.Errorf("%w: the disk with %s is full, which \"arasul disk clean\" may help", err, dir)
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%w: %s cannot be written to, which a failing disk is a reason for: see \"journalctl -k\"", err, dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w (root is needed, and a folder that belongs to root)", err)
	}
	return err
}
