package proxy

import (
	"net/url"
	"testing"
)

// The rows are ways to have a path mean one thing to us and another to those
// behind us.
func TestPathTricksAreRefused(t *testing.T) {
	h := newHouse(t, nil)
	for _, uri := range []string{
		"/n8n/../internal/authz", "/n8n/..", "/..", "/.", "/n8n/./x", "/n8n/webhook/../rest/users",
		"/n8n/%2e%2e/internal/authz", "/n8n/%2E%2e/x", "/n8n/.%2e/x", "/n8n/%2e/x",
		"/n8n/..%2finternal", "/n8n/..%2Finternal", "/n8n/webhook/..%2frest", "/n8n/webhook/x%2f..%2f..%2frest",
		"/n8n/..;/internal/authz", "/n8n/..;x=1/y",
		`/n8n\..\internal`, `/n8n/..\internal`, "/n8n/..%5cinternal", "/n8n%5c..", "/n8n/x%5Cy",
		"//n8n/", "/n8n//rest", "//evil.example/x", "/n8n/webhook//x", "///",
		"/n8n%2fwebhook/x", "/n8n/webhook%2fx", "/n8n/rest%2foauth2-credential%2fcallback", "/internal%2fauthz", "/api%2fauth%2flogin", "/models%2fapi/pull",
		"/n8n/%00", "/n8n/webhook/x%00.html", "/n8n/%0d%0aX-Injected:%201", "/n8n/%7f", "/%1b[2J",
	} {
		if resp, s := h.ask(t, "GET", uri, loggedIn); resp.StatusCode != 400 {
			t.Errorf("%s: status %d, %s saw %s", uri, resp.StatusCode, s.Upstream, s.URI)
		}
	}
	for _, uri := range []string{"/n8n/\x00", "/n8n/\x01x", "/n8n/%", "/n8n/%zz", "n8n/", "*", "/n8n/\x7f"} { // the server refuses these
		if resp, _ := h.ask(t, "GET", uri, loggedIn); resp.StatusCode != 400 {
			t.Errorf("%q: status %d", uri, resp.StatusCode)
		}
	}
	for name := range kinds {
		if h.count(name) != 0 {
			t.Errorf("%d requests arrived at %s", h.count(name), name)
		}
	}
	// Odd, but the same to everybody.
	for _, uri := range []string{"/n8n/...", "/n8n/a..b", "/n8n/.well-known/x", "/n8n/a%2Fb", "/n8n/webhook/a%2Fb", "/n8n/%252e%252e/x", "/n8n/%252f", "/n8n/x?y=../..//\\", "/n8n/a;b"} {
		if resp, s := h.ask(t, "GET", uri, loggedIn); resp.StatusCode != 200 || "/n8n"+s.URI != uri {
			t.Errorf("%s: status %d, n8n saw %s", uri, resp.StatusCode, s.URI)
		}
	}
}

// Whatever passes is served by the row that was chosen for it: what is left of
// the path after the prefix leads to no other row, read either way.
func FuzzPathMeansTheSameToEverybody(f *testing.F) {
	for _, s := range []string{"/n8n/webhook/x", "/n8n/a%2fb", "/models/api%2Fpull", "/%6e8n/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := url.ParseRequestURI(s)
		if err != nil || crooked(u) != "" {
			return
		}
		route := find(u.Path)
		if route == nil || !route.fits(u.Path) {
			t.Fatalf("%q has no row", s)
		}
		strip(u, route.strip)
		arrives, err := url.PathUnescape(u.EscapedPath())
		if err != nil || find(route.strip+arrives) != route {
			t.Errorf("%q: row %s, arrives as %s", s, route.prefix, u.EscapedPath())
		}
	})
}
