package certs

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/atomicfile"
)

// Store is where the files lie. Both directories must exist.
type Store struct {
	CA     string // ca.key and ca.crt; for the signer's eyes only
	Public string // ca.crt and ca.mobileconfig for everyone, local/leaf.crt, local/leaf.key
}

// Force says what is made anew without need.
type Force int

const (
	IfDue Force = iota // nothing
	Leaf               // the certificate
	Root               // the root too, with a new key: every device has to be told to trust it
)

// Issued is what Issue did.
type Issued struct {
	Root        string    `json:"root,omitempty"` // why the root was made, empty when it was not
	Leaf        string    `json:"certificate,omitempty"`
	Names       []string  `json:"names"`
	Addresses   []string  `json:"addresses"`
	LeftOut     []string  `json:"left_out,omitempty"` // what the root may not vouch for
	Fingerprint string    `json:"ca_fingerprint_sha256"`
	NotAfter    time.Time `json:"not_after"` // of the certificate
}

// Issue makes what is missing or due, and nothing else: it can be run at any
// time, also by two at once. What it finds broken it replaces, but a key that
// cannot be read stays beside as ca.key.broken. sure is false when w may lack
// names, because the configuration could not be read: then the certificate keeps
// those that it has.
func (s Store) Issue(w Wanted, hostname string, sure bool, now time.Time, force Force) (Issued, error) {
	unlock, err := lock(s.CA)
	if err != nil {
		return Issued{}, err
	}
	defer unlock()
	var did Issued
	root, why, err := s.root(w, hostname, now, force)
	if err != nil {
		return Issued{}, err
	}
	did.Root, did.Fingerprint = why, Fingerprint(root.cert)
	if err := s.publish(root.cert); err != nil {
		return Issued{}, err
	}

	old := s.leaf()
	if old != nil && !sure {
		w = w.with(old)
	}
	w, did.LeftOut = root.confine(w)
	leaf := old
	did.Leaf = root.due(old, w, now)
	if did.Leaf == "" && force != IfDue {
		did.Leaf = "it was asked for"
	}
	if did.Leaf != "" {
		if leaf, err = s.newLeaf(root, w, old, now); err != nil {
			return Issued{}, err
		}
	}
	did.Names, did.NotAfter = leaf.DNSNames, leaf.NotAfter
	for _, a := range addresses(leaf) {
		did.Addresses = append(did.Addresses, a.String())
	}
	return did, nil
}

// root is the root there is, or one made for the reason that comes with it.
func (s Store) root(w Wanted, hostname string, now time.Time, force Force) (authority, string, error) {
	root, why, err := s.readRoot()
	if err != nil {
		return authority{}, "", err
	}
	from := now
	if from.Before(written) {
		from = written
	}
	switch {
	case why != "":
		root, err = newRoot(w, hostname, from)
	case force == Root:
		why = "it was asked for"
		root, err = newRoot(w, hostname, from)
	default:
		if why = root.ended(now); why == "" {
			return root, "", nil
		}
		root, err = root.again(from)
	}
	if err != nil {
		return authority{}, "", err
	}
	key, err := keyPEM(root.key)
	if err != nil {
		return authority{}, "", err
	}
	// The key first: without it a root is worth nothing.
	if err := atomicfile.Write(filepath.Join(s.CA, "ca.key"), key, 0o600); err != nil {
		return authority{}, "", fmt.Errorf("writing the root's key: %w", err)
	}
	if err := atomicfile.Write(filepath.Join(s.CA, "ca.crt"), certPEM(root.cert), 0o600); err != nil {
		return authority{}, "", fmt.Errorf("writing the root: %w", err)
	}
	return root, why, nil
}

// readRoot reads the root, or says why there is none. An error is one that a
// new root would not cure.
func (s Store) readRoot() (authority, string, error) {
	key := filepath.Join(s.CA, "ca.key")
	pair, err := readPair(filepath.Join(s.CA, "ca.crt"), key)
	if err != nil { // the key is what counts, and everybody has the certificate
		if public, publicErr := readPair(filepath.Join(s.Public, "ca.crt"), key); publicErr == nil {
			pair, err = public, nil
		}
	}
	private, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if err == nil && (!ok || !pair.Leaf.IsCA) {
		err = fmt.Errorf("%w: not of our making", errBroken)
	}
	switch {
	case err == nil:
		return authority{pair.Leaf, private}, "", nil
	case errors.Is(err, errBroken):
	case !errors.Is(err, fs.ErrNotExist):
		return authority{}, "", fmt.Errorf("reading the root: %w", err)
	case !exists(key):
		return authority{}, "there was none", nil
	}
	if err := os.Rename(key, key+".broken"); err != nil {
		return authority{}, "", fmt.Errorf("setting the broken key aside: %w", err)
	}
	return authority{}, "the old one was broken", nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// leaf is the certificate there is, or nil when it is not of use.
func (s Store) leaf() *x509.Certificate {
	pair, err := readPair(filepath.Join(s.Public, "local", "leaf.crt"), filepath.Join(s.Public, "local", "leaf.key"))
	if err != nil {
		return nil
	}
	return pair.Leaf
}

// newLeaf makes a certificate and writes it. For a moment the key does not match
// the certificate; who reads the files looks again.
func (s Store) newLeaf(root authority, w Wanted, old *x509.Certificate, now time.Time) (*x509.Certificate, error) {
	leaf, key, err := root.newLeaf(w, old, now)
	if err != nil {
		return nil, err
	}
	secret, err := keyPEM(key)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(s.Public, "local")
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // public certificates; keys are 0600 and 0640
		return nil, fmt.Errorf("making a place for the certificate: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // as above; the umask is strict
		return nil, fmt.Errorf("opening the certificate's place: %w", err)
	}
	// The group is the proxy's: it is the signer's own.
	if err := atomicfile.Write(filepath.Join(dir, "leaf.key"), secret, 0o640); err != nil {
		return nil, fmt.Errorf("writing the certificate's key: %w", err)
	}
	if err := atomicfile.Write(filepath.Join(dir, "leaf.crt"), certPEM(leaf), 0o644); err != nil {
		return nil, fmt.Errorf("writing the certificate: %w", err)
	}
	return leaf, nil
}

// publish writes what devices are given, unless it is there.
func (s Store) publish(root *x509.Certificate) error {
	profile, err := Profile(root)
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{"ca.crt": certPEM(root), "ca.mobileconfig": profile} {
		path := filepath.Join(s.Public, name)
		if there, err := os.ReadFile(path); err == nil && bytes.Equal(there, data) {
			continue
		}
		if err := atomicfile.Write(path, data, 0o644); err != nil {
			return fmt.Errorf("publishing %s: %w", name, err)
		}
	}
	return nil
}

// errBroken says that a file is there and makes no sense.
var errBroken = errors.New("broken")

func readPair(crt, key string) (tls.Certificate, error) {
	c, errC := os.ReadFile(crt)
	k, errK := os.ReadFile(key)
	if err := cmp.Or(errC, errK); err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(c, k)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%w: %w", errBroken, err)
	}
	return pair, nil
}

func certPEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// lock keeps a second Issue out, or waits for it.
func lock(dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the root's place: %w", err)
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX); err != nil {
		_ = d.Close()
		return nil, fmt.Errorf("locking the root's place: %w", err)
	}
	return func() { _ = d.Close() }, nil
}
