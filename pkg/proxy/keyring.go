package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// lookEvery is how often the files are looked at: a new certificate is in use
// that soon.
const lookEvery = 2 * time.Second

// Keyring holds the certificates with their keys as they are in the files.
type Keyring struct {
	files Files
	log   *slog.Logger
	pairs atomic.Pointer[[]pair] // as folders sorts them

	seen map[string]*file // by path; Run's alone
}

// file is one certificate and how far reading it came.
type file struct {
	version string // of both files
	pair    *pair  // the last that was good
	failed  int    // looks in a row
	told    string // the trouble that the log knows
	stamp   int    // look in which it was last there
}

// NewKeyring reads the files once. It does not follow them: Run does.
func NewKeyring(files Files, log *slog.Logger) *Keyring {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	k := &Keyring{files: files, log: log, seen: map[string]*file{}}
	k.look(1)
	return k
}

// Run follows the files until ctx ends. Connections that are open go on with
// the certificate that they have.
func (k *Keyring) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for stamp := 2; ; stamp++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			k.look(stamp)
		}
	}
}

// Ready says whether there is a certificate to show.
func (k *Keyring) Ready() bool { return len(*k.pairs.Load()) > 0 }

// look reads what has changed.
func (k *Keyring) look(stamp int) {
	pairs := []pair{}
	for _, folder := range k.files.folders() {
		for _, path := range certificatesIn(folder.path) {
			f := k.seen[path]
			if f == nil {
				f = &file{}
				k.seen[path] = f
			}
			f.stamp = stamp
			k.read(f, folder.issuer, path)
			if f.pair != nil {
				pairs = append(pairs, *f.pair)
			}
		}
	}
	for path, f := range k.seen {
		if f.stamp != stamp {
			delete(k.seen, path)
		}
	}
	k.pairs.Store(&pairs)
}

// read brings f up to date. Key and certificate are replaced one after the
// other, so trouble counts when it is still there at the second look; until then,
// and for as long as the new ones are no good, the last good pair stays.
func (k *Keyring) read(f *file, issuer, path string) {
	keyPath := strings.TrimSuffix(path, ".crt") + ".key"
	version := versionOf(path) + versionOf(keyPath)
	if version == f.version && f.failed == 0 {
		return
	}
	f.version = version
	p, err := readPair(path, keyPath)
	if err == nil {
		if f.pair != nil || f.told != "" {
			k.log.Info("certificate renewed", "path", path)
		}
		p.issuer = issuer
		f.pair, f.failed, f.told = p, 0, ""
		return
	}
	f.failed++
	if f.failed >= 2 && f.told != err.Error() {
		f.told = err.Error()
		action := "passed over"
		if f.pair != nil {
			action = "the one before stays in use"
		}
		k.log.Warn("certificate unusable", "path", path, "err", err, "action", action)
	}
}

// versionOf changes when the file, its owner or its mode does.
func versionOf(path string) string {
	st, err := os.Stat(path)
	if err != nil {
		return "missing;"
	}
	var id string
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		id = fmt.Sprint(sys.Ino, sys.Ctim.Nano())
	}
	return fmt.Sprint(st.Size(), st.ModTime().UnixNano(), id, ";")
}

// readPair reads a certificate with its key. Errors are for the administrator.
func readPair(crtPath, keyPath string) (*pair, error) {
	crt, err := readBounded(crtPath)
	if err != nil {
		return nil, fmt.Errorf("reading certificate: %w", err)
	}
	key, err := readBounded(keyPath)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no key %s beside it", keyPath)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("reading key: %w (its group must be arasul-proxy, its mode 0640)", err)
	case err != nil:
		return nil, fmt.Errorf("reading key: %w", err)
	}
	if bytes.Contains(key, []byte("ENCRYPTED")) {
		return nil, fmt.Errorf("the key %s has a passphrase, and nobody is there to type it", keyPath)
	}
	c, err := tls.X509KeyPair(crt, key)
	if err != nil {
		return nil, fmt.Errorf("certificate and key: %w", err)
	}
	return &pair{leaf: c.Leaf, tls: c}, nil
}
