package modelserver

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/arasul/arasul/pkg/config"
)

// What Ollama 0.17.4 said.
const (
	tags = `{"models":[{"name":"tiny-chat:latest","model":"tiny-chat:latest","modified_at":"2026-11-26T08:33:49.43053492Z","size":243352,"digest":"cc514624","details":{"format":"gguf","family":"llama","parameter_size":"117K","quantization_level":"F16"}},` +
		`{"name":"tiny-embed:latest","modified_at":"2026-11-26T08:33:49Z","size":6100000,"digest":"ab","details":{"family":"bert"}}]}`
	ps = `{"models":[{"name":"tiny-chat:latest","size":40000000,"size_vram":30000000}]}`
)

func serve(t *testing.T, kind string, answers map[string]string) *Client {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer k" {
			t.Errorf("%s without its key", r.URL.Path)
		}
		text, ok := answers[r.Method+" "+r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(s.Close)
	return New(kind, s.URL+"/", "k")
}

func TestModelsOfAnOllama(t *testing.T) {
	c := serve(t, config.KindOllama, map[string]string{"GET /api/tags": tags, "GET /api/ps": ps})
	all, err := c.Models(t.Context())
	if err != nil || len(all) != 2 {
		t.Fatalf("%+v, %v", all, err)
	}
	if m := all[0]; m.Kind != "chat" || !m.Loaded || *m.GPURatio != 0.75 || m.Quantisation != "F16" {
		t.Errorf("got %+v", m)
	}
	if m := all[1]; m.Kind != "embedding" || m.Loaded || m.GPURatio != nil {
		t.Errorf("got %+v", m)
	}
}

func TestModelsOfAnyOther(t *testing.T) {
	c := serve(t, config.KindOpenAI, map[string]string{"GET /v1/models": `{"data":[{"id":"big"},{"id":"text-embedding-3"}]}`})
	all, err := c.Models(t.Context())
	if err != nil || len(all) != 2 || all[0].Kind != "chat" || all[1].Kind != "embedding" {
		t.Errorf("%+v, %v", all, err)
	}
	if err := c.Pull(t.Context(), "x", nil); err == nil {
		t.Error("a server that cannot fetch was asked to")
	}
}

func TestAPullTellsHowFarItIs(t *testing.T) {
	const good = `{"status":"pulling manifest"}
{"status":"pulling aa","digest":"sha256:aa","total":100,"completed":40}
{"status":"pulling bb","digest":"sha256:bb","total":50,"completed":50}
{"status":"verifying sha256 digest"}
{"status":"success"}
`
	var last string
	c := serve(t, config.KindOllama, map[string]string{"POST /api/pull": good})
	if err := c.Pull(t.Context(), "m", func(phase string, done, total int64) { last = fmt.Sprint(phase, " ", done, "/", total) }); err != nil {
		t.Fatal(err)
	}
	if last != "verifying sha256 digest 90/150" {
		t.Errorf("the last word was %q", last)
	}
	for answer, want := range map[string]string{
		`{"status":"pulling manifest"}` + "\n" + `{"error":"file does not exist"}`: "file does not exist",
		`{"status":"pulling manifest"}`:                                            "in the middle",
		`nonsense`:                                                                 "invalid",
	} {
		c := serve(t, config.KindOllama, map[string]string{"POST /api/pull": answer})
		if err := c.Pull(t.Context(), "m", func(string, int64, int64) {}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", answer, err, want)
		}
	}
}

func TestRemovingWhatIsNotThere(t *testing.T) {
	c := serve(t, config.KindOllama, map[string]string{"DELETE /api/delete": ""})
	if err := c.Remove(t.Context(), "m"); err != nil {
		t.Error(err)
	}
	c = serve(t, config.KindOllama, nil)
	if err := c.Remove(t.Context(), "m"); err == nil || !strings.Contains(err.Error(), "m is not installed") {
		t.Errorf("%v", err)
	}
}

func TestAskingEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := serve(t, config.KindOllama, nil).Models(ctx); err == nil {
		t.Error("no error")
	}
}
