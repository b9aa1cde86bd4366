package proxy

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// house is a proxy with everybody behind it. Each upstream answers with what it
// was asked; a dashboard lets in who shows the token "good", until it says
// otherwise.
type house struct {
	address string
	proxy   *Proxy

	mu    sync.Mutex
	asked map[string]int // enquiries and requests, by upstream
	good  map[string]bool
	slow  chan struct{} // when not nil, enquiries wait for it
}

// said is what an upstream was asked.
type said struct {
	Upstream, Method, URI, Host, Body string
	Header                            http.Header
	Trailer                           http.Header
}

func echo(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(said{name, r.Method, r.RequestURI, r.Host, string(body), r.Header, r.Trailer})
	}
}

// newHouse builds one. Handlers replace the echo of an upstream.
func newHouse(t *testing.T, handlers map[string]http.HandlerFunc) *house {
	t.Helper()
	h := &house{asked: map[string]int{}, good: map[string]bool{"good": true}}
	at := map[string]string{}
	for name := range kinds {
		handler := handlers[name]
		if handler == nil {
			handler = echo(name)
		}
		counted := func(w http.ResponseWriter, r *http.Request) {
			h.mu.Lock()
			h.asked[name]++
			h.mu.Unlock()
			handler(w, r)
		}
		if name == dashboard {
			at[name] = board(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == authPath {
					h.authz(w, r)
					return
				}
				counted(w, r)
			})
			continue
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		at[name] = l.Addr().String()
		serve(t, l, counted)
	}
	h.proxy = New(Options{
		Dashboard:   at[dashboard],
		Upstreams:   func() Upstreams { return Upstreams{at[n8n], at[console], at[storage], at[llm], at[embeddings]} },
		Hosts:       func() []string { return []string{"arasul"} },
		StorageHost: func() string { return "arasul-s3" },
	})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = h.proxy.Run(ctx) }()
	server := httptest.NewServer(h.proxy.Handler())
	h.address = server.Listener.Addr().String()
	t.Cleanup(func() { server.CloseClientConnections(); server.Close(); stop(); <-done })
	return h
}

// authz decides as the dashboard does.
func (h *house) authz(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.asked["authz"]++
	token := bearer(r.Header)
	if c, err := r.Cookie(sessionCookie); err == nil {
		token = c.Value
	}
	good, slow := h.good[token], h.slow
	h.mu.Unlock()
	if slow != nil {
		select {
		case <-slow:
		case <-r.Context().Done():
			return
		}
	}
	switch {
	case good:
		w.Header().Set("Remote-User", "admin")
		w.Header().Set("X-Secret", "of the dashboard")
	case strings.Contains(r.Header.Get("Accept"), "text/html"):
		w.Header().Set("Location", "/?next="+r.Header.Get("X-Forwarded-Uri"))
		w.WriteHeader(http.StatusSeeOther)
	default:
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"status":401}`)
	}
}

func (h *house) count(name string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asked[name]
}

// end ends a session, without a word to the proxy.
func (h *house) end(token string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.good[token] = false
}

const loggedIn = "Cookie: __Host-arasul=good\r\n"

// ask sends a request with headers as they are written and returns what arrived.
func (h *house) ask(t *testing.T, method, uri, headers string) (*http.Response, said) {
	t.Helper()
	if !strings.HasPrefix(headers, "Host:") {
		headers = "Host: arasul.local\r\n" + headers
	}
	resp, body := raw(t, h.address, method+" "+uri+" HTTP/1.1\r\n"+headers+"Connection: close\r\n\r\n")
	var s said
	_ = json.Unmarshal([]byte(body), &s)
	if s.Upstream == "" {
		s.Body = body
	}
	return resp, s
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}
