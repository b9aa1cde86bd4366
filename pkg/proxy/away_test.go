package proxy

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// Proves PROXY-4: whoever is away, somebody says so, in two languages, and says
// when to come again.
func TestEachUpstreamThatIsAwayHasItsPage(t *testing.T) {
	for _, tt := range []struct {
		uri, part, teil string
	}{
		{"/n8n/", "workflow service", "Workflow-Dienst"},
		{"/n8n/webhook/x", "workflow service", "Workflow-Dienst"},
		{"/minio/", "object storage", "Objektspeicher"},
		{"/minio-api/b/k", "object storage", "Objektspeicher"},
		{"/models/", "language model", "Sprachmodell"},
		{"/embeddings/", "embedding model", "Embedding-Modell"},
	} {
		h := newHouse(t, nil)
		away := New(Options{Dashboard: h.proxy.opts.Dashboard, Upstreams: func() Upstreams {
			return Upstreams{"127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1", "127.0.0.1:1"}
		}})
		h.proxy.upstreams = away.upstreams
		for language, want := range map[string]string{"en": tt.part, "de": tt.teil} {
			resp, s := h.ask(t, "GET", tt.uri, loggedIn+"Accept: text/html\r\nAccept-Language: "+language+"\r\n")
			if resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "10" || !strings.Contains(s.Body, want) || !strings.Contains(s.Body, `content="10"`) || !strings.Contains(s.Body, `lang="`+language) {
				t.Errorf("%s in %s: status %d, %s", tt.uri, language, resp.StatusCode, s.Body)
			}
		}
		resp, s := h.ask(t, "GET", tt.uri, loggedIn)
		if !json.Valid([]byte(s.Body)) || resp.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(s.Body, "urn:arasul:problem:not-there") {
			t.Errorf("%s: %s", tt.uri, s.Body)
		}
	}
}

// What was there and is not is starting again; what never was is not there yet;
// an update explains both.
func TestPageSaysWhySomebodyIsAway(t *testing.T) {
	var isUpdating *api.UpdateRun
	hang := make(chan struct{})
	defer close(hang)
	to := ""
	h := newHouse(t, map[string]http.HandlerFunc{n8n: func(_ http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/late") {
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		}
		if strings.HasSuffix(r.URL.Path, "/drop") {
			panic(http.ErrAbortHandler)
		}
	}})
	up := h.proxy.opts.Upstreams()
	p := New(Options{Dashboard: h.proxy.opts.Dashboard, Updating: func() *api.UpdateRun { return isUpdating }, Upstreams: func() Upstreams {
		now := up
		if to != "" {
			now.N8N = to
		}
		return now
	}})
	h.proxy.upstreams = p.upstreams
	kind := func(uri string) (int, string) {
		resp, s := h.ask(t, "POST", "/n8n/webhook/"+uri, "")
		var problem struct{ Type string }
		_ = json.Unmarshal([]byte(s.Body), &problem)
		return resp.StatusCode, strings.TrimPrefix(problem.Type, "urn:arasul:problem:")
	}
	expect := func(what, uri string, status int, want string) {
		t.Helper()
		if s, k := kind(uri); s != status || k != want {
			t.Errorf("%s: status %d, %q", what, s, k)
		}
	}
	to = "127.0.0.1:1"
	expect("never seen", "x", 503, "not-there")
	isUpdating = &api.UpdateRun{ID: "1", To: "1.4.0", Step: "install", Percent: 60}
	expect("never seen, in an update", "x", 503, "updating")
	if _, s := h.ask(t, "POST", "/n8n/webhook/x", ""); !strings.Contains(s.Body, `"update":{"id":"1","to":"1.4.0","step":"install","percent":60,"back":false}`) {
		t.Errorf("programs are told %s", s.Body)
	}
	isUpdating.Back = true
	if _, s := h.ask(t, "POST", "/n8n/webhook/x", "Accept: text/html\r\nAccept-Language: de\r\n"); !strings.Contains(s.Body, `<progress max="100" value="60">`) || !strings.Contains(s.Body, "es geht zurück") {
		t.Errorf("people are told %s", s.Body)
	}
	isUpdating, to = nil, ""
	expect("there", "x", 200, "")
	expect("dies with the request", "drop", 503, "starting")
	to = "127.0.0.1:1"
	expect("seen before", "x", 503, "starting")
	to = ""
	if tr, ok := p.upstreams[n8n].transport.(*http.Transport); ok {
		tr.ResponseHeaderTimeout = 50 * time.Millisecond
	}
	expect("too late", "late", 504, "timeout")
}

func TestHealthNamesEachUpstream(t *testing.T) {
	never := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	h := newHouse(t, map[string]http.HandlerFunc{console: never, llm: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }})
	begin := time.Now()
	resp, s := h.ask(t, "GET", "/health", "")
	var got Health
	if err := json.Unmarshal([]byte(s.Body), &got); err != nil || resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, s.Body)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
	want := map[string]string{n8n: "up", console: "down", storage: "up", llm: "down", embeddings: "up"}
	for name, state := range want {
		if got.Upstreams[name] != state {
			t.Errorf("%s is %q", name, got.Upstreams[name])
		}
	}
	if got.Status != "up" || got.Dashboard != "up" || len(got.Upstreams) != len(want) {
		t.Errorf("%+v", got)
	}
	for range 10 { // whoever asks again at once has no second look taken
		h.ask(t, "GET", "/health", "")
	}
	if n := h.count(n8n); n > 2 {
		t.Errorf("n8n was asked %d times", n)
	}
}
