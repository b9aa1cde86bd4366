package atomicfile

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
)

func TestContentAndModeAreReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	if err := os.WriteFile(path, []byte("old and longer than the new"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, "new", 0o600)
	wantAlone(t, path)
}

func TestModeIsGivenWhateverTheUmask(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shared")
	if err := Write(path, nil, 0o666); err != nil { // 0644 under the usual umask
		t.Fatal(err)
	}
	wantFile(t, path, "", 0o666)
}

// Each look finds one of the contents whole, and never finds nothing.
func TestReaderNeverSeesAMixture(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	contents := [2][]byte{bytes.Repeat([]byte("a"), 1<<16), bytes.Repeat([]byte("b"), 1<<16)}
	if err := Write(path, contents[0], 0o600); err != nil {
		t.Fatal(err)
	}
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := range 50 {
			if err := Write(path, contents[i%2], 0o600); err != nil {
				t.Error(err)
			}
		}
	})
	defer writer.Wait()
	for range 200 {
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, contents[0]) && !bytes.Equal(got, contents[1]) {
			t.Fatalf("a mixture of %d bytes", len(got))
		}
	}
}

// A symbolic link gives way to a file; what it points to belongs to others.
func TestLinkIsReplacedNotFollowed(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(target, []byte("theirs"), 0o644), os.Symlink(target, link)); err != nil {
		t.Fatal(err)
	}
	if err := Write(link, []byte("ours"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantFile(t, target, "theirs", 0o644)
	wantFile(t, link, "ours", 0o600)
}

func TestErrorLeavesEverythingAsItWas(t *testing.T) {
	t.Run("directory is missing", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "missing", "state.json")
		if err := Write(path, nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v, want that it does not exist", err)
		}
	})
	t.Run("a directory is in the way", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "state.json")
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := Write(path, []byte("new"), 0o600); err == nil {
			t.Error("no error")
		}
		wantAlone(t, path)
	})
	t.Run("there is no room", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "state.json")
		if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		limitFiles(t, 1<<20)
		if err := Write(path, make([]byte, 1<<20+1), 0o600); !errors.Is(err, syscall.EFBIG) {
			t.Errorf("got %v, want that the file is too large", err)
		}
		wantFile(t, path, "old", 0o600)
		wantAlone(t, path)
	})
}

// limitFiles makes writing beyond so many bytes fail until the test ends, as a
// full disk does. What the test's own log needs is far below a megabyte.
func limitFiles(t *testing.T, bytes uint64) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: bytes, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
			t.Error(err)
		}
		signal.Reset(syscall.SIGXFSZ)
	})
}

// A directory that may be written but not opened cannot be synced, and until it
// is, the new name may be lost with the power.
func TestDirectoryThatCannotBeSyncedIsAnError(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state.json")
	write := func() error { return Write(path, []byte("new"), 0o600) }
	if os.Geteuid() == 0 { // modes do not hold root back
		const nobody = 65534
		if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chown(dir, nobody, nobody)); err != nil {
			t.Fatal(err)
		}
		asRoot := write
		write = func() error {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			syscall.Setfsuid(nobody) // of this thread alone
			defer syscall.Setfsuid(0)
			return asRoot()
		}
	}
	if err := os.Chmod(dir, 0o300); err != nil {
		t.Fatal(err)
	}
	if err := write(); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v, want no permission", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, "new", 0o600)
	wantAlone(t, path)

	if err := syncDir("/proc"); err == nil { // which has nothing to sync to
		t.Error("syncing /proc worked")
	}
}

func wantFile(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != content {
		t.Errorf("%s holds %q, want %q", path, got, content)
	}
	st, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode() != mode {
		t.Errorf("%s has mode %v, want %v", path, st.Mode(), mode)
	}
}

// wantAlone wants nothing else in the directory of path: no temporary file.
func wantAlone(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name() != filepath.Base(path) {
		t.Errorf("directory holds %v, want %s alone", entries, filepath.Base(path))
	}
}
