//go:build machine

package proof

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

const evil = "https://evil.example"

// changes are requests that do something, with bodies that would be right.
func changes(b *bed) []struct {
	method, path string
	body         map[string]any
} {
	return []struct {
		method, path string
		body         map[string]any
	}{
		{"POST", "/api/auth/logout", nil},
		{"POST", "/api/auth/logout-all", nil},
		{"POST", "/api/auth/change-password", map[string]any{"current_password": b.password(), "new_password": newPassword()}},
		{"POST", "/api/services/mdns/restart", nil},
		{"POST", "/n8n/rest/owner/setup", map[string]any{"email": "evil@example.com"}},
		{"DELETE", "/models/api/delete", map[string]any{"model": "tiny-chat"}},
	}
}

// csrfByForm is what a page elsewhere can send without asking anybody: the
// cookie, and a body of one of three types.
func csrfByForm(t *testing.T, b *bed) {
	owner := b.admin()
	for _, c := range changes(b) {
		for _, kind := range []string{"application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", ""} {
			for _, from := range [][]string{
				{"Origin", evil},
				{"Origin", "null"},
				{"Origin", evil, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"},
				{"Origin", "http://arasul.local", "Sec-Fetch-Site", "cross-site"}, // whoever is on the wire writes that page
				{"Origin", "https://arasul-s3.local"},                             // others put files there
				{"Origin", "https://arasul.local:8443"},
				{"Origin", "https://arasul.local.evil.example"},
			} {
				r := owner.moved().ask(c.method, c.path, text(c.body), append(from, "Content-Type", kind)...)
				if r.status != http.StatusForbidden && r.status != http.StatusUnsupportedMediaType {
					t.Errorf("%s %s with %v as %q: want 403 or 415: %s", c.method, c.path, from, kind, r)
				}
			}
		}
	}
	if !owner.in() {
		t.Error("somebody else's page logged the owner out")
	}

	// A login is a change, too: nobody logs the owner in as somebody else.
	r := b.neighbour().ask("POST", "/api/auth/login", text(credentials(b.password())), "Content-Type", "text/plain", "Origin", evil)
	if r.status == http.StatusOK || r.header["Set-Cookie"] != nil {
		t.Errorf("a form logs in: %s", r)
	}
}

// text is JSON that says not to be.
func text(body map[string]any) string {
	pairs := make([]string, 0, len(body))
	for key, value := range body {
		pairs = append(pairs, `"`+key+`":"`+value.(string)+`"`)
	}
	return "{" + strings.Join(pairs, ",") + "}"
}

// csrfByFetch sends JSON, as a page can that found a way around asking first.
func csrfByFetch(t *testing.T, b *bed) {
	owner := b.admin()
	for _, c := range changes(b) {
		for _, from := range [][]string{
			{"Origin", evil},
			{"Origin", "null"},
			{"Sec-Fetch-Site", "cross-site"},
			{"Sec-Fetch-Site", "same-site"},
			{"Origin", evil, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"},
			{"Origin", home + ".evil.example", "Sec-Fetch-Site", "cross-site"},
		} {
			if r := owner.moved().ask(c.method, c.path, c.body, from...); r.status != http.StatusForbidden {
				t.Errorf("%s %s with %v: want 403: %s", c.method, c.path, from, r)
			}
		}
	}
	if !owner.in() {
		t.Error("somebody else's page logged the owner out")
	}
	// The page itself does the same and is heard.
	owner.moved().want(http.StatusNoContent, "POST", "/api/auth/logout", nil, "Origin", home, "Sec-Fetch-Site", "same-origin")
}

// csrfByLink is what an image or a link can ask for.
func csrfByLink(t *testing.T, b *bed) {
	owner := b.admin()
	for _, c := range changes(b)[:4] {
		for _, method := range []string{"GET", "HEAD"} {
			for _, query := range []string{"", "?_method=POST", "?method=POST"} {
				r := owner.moved().ask(method, c.path+query, nil, "X-HTTP-Method-Override", "POST")
				if r.status != http.StatusMethodNotAllowed && r.status != http.StatusNotFound {
					t.Errorf("%s %s%s: want 405: %s", method, c.path, query, r)
				}
			}
		}
	}
	if !owner.in() {
		t.Error("a link logged the owner out")
	}
}

func webSocketFromAnotherSite(t *testing.T, b *bed) {
	owner := b.admin()
	for _, origin := range []string{evil, "null", "http://arasul.local", "https://arasul-s3.local", home + ".evil.example", "https://evil.example/arasul.local"} {
		for _, path := range []string{"/api/metrics/live-stream", "/n8n/rest/push?pushRef=evil"} {
			if err := owner.moved().stream(path, origin); err == nil || !strings.Contains(err.Error(), "403") {
				t.Errorf("%s opened by %s: want 403: %v", path, origin, err)
			}
		}
	}
	if err := owner.stream("/api/metrics/live-stream", home); err != nil {
		t.Errorf("our own page: %v", err)
	}
}

// readingFromAnotherSite needs a permission that we give to nobody.
func readingFromAnotherSite(t *testing.T, b *bed) {
	owner := b.admin()
	for _, origin := range []string{evil, "null", "https://arasul-s3.local"} {
		for _, path := range []string{"/api/auth/me", "/api/system/status", "/api/audit", "/", "/health", "/ca.crt"} {
			for _, r := range []reply{
				owner.moved().ask("GET", path, nil, "Origin", origin),
				owner.moved().ask("OPTIONS", path, nil, "Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type"),
			} {
				for name := range r.header {
					if strings.HasPrefix(name, "Access-Control-Allow") {
						t.Errorf("%s to %s: %s: %s", path, origin, name, r.header.Get(name))
					}
				}
			}
		}
	}
}

// hostHeaderTricks ask for names that are somebody else's, or for two at once.
func hostHeaderTricks(t *testing.T, b *bed) {
	for _, host := range []string{
		"evil.example", "arasul.local.evil.example", "evil.example:443", "localhost.evil.example",
		"xn--arasul.local", "arasul.local:443@evil.example", "evil.example#arasul.local", "*", "..", "[::1", "arasul.local:99999999",
		strings.Repeat("a", 300) + ".local",
	} {
		for _, target := range []string{"GET /api/auth/status", "GET /health", "GET /n8n/", "POST /api/auth/login", "GET /.well-known/acme-challenge/x"} {
			got := b.neighbour().raw(t, target+" HTTP/1.1\r\nHost: "+host+"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			if got.status != http.StatusMisdirectedRequest && got.status != http.StatusBadRequest {
				t.Errorf("%s of %s: want 421 or 400: %s", target, host, got)
			}
			if strings.Contains(got.body+got.header.Get("Location"), "evil") {
				t.Errorf("%s of %s: the answer repeats it: %s", target, host, got)
			}
		}
	}
	for name, head := range map[string]string{
		"none":                 "GET /health HTTP/1.1\r\n",
		"two":                  "GET /health HTTP/1.1\r\nHost: arasul.local\r\nHost: evil.example\r\n",
		"two alike":            "GET /health HTTP/1.1\r\nHost: arasul.local\r\nHost: arasul.local\r\n",
		"one in the target":    "GET https://evil.example/health HTTP/1.1\r\nHost: arasul.local\r\n",
		"a blank before":       "GET /health HTTP/1.1\r\n Host: evil.example\r\nHost: arasul.local\r\n",
		"a blank behind":       "GET /health HTTP/1.1\r\nHost : arasul.local\r\n",
		"a user in the target": "GET https://arasul.local@evil.example/health HTTP/1.1\r\nHost: arasul.local\r\n",
	} {
		got := b.neighbour().raw(t, head+"Connection: close\r\n\r\n")
		if got.status != http.StatusMisdirectedRequest && got.status != http.StatusBadRequest {
			t.Errorf("hosts: %s: want 421 or 400: %s", name, got)
		}
	}
	for _, name := range []string{"X-Forwarded-Host", "X-Host", "X-Original-Host", "Forwarded"} {
		r := b.neighbour().ask("GET", "/n8n/", nil, name, "evil.example", "Accept", "text/html", "Sec-Fetch-Mode", "navigate")
		if strings.Contains(r.String(), "evil") {
			t.Errorf("%s is repeated: %s", name, r)
		}
	}
}

// dnsRebinding is a page whose own name points at the machine now, so that the
// browser holds the machine for the page's own server.
func dnsRebinding(t *testing.T, b *bed) {
	for _, scheme := range []string{"https", "http"} {
		for _, host := range []string{"rebind.evil.example", b.host() + ".nip.io", "arasul.evil.example"} {
			for _, path := range []string{"/", "/api/system/status", "/metrics", "/health", "/ca.crt"} {
				v := b.neighbour()
				r := v.ask("GET", scheme+"://arasul.local"+path, nil, "Host", host, "Origin", scheme+"://"+host, "Sec-Fetch-Site", "same-origin")
				if r.status != http.StatusMisdirectedRequest {
					t.Errorf("%s://%s%s: want 421: %s", scheme, host, path, r)
				}
			}
		}
	}
}

// openRedirects would send the owner who trusts our name to somebody else.
func openRedirects(t *testing.T, b *bed) {
	navigate := []string{"Accept", "text/html", "Sec-Fetch-Mode", "navigate"}
	for _, path := range []string{
		"/n8n/", "/n8n//evil.example", "/n8n/?next=" + url.QueryEscape(evil), "/minio/%0d%0aLocation:%20https://evil.example", "/n8n/%5c%5cevil.example",
		"//evil.example/n8n/", "//evil.example/%2e%2e/n8n/", "/%2f%2fevil.example/n8n/", "/\\evil.example/n8n/", "/n8n/@evil.example",
	} {
		head := "GET " + path + " HTTP/1.1\r\nHost: arasul.local\r\nAccept: text/html\r\nSec-Fetch-Mode: navigate\r\nConnection: close\r\n\r\n"
		got := b.neighbour().raw(t, head)
		at := got.header.Get("Location")
		if at == "" {
			continue // it is refused, or a page
		}
		u, err := url.Parse(at)
		if err != nil || u.Host != "" || u.Scheme != "" || !strings.HasPrefix(at, "/") || strings.HasPrefix(at, "//") || strings.HasPrefix(at, "/\\") {
			t.Errorf("%s leads to %q", path, at)
			continue
		}
		if next := u.Query().Get("next"); next != "" && (!strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.HasPrefix(next, "/\\")) {
			t.Errorf("%s leads on to %q", path, next)
		}
	}
	if r := b.neighbour().ask("GET", "/n8n/home?x=1", nil, navigate...); r.status != http.StatusSeeOther || r.header.Get("Location") != "/?next="+url.QueryEscape("/n8n/home?x=1") {
		t.Errorf("a person without a login: want 303 to the login: %s", r)
	}
	// From the plain port it goes to the same name, whatever is asked for.
	for _, path := range []string{"/", "//evil.example/", "/\\evil.example", "/%2f%2fevil.example", "/@evil.example", "/.evil.example", "/%0d%0aX-Evil:1"} {
		got := b.neighbour().rawPlain(t, "GET "+path+" HTTP/1.1\r\nHost: arasul.local\r\nConnection: close\r\n\r\n")
		if at := got.header.Get("Location"); at != "" {
			if u, err := url.Parse(at); err != nil || u.Scheme != "https" || u.Host != "arasul.local" {
				t.Errorf("%s on port 80 leads to %q", path, at)
			}
		}
		if got.header.Get("X-Evil") != "" {
			t.Errorf("%s: a header of the attacker's: %s", path, got)
		}
	}
}

// framing puts our page into somebody else's, under what people click on.
func framing(t *testing.T, b *bed) {
	for _, path := range []string{"/", "/api/docs", "/api/auth/status", "/nothing", "/n8n/"} {
		r := b.neighbour().ask("GET", path, nil)
		policy := r.header.Get("Content-Security-Policy")
		if path != "/n8n/" && (!strings.Contains(policy, "frame-ancestors 'none'") || !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe-")) {
			t.Errorf("%s has the policy %q", path, policy)
		}
		if r.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s may be taken for something else: %v", path, r.header)
		}
	}
}
