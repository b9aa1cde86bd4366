// Package certs makes this machine's own certificate authority and the
// certificate that the page is shown with, and says when they have to be made
// anew.
//
// The root is what people tell their devices to trust. It is made once and kept
// for ten years. Name constraints confine it to .local, to this machine's host
// name, to the names configured when it was made, and to private addresses, so
// that a stolen key cannot pass for a bank. The leaf lives 90 days and is
// replaced after 60, and at once when names or addresses change.
//
// It does not talk to anyone: certificates of Let's Encrypt are package acme's,
// choosing one for a visitor is package proxy's, and whoever runs Issue decides
// when. It never deletes a root by itself: when one comes to its end, or was
// made by a clock that was wrong, it is made again with the same key and name,
// and devices that trust the old one go on.
//
// # Clocks
//
// A machine without a battery for its clock starts in the past. A clock before
// this program was written is wrong for certain; then nothing that exists is
// judged by its dates, and what has to be made counts from the latest time that
// is known to have been: this program's, the root's or the leaf's. Such a leaf
// gets the 825 days that devices accept at most, so that visitors whose clocks
// are right accept it, and is replaced by an ordinary one as soon as the clock
// is right. A clock that is wrong but possible is believed; when it is put
// right, what is not yet valid, or no longer, is made anew. NotBefore lies a day
// back, for visitors whose clocks are slow.
package certs

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	rootYears = 10
	rootRest  = 365 * 24 * time.Hour // what a root has left when it is made again
	leafLife  = 90 * 24 * time.Hour
	leafMost  = 825 * 24 * time.Hour // Apple refuses what lives longer
	backdate  = 24 * time.Hour

	maxNames     = 64
	maxAddresses = 64
)

// written is when this program was: no clock before it is right.
var written = time.Date(2026, time.November, 1, 0, 0, 0, 0, time.UTC)

// Wanted is what the certificate shall be good for.
type Wanted struct {
	Names     []string     // host names, the machine's own first
	Addresses []netip.Addr // of its interfaces
}

// Want lists the names and addresses of a machine: labels are what it is
// announced as (arasul and arasul-s3), each with .local; then come its host
// name, that in .local, localhost, and what is configured, names or addresses.
// It drops what is no host name.
func Want(labels []string, hostname string, hosts []string, addresses []netip.Addr) Wanted {
	var w Wanted
	add := func(name string) {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		if hostName(name) && !slices.Contains(w.Names, name) {
			w.Names = append(w.Names, name)
		}
	}
	for _, label := range labels {
		add(label + ".local")
	}
	add(hostname)
	if label, _, _ := strings.Cut(hostname, "."); label != "localhost" {
		add(label + ".local")
	}
	add("localhost")
	addresses = slices.Clone(addresses)
	for _, h := range hosts {
		if a, err := netip.ParseAddr(h); err == nil {
			addresses = append(addresses, a)
		} else {
			add(h)
		}
	}
	addresses = append(addresses, netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback())
	for i, a := range addresses {
		addresses[i] = a.Unmap().WithZone("")
	}
	slices.SortFunc(addresses, netip.Addr.Compare) // IPv4 first
	w.Addresses = slices.Compact(addresses)
	return w
}

// with adds what the certificate is good for to w.
func (w Wanted) with(c *x509.Certificate) Wanted {
	for _, name := range c.DNSNames {
		if !slices.Contains(w.Names, name) {
			w.Names = append(w.Names, name)
		}
	}
	return w
}

// hostName says whether s can stand in a certificate as a name.
func hostName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}

// Fingerprint is the SHA-256 of a certificate, as devices show it.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	pairs := make([]string, len(sum))
	for i, b := range sum {
		pairs[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(pairs, ":")
}
