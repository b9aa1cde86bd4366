package proxy

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// Files says where certificates lie. In each folder NAME.crt holds a certificate
// with those that vouch for it, in PEM, and NAME.key its key; of several for one
// name the last in alphabetical order counts. A folder that is missing is empty.
type Files struct {
	Own   string // what the administrator put there
	ACME  string // from Let's Encrypt
	Local string // from our own authority
	CA    string // the file with that authority's certificate
}

// maxFiles and maxFileBytes bound what is read of a folder.
const (
	maxFiles     = 64
	maxFileBytes = 256 << 10
)

// folders are the places, the most wanted first.
func (f Files) folders() []struct{ issuer, path string } {
	return []struct{ issuer, path string }{{api.IssuerOwn, f.Own}, {api.IssuerACME, f.ACME}, {api.IssuerLocal, f.Local}}
}

// certificatesIn lists the files NAME.crt of a folder, the last first.
func certificatesIn(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // nor is there anything when it cannot be read
	}
	var paths []string
	for _, e := range slices.Backward(entries) { // ReadDir sorts
		if name := e.Name(); strings.HasSuffix(name, ".crt") && name[0] != '.' && len(paths) < maxFiles {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return paths
}

// pair is a certificate with the words for where it comes from. Its key is
// missing when only the certificate was read.
type pair struct {
	issuer string
	leaf   *x509.Certificate
	tls    tls.Certificate
}

// pick chooses what a visitor gets who asks for name at the address at: of the
// certificates for that name, or for the address when there is no name, the most
// wanted. One that is not valid now is better than one for another name, which
// is better than none.
func pick(pairs []pair, name string, at netip.Addr, now time.Time) *pair {
	if name == "" && at.IsValid() {
		name = at.Unmap().WithZone("").String()
	}
	var best *pair
	score := -1
	for i, p := range pairs {
		n := 0
		if name != "" && p.leaf.VerifyHostname(name) == nil {
			n += 2
		}
		if !now.Before(p.leaf.NotBefore) && now.Before(p.leaf.NotAfter) {
			n++
		}
		if n > score {
			best, score = &pairs[i], n
		}
	}
	return best
}

// TLSConfig serves the certificates of the keyring as they are at each
// handshake. Versions and ciphers are Go's to choose: TLS 1.2 is the least.
func (k *Keyring) TLSConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if p := k.pick(hello.ServerName, localAddr(hello.Conn.LocalAddr())); p != nil {
				return &p.tls, nil
			}
			return nil, errors.New("there is no certificate yet")
		},
	}
}

func (k *Keyring) pick(name string, at netip.Addr) *pair {
	return pick(*k.pairs.Load(), strings.TrimSuffix(name, "."), at, time.Now())
}

// localAddr is the address of ours that a connection came to.
func localAddr(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// Certificates says what a visitor gets who asks for host, a Host header, and
// what he has to trust for it; an empty host is the machine's own name. It reads
// the public files only, so anyone may ask; of a certificate whose key does not
// fit it cannot know that the proxy passes it over.
func (f Files) Certificates(host string, now time.Time) api.Certificates {
	said := api.Certificates{Time: now.UTC()}
	if ca, err := readCertificate(f.CA); err == nil {
		said.CA = &api.CertificateAuthority{
			Subject: ca.Subject.String(), Fingerprint: fingerprint(ca),
			NotBefore: ca.NotBefore.UTC(), NotAfter: ca.NotAfter.UTC(),
		}
	}
	var pairs []pair
	for _, folder := range f.folders() {
		for _, path := range certificatesIn(folder.path) {
			if c, err := readCertificate(path); err == nil {
				pairs = append(pairs, pair{issuer: folder.issuer, leaf: c})
			}
		}
	}
	name, _ := hostname(host)
	if name == "" && len(pairs) > 0 && len(pairs[len(pairs)-1].leaf.DNSNames) > 0 {
		name = pairs[len(pairs)-1].leaf.DNSNames[0] // the local one's first is the machine's own
	}
	p := pick(pairs, name, netip.Addr{}, now)
	if p == nil {
		return said
	}
	said.Certificate = &api.Certificate{
		Names: slices.Clone(p.leaf.DNSNames), Addresses: []string{}, Issuer: p.issuer, Fingerprint: fingerprint(p.leaf),
		NotBefore: p.leaf.NotBefore.UTC(), NotAfter: p.leaf.NotAfter.UTC(),
	}
	said.Certificate.Names = append([]string{}, said.Certificate.Names...) // never null
	for _, ip := range p.leaf.IPAddresses {
		said.Certificate.Addresses = append(said.Certificate.Addresses, ip.String())
	}
	said.Ready = !now.Before(p.leaf.NotBefore) && now.Before(p.leaf.NotAfter)
	return said
}

// readCertificate reads the first certificate of a PEM file.
func readCertificate(path string) (*x509.Certificate, error) {
	data, err := readBounded(path)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
	}
	return nil, errors.New("no certificate in PEM")
}

// readBounded reads a file that is small.
func readBounded(path string) ([]byte, error) {
	st, err := os.Stat(path) // a pipe would keep us waiting
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxFileBytes {
		return nil, fmt.Errorf("not a file of at most %d bytes", maxFileBytes)
	}
	return os.ReadFile(path) //nolint:gosec // paths are constants of the wiring and names found in their folders
}

func fingerprint(c *x509.Certificate) string {
	return strings.ReplaceAll(fmt.Sprintf("% X", sha256.Sum256(c.Raw)), " ", ":")
}
