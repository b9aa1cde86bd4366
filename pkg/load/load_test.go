package load

import (
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Proves OPS-1: what was asked, how often, how long it took and what failed.
func TestLoadIsMeasured(t *testing.T) {
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Path == "/hook" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer s.Close()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	page := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), ReadHeaderTimeout: time.Second}
	go func() { _ = page.Serve(l) }()
	defer page.Close()
	results := Run(t.Context(), Options{
		LLM: 2, Embeddings: 1, Workflows: 50, For: 200 * time.Millisecond,
		Gateway: strings.TrimPrefix(s.URL, "http://"), Webhook: s.URL + "/hook", Dashboard: socket,
	})
	if len(results) != 4 {
		t.Fatalf("got %+v", results)
	}
	for _, r := range results {
		if r.Requests == 0 || r.P50 > r.P95 || r.P95 > r.Max || (r.Failures > 0) != (r.What == "workflows") {
			t.Errorf("got %+v", r)
		}
	}
}
