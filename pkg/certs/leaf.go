package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// newLeaf makes the certificate for w, which must be within the root's
// constraints, in place of old, which may be nil. Its key is new, too.
func (a authority) newLeaf(w Wanted, old *x509.Certificate, now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("generating key: %w", err)
	}
	life := leafLife
	if now.Before(written) {
		now, life = a.latest(old), leafMost
	}
	template := &x509.Certificate{
		NotBefore:             now.UTC().Add(-backdate),
		NotAfter:              now.UTC().Add(life - backdate),
		DNSNames:              w.Names,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, addr := range w.Addresses {
		template.IPAddresses = append(template.IPAddresses, addr.AsSlice())
	}
	if len(w.Names) > 0 && len(w.Names[0]) <= 64 { // RFC 5280, ub-common-name
		template.Subject = pkix.Name{CommonName: w.Names[0]}
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("signing leaf: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("reading back leaf: %w", err)
	}
	return leaf, key, nil
}

// due says why leaf, which may be nil, has to be replaced by one for w, or
// nothing.
func (a authority) due(leaf *x509.Certificate, w Wanted, now time.Time) string {
	if leaf == nil {
		return "there was none"
	}
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	switch {
	case leaf.CheckSignatureFrom(a.cert) != nil:
		return "the root is new"
	case !slices.Equal(leaf.DNSNames, w.Names):
		return "names changed"
	case !slices.Equal(addresses(leaf), w.Addresses):
		return "addresses changed"
	case now.Before(written):
		return ""
	case now.Before(leaf.NotBefore):
		return "it was not valid yet: a clock was wrong"
	case life > leafLife:
		return "it was made while the clock was wrong"
	case now.After(leaf.NotBefore.Add(life * 2 / 3)):
		return "two thirds of its life are over"
	}
	return ""
}

// latest is the latest time that is known to have been, whatever the clock
// says.
func (a authority) latest(leaf *x509.Certificate) time.Time {
	at := written
	for _, c := range []*x509.Certificate{a.cert, leaf} {
		if c != nil && c.NotBefore.Add(backdate).After(at) {
			at = c.NotBefore.Add(backdate)
		}
	}
	return at
}

// addresses are those in the certificate, in its order.
func addresses(c *x509.Certificate) []netip.Addr {
	var list []netip.Addr
	for _, ip := range c.IPAddresses {
		if a, ok := netip.AddrFromSlice(ip); ok {
			list = append(list, a.Unmap())
		}
	}
	return list
}
