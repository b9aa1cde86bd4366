// Package secrets makes the keys and passwords that the appliance keeps to itself:
// files that only root can read, handed to daemons and containers as systemd
// credentials.
//
// A secret that is sound is never touched, whatever else has to be repaired: the
// sessions of the owner, and what workflows have encrypted, hang on it.
//
// It does not read a secret for anybody, encrypt one, or replace one because it is
// old.
package secrets

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/atomicfile"
)

// Dir is where the keys lie on an installed machine.
const Dir = "/var/lib/arasul/secrets"

// maxAside bounds the bad keys that are kept for whoever wants to know.
const maxAside = 9

// Keys are the names of all secrets, which are also the names of their
// credentials.
var Keys = []string{
	"session-key", "totp-key", // what signs sessions, and seals the secrets of second factors

	"n8n-encryption-key", // seals the credentials that workflows use
	"n8n-jwt-secret",     // signs n8n's own sessions
	"n8n-owner-password", // of n8n's one user, whom the proxy signs in
	"n8n-runners-token",  // what runs the code of workflows shows to n8n

	"minio-root-user", "minio-root-password", // may do everything with objects
	"minio-n8n-secret", "minio-app-secret", // of the accounts arasul-n8n and arasul-app
}

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
	if err := atomicfile.Write(path, formOf(filepath.Base(path)).make(), 0o600); err != nil {
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
	secret, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return "", nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if why := formOf(filepath.Base(path)).wrong(secret); why != "" {
		return why, nil, nil
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

// Missing names the secrets that are not there, or cannot be what they should. It
// changes nothing.
func Missing(dir string) (names []string, err error) {
	for _, name := range Keys {
		info, err := os.Lstat(filepath.Join(dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			names = append(names, name)
			continue
		case err != nil:
			return names, advise(dir, err)
		case !info.Mode().IsRegular() || info.Size() > maxBytes:
			names = append(names, name)
			continue
		}
		secret, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return names, advise(dir, err)
		}
		if formOf(name).wrong(secret) != "" {
			names = append(names, name)
		}
	}
	return names, nil
}

// Set gives a secret the value that the owner chose. It is whole or not changed
// after a power cut.
func Set(dir, name, value string) error {
	if !slices.Contains(Keys, name) {
		return fmt.Errorf("there is no secret %s", name)
	}
	if why := formOf(name).wrong([]byte(value)); why != "" {
		return fmt.Errorf("this cannot be %s: %s", name, why)
	}
	folder, _, err := open(dir)
	if err != nil {
		return advise(dir, err)
	}
	defer folder.Close()
	if err := atomicfile.Write(filepath.Join(dir, name), []byte(value), 0o600); err != nil {
		return advise(dir, fmt.Errorf("setting %s: %w", name, err))
	}
	return nil
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
