//go:build machine

package proof

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

const (
	authority = "/var/lib/arasul/tls/ca.crt"
	home      = "https://arasul.local"
)

// visitor is somebody with a browser at an address of his own. What he asks
// goes through port 443, and he trusts nobody but the machine's own authority.
type visitor struct {
	b      *bed
	from   netip.Addr
	client *http.Client
	bearer string // sent as a bearer token when it is not empty
}

// reply is what came back, read to its end.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) String() string { return fmt.Sprintf("%d %v %.500s", r.status, r.header, r.body) }

// read reads the answer as JSON.
func (r reply) read(t testing.TB, answer any) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.body), answer); err != nil {
		t.Fatalf("%v in %s", err, r)
	}
}

// neighbour is a visitor from the local network, stranger one from far away.
func (b *bed) neighbour() *visitor {
	return b.visitor(nextNeighbour())
}

func (b *bed) stranger() *visitor {
	n := addresses.Add(1)
	return b.visitor(netip.AddrFrom4([4]byte{198, 18 + byte(n>>16&1), byte(n >> 8), byte(n)})) // RFC 2544: nobody's
}

// visitor is somebody at an address, without a cookie.
func (b *bed) visitor(from netip.Addr) *visitor {
	b.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.t.Fatal(err)
	}
	v := &visitor{b: b, from: from}
	transport := &http.Transport{
		TLSClientConfig: b.trust(),
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return v.dial(ctx, port)
		},
	}
	v.client = &http.Client{
		Transport: transport, Jar: jar, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	b.t.Cleanup(transport.CloseIdleConnections)
	return v
}

// trust is a configuration that trusts the machine's authority and nobody else,
// and asks for the machine by its name.
func (b *bed) trust() *tls.Config {
	b.t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(b.run("cat", authority))) {
		b.t.Fatalf("%s holds no certificate", authority)
	}
	return &tls.Config{RootCAs: pool, ServerName: "arasul.local"}
}

// dial connects to a port of the machine, from the visitor's address.
func (v *visitor) dial(ctx context.Context, port string) (net.Conn, error) {
	return v.b.dialFrom(ctx, v.from, port)
}

// request makes a request. The body is sent as it is when it is a string, and
// else as JSON; headers are pairs, which replace what is there.
func (v *visitor) request(method, path string, body any, headers ...string) *http.Request {
	v.b.t.Helper()
	var content io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			v.b.t.Fatal(err)
		}
		content = bytes.NewReader(text)
	}
	target := path
	if strings.HasPrefix(path, "/") {
		target = home + path
	}
	r, err := http.NewRequestWithContext(context.Background(), method, target, content)
	if err != nil {
		v.b.t.Fatal(err)
	}
	r.Header.Set("User-Agent", "proof")
	if _, raw := body.(string); body != nil && !raw {
		r.Header.Set("Content-Type", "application/json")
	}
	if v.bearer != "" {
		r.Header.Set("Authorization", "Bearer "+v.bearer)
	}
	for n := 0; n+1 < len(headers); n += 2 {
		if headers[n] == "Host" {
			r.Host = headers[n+1]
		} else {
			r.Header[headers[n]] = []string{headers[n+1]} // spelled as given
		}
	}
	return r
}

// try asks and reads the answer, at most 1 MiB of it.
func (v *visitor) try(method, path string, body any, headers ...string) (reply, error) {
	v.b.t.Helper()
	resp, err := v.client.Do(v.request(method, path, body, headers...))
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return reply{resp.StatusCode, resp.Header, string(text)}, err
}

// ask asks; the test ends when there is no answer.
func (v *visitor) ask(method, path string, body any, headers ...string) reply {
	v.b.t.Helper()
	r, err := v.try(method, path, body, headers...)
	if err != nil {
		v.b.t.Fatalf("%s %s from %s: %v", method, path, v.from, err)
	}
	return r
}

// want asks and compares the status.
func (v *visitor) want(status int, method, path string, body any, headers ...string) reply {
	v.b.t.Helper()
	r := v.ask(method, path, body, headers...)
	if r.status != status {
		v.b.t.Errorf("%s %s from %s: want %d, got %s", method, path, v.from, status, r)
	}
	return r
}

// cookie is the value of one of his cookies.
func (v *visitor) cookie(name string) string {
	u, _ := url.Parse(home)
	for _, c := range v.client.Jar.Cookies(u) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// keep gives him a cookie.
func (v *visitor) keep(name, value string) {
	u, _ := url.Parse(home)
	v.client.Jar.SetCookies(u, []*http.Cookie{{Name: name, Value: value, Path: "/", Secure: true}})
}
