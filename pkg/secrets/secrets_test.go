package secrets

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// keys reads all keys of a folder and wants them to be what they should.
func keys(t *testing.T, dir string) (all []string) {
	t.Helper()
	mode(t, dir, 0o700)
	for _, name := range Keys {
		path := filepath.Join(dir, name)
		mode(t, path, 0o600)
		key, err := os.ReadFile(path)
		if err != nil || formOf(name).wrong(key) != "" || bytes.Equal(key, make([]byte, 32)) || slices.Contains(all, string(key)) {
			t.Errorf("%s: %d bytes, %v, one of its own: %v", name, len(key), err, !slices.Contains(all, string(key)))
		}
		all = append(all, string(key))
	}
	return all
}

func mode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != want {
		t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
	}
}

func generate(t *testing.T, dir string) string {
	t.Helper()
	did, err := Generate(dir)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(did, "\n")
}

// Proves BOOT-6.
func TestKeysAreMadeOnceAndThenLeftAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	if did := generate(t, dir); strings.Count(did, " made") != len(Keys) {
		t.Errorf("first run: %q", did)
	}
	first := keys(t, dir)
	if did := generate(t, dir); did != "" {
		t.Errorf("second run: %q", did)
	}
	if !slices.Equal(first, keys(t, dir)) {
		t.Error("keys changed")
	}
}

func TestModesAreRepairedAndKeysKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	generate(t, dir)
	first := keys(t, dir)
	for path, m := range map[string]fs.FileMode{dir: 0o755, filepath.Join(dir, Keys[0]): 0o644} {
		if err := os.Chmod(path, m); err != nil {
			t.Fatal(err)
		}
	}
	if did := generate(t, dir); !strings.Contains(did, "had mode 755, now 700") || !strings.Contains(did, "had mode 644, now 600") {
		t.Errorf("did %q", did)
	}
	if !slices.Equal(first, keys(t, dir)) {
		t.Error("keys changed")
	}
}

// What may lie where a key should be, after a crash of something less careful.
func TestWhatIsNoKeyIsSetAsideAndReported(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"empty":         func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"half written":  func(path string) error { return os.WriteFile(path, []byte("0123456789abcdef"), 0o600) },
		"too long":      func(path string) error { return os.WriteFile(path, bytes.Repeat([]byte("ab"), 32), 0o600) },
		"never written": func(path string) error { return os.WriteFile(path, make([]byte, 32), 0o600) },
		"a link":        func(path string) error { return os.Symlink("/etc/hostname", path) },
		"a folder":      func(path string) error { return os.Mkdir(path, 0o700) },
		"a pipe":        func(path string) error { return unix.Mkfifo(path, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, Keys[0])
			if err := put(path); err != nil {
				t.Fatal(err)
			}
			if did := generate(t, dir); !strings.Contains(did, "is no key") || !strings.Contains(did, Keys[0]+".broken.1") {
				t.Errorf("did %q", did)
			}
			keys(t, dir)
			if _, err := os.Lstat(path + ".broken.1"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBadKeysThatAreKeptAreBounded(t *testing.T) {
	dir := t.TempDir()
	for range maxAside + 3 {
		if err := os.WriteFile(filepath.Join(dir, Keys[0]), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		generate(t, dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(Keys)+maxAside {
		t.Errorf("%d files, %v", len(entries), err)
	}
}

// A power cut leaves the file that was being written, under its other name.
func TestLeftoversOfAnInterruptedRunAreRemoved(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"." + Keys[0] + ".1234", "." + Keys[1] + ".99"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	generate(t, dir)
	keys(t, dir)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != len(Keys) {
		t.Errorf("%d files, %v", len(entries), err)
	}
}

func TestRunsAtTheSameTimeAgreeOnTheKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	var all sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for range 8 {
		all.Go(func() {
			did, err := Generate(dir)
			mu.Lock()
			defer mu.Unlock()
			made += len(did)
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	keys(t, dir)
	if made != len(Keys) {
		t.Errorf("%d keys were made, want each once", made)
	}
}

// mounted is a folder on a file system of its own.
func mounted(t *testing.T, options string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatalf("mounting: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func TestAFullDiskIsNamedAndLeavesNoEmptyKey(t *testing.T) {
	dir := mounted(t, "size=64k,mode=0700")
	filler := filepath.Join(dir, "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	_ = f.Close()
	if _, err := Generate(dir); !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "arasul disk clean") {
		t.Errorf("error %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("beside the filler there are %d files", len(entries)-1)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	generate(t, dir)
	keys(t, dir)
}

func TestAReadOnlyFileSystemIsNamed(t *testing.T) {
	dir := mounted(t, "size=64k,mode=0700")
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := Generate(dir); !errors.Is(err, unix.EROFS) || !strings.Contains(err.Error(), "journalctl -k") {
		t.Errorf("error %v", err)
	}
}

func TestAFolderOfSomebodyElsesIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give a folder away")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 1, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := Generate(dir); err == nil || !strings.Contains(err.Error(), "belongs to user 1: chown root:root "+dir) {
		t.Errorf("error %v", err)
	}
}

// Proves BOOT-6 for what the owner chooses: it is kept, or refused with a reason.
func TestTheOwnerMaySetASecret(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	generate(t, dir)
	if err := Set(dir, "minio-root-password", "a-password-of-mine"); err != nil {
		t.Fatal(err)
	}
	if did := generate(t, dir); did != "" {
		t.Errorf("it was not left alone: %s", did)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "minio-root-password")); err != nil || string(got) != "a-password-of-mine" {
		t.Errorf("%q, %v", got, err)
	}
	for name, value := range map[string]string{
		"minio-root-password": "short", "minio-root-user": "with blanks", "n8n-jwt-secret": "xyz", "none": "12345678",
	} {
		if err := Set(dir, name, value); err == nil || strings.Contains(err.Error(), value) && value != "short" {
			t.Errorf("%s = %q: %v", name, value, err)
		}
	}
}
