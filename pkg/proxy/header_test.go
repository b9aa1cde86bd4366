package proxy

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// Who gets which cookie: ours open everything, theirs open them.
func TestEachUpstreamGetsItsOwnCookies(t *testing.T) {
	h := newHouse(t, nil)
	const all = "Cookie: n8n-auth=n; __Host-arasul=good;token=t\r\ncookie:  __host-ARASUL=good; __Host-arasul-device=d; ; mine=\"a b\"; idp-refresh-token=i; __Host-arasul =spaced\r\n"
	for uri, want := range map[string]string{
		"/":                      "__Host-arasul=good; __host-ARASUL=good; __Host-arasul-device=d; __Host-arasul =spaced",
		"/api/auth/me":           "__Host-arasul=good; __host-ARASUL=good; __Host-arasul-device=d; __Host-arasul =spaced",
		"/n8n/":                  "n8n-auth=n; mine=\"a b\"",
		"/n8n/webhook/x":         "n8n-auth=n; mine=\"a b\"",
		"/minio/":                "token=t; idp-refresh-token=i",
		"/minio-api/b/k":         "",
		"/models/":               "",
		"/embeddings/api/tags":   "",
		"/n8n/healthz/readiness": "n8n-auth=n; mine=\"a b\"",
	} {
		resp, s := h.ask(t, "GET", uri, all)
		if got := s.Header.Values("Cookie"); resp.StatusCode != 200 || strings.Join(got, "|") != want {
			t.Errorf("%s: status %d, %q", uri, resp.StatusCode, got)
		}
	}
}

// The rows are what an upstream, or a workflow in it, might say to a browser in
// the name of the whole appliance.
func TestUpstreamsCannotSpeakForUs(t *testing.T) {
	forged := func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Set-Cookie", "__Host-arasul=fixed; Secure; Path=/")
		h.Add("Set-Cookie", " __host-arasul-device=x; Secure; Path=/")
		h.Add("Set-Cookie", "mine=1")
		h.Set("Strict-Transport-Security", "max-age=99999999")
		h.Set("Clear-Site-Data", `"*"`)
		h.Set("Service-Worker-Allowed", "/")
		h.Set("Alt-Svc", `h3="evil.example:443"`)
		h.Set("X-Own", "stays")
	}
	h := newHouse(t, map[string]http.HandlerFunc{n8n: forged, console: forged, storage: forged, llm: forged, dashboard: forged})
	for _, uri := range []string{"/n8n/", "/n8n/webhook/x", "/minio/", "/minio-api/b/k", "/models/"} {
		resp, _ := h.ask(t, "GET", uri, loggedIn)
		if got := resp.Header.Values("Set-Cookie"); len(got) != 1 || got[0] != "mine=1" || resp.Header.Get("X-Own") != "stays" {
			t.Errorf("%s: %v", uri, resp.Header)
		}
		for _, name := range notTheirs {
			if resp.Header.Get(name) != "" {
				t.Errorf("%s: %s passes", uri, name)
			}
		}
		public := strings.Contains(uri, "webhook") || strings.Contains(uri, "minio-api")
		if got := strings.HasPrefix(resp.Header.Get("Content-Security-Policy"), "sandbox") && !strings.Contains(resp.Header.Get("Content-Security-Policy"), "same-origin"); got != public {
			t.Errorf("%s: in a sandbox: %v", uri, got)
		}
	}
	if resp, _ := h.ask(t, "GET", "/", ""); len(resp.Header.Values("Set-Cookie")) != 3 || resp.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("the dashboard may: %v", resp.Header)
	}
}

// Connection: names headers that a proxy must drop. A client must not use that
// to drop ours, nor to keep what identifies it from where it is checked.
func TestConnectionHeaderDropsNothingOfOurs(t *testing.T) {
	h := newHouse(t, nil)
	for _, named := range []string{"X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host", "Remote-User", "Cookie", "Authorization, Remote-User"} {
		resp, body := raw(t, h.address, "GET /n8n/x HTTP/1.1\r\nHost: arasul.local\r\n"+loggedIn+"Connection: close, "+named+"\r\n\r\n")
		if resp.StatusCode != 200 {
			t.Fatalf("%s: status %d", named, resp.StatusCode)
		}
		for _, want := range []string{`"Remote-User":["admin"]`, `"X-Forwarded-For":["127.0.0.1"]`, `"X-Forwarded-Proto":["http"]`, `"X-Forwarded-Host":["arasul.local"]`} {
			if !strings.Contains(body, want) {
				t.Errorf("%s: no %s in %s", named, want, body)
			}
		}
	}
}

func TestTrailersDoNotPass(t *testing.T) {
	h := newHouse(t, nil)
	_, s := h.ask(t, "POST", "/n8n/webhook/x", "Trailer: X-Forwarded-For, Remote-User\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\nx\r\n0\r\nX-Forwarded-For: 192.0.2.66\r\nRemote-User: admin\r\n\r\n")
	if s.Body != "x" || len(s.Trailer) != 0 || strings.Contains(fmt.Sprint(s.Header), "192.0.2.66") {
		t.Errorf("%+v", s)
	}
}
