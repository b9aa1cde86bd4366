//go:build machine

package proof

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// Proves PROXY-1, PROXY-3 and PROXY-4: the real applications behind the door.
func TestApplicationsBehindTheDoor(t *testing.T) {
	beside(t)
	b := up(t, "machine", "t-rooms", "--apps", "--deb", deb(t))
	// What their units will say once they come with the package: where they are.
	b.dropIn("arasul-n8n.service", "[Service]\nEnvironment=N8N_PATH=/n8n/ N8N_EDITOR_BASE_URL="+home+"/n8n/ N8N_WEBHOOK_URL="+home+"/n8n/ N8N_PROXY_HOPS=1 N8N_PUSH_BACKEND=websocket\n")
	b.dropIn("arasul-minio.service", "[Service]\nEnvironment=MINIO_BROWSER_REDIRECT_URL="+home+"/minio/\n")
	b.withApps("llm", "embeddings", "n8n", "minio")
	b.settle()
	for name, proof := range map[string]func(*testing.T, *bed){
		"strangers stay outside":            strangersStayOutside,
		"n8n":                               throughToN8N,
		"the socket of n8n ends at logout":  socketEndsAtLogout,
		"MinIO":                             throughToMinIO,
		"Ollama":                            throughToOllama,
		"a friendly page while it is away":  friendlyPageWhileAway,
		"nobody comes in without dashboard": nobodyWithoutDashboard,
	} {
		t.Run(name, func(t *testing.T) {
			b := b.of(t)
			proof(t, b)
			if t.Failed() {
				t.Logf("the door said:\n%s", b.run("journalctl", "--no-pager", "--lines=20", "--output=cat", "--unit=arasul-proxy", "--unit=arasul-dashboard"))
			}
		})
	}
}

// strangersStayOutside asks each application for what it would tell anybody.
func strangersStayOutside(t *testing.T, b *bed) {
	for _, path := range []string{
		"/n8n/rest/settings", "/n8n/", "/n8n/rest/login", "/n8n/api/v1/workflows", "/minio/", "/minio/api/v1/login",
		"/models/api/tags", "/models/v1/models", "/embeddings/api/tags",
	} {
		for _, v := range []*visitor{b.neighbour(), b.stranger()} {
			v.want(http.StatusUnauthorized, "GET", path, nil)
			r := v.ask("GET", path, nil, "Accept", "text/html", "Sec-Fetch-Mode", "navigate")
			if at := "/?next=" + url.QueryEscape(path); r.status != http.StatusSeeOther || r.header.Get("Location") != at {
				t.Errorf("a person at %s: want 303 to %s: %s", path, at, r)
			}
		}
	}
	if err := b.neighbour().stream("/n8n/rest/push?pushRef=x", home); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("a socket of n8n without a login: %v, want 401", err)
	}
	// What n8n has for the world is open, to the world and no further.
	for path, want := range map[string]int{
		"/n8n/healthz": http.StatusOK, "/n8n/webhook/nothing": http.StatusNotFound, "/n8n/metrics": http.StatusNotFound,
		"/n8n/webhook/%252e%252e/rest/settings": http.StatusNotFound,
	} {
		r := b.stranger().ask("GET", path, nil)
		if r.status != want || strings.Contains(r.body, "settingsMode") {
			t.Errorf("%s: want %d: %s", path, want, r)
		}
	}
}

// n8nOwner logs a visitor in at n8n, too, whose login is its own for now. The
// first makes the account.
func (b *bed) n8nOwner(v *visitor) {
	b.t.Helper()
	account := map[string]any{"email": "owner@arasul.local", "emailOrLdapLoginId": "owner@arasul.local", "firstName": "O", "lastName": "W", "password": "Workflow-7-owner"}
	path := "/n8n/rest/login"
	var settings struct {
		Data struct {
			UserManagement struct {
				ShowSetup bool `json:"showSetupOnFirstLoad"`
			} `json:"userManagement"`
		}
	}
	v.want(http.StatusOK, "GET", "/n8n/rest/settings", nil).read(b.t, &settings)
	if settings.Data.UserManagement.ShowSetup {
		path = "/n8n/rest/owner/setup"
	}
	v.want(http.StatusOK, "POST", path, account, "Browser-Id", "proof")
	if v.cookie("n8n-auth") == "" {
		b.t.Fatal("n8n gave no cookie")
	}
}

func throughToN8N(t *testing.T, b *bed) {
	admin := b.admin()
	r := admin.want(http.StatusOK, "GET", "/n8n/", nil)
	if !strings.Contains(r.body, "/n8n/") || !strings.Contains(r.header.Get("Content-Type"), "text/html") {
		t.Errorf("n8n's page does not know where it is: %s", r)
	}
	b.n8nOwner(admin)
	admin.want(http.StatusOK, "GET", "/n8n/rest/workflows", nil, "Browser-Id", "proof")

	// A webhook that says what it was told shows what reaches n8n.
	path := "proof-" + strings.ToLower(rand.Text())
	workflow := map[string]any{
		"name": "proof", "settings": map[string]any{}, "connections": map[string]any{},
		"nodes": []any{map[string]any{
			"id": "1", "name": "Webhook", "type": "n8n-nodes-base.webhook", "typeVersion": 2, "position": []int{0, 0}, "webhookId": path,
			"parameters": map[string]any{"path": path, "responseMode": "lastNode", "options": map[string]any{}},
		}},
	}
	var made struct {
		Data struct {
			ID        string `json:"id"`
			VersionID string `json:"versionId"`
		}
	}
	admin.want(http.StatusOK, "POST", "/n8n/rest/workflows", workflow, "Browser-Id", "proof").read(t, &made)
	admin.want(http.StatusOK, "POST", "/n8n/rest/workflows/"+made.Data.ID+"/activate", map[string]any{"versionId": made.Data.VersionID}, "Browser-Id", "proof")
	var told reply
	eventually(t, 20*time.Second, func() error {
		told = admin.moved().ask("GET", "/n8n/webhook/"+path, nil, "Remote-User", "forged", "X-Forwarded-For", "1.2.3.4", "Authorization", "Bearer theirs")
		if told.status != http.StatusOK {
			return fmt.Errorf("the webhook says %s", told)
		}
		return nil
	})
	for _, never := range []string{admin.cookie(sessionCookie), admin.cookie(deviceCookie), sessionCookie, "forged", "1.2.3.4"} {
		if strings.Contains(told.body, never) {
			t.Errorf("n8n heard %q: %s", never, told.body)
		}
	}
	if !strings.Contains(told.body, "Bearer theirs") {
		t.Errorf("the webhook's own authorization did not arrive: %s", told.body)
	}
	if policy := told.header.Get("Content-Security-Policy"); !strings.Contains(policy, "sandbox") || strings.Contains(policy, "allow-same-origin") {
		t.Errorf("a webhook's page is one of ours: policy %q", policy)
	}
	// The world may call it, but not without end.
	stranger, limited := b.stranger(), false
	for range 130 {
		r := stranger.ask("GET", "/n8n/webhook/"+path, nil)
		if limited = r.status == http.StatusTooManyRequests; limited {
			break
		}
	}
	if !limited {
		t.Error("130 calls of a webhook by one client within a minute, and no 429")
	}
}

// Proves AUTH-2: revocation reaches what is open already.
func socketEndsAtLogout(t *testing.T, b *bed) {
	owner := b.admin()
	b.n8nOwner(owner) // once: n8n, too, counts logins
	login := owner.cookie("n8n-auth")
	for name, end := range map[string]func(*visitor){
		"logout":     func(v *visitor) { v.want(http.StatusNoContent, "POST", "/api/auth/logout", nil) },
		"logout-all": func(v *visitor) { b.admin().want(http.StatusNoContent, "POST", "/api/auth/logout-all", nil) },
		"console":    func(v *visitor) { b.run("arasul", "user", "logout-all") },
	} {
		admin, other := b.admin(), b.admin()
		admin.keep("n8n-auth", login)
		other.keep("n8n-auth", login)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		open := func(v *visitor) *websocket.Conn {
			conn, err := v.socket(ctx, "/n8n/rest/push?pushRef="+rand.Text(), home)
			if err != nil {
				t.Fatalf("%s: n8n's socket: %v", name, err)
			}
			return conn
		}
		conn, stays := open(admin), open(other)
		ended := make(chan time.Duration, 1)
		began := time.Now()
		go func() {
			for {
				if _, _, err := conn.Read(ctx); err != nil {
					ended <- time.Since(began)
					return
				}
			}
		}()
		end(admin)
		took := <-ended
		t.Logf("figure: n8n's socket was cut %s after %s", took.Round(time.Millisecond), name)
		if took > 15*time.Second || (name == "logout" && took > 2*time.Second) {
			t.Errorf("%s: the socket was open for %s", name, took)
		}
		if name == "logout" {
			if err := stays.Ping(readAll(ctx, stays)); err != nil {
				t.Errorf("the logout of one browser cut the socket of another: %v", err)
			}
		}
		_ = stays.CloseNow()
		cancel()
	}
}

// readAll reads what comes, as a Ping needs, and returns ctx.
func readAll(ctx context.Context, conn *websocket.Conn) context.Context { return conn.CloseRead(ctx) }

func throughToMinIO(t *testing.T, b *bed) {
	admin := b.admin()
	if r := admin.want(http.StatusOK, "GET", "/minio/", nil, "Accept", "text/html"); !strings.Contains(r.body, "<html") {
		t.Errorf("MinIO's page: %s", r)
	}
	b.neighbour().want(http.StatusOK, "GET", "/minio-api/minio/health/live", nil)
	for _, path := range []string{"/minio-api/", "/minio-api/documents/", "/minio-api/minio/admin/v3/info", "/minio-api/minio/metrics"} {
		if r := b.stranger().ask("GET", path, nil); r.status < 400 || r.status > 499 {
			t.Errorf("%s without a signature: %s", path, r)
		}
	}
	// Signed requests have a host name of their own, and there MinIO decides.
	if r := b.neighbour().ask("GET", "/", nil, "Host", "arasul-s3.local"); r.status != http.StatusForbidden || !strings.Contains(r.body, "AccessDenied") {
		t.Errorf("S3 without a signature: want MinIO's 403: %s", r)
	}
	if r := b.neighbour().ask("GET", "/api/auth/status", nil, "Host", "arasul-s3.local"); strings.Contains(r.body, "setup_needed") {
		t.Errorf("the API answers under the name of S3: %s", r)
	}
}

func throughToOllama(t *testing.T, b *bed) {
	program := b.bearerClient()
	if r := program.want(http.StatusOK, "GET", "/models/api/tags", nil); !strings.Contains(r.body, "tiny-chat") {
		t.Errorf("the models: %s", r)
	}
	r := program.moved().want(http.StatusOK, "POST", "/models/api/generate", map[string]any{"model": "tiny-chat", "prompt": "hi", "stream": true, "options": map[string]any{"num_predict": 5}})
	if lines := strings.Count(r.body, "\n"); lines < 2 {
		t.Errorf("a stream of %d lines: %s", lines, r)
	}
	b.neighbour().want(http.StatusUnauthorized, "POST", "/models/api/generate", map[string]any{"model": "tiny-chat", "prompt": "hi"})
	for _, bad := range []struct{ method, path string }{{"DELETE", "/models/api/delete"}, {"POST", "/models/api/pull"}, {"POST", "/models/api/create"}, {"POST", "/models/api/push"}} {
		b.neighbour().want(http.StatusUnauthorized, bad.method, bad.path, map[string]any{"model": "tiny-chat"})
	}
}

// friendlyPageWhileAway is for people; programs get a problem that they can read.
func friendlyPageWhileAway(t *testing.T, b *bed) {
	admin := b.admin()
	b.run("systemctl", "stop", "arasul-n8n.service")
	defer b.withApps("n8n")
	for language, word := range map[string]string{"de": "diese seite", "en": "this page"} {
		r := admin.moved().want(http.StatusServiceUnavailable, "GET", "/n8n/", nil, "Accept", "text/html", "Accept-Language", language)
		if !strings.Contains(r.body, "<html") || !strings.Contains(strings.ToLower(r.body), word) || r.header.Get("Retry-After") == "" {
			t.Errorf("the page in %s: %s", language, r)
		}
	}
	r := admin.moved().want(http.StatusServiceUnavailable, "GET", "/n8n/rest/workflows", nil)
	if !strings.HasPrefix(r.header.Get("Content-Type"), "application/problem+json") {
		t.Errorf("for a program: %s", r)
	}
}

// nobodyWithoutDashboard: who cannot be asked lets nobody in.
func nobodyWithoutDashboard(t *testing.T, b *bed) {
	admin := b.admin()
	admin.want(http.StatusOK, "GET", "/n8n/rest/settings", nil)
	b.run("arasul", "heal", "maintenance", "on") // or it is repaired after 6 s
	defer b.run("arasul", "heal", "maintenance", "off")
	b.kill(dashboardUnit, "STOP")
	defer b.kill(dashboardUnit, "CONT")
	eventually(t, 15*time.Second, func() error { // what it said last holds for 5 s
		r := admin.moved().ask("GET", "/n8n/rest/settings", nil)
		if r.status == http.StatusOK {
			return fmt.Errorf("still let in: %s", r)
		}
		return nil
	})
	if r := b.neighbour().ask("GET", "/n8n/rest/settings", nil); r.status != http.StatusServiceUnavailable {
		t.Errorf("without anybody to ask: want 503: %s", r)
	}
}
