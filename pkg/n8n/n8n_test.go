package n8n

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// house is the part of n8n that is spoken to, with the answers that 2.8.4 gave.
type house struct {
	t           *testing.T
	fresh       bool
	credentials []map[string]any
	workflows   []map[string]any
	active      []string
}

func (h *house) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	say := func(v any) {
		if err := json.NewEncoder(w).Encode(map[string]any{"data": v}); err != nil {
			h.t.Error(err)
		}
	}
	var body map[string]any
	if r.ContentLength > 0 {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			h.t.Error(err)
		}
	}
	if _, err := r.Cookie("n8n-auth"); err != nil && !strings.HasPrefix(r.URL.Path, "/rest/settings") && r.URL.Path != "/rest/owner/setup" && r.URL.Path != "/rest/login" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	switch route := r.Method + " " + r.URL.Path; {
	case route == "GET /rest/settings":
		say(map[string]any{"userManagement": map[string]any{"showSetupOnFirstLoad": h.fresh}})
	case route == "POST /rest/owner/setup":
		h.fresh = false
		say(map[string]any{})
	case route == "POST /rest/login" && body["password"] != "right":
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"code":401,"message":"Wrong username or password."}`))
	case route == "POST /rest/login":
		http.SetCookie(w, &http.Cookie{Name: "n8n-auth", Value: "c"})
		say(map[string]any{})
	case route == "GET /rest/credentials":
		say(h.credentials)
	case route == "POST /rest/credentials":
		body["id"] = fmt.Sprint("k", len(h.credentials))
		h.credentials = append(h.credentials, body)
		say(body)
	case r.Method == http.MethodPatch:
		say(body)
	case route == "GET /rest/workflows":
		say(h.workflows)
	case route == "POST /rest/workflows":
		body["id"], body["versionId"] = fmt.Sprint("w", len(h.workflows)), "v"
		h.workflows = append(h.workflows, body)
		say(body)
	case strings.HasSuffix(route, "/activate"):
		h.active = append(h.active, r.URL.Path)
		say(map[string]any{})
	default:
		h.t.Errorf("asked for %s", route)
	}
}

// Proves N8N-1: n8n is brought what it needs once; what an author removed does not
// come back, and a key that has changed is brought again.
func TestProvisionIsIdempotent(t *testing.T) {
	h := &house{t: t, fresh: true}
	s := httptest.NewServer(h)
	defer s.Close()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "test.json"), []byte(`{"name": "T", "active": true, "nodes": [{"credentials": {"arasulApi": {"name": "Arasul"}}}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	p := Provision{Password: "right", Templates: dir, State: filepath.Join(dir, "state"), Credentials: []Credential{{Name: "Arasul", Type: "arasulApi", Data: map[string]any{"baseUrl": "x"}}}}
	bring := func(want string) {
		t.Helper()
		did, err := New(strings.TrimPrefix(s.URL, "http://")).Bring(t.Context(), p)
		if got := strings.Join(did, ", "); err != nil || got != want {
			t.Errorf("did %q, %v, want %q", got, err, want)
		}
	}
	bring("credential Arasul, workflow T")
	node := h.workflows[0]["nodes"].([]any)[0].(map[string]any)["credentials"].(map[string]any)["arasulApi"].(map[string]any)
	if node["id"] != "k0" || len(h.active) != 1 || h.workflows[0]["active"] != false {
		t.Errorf("got %v, active %q", h.workflows[0], h.active)
	}
	bring("")
	h.workflows = nil // the author removed it
	p.Credentials[0].Data["baseUrl"] = "y"
	bring("credential Arasul")
	if len(h.credentials) != 1 || len(h.workflows) != 0 {
		t.Errorf("%d credentials, %d workflows", len(h.credentials), len(h.workflows))
	}
	p.Password = "wrong"
	if _, err := New(strings.TrimPrefix(s.URL, "http://")).Bring(t.Context(), p); err == nil || !strings.Contains(err.Error(), "Wrong username") {
		t.Errorf("%v", err)
	}
}
