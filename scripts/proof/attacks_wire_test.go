//go:build machine

package proof

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// What a client may be slow in, with room for a busy host: the header, and a body.
const (
	slowHeader = 30 * time.Second
	slowBody   = 60 * time.Second
)

// requestSmuggling sends requests whose end is where one reader sees it and not
// where another does. After each, what it tried to slip in must not have been
// done, nor may anybody else's answer be it.
func requestSmuggling(t *testing.T, b *bed) {
	const inner = "GET /internal/console/sessions HTTP/1.1\r\nHost: dashboard\r\nRemote-User: admin\r\nX-Evil: "
	post := func(head, body string) string {
		return "POST /api/auth/login HTTP/1.1\r\nHost: arasul.local\r\nContent-Type: application/json\r\n" + head + "\r\n" + body
	}
	chunked := "0\r\n\r\n" + inner
	length := fmt.Sprintf("Content-Length: %d\r\n", len(chunked))
	for name, request := range map[string]string{
		"length and chunks":              post(length+"Transfer-Encoding: chunked\r\n", chunked),
		"chunks and length":              post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "5c\r\n"+inner+"\r\n0\r\n\r\n"),
		"two lengths":                    post("Content-Length: 0\r\n"+length, chunked),
		"two lengths in one":             post("Content-Length: 0, 44\r\n", chunked),
		"a length with a sign":           post("Content-Length: +5\r\n", chunked),
		"a negative length":              post("Content-Length: -1\r\n", chunked),
		"a length in hex":                post("Content-Length: 0x5\r\n", chunked),
		"a length with a blank":          post("Content-Length: 5 5\r\n", chunked),
		"a length that is too large":     post("Content-Length: 99999999999999999999\r\n", chunked),
		"a length with an underscore":    post("Content_Length: 0\r\n"+length, chunked),
		"chunks twice":                   post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", chunked),
		"chunks, and not":                post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", chunked),
		"chunks in a list":               post("Transfer-Encoding: identity, chunked\r\n", chunked),
		"chunks misspelled":              post("Transfer-Encoding: xchunked\r\n"+length, chunked),
		"chunks with a blank before":     post("Transfer-Encoding : chunked\r\n"+length, chunked),
		"chunks with a tab":              post("Transfer-Encoding:\x0bchunked\r\n"+length, chunked),
		"chunks on the next line":        post("Transfer-Encoding:\r\n chunked\r\n"+length, chunked),
		"chunks in quotes":               post("Transfer-Encoding: \"chunked\"\r\n"+length, chunked),
		"chunks behind a null":           post("Transfer-Encoding: chunked\x00\r\n"+length, chunked),
		"chunks behind a lone feed":      post("X: y\nTransfer-Encoding: chunked\r\n"+length, chunked),
		"chunks behind a lone return":    post("X: y\rTransfer-Encoding: chunked\r\n"+length, chunked),
		"a chunk of a strange size":      post("Transfer-Encoding: chunked\r\n", "0x0\r\n\r\n"+inner),
		"a chunk of a negative size":     post("Transfer-Encoding: chunked\r\n", "-1\r\n\r\n"+inner),
		"a chunk of a huge size":         post("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n\r\n"+inner),
		"a chunk that ends in a feed":    post("Transfer-Encoding: chunked\r\n", "1;\nx\r\n0\r\n\r\n"+inner),
		"a body in a GET":                "GET /api/auth/status HTTP/1.1\r\nHost: arasul.local\r\n" + length + "\r\n" + chunked,
		"chunks in HTTP/1.0":             "POST /api/auth/login HTTP/1.0\r\nHost: arasul.local\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked,
		"a blank in the target":          "GET /health HTTP/1.1\r\nX: /internal/console/sessions HTTP/1.1\r\nHost: arasul.local\r\n\r\n",
		"a request in the target":        "GET /health%20HTTP/1.1%0d%0aHost:%20dashboard%0d%0a%0d%0a" + " HTTP/1.1\r\nHost: arasul.local\r\n\r\n",
		"an upgrade that is none":        "GET /api/auth/status HTTP/1.1\r\nHost: arasul.local\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n" + inner,
		"a socket that is none":          "GET /api/auth/status HTTP/1.1\r\nHost: arasul.local\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 777\r\n\r\n" + inner,
		"an expectation that is strange": post("Expect: 101-nothing\r\n"+length, chunked),
	} {
		answers := string(b.neighbour().talk(t, "443", request))
		if strings.Contains(answers, `"sessions"`) || strings.Contains(answers, "101 Switching") || strings.Contains(answers, "Set-Cookie") {
			t.Errorf("%s: it got through:\n%.1000s", name, answers)
		}
		if strings.HasPrefix(answers, "HTTP/1.1 5") && !strings.HasPrefix(answers, "HTTP/1.1 501") {
			t.Errorf("%s: want a refusal:\n%.300s", name, answers)
		}
		for _, other := range []*visitor{b.neighbour(), b.stranger()} { // over the connections behind the proxy
			if r := other.ask("GET", "/api/auth/password-requirements", nil); r.status != http.StatusOK || !strings.Contains(r.body, "min_length") {
				t.Fatalf("after %s somebody else's answer is %s", name, r)
			}
		}
	}
}

// pathTricks mean one thing to who lets them in and another to who obeys.
func pathTricks(t *testing.T, b *bed) {
	secret := []string{`"sessions"`, `"events"`, "Remote-User", "root:x:", `"settingsMode"`, `"models"`, "userManagement"}
	for _, path := range []string{
		"/n8n/..%2f", "/n8n/../api/audit", "/n8n/..%2fapi/audit", "/n8n/%2e%2e/api/audit", "/n8n/.%2e/api/audit", "/n8n/..;/api/audit", "/n8n/..%5capi/audit",
		"//api/audit", "/api//audit", "/./api/audit", "/api/./audit", "/%61pi/audit", "/api/%61udit", "/api/audit/", "/api/audit;x=1", "/api/audit%00", "/api/audit%0a",
		"/api/audit%2f", "/api/audit%20", "/api/audit.json", "/api%2faudit", "/API/AUDIT", "/api/auth/../audit", "/api/auth/status/../../audit", "/api/metrics/..%2faudit",
		"/internal/authz", "//internal/authz", "/%69nternal/authz", "/internal%2fauthz", "/INTERNAL/authz", "/./internal/authz", "/x/../internal/authz", "/n8n/..%2finternal/authz",
		"/n8n/%2e%2e/internal/console/sessions", "/%2finternal/console/sessions", "/api/..%2finternal/console/sessions", "/internal/./console/sessions", "/%69%6e%74%65%72%6e%61%6c/console/sessions",
		"/%2569nternal/console/sessions", "/internal;/console/sessions", "\\internal\\authz", "/\\internal/authz",
		"/n8n/webhook/../rest/settings", "/n8n/webhook/..%2frest/settings", "/n8n/webhook/%2e%2e/rest/settings", "/n8n/webhook/..%2f..%2frest/settings", "/n8n/webhook//../rest/settings",
		"/n8n/healthz/../rest/settings", "/n8n//rest/settings", "/n8n/rest/settings?/webhook/", "/n8n/rest/settings#/n8n/webhook/", "/n8n/rest%2fsettings",
		"/N8N/rest/settings", "/n8nrest/settings", "/n8n/webhook/..\\rest/settings", "/models/..%2fn8n/rest/settings", "/models//api/tags", "/models/api//tags", "/models/%61pi/tags", "/embeddings/../models/api/tags",
		"/health/../api/audit", "/health%2f..%2fapi/audit", "/assets/..%2f..%2f..%2fetc/passwd", "/..%2f..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/.git/config", "/.env",
		"/.well-known/acme-challenge/../../api/audit", "/.well-known/acme-challenge/..%2f..%2fetc/passwd", "/ca.crt/../api/audit", "/minio-api/../api/audit", "/minio/..%2fapi/audit",
	} {
		for _, port := range []string{"443", "80"} {
			got := first(t, b.neighbour().talk(t, port, "GET "+path+" HTTP/1.1\r\nHost: arasul.local\r\nConnection: close\r\n\r\n"))
			if got.status >= 500 {
				t.Errorf("%s on port %s went on to somebody: %s", path, port, got)
			}
			for _, word := range secret {
				if strings.Contains(got.body, word) {
					t.Errorf("%s on port %s shows what it must not: %s", path, port, got)
				}
			}
		}
	}
}

// oversizedBodies are refused before they fill anything.
func oversizedBodies(t *testing.T, b *bed) {
	large := `{"username":"` + strings.Repeat("a", 4<<20) + `"}`
	for _, path := range []string{"/api/auth/login", "/api/auth/setup", "/api/auth/logout", "/nothing"} {
		v := b.neighbour()
		r, err := v.try("POST", path, large, "Content-Type", "application/json")
		if err == nil && (r.status < 400 || r.status > 499) {
			t.Errorf("4 MiB to %s: %s", path, r)
		}
		r, err = b.neighbour().tryStream("POST", path, strings.NewReader(large))
		if err == nil && (r.status < 400 || r.status > 499) {
			t.Errorf("4 MiB in chunks to %s: %s", path, r)
		}
	}
	b.neighbour().want(http.StatusRequestEntityTooLarge, "POST", "/api/auth/login", large[:64<<10], "Content-Type", "application/json")
	for name, body := range map[string]string{
		"deep":           strings.Repeat("[", 200_000),
		"deep objects":   strings.Repeat(`{"a":`, 100_000),
		"a large number": `{"username":` + strings.Repeat("9", 100_000) + `}`,
		"many keys":      `{"username":"admin"` + strings.Repeat(`,"a":1`, 100_000) + `}`,
		"keys twice":     `{"username":"admin","username":"nobody","password":"x","password":"y"}`,
		"not UTF-8":      "{\"username\":\"\xff\xfe\",\"password\":\"\x00\"}",
		"nothing":        "",
		"null":           "null",
	} {
		began := time.Now()
		r := b.neighbour().ask("POST", "/api/auth/login", body, "Content-Type", "application/json")
		if r.status < 400 || r.status > 499 || time.Since(began) > 5*time.Second {
			t.Errorf("%s: want a refusal at once: %s after %s", name, r, time.Since(began))
		}
	}
	r := b.neighbour().ask("POST", "/api/auth/login", "\x1f\x8b\x08", "Content-Type", "application/json", "Content-Encoding", "gzip")
	if r.status < 400 || r.status > 499 {
		t.Errorf("a compressed body: %s", r)
	}
}

// tryStream sends a body without saying its length.
func (v *visitor) tryStream(method, path string, body io.Reader) (reply, error) {
	v.b.t.Helper()
	request := v.request(method, path, nil, "Content-Type", "application/json")
	request.Body = io.NopCloser(body)
	request.ContentLength = -1
	resp, err := v.client.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return reply{resp.StatusCode, resp.Header, string(text)}, err
}

func oversizedHeaders(t *testing.T, b *bed) {
	refusals := []int{http.StatusRequestHeaderFieldsTooLarge, http.StatusRequestURITooLong, http.StatusBadRequest}
	for name, head := range map[string]string{
		"one of 1 MiB": "GET /health HTTP/1.1\r\nHost: arasul.local\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n",
		"100,000":      "GET /health HTTP/1.1\r\nHost: arasul.local\r\n" + strings.Repeat("X: y\r\n", 100_000) + "\r\n",
		"a long path":  "GET /" + strings.Repeat("x", 1<<20) + " HTTP/1.1\r\nHost: arasul.local\r\n\r\n",
		"cookies":      "GET /api/auth/me HTTP/1.1\r\nHost: arasul.local\r\nCookie: " + strings.Repeat("__Host-arasul=x; ", 60_000) + "\r\n\r\n",
	} {
		if got := b.neighbour().raw(t, head); !slices.Contains(refusals, got.status) {
			t.Errorf("%s: want a refusal: %s", name, got)
		}
	}
	// As many as fit in: each cookie would be looked up.
	began := time.Now()
	r := b.neighbour().raw(t, "GET /api/auth/me HTTP/1.1\r\nHost: arasul.local\r\nConnection: close\r\nCookie: "+strings.Repeat("__Host-arasul=x; ", 1000)+"\r\n\r\n")
	if r.status < 400 || r.status > 499 || time.Since(began) > 5*time.Second {
		t.Errorf("a thousand sessions in one request: %s after %s", r, time.Since(began))
	}
}

// slowClients hold connections and say as little as they can. They are let go in
// bounded time, and others do not wait meanwhile.
func slowClients(t *testing.T, b *bed) {
	var wg sync.WaitGroup
	held := func(name string, within time.Duration, port string, begin string, drip string) {
		v := b.neighbour()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		var conn net.Conn
		var err error
		if conn, err = v.dial(ctx, port); err == nil && port == "443" && begin != "" {
			conn = tls.Client(conn, b.trust())
		}
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		wg.Go(func() {
			defer conn.Close()
			_, err := io.WriteString(conn, begin)
			answer := make([]byte, 4096)
			for err == nil && time.Since(began) < within {
				_ = conn.SetReadDeadline(time.Now().Add(time.Second))
				if _, err = conn.Read(answer); errors.Is(err, os.ErrDeadlineExceeded) {
					_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
					_, err = io.WriteString(conn, drip)
				}
			}
			if err == nil {
				t.Errorf("%s: still held after %s", name, within)
			}
		})
	}
	const head = "POST /api/auth/login HTTP/1.1\r\nHost: arasul.local\r\n"
	for range 20 {
		held("a header without an end", slowHeader, "443", head, "X: y\r\n")
		held("a header on the plain port", slowHeader, "80", head, "X: y\r\n")
		held("a connection without TLS", slowHeader, "443", "", "")
		held("a body without an end", slowBody, "443", head+"Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{", " ")
		held("chunks without an end", slowBody, "443", head+"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n")
	}
	worst := time.Duration(0)
	for range 50 {
		began := time.Now()
		b.neighbour().want(http.StatusOK, "GET", "/api/auth/status", nil)
		worst = max(worst, time.Since(began))
	}
	t.Logf("figure: with 100 slow clients the slowest of 50 answers took %s", worst.Round(time.Millisecond))
	if worst > 2*time.Second {
		t.Errorf("others wait %s", worst)
	}
	wg.Wait()
}

func oldTLS(t *testing.T, b *bed) {
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
		conn, err := b.neighbour().dial(context.Background(), "443")
		if err != nil {
			t.Fatal(err)
		}
		offer := b.trust()
		offer.MinVersion, offer.MaxVersion = version, version
		offer.CipherSuites = nil
		for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
			offer.CipherSuites = append(offer.CipherSuites, s.ID)
		}
		client := tls.Client(conn, offer)
		err = client.Handshake()
		if old := version < tls.VersionTLS12; (err == nil) == old {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if name := tls.CipherSuiteName(client.ConnectionState().CipherSuite); err == nil && version == tls.VersionTLS12 && !strings.Contains(name, "GCM") && !strings.Contains(name, "CHACHA20") {
			t.Errorf("TLS 1.2 chose %s", name)
		}
		_ = conn.Close()
	}
}
