package proxy

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Proves PROXY-1: every path leads where the table says, without its prefix.
func TestEachPathHasItsUpstream(t *testing.T) {
	h := newHouse(t, nil)
	for _, tt := range []struct{ method, uri, upstream, arrives string }{
		{"GET", "/", dashboard, "/"},
		{"GET", "/assets/a.js?v=1", dashboard, "/assets/a.js?v=1"},
		{"GET", "/api/health", dashboard, "/api/health"},
		{"GET", "/api", dashboard, "/api"},
		{"GET", "/metrics", dashboard, "/metrics"},
		{"GET", "/n8nx/", dashboard, "/n8nx/"},
		{"GET", "/n8n/", n8n, "/"},
		{"GET", "/n8n/workflow/1?a=b;c", n8n, "/workflow/1?a=b;c"},
		{"GET", "/n8n/a%20b%2Fc%3F", n8n, "/a%20b%2Fc%3F"},
		{"GET", "/%6e8n/a%20b", n8n, "/a%20b"},
		{"POST", "/n8n/webhook/x", n8n, "/webhook/x"},
		{"GET", "/n8n/form/x", n8n, "/form/x"},
		{"GET", "/minio/browser/b", console, "/browser/b"},
		{"GET", "/minio-api/bucket/a%2Fb?x=1", storage, "/bucket/a%2Fb?x=1"},
		{"POST", "/models/api/chat", llm, "/api/chat"},
		{"GET", "/models/", llm, "/"},
		{"POST", "/embeddings/api/embed", embeddings, "/api/embed"},
	} {
		resp, s := h.ask(t, tt.method, tt.uri, loggedIn)
		host := s.Host == "arasul.local"
		if tt.upstream == llm || tt.upstream == embeddings { // which answers to few names
			host = strings.HasPrefix(s.Host, "127.0.0.1:")
		}
		if resp.StatusCode != 200 || s.Upstream != tt.upstream || s.URI != tt.arrives || !host {
			t.Errorf("%s %s: status %d, %s saw %s for %s", tt.method, tt.uri, resp.StatusCode, s.Upstream, s.URI, s.Host)
		}
	}
	// A part's pages find their files only below its slash.
	for uri, to := range map[string]string{"/n8n": "/n8n/", "/minio?x=%2F/y": "/minio/?x=%2F/y", "/models": "/models/"} {
		if resp, _ := h.ask(t, "GET", uri, ""); resp.StatusCode != http.StatusPermanentRedirect || resp.Header.Get("Location") != to {
			t.Errorf("%s: status %d to %q", uri, resp.StatusCode, resp.Header.Get("Location"))
		}
	}
}

func TestInternalPathsAreNotForTheNetwork(t *testing.T) {
	h := newHouse(t, nil)
	for _, uri := range []string{"/internal", "/internal/", "/internal/authz", "/internal/console/passwd", "/%69nternal/authz", "/internal%2fauthz", "//internal/authz", "/x/../internal/authz", "/n8n/metrics", "/n8n/%6detrics", "http://arasul.local/internal/authz"} {
		for _, method := range []string{"GET", "POST"} {
			resp, _ := h.ask(t, method, uri, loggedIn)
			if resp.StatusCode != http.StatusNotFound && resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%s %s: status %d", method, uri, resp.StatusCode)
			}
		}
	}
	if n := h.count(dashboard) + h.count("authz") + h.count(n8n); n != 0 {
		t.Errorf("%d requests arrived", n)
	}
}

// Proves PROXY-3 in part: what is behind the proxy is for those who are logged
// in, but for n8n's public paths.
func TestOnlyPublicPathsAreOpen(t *testing.T) {
	h := newHouse(t, nil)
	for uri, open := range map[string]bool{
		"/n8n/": false, "/n8n/rest/workflows": false, "/n8n/api/v1/workflows": false, "/n8n/WEBHOOK/x": false, "/n8n/webhooks": false,
		"/n8n/webhook/x": true, "/n8n/webhook-test/x": true, "/n8n/webhook-waiting/1": true, "/n8n/form/x": true, "/n8n/form-test/x": true,
		"/n8n/form-waiting/1": true, "/n8n/mcp/x": true, "/n8n/healthz": true, "/n8n/healthz/readiness": true, "/n8n/healthz/x": false,
		"/n8n/rest/oauth2-credential/callback?code=1": true, "/n8n/rest/oauth2-credential/auth": false,
		"/minio/": false, "/minio/api/v1/login": false, "/minio-api/bucket/object": true, "/minio-api/minio/health/live": true,
		"/models/": false, "/models/api/tags": false, "/embeddings/api/tags": false,
		"/api/anything": true, "/": true, // the dashboard decides itself
	} {
		for _, headers := range []string{"", "Cookie: __Host-arasul=stolen\r\n", "Authorization: Bearer forged\r\n"} {
			resp, s := h.ask(t, "GET", uri, headers)
			if got := resp.StatusCode == 200; got != open || !open && (resp.StatusCode != 401 || s.Upstream != "") {
				t.Errorf("%s with %q: status %d", uri, headers, resp.StatusCode)
			}
		}
	}
}

// The rows are what may and may not be asked of Ollama.
func TestModelsAreChangedByTheAdminOnly(t *testing.T) {
	var user string
	h := newHouse(t, nil)
	h.proxy.gate.ask = roundTripper(func(*http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		w.Header().Set("Remote-User", user)
		return w.Result(), nil
	})
	for _, tt := range []struct {
		method, path     string
		guest, adminSees int
	}{
		{"GET", "/api/tags", 200, 200},
		{"POST", "/api/chat", 200, 200},
		{"GET", "/v1/models/tiny", 200, 200},
		{"POST", "/v1/chat/completions", 200, 200},
		{"POST", "/api/pull", 403, 200},
		{"POST", "/api/push", 403, 200},
		{"POST", "/api/create", 403, 200},
		{"POST", "/api/copy", 403, 200},
		{"DELETE", "/api/delete", 403, 200},
		{"POST", "/api/blobs/sha256:00", 403, 200},
		{"HEAD", "/api/blobs/sha256:00", 403, 200},
		{"POST", "/api%2fpull", 403, 200},
		{"POST", "/api/%70ull", 403, 200},
		{"GET", "/api/pull", 405, 405},
		{"POST", "/api/delete", 405, 405},
		{"DELETE", "/api/tags", 405, 405},
		{"PUT", "/", 405, 405},
		{"POST", "/api/pull/", 404, 404},
		{"POST", "/API/pull", 404, 404},
		{"POST", "/api/pull;x", 404, 404},
		{"POST", "/api/signout", 404, 404},
		{"GET", "/api/blobs/", 405, 405},
		{"GET", "/anything", 404, 404},
		{"POST", "/api/../api/pull", 400, 400},
	} {
		for _, part := range []string{"/models", "/embeddings"} {
			for who, want := range map[string]int{"guest": tt.guest, "admin": tt.adminSees} {
				user = who
				h.proxy.gate.permits.purge()
				h.proxy.allowance = newAllowance()
				resp, _ := h.ask(t, tt.method, part+tt.path, loggedIn)
				if resp.StatusCode != want {
					t.Errorf("%s %s%s by %s: status %d, want %d", tt.method, part, tt.path, who, resp.StatusCode, want)
				}
			}
		}
	}
}

func TestSignedRequestsAreToldTheRightEndpoint(t *testing.T) {
	h := newHouse(t, nil)
	for _, tt := range []struct{ uri, header string }{
		{"/minio-api/b/k", "Authorization: AWS4-HMAC-SHA256 Credential=a/20261126/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00\r\n"},
		{"/minio-api/b/k", "Authorization: AWS key:signature\r\n"},
		{"/minio-api/b/k", "authorization: aws4-ecdsa-p256-sha256 x\r\n"},
		{"/minio-api/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00", ""},
		{"/minio-api/b/k?AWSAccessKeyId=a&Signature=b&Expires=1", ""},
		{"/minio-api/b/k", "X-Amz-Security-Token: x\r\n"},
	} {
		resp, s := h.ask(t, "GET", tt.uri, tt.header)
		if resp.StatusCode != 400 || resp.Header.Get("Content-Type") != "application/xml" || !strings.Contains(s.Body, "<Code>InvalidRequest</Code>") || !strings.Contains(s.Body, "<Endpoint>http://arasul-s3.local</Endpoint>") {
			t.Errorf("%s with %q: status %d, %s", tt.uri, tt.header, resp.StatusCode, s.Body)
		}
	}
	for _, tt := range []struct {
		method, uri string
		want        int
	}{
		{"PUT", "/minio-api/b/k", 405}, {"DELETE", "/minio-api/b/k", 405}, {"POST", "/minio-api/", 405},
		{"GET", "/minio-api/minio/admin/v3/info", 404}, {"GET", "/minio-api/minio/v2/metrics/cluster", 404}, {"GET", "/minio-api/minio/", 404},
		{"GET", "/minio-api/miniox/", 200}, {"GET", "/minio-api/minio/health/ready", 200},
	} {
		if resp, _ := h.ask(t, tt.method, tt.uri, ""); resp.StatusCode != tt.want {
			t.Errorf("%s %s: status %d", tt.method, tt.uri, resp.StatusCode)
		}
	}
	if resp, s := h.ask(t, "GET", "/minio-api/b/k", "Authorization: Bearer good\r\n"); resp.StatusCode != 200 || s.Header.Get("Authorization") != "" {
		t.Errorf("our token went to MinIO: %d, %v", resp.StatusCode, s.Header)
	}
}

// A signature covers method, host, path, query and some headers, so on S3's own
// name none of them may change.
func TestStorageHostChangesNothing(t *testing.T) {
	h := newHouse(t, nil)
	for _, uri := range []string{"/", "/b/a//b", "/b/a%2Fb%20c", "/b/../x", "/b/%2e%2e/x", "/internal/authz", "/n8n/", "/api/health", "/b/k?X-Amz-Signature=0&uploads=", "/b/k?a;b", "/b/%C3%A4+b~", "/health"} {
		resp, s := h.ask(t, "PUT", uri, "Host: arasul-s3.local\r\nAuthorization: AWS4-HMAC-SHA256 x\r\nX-Amz-Date: 1\r\nAccept-Encoding: identity\r\nCookie: __Host-arasul=good; token=x\r\n")
		if resp.StatusCode != 200 || s.Upstream != storage || s.URI != uri || s.Host != "arasul-s3.local" || s.Header.Get("Authorization") != "AWS4-HMAC-SHA256 x" || s.Header.Get("X-Amz-Date") != "1" || s.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("%s: status %d, %+v", uri, resp.StatusCode, s)
		}
		if s.Header.Get("Cookie") != "" {
			t.Errorf("cookies arrived: %s", s.Header.Get("Cookie"))
		}
	}
	for host, want := range map[string]string{"arasul-s3": storage, "ARASUL-S3.local:443": storage, "arasul-s3-2.local": storage, "arasul.local": dashboard, "127.0.0.1": dashboard, "localhost": dashboard} {
		if _, s := h.ask(t, "GET", "/x", "Host: "+host+"\r\n"); s.Upstream != want {
			t.Errorf("%s leads to %q", host, s.Upstream)
		}
	}
	for _, host := range []string{"b.arasul-s3.local", "arasul-s3.evil.example", "xarasul-s3.local"} {
		if resp, _ := h.ask(t, "GET", "/x", "Host: "+host+"\r\n"); resp.StatusCode != http.StatusMisdirectedRequest {
			t.Errorf("%s: status %d", host, resp.StatusCode)
		}
	}
}

func TestEveryRowIsComplete(t *testing.T) {
	for _, r := range append([]route{storageRoute}, routes...) {
		if r.to == "" {
			continue
		}
		if _, ok := kinds[r.to]; !ok || r.body == 0 || r.within == 0 || r.strip != "" && !strings.HasPrefix(r.prefix, r.strip) || rates[r.rate].requests == 0 {
			t.Errorf("%+v", r)
		}
	}
}
