package update

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/bundle"
	"github.com/arasul/arasul/pkg/stable"
)

// KeyDir is where the owner of a machine says whose releases it takes: a PEM file
// for each key.
const KeyDir = "/etc/arasul/update-keys"

const (
	maxKeyFiles = 32
	maxRootFile = 256 << 10
)

// Trust is the root in force: the newest that a release has brought, or the
// folder of keys while none has.
func (s Store) Trust(keyDir string) (*bundle.Root, error) {
	text, err := s.FS.Read(s.path("root.json"), maxRootFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return readKeys(keyDir)
	case err != nil:
		return nil, fmt.Errorf("reading the trust root: %w", err)
	}
	return bundle.ParseRoot(text)
}

// KeepTrust keeps newer roots, one after the other, before anything that they
// vouch for is believed.
func (s Store) KeepTrust(newer []*bundle.Root) error {
	for _, root := range newer {
		if err := stable.Replace(s.FS, s.path("root.json"), root.Raw(), 0o600); err != nil {
			return fmt.Errorf("keeping the trust root: %w", err)
		}
	}
	return nil
}

// readKeys reads a folder of keys.
func readKeys(dir string) (*bundle.Root, error) {
	var keys []bundle.Key
	err := readFolder(dir, "*.pem", func(text []byte) error {
		key, err := bundle.ParseKey(text)
		keys = append(keys, key)
		return err
	})
	if err != nil {
		return nil, err
	}
	return bundle.Bootstrap(keys...), nil
}

// readPermits reads what lets releases below the floor in: *.permit in the folder
// of the keys.
func readPermits(dir string) (permits [][]byte, err error) {
	err = readFolder(dir, "*.permit", func(text []byte) error {
		permits = append(permits, text)
		return nil
	})
	return permits, err
}

// readFolder hands on the files of a folder that match. One that others could have
// written counts for nothing, and is an error: it is better to hear of it.
func readFolder(dir, pattern string, each func(text []byte) error) error {
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(names) > maxKeyFiles {
		return fmt.Errorf("%s has more than %d files %s", dir, maxKeyFiles, pattern)
	}
	for _, name := range names {
		text, err := readOwn(name)
		if err != nil {
			return err
		}
		if err := each(text); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func readOwn(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0) //nolint:gosec // a name that we made ourselves
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o022 != 0 || int(st.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("%s has to be a file of root that nobody else may write (sudo chown root: %s; sudo chmod 644 %s)", name, name, name)
	}
	return io.ReadAll(io.LimitReader(f, maxRootFile))
}

// osRelease reads which system this is, as debian:12.
func osRelease(path string) string {
	text, err := os.ReadFile(path) //nolint:gosec // the system's own
	if err != nil {
		return ""
	}
	values := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[name] = strings.Trim(value, `"'`)
		}
	}
	return values["ID"] + ":" + values["VERSION_ID"]
}
