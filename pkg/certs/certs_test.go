package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2027, time.March, 1, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// box is a machine as most are.
func box() Wanted {
	return Want([]string{"arasul", "arasul-s3"}, "Werkstatt", []string{"ki.example.com"},
		addrs("192.168.1.20", "fd00::20", "fe80::1%eth0", "2001:db8::20"))
}

type shelf struct {
	Store
	t *testing.T
}

func newShelf(t *testing.T) shelf {
	return shelf{Store{CA: t.TempDir(), Public: t.TempDir()}, t}
}

func (s shelf) issue(w Wanted, at time.Time, force Force) Issued {
	s.t.Helper()
	did, err := s.Issue(w, "werkstatt", true, at, force)
	if err != nil {
		s.t.Fatal(err)
	}
	return did
}

func (s shelf) cert(path ...string) *x509.Certificate {
	s.t.Helper()
	crt := filepath.Join(path...)
	data, err := os.ReadFile(crt)
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := parse(data)
	if err != nil {
		s.t.Fatalf("%s: %v", crt, err)
	}
	return c
}

func (s shelf) leafCert() *x509.Certificate { return s.cert(s.Public, "local", "leaf.crt") }
func (s shelf) rootCert() *x509.Certificate { return s.cert(s.Public, "ca.crt") }

// trusts is what a browser with this root in its store would say.
func trusts(root, leaf *x509.Certificate, name string, at time.Time) error {
	pool := x509.NewCertPool()
	pool.AddCert(root)
	_, err := leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: name, CurrentTime: at})
	return err
}

// Proves the TLS seam: every name and private address of the machine is in the certificate.
func TestBrowsersThatTrustTheRootAcceptAllNamesAndAddresses(t *testing.T) {
	s := newShelf(t)
	did := s.issue(box(), now, IfDue)
	if !slices.Equal(did.LeftOut, []string{"2001:db8::20"}) {
		t.Errorf("left out %q, want only the public address", did.LeftOut)
	}
	for _, name := range []string{
		"arasul.local", "arasul-s3.local", "werkstatt", "werkstatt.local", "localhost", "ki.example.com",
		"192.168.1.20", "fd00::20", "fe80::1", "127.0.0.1", "::1",
	} {
		if err := trusts(s.rootCert(), s.leafCert(), name, now); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		s.openssl(name)
	}
	if life := s.leafCert().NotAfter.Sub(s.leafCert().NotBefore); life != 90*day {
		t.Errorf("the certificate lives %s", life)
	}
}

// openssl asks another implementation.
func (s shelf) openssl(name string) {
	s.t.Helper()
	check := "-verify_hostname"
	if net.ParseIP(name) != nil {
		check = "-verify_ip"
	}
	out, err := exec.Command("openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-attime", itoa(now.Unix()), check, name,
		"-CAfile", filepath.Join(s.Public, "ca.crt"), filepath.Join(s.Public, "local", "leaf.crt")).CombinedOutput()
	if err != nil {
		s.t.Errorf("openssl verify %s: %v\n%s", name, err, out)
	}
}

// Each row is what a thief of the root's key would sign.
func TestStolenRootVouchesForNothingElse(t *testing.T) {
	root, err := newRoot(Want([]string{"arasul"}, "dev", []string{"ki.example.com", "co.uk"}, nil), "dev", now)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "ca.crt"), certPEM(root.cert))
	for _, name := range []string{
		"bank.example", "example.com", "evil-ki.example.com", "google.dev", "dev", "www.co.uk", "local.example", "notlocal",
		"8.8.8.8", "172.32.0.1", "192.169.0.1", "100.64.0.1", "2001:db8::1", "::ffff:8.8.8.8",
	} {
		t.Run(name, func(t *testing.T) {
			var w Wanted
			if a, err := netip.ParseAddr(name); err == nil {
				w.Addresses = []netip.Addr{a.Unmap()}
			} else {
				w.Names = []string{name}
			}
			leaf, _, err := root.newLeaf(w, nil, now)
			if err != nil {
				t.Fatal(err)
			}
			if trusts(root.cert, leaf, name, now) == nil {
				t.Error("crypto/x509 accepts it")
			}
			write(t, filepath.Join(dir, "leaf.crt"), certPEM(leaf))
			out, err := exec.Command("openssl", "verify", "-attime", itoa(now.Unix()), "-CAfile", filepath.Join(dir, "ca.crt"), filepath.Join(dir, "leaf.crt")).CombinedOutput()
			if err == nil || !strings.Contains(string(out), "permitted subtree violation") {
				t.Errorf("openssl: %v\n%s", err, out)
			}
			if good, _ := root.confine(w); len(good.Names)+len(good.Addresses) > 0 {
				t.Errorf("we would sign %v ourselves", good)
			}
		})
	}
}

func TestRootCanSignNoOtherAuthority(t *testing.T) {
	root, err := newRoot(box(), "box", now)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		NotBefore: now, NotAfter: now.Add(day), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, root.cert, key.Public(), root.key)
	if err != nil {
		t.Fatal(err)
	}
	between, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	leaf, _, err := authority{between, key}.newLeaf(Wanted{Names: []string{"arasul.local"}}, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	pool, middle := x509.NewCertPool(), x509.NewCertPool()
	pool.AddCert(root.cert)
	middle.AddCert(between)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: middle, CurrentTime: now.Add(time.Hour)}); err == nil {
		t.Error("a chain over another authority is accepted")
	}
}

func TestKeysAreReadableByThoseWhoNeedThem(t *testing.T) {
	s := newShelf(t)
	s.issue(box(), now, IfDue)
	for path, mode := range map[string]os.FileMode{
		filepath.Join(s.CA, "ca.key"):                0o600,
		filepath.Join(s.Public, "ca.crt"):            0o644,
		filepath.Join(s.Public, "ca.mobileconfig"):   0o644,
		filepath.Join(s.Public, "local"):             0o755 | os.ModeDir,
		filepath.Join(s.Public, "local", "leaf.key"): 0o640,
		filepath.Join(s.Public, "local", "leaf.crt"): 0o644,
	} {
		st, err := os.Stat(path)
		if err != nil {
			t.Error(err)
		} else if st.Mode() != mode {
			t.Errorf("%s is %s, want %s", path, st.Mode(), mode)
		}
	}
}

func TestNamesThatAreNoHostNamesAreDropped(t *testing.T) {
	w := Want([]string{"arasul", ""}, "my_box.lan", []string{"ok.example", "no good", "-x", "10.0.0.7"}, addrs("::ffff:10.0.0.5", "10.0.0.5"))
	if got := strings.Join(w.Names, " "); got != "arasul.local localhost ok.example" {
		t.Errorf("names %q", got)
	}
	if want := addrs("10.0.0.5", "10.0.0.7", "127.0.0.1", "::1"); !slices.Equal(w.Addresses, want) {
		t.Errorf("addresses %v, want %v", w.Addresses, want)
	}
}

func TestNumberOfNamesIsBounded(t *testing.T) {
	w := box()
	for i := range 300 {
		w.Names = append(w.Names, "n"+itoa(int64(i))+".local")
		w.Addresses = append(w.Addresses, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	s := newShelf(t)
	did := s.issue(w, now, IfDue)
	if len(did.Names) != maxNames || len(did.Addresses) != maxAddresses || len(did.LeftOut) < 400 {
		t.Errorf("%d names, %d addresses, %d left out", len(did.Names), len(did.Addresses), len(did.LeftOut))
	}
}

func TestProfileIsAPropertyListWithTheRoot(t *testing.T) {
	s := newShelf(t)
	s.issue(box(), now, IfDue)
	data, err := os.ReadFile(filepath.Join(s.Public, "ca.mobileconfig"))
	if err != nil {
		t.Fatal(err)
	}
	var names, values []string
	decoder := xml.NewDecoder(bytes.NewReader(data))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local != "dict" && start.Name.Local != "array" && start.Name.Local != "plist" {
			var text string
			if err := decoder.DecodeElement(&text, &start); err != nil {
				t.Fatal(err)
			}
			if start.Name.Local == "key" {
				names = append(names, text)
			} else {
				values = append(values, text)
			}
		}
	}
	if got := strings.Join(names, " "); got != "PayloadContent PayloadCertificateFileName PayloadContent PayloadDisplayName PayloadIdentifier PayloadType PayloadUUID PayloadVersion"+
		" PayloadDescription PayloadDisplayName PayloadIdentifier PayloadRemovalDisallowed PayloadType PayloadUUID PayloadVersion" {
		t.Errorf("keys %s", got)
	}
	if !slices.Contains(values, "com.apple.security.root") || !slices.Contains(values, "Configuration") {
		t.Errorf("values %q", values)
	}
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(values[1]), ""))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(der, s.rootCert().Raw) {
		t.Error("the profile holds another certificate")
	}
}
