package proxy

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// folders is an empty place for certificates.
func folders(t *testing.T) Files {
	t.Helper()
	dir := t.TempDir()
	f := Files{Own: filepath.Join(dir, "own"), ACME: filepath.Join(dir, "acme"), Local: filepath.Join(dir, "local"), CA: filepath.Join(dir, "ca.crt")}
	for _, d := range []string{f.Own, f.ACME, f.Local} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// put writes a certificate for the names or addresses, and its key.
func put(t *testing.T, path string, from, until time.Time, hosts ...string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: from, NotAfter: until, IsCA: true, BasicConstraintsValid: true}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
	writeFile(t, path+".crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func life() (from, until time.Time) { return time.Now().Add(-time.Hour), time.Now().Add(time.Hour) }

// Proves the TLS seam: own before acme before local, by name.
func TestVisitorGetsTheMostWantedCertificateForTheName(t *testing.T) {
	f := folders(t)
	from, until := life()
	certs := map[*x509.Certificate]string{
		put(t, filepath.Join(f.Local, "leaf"), from, until, "arasul.local", "localhost", "box.example", "192.168.1.20", "fd00::1"): "local",
		put(t, filepath.Join(f.ACME, "box.example"), from, until, "box.example"):                                                   "acme",
		put(t, filepath.Join(f.Own, "10-old"), from, until, "ki.firm.example", "*.firm.example"):                                   "own 10",
		put(t, filepath.Join(f.Own, "20-new"), from, until, "ki.firm.example"):                                                     "own 20",
		put(t, filepath.Join(f.Own, "30-over"), from.Add(-time.Hour), from, "ki.firm.example"):                                     "own 30",
	}
	k := NewKeyring(f, nil)
	for _, tt := range []struct{ name, at, want string }{
		{"arasul.local", "192.168.1.20", "local"},
		{"ARASUL.local.", "192.168.1.20", "local"},
		{"box.example", "192.168.1.20", "acme"},
		{"ki.firm.example", "192.168.1.20", "own 20"}, // not the last, which is over
		{"s3.firm.example", "192.168.1.20", "own 10"},
		{"", "192.168.1.20", "local"},
		{"", "fd00::1", "local"},
		{"", "fd00::1%eth0", "local"},
		{"", "203.0.113.9", "own 20"}, // for nobody: what the administrator wants most
		{"elsewhere.example", "192.168.1.20", "own 20"},
	} {
		p := k.pick(tt.name, netip.MustParseAddr(tt.at))
		got := ""
		for c, name := range certs {
			if p != nil && c.Equal(p.leaf) {
				got = name
			}
		}
		if got != tt.want {
			t.Errorf("%q at %s: %s, want %s", tt.name, tt.at, got, tt.want)
		}
	}
}

func TestWithoutACertificateNoHandshake(t *testing.T) {
	k := NewKeyring(folders(t), nil)
	if k.Ready() || k.pick("arasul.local", netip.Addr{}) != nil {
		t.Error("there is one")
	}
}

// Each row is what an administrator may get wrong.
func TestUnusablePairIsNamedOnceAndPassedOver(t *testing.T) {
	from, until := life()
	for _, tt := range []struct {
		name string
		harm func(t *testing.T, path string)
		want string
	}{
		{"no key", func(t *testing.T, path string) { remove(t, path+".key") }, "there is no key"},
		{"key of another", func(t *testing.T, path string) {
			crt, err := os.ReadFile(path + ".crt")
			if err != nil {
				t.Fatal(err)
			}
			put(t, path, from, until, "ki.example")
			writeFile(t, path+".crt", crt)
		}, "private key does not match public key"},
		{"passphrase", func(t *testing.T, path string) {
			writeFile(t, path+".key", []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"))
		}, "has a passphrase"},
		{"no PEM", func(t *testing.T, path string) { writeFile(t, path+".crt", []byte("hello")) }, "failed to find any PEM data"},
		{"huge", func(t *testing.T, path string) { writeFile(t, path+".crt", make([]byte, maxFileBytes+1)) }, "not a file of at most"},
		{"a folder", func(t *testing.T, path string) {
			remove(t, path+".crt")
			if err := os.Mkdir(path+".crt", 0o700); err != nil {
				t.Fatal(err)
			}
		}, "not a file of at most"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := folders(t)
			local := put(t, filepath.Join(f.Local, "leaf"), from, until, "arasul.local")
			own := filepath.Join(f.Own, "ki")
			put(t, own, from, until, "arasul.local")
			tt.harm(t, own)
			var log bytes.Buffer
			k := NewKeyring(f, slog.New(slog.NewTextHandler(&log, nil)))
			for i := range 5 {
				k.look(i + 2)
			}
			if p := k.pick("arasul.local", netip.Addr{}); p == nil || !p.leaf.Equal(local) {
				t.Error("the local certificate is not in its place")
			}
			if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), tt.want) || !strings.Contains(log.String(), own+".crt") {
				t.Errorf("logged %d lines, want one with %q:\n%s", n, tt.want, &log)
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func TestNewCertificateIsInUseWithinTwoSecondsAndAHalfWrittenOneNever(t *testing.T) {
	f := folders(t)
	path := filepath.Join(f.Local, "leaf")
	from, until := life()
	first := put(t, path, from, until, "arasul.local")
	second := filepath.Join(t.TempDir(), "second")
	want := put(t, second, from, until, "arasul.local")
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		k := NewKeyring(f, slog.New(slog.NewTextHandler(&log, nil)))
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); _ = k.Run(ctx) }()
		shown := func(c *x509.Certificate, when string) {
			t.Helper()
			if p := k.pick("arasul.local", netip.Addr{}); p == nil || !p.leaf.Equal(c) {
				t.Error(when)
			}
		}
		shown(first, "at first")
		rename(t, second+".key", path+".key") // as the signer does it: the key first
		time.Sleep(lookEvery)
		synctest.Wait()
		shown(first, "while only the key is new")
		rename(t, second+".crt", path+".crt")
		time.Sleep(lookEvery)
		synctest.Wait()
		shown(want, "then")
		if strings.Contains(log.String(), "unusable") {
			t.Errorf("the moment in between is told:\n%s", &log)
		}
		remove(t, path+".crt")
		time.Sleep(lookEvery)
		synctest.Wait()
		if k.Ready() {
			t.Error("a certificate that was removed is still there")
		}
		cancel()
		<-done
	})
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func TestKeyThatBecomesReadableIsNoticed(t *testing.T) {
	f := folders(t)
	from, until := life()
	path := filepath.Join(f.Own, "ki")
	put(t, path, from, until, "ki.example")
	rename(t, path+".key", path+".away")
	k := NewKeyring(f, nil)
	k.look(2)
	k.look(3)
	rename(t, path+".away", path+".key")
	k.look(4)
	if !k.Ready() {
		t.Error("not ready")
	}
}

func TestConnectionsOutliveACertificate(t *testing.T) {
	f := folders(t)
	path := filepath.Join(f.Local, "leaf")
	from, until := life()
	put(t, path, from, until, "arasul.local")
	k := NewKeyring(f, nil)
	l, err := tls.Listen("tcp", "127.0.0.1:0", k.TLSConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buf := make([]byte, 1)
				for {
					if _, err := conn.Read(buf); err != nil {
						return
					}
					if _, err := conn.Write(buf); err != nil {
						return
					}
				}
			}()
		}
	}()
	dial := func(most uint16) (*tls.Conn, error) {
		return tls.Dial("tcp", l.Addr().String(), &tls.Config{ServerName: "arasul.local", InsecureSkipVerify: true, MaxVersion: most})
	}
	conn, err := dial(0)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	second := put(t, path, from, until, "arasul.local")
	k.look(2)
	buf := []byte{7}
	if _, err := conn.Write(buf); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(buf); err != nil || buf[0] != 7 {
		t.Errorf("the connection is gone: %v", err)
	}
	next, err := dial(0)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if !next.ConnectionState().PeerCertificates[0].Equal(second) {
		t.Error("a new connection has the old certificate")
	}
	if old, err := dial(tls.VersionTLS11); err == nil {
		old.Close()
		t.Error("TLS 1.1 is spoken")
	}
}

func TestCertificatesTellsWhatTheProxyShows(t *testing.T) {
	f := folders(t)
	from, until := life()
	empty := f.Certificates("", time.Now())
	if empty.CA != nil || empty.Certificate != nil || empty.Ready {
		t.Errorf("of nothing: %+v", empty)
	}
	leaf := put(t, filepath.Join(f.Local, "leaf"), from, until, "arasul.local", "192.168.1.20")
	put(t, filepath.Join(f.ACME, "box.example"), from, until, "box.example")
	ca := put(t, strings.TrimSuffix(f.CA, ".crt"), from, until)
	said := f.Certificates("", time.Now())
	if said.CA == nil || said.CA.Fingerprint != fingerprint(ca) || len(said.CA.Fingerprint) != 95 {
		t.Errorf("authority: %+v", said.CA)
	}
	c := said.Certificate
	if c == nil || c.Issuer != api.IssuerLocal || c.Fingerprint != fingerprint(leaf) || c.Addresses[0] != "192.168.1.20" || !said.Ready {
		t.Errorf("certificate: %+v", c)
	}
	if said = f.Certificates("box.example:443", time.Now()); said.Certificate.Issuer != api.IssuerACME {
		t.Errorf("of the public name: %+v", said.Certificate)
	}
	if said = f.Certificates("arasul.local", until.Add(time.Hour)); said.Ready || said.Certificate.Issuer != api.IssuerLocal {
		t.Errorf("when it is over: %+v", said)
	}
}

func TestAddressesAreToldWhenTheyStay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "addresses-changed")
	one, two := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	synctest.Test(t, func(t *testing.T) {
		var now atomic.Pointer[[]netip.Addr]
		now.Store(&[]netip.Addr{two, one, two})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = TellAddresses(ctx, path, func() ([]netip.Addr, error) { return *now.Load(), nil }, slog.New(slog.DiscardHandler))
		}()
		after := func(d time.Duration, want string) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if got, _ := os.ReadFile(path); string(got) != want {
				t.Errorf("told %q, want %q", got, want)
			}
		}
		after(0, "10.0.0.1\n10.0.0.2\n")
		now.Store(&[]netip.Addr{one})
		after(addressesEvery, "10.0.0.1\n10.0.0.2\n")
		now.Store(&[]netip.Addr{one, two})
		after(addressesEvery, "10.0.0.1\n10.0.0.2\n")
		now.Store(&[]netip.Addr{two})
		after(2*addressesEvery, "10.0.0.2\n")
		cancel()
		<-done
	})
}
