package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// doorway is both doors before a dashboard that says "page".
func doorway(t *testing.T, ready bool) (*Doors, Files) {
	t.Helper()
	f := folders(t)
	if ready {
		from, until := life()
		put(t, filepath.Join(f.Local, "leaf"), from, until, "arasul.local")
		put(t, filepath.Join(f.ACME, "box.example"), from, until, "box.example")
	}
	return NewDoors(TLSOptions{
		Keyring:    NewKeyring(f, nil),
		Hosts:      func() []string { return []string{"arasul", "box.example"} },
		Challenges: filepath.Join(filepath.Dir(f.CA), "acme.sock"),
		PublicACME: func() bool { return true },
	}), f
}

func page(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "page") }

// ask sends a request that came to 192.168.1.20.
func ask(h http.Handler, method, target, host string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/", nil)
	r.Host = host
	path, query, _ := strings.Cut(target, "?")
	r.URL.Path, r.URL.RawPath, r.URL.RawQuery = path, path, query
	if unescaped, err := url.PathUnescape(path); err == nil {
		r.URL.Path = unescaped
	}
	to := &net.TCPAddr{IP: net.ParseIP("192.168.1.20"), Port: 80}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, to)))
	return w
}

// Each row is a request to port 80 once there is a certificate; the second half
// are attempts to be sent elsewhere.
func TestPortWithoutTLSSendsToTheOneWith(t *testing.T) {
	d, _ := doorway(t, true)
	h := d.Plain(http.HandlerFunc(page))
	for _, tt := range []struct {
		name, method, target, host string
		status                     int
		location                   string
	}{
		{"the page", "GET", "/", "arasul.local", 308, "https://arasul.local/"},
		{"another port", "GET", "/x", "arasul.local:80", 308, "https://arasul.local/x"},
		{"with a query", "GET", "/n8n/?a=b&c=%20", "box.example", 308, "https://box.example/n8n/?a=b&c=%20"},
		{"encoded", "GET", "/a%2Fb%20c", "arasul.local", 308, "https://arasul.local/a%2Fb%20c"},
		{"API with a body", "POST", "/api/auth/login", "arasul.local", 308, "https://arasul.local/api/auth/login"},
		{"by address", "GET", "/", "192.168.1.20", 308, "https://192.168.1.20/"},
		{"numbered name", "GET", "/", "arasul-2.local", 308, "https://arasul-2.local/"},
		{"health", "GET", "/health", "arasul.local", 200, ""},
		{"whole server", "OPTIONS", "*", "arasul.local", 308, "https://arasul.local/"},

		{"foreign host", "GET", "/", "evil.example", 200, ""}, // the next refuses it
		{"foreign address", "GET", "/", "203.0.113.9", 421, ""},
		{"userinfo", "GET", "/", "arasul.local@evil.example", 200, ""},
		{"double slash", "GET", "//evil.example/", "arasul.local", 308, "https://arasul.local//evil.example/"},
		{"line break", "GET", "/a\r\nSet-Cookie: x=y", "arasul.local", 308, "https://arasul.local/a%0D%0ASet-Cookie:%20x=y"},
		{"backslash", "GET", `/\evil.example`, "arasul.local", 308, "https://arasul.local/%5Cevil.example"},
		{"way out", "CONNECT", "/", "arasul.local", 200, ""}, // the next refuses it
	} {
		w := ask(h, tt.method, tt.target, tt.host)
		if w.Code != tt.status || w.Header().Get("Location") != tt.location {
			t.Errorf("%s: %d to %q, want %d to %q", tt.name, w.Code, w.Header().Get("Location"), tt.status, tt.location)
		}
		if w.Code == 308 && w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: a browser may remember it", tt.name)
		}
		if w.Header().Get("Strict-Transport-Security") != "" {
			t.Errorf("%s: HSTS without TLS", tt.name)
		}
	}
}

func TestPortWithoutTLSServesUntilThereIsACertificate(t *testing.T) {
	d, _ := doorway(t, false)
	if w := ask(d.Plain(http.HandlerFunc(page)), "GET", "/", "arasul.local"); w.Code != 200 || w.Body.String() != "page" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestRootIsThereForDevicesThroughBothDoors(t *testing.T) {
	d, f := doorway(t, true)
	from, until := life()
	for _, h := range []http.Handler{d.Plain(http.HandlerFunc(page)), d.Secure(http.HandlerFunc(page))} {
		for _, path := range []string{"/ca.crt", "/ca.mobileconfig"} {
			os.Remove(f.CA)
			os.Remove(strings.TrimSuffix(f.CA, ".crt") + ".mobileconfig")
			if w := ask(h, "GET", path, "arasul.local"); w.Code != 404 {
				t.Errorf("%s before there is one: %d", path, w.Code)
			}
		}
		ca := put(t, strings.TrimSuffix(f.CA, ".crt"), from, until)
		writeFile(t, strings.TrimSuffix(f.CA, ".crt")+".mobileconfig", []byte("profile"))
		if w := ask(h, "GET", "/ca.crt", "arasul.local"); w.Header().Get("Content-Type") != "application/x-x509-ca-cert" || w.Body.String() != string(ca.Raw) {
			t.Errorf("ca.crt: %d %v", w.Code, w.Header())
		}
		if w := ask(h, "GET", "/ca.mobileconfig", "192.168.1.20"); w.Header().Get("Content-Type") != "application/x-apple-aspen-config" || w.Body.String() != "profile" {
			t.Errorf("ca.mobileconfig: %d %v", w.Code, w.Header())
		}
		if w := ask(h, "POST", "/ca.crt", "arasul.local"); w.Code != 405 {
			t.Errorf("POST: %d", w.Code)
		}
		if w := ask(h, "GET", "/ca.crt", "evil.example"); w.Body.String() != "page" { // the next refuses it
			t.Errorf("under a foreign name: %d", w.Code)
		}
	}
}

func TestHSTSIsForPublicNamesOnly(t *testing.T) {
	d, _ := doorway(t, true)
	public := true
	d.PublicACME = func() bool { return public }
	said := func(server, host string) string {
		r := httptest.NewRequest("GET", "https://"+host+"/", nil)
		r.TLS = &tls.ConnectionState{ServerName: server}
		w := httptest.NewRecorder()
		d.Secure(http.HandlerFunc(page)).ServeHTTP(w, r)
		return w.Header().Get("Strict-Transport-Security")
	}
	if said("box.example", "box.example") == "" {
		t.Error("none for the public name")
	}
	for _, tt := range [][2]string{{"arasul.local", "arasul.local"}, {"box.example", "arasul.local"}, {"", "box.example"}, {"arasul.local", "box.example"}} {
		if got := said(tt[0], tt[1]); got != "" {
			t.Errorf("connection for %q, host %q: %s", tt[0], tt[1], got)
		}
	}
	if public = false; said("box.example", "box.example") != "" {
		t.Error("for a name with an authority that is not public")
	}
}

// Each row is something that a client might try on arasul-acme.
func TestOnlyTheQuestionOfAnAuthorityIsPassedOn(t *testing.T) {
	d, _ := doorway(t, true)
	var got []*http.Request
	l, err := net.Listen("unix", d.Challenges)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r)
		w.Header().Set("Set-Cookie", "a=b")
		_, _ = io.WriteString(w, "answer"+strings.Repeat("x", 1<<20))
	})
	h := d.Plain(http.HandlerFunc(page))
	for target, want := range map[string]int{
		challengePath + "abc-DEF_012":            200,
		challengePath:                            404,
		challengePath + "a/b":                    404,
		challengePath + "..":                     404,
		challengePath + "a.b":                    404,
		challengePath + strings.Repeat("a", 129): 404,
		challengePath + "%2e%2e%2fhealth":        404,
		challengePath + "a%00":                   404,
	} {
		got = nil
		w := ask(h, "GET", target, "box.example")
		if w.Code != want || (len(got) == 1) != (want == 200) {
			t.Errorf("%s: %d, %d requests passed on", target, w.Code, len(got))
		}
		if w.Code == 200 && (w.Body.Len() != maxChallenge || w.Header().Get("Set-Cookie") != "" || got[0].Host != "box.example") {
			t.Errorf("%s: %d bytes, %v, host %s", target, w.Body.Len(), w.Header(), got[0].Host)
		}
	}
	if w := ask(h, "POST", challengePath+"abc", "box.example"); w.Code != 405 {
		t.Errorf("POST: %d", w.Code)
	}
}

func TestWithoutArasulACMEThereIsNoChallenge(t *testing.T) {
	d, _ := doorway(t, true)
	if w := ask(d.Plain(http.HandlerFunc(page)), "GET", challengePath+"abc", "box.example"); w.Code != 404 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
