package cli

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/arasul/arasul/pkg/client"
)

// newUpdater answers with what lies in dir: GET /status with get-status.1.json the
// first time, then with get-status.2.json, and so on, the last one for ever; a name
// that ends in .422.json, or another status, is a refusal. Without the folder it is
// away.
func newUpdater(t *testing.T, socket, dir string) *client.Client {
	t.Helper()
	if _, err := os.Stat(dir); err != nil {
		return client.New(socket)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	asked := map[string]int{}
	server := &http.Server{
		ReadHeaderTimeout: time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			name := strings.ToLower(r.Method) + strings.ReplaceAll(r.URL.Path, "/", "-")
			asked[name]++ // one question at a time
			for n := asked[name]; n > 0; n-- {
				found, _ := filepath.Glob(filepath.Join(dir, fmt.Sprintf("%s.%d.*json", name, n)))
				if len(found) == 0 {
					continue
				}
				text, err := os.ReadFile(found[0])
				if err != nil {
					t.Error(err)
				}
				var status, ignored int
				if k, _ := fmt.Sscanf(strings.TrimPrefix(filepath.Base(found[0]), name), ".%d.%d.json", &ignored, &status); k == 2 {
					w.Header().Set("Content-Type", "application/problem+json")
					w.WriteHeader(status)
				}
				_, _ = w.Write(text)
				return
			}
			http.NotFound(w, r)
		}),
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return client.New(socket)
}
