package proxy

import (
	"context"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

const (
	challengePath   = "/.well-known/acme-challenge/"
	challengeWithin = 5 * time.Second
	maxChallenge    = 4 << 10 // bytes of an answer; a real one has 87
)

// TLSOptions says what the doors with and without TLS need besides the keyring.
type TLSOptions struct {
	Keyring *Keyring
	Hosts   func() []string // as Options.Hosts
	// Challenges is the unix socket of arasul-acme.
	Challenges string
	// PublicACME says whether certificates in Files.ACME are such that every
	// device trusts them.
	PublicACME func() bool
}

// Doors are the handlers of both ports, before that of Proxy.
type Doors struct {
	TLSOptions
	challenges http.RoundTripper
}

// NewDoors prepares them. It does not connect.
func NewDoors(o TLSOptions) *Doors {
	return &Doors{o, &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", o.Challenges)
		},
		ResponseHeaderTimeout: challengeWithin,
		DisableKeepAlives:     true, // one in sixty days
	}}
}

// Secure is the door with TLS. It promises to stay (HSTS) only where every
// device trusts the certificate: with one that a device does not trust, a
// browser that was promised TLS lets nobody through.
func (d *Doors) Secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil && r.TLS.ServerName != "" && d.PublicACME() {
			host, _ := hostname(r.Host) // a browser may use the connection for another name of the certificate
			if p := d.Keyring.pick(r.TLS.ServerName, netip.Addr{}); p != nil && p.issuer == api.IssuerACME && p.leaf.VerifyHostname(host) == nil {
				w.Header().Set("Strict-Transport-Security", "max-age=31536000")
			}
		}
		if !ours(r.Host, d.Hosts()) || !d.open(w, r) {
			next.ServeHTTP(w, r)
		}
	})
}

// Plain is the door without TLS. Once there is a certificate, all that it does
// is to say that it lives, to hand out the root, to answer an authority, and to
// send everybody else to the door with TLS.
func (d *Doors) Plain(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !ours(r.Host, d.Hosts()): // next refuses it
			next.ServeHTTP(w, r)
		case d.open(w, r):
		case !d.Keyring.Ready() || r.URL.Path == "/health" || r.Method == http.MethodConnect:
			next.ServeHTTP(w, r)
		default:
			redirect(w, r)
		}
	})
}

// redirect sends the client to the same place with TLS. The host is one of ours,
// but an address only if it is the one that the client came to. It may not be
// remembered: that would outlive a machine that has lost its certificate.
func redirect(w http.ResponseWriter, r *http.Request) {
	host, _ := hostname(r.Host)
	if addr, err := netip.ParseAddr(host); err == nil {
		to, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if at := localAddr(to); at.WithZone("") != addr.Unmap().WithZone("") {
			answer(w, r, misdirected, "")
			return
		}
		if addr.Is6() {
			host = "[" + addr.WithZone("").String() + "]"
		}
	}
	target := r.URL.EscapedPath()
	if !strings.HasPrefix(target, "/") { // OPTIONS *
		target = "/"
	}
	if r.URL.RawQuery != "" {
		target += "?" + r.URL.RawQuery
	}
	w.Header().Set("Location", "https://"+host+target)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusPermanentRedirect)
}

// open answers what anyone may have through either door, and says whether it
// did.
func (d *Doors) open(w http.ResponseWriter, r *http.Request) bool {
	var serve func(http.ResponseWriter, *http.Request)
	switch {
	case r.URL.Path == "/ca.crt":
		serve = d.root
	case r.URL.Path == "/ca.mobileconfig":
		serve = d.profile
	case strings.HasPrefix(r.URL.Path, challengePath):
		serve = d.challenge
	default:
		return false
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		answer(w, r, notAllowed, "")
		return true
	}
	serve(w, r)
	return true
}

// root gives the certificate of our authority as devices like it best.
func (d *Doors) root(w http.ResponseWriter, _ *http.Request) {
	data, err := readBounded(d.Keyring.files.CA)
	block, _ := pem.Decode(data)
	if err != nil || block == nil {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	give(w, "application/x-x509-ca-cert", block.Bytes)
}

// profile gives it in the form of Apple's devices, which lies beside.
func (d *Doors) profile(w http.ResponseWriter, _ *http.Request) {
	data, err := readBounded(strings.TrimSuffix(d.Keyring.files.CA, ".crt") + ".mobileconfig")
	if err != nil {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	give(w, "application/x-apple-aspen-config", data)
}

// challenge lets arasul-acme prove to an authority that the name is ours.
// Nothing of the client's reaches it but the name and the token.
func (d *Doors) challenge(w http.ResponseWriter, r *http.Request) {
	token := strings.TrimPrefix(r.URL.Path, challengePath)
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	if token == "" || len(token) > 128 || strings.Trim(token, letters) != "" {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), challengeWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://acme"+challengePath+token, nil) //nolint:gosec // a unix socket, and a token of letters and digits
	if err != nil {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	req.Host = r.Host
	resp, err := d.challenges.RoundTrip(req)
	if err != nil { // mostly because no name is configured
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxChallenge))
	if err != nil || resp.StatusCode != http.StatusOK {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	give(w, "text/plain", body)
}

func give(w http.ResponseWriter, contentType string, data []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(data)
}
