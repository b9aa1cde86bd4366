package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"
)

// private are the addresses that a root may vouch for. Whoever is at one of
// them is in the owner's own network, or is the owner.
var private = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("fc00::/7"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("::1/128"),
}

// authority is a root with its key.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newRoot makes a root for a machine with these names.
func newRoot(w Wanted, hostname string, now time.Time) (authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, fmt.Errorf("generating key: %w", err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return authority{}, fmt.Errorf("encoding key: %w", err)
	}
	sum := sha256.Sum256(spki)
	label, _, _ := strings.Cut(hostname, ".")
	template := &x509.Certificate{
		// Two machines of one name have two roots that people can tell apart.
		Subject: pkix.Name{
			Organization: []string{"Arasul"},
			CommonName:   fmt.Sprintf("Arasul %.40s %X", label, sum[:4]),
		},
		SubjectKeyId:                sum[:20],
		PermittedDNSDomains:         domains(w.Names),
		PermittedDNSDomainsCritical: true, // says all name constraints
	}
	for _, p := range private {
		template.PermittedIPRanges = append(template.PermittedIPRanges, ipNet(p))
	}
	return sign(template, key, now)
}

// again makes a root anew that devices take for the one that they trust: same
// key, name and constraints.
func (a authority) again(now time.Time) (authority, error) {
	return sign(&x509.Certificate{
		RawSubject:                  a.cert.RawSubject,
		SubjectKeyId:                a.cert.SubjectKeyId,
		PermittedDNSDomains:         a.cert.PermittedDNSDomains,
		PermittedIPRanges:           a.cert.PermittedIPRanges,
		PermittedDNSDomainsCritical: true,
	}, a.key, now)
}

// sign completes the template of a root with what all of them have.
func sign(template *x509.Certificate, key *ecdsa.PrivateKey, now time.Time) (authority, error) {
	now = now.UTC()
	template.NotBefore = now.Add(-backdate)
	template.NotAfter = template.NotBefore.AddDate(rootYears, 0, 0)
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.MaxPathLenZero = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	// Nor may a stolen key sign programs or mails.
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return authority{}, fmt.Errorf("signing root: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return authority{}, fmt.Errorf("reading back root: %w", err)
	}
	return authority{cert, key}, nil
}

// domains are what a root for these names may vouch for. A constraint holds for
// all names below it, too; so a name that is a public suffix, such as that of a
// machine called dev, is not to be had.
func domains(names []string) []string {
	list := []string{"local", "localhost"}
	for _, name := range names {
		suffix, listed := publicsuffix.PublicSuffix(name)
		if suffix == name && (listed || strings.Contains(name, ".")) {
			continue
		}
		if !permits(list, name) && len(list) < maxNames {
			list = append(list, name)
		}
	}
	return list
}

// permits says whether name is one of domains, or below one.
func permits(domains []string, name string) bool {
	return slices.ContainsFunc(domains, func(d string) bool { return name == d || strings.HasSuffix(name, "."+d) })
}

// confine divides w into what the root may vouch for, within limits, and the
// rest.
func (a authority) confine(w Wanted) (good Wanted, left []string) {
	for _, name := range w.Names {
		if permits(a.cert.PermittedDNSDomains, name) && len(good.Names) < maxNames {
			good.Names = append(good.Names, name)
		} else {
			left = append(left, name)
		}
	}
	for _, addr := range w.Addresses {
		within := slices.ContainsFunc(a.cert.PermittedIPRanges, func(n *net.IPNet) bool { return n.Contains(addr.AsSlice()) })
		if within && len(good.Addresses) < maxAddresses {
			good.Addresses = append(good.Addresses, addr)
		} else {
			left = append(left, addr.String())
		}
	}
	return good, left
}

// ended says why the root has to be made again, or nothing.
func (a authority) ended(now time.Time) string {
	switch {
	case now.Before(written):
		return ""
	case now.Before(a.cert.NotBefore):
		return "the root is from the future: a clock was wrong"
	case a.cert.NotAfter.Sub(now) < rootRest:
		return "the root comes to its end"
	}
	return ""
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
