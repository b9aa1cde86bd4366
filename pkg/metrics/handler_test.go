package metrics

import (
	"bufio"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

func get(t *testing.T, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w
}

// Proves METRICS-3.
func TestHandlerShowsTheNewestSample(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(everyFive, &source{}, &sink{}, nil, slog.New(slog.DiscardHandler))
		h := r.Handler()
		if w := get(t, h, "/live"); w.Code != http.StatusServiceUnavailable || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("before the first sample: %d %s", w.Code, w.Body)
		}
		if w := get(t, h, "/ping"); w.Code != http.StatusNoContent {
			t.Errorf("ping: %d", w.Code)
		}
		stop := run(t, r, nothing)
		defer stop()
		after(11 * time.Second)

		var live api.Sample
		w := get(t, h, "/live")
		if err := json.Unmarshal(w.Body.Bytes(), &live); err != nil || w.Code != http.StatusOK || live.Load1 != 3 {
			t.Errorf("live: %d %s (%v)", w.Code, w.Body, err)
		}
		var stats Stats
		w = get(t, h, "/stats")
		if err := json.Unmarshal(w.Body.Bytes(), &stats); err != nil || stats.Taken != 2 || stats.Waiting != 2 {
			t.Errorf("stats: %d %s (%v)", w.Code, w.Body, err)
		}

		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		w = httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/stream", nil))
		var numbers []float64
		for lines := bufio.NewScanner(w.Body); lines.Scan(); {
			var s api.Sample
			if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
				t.Fatalf("line %q: %v", lines.Text(), err)
			}
			numbers = append(numbers, s.Load1)
		}
		if !slices.Equal(numbers, []float64{3, 4, 5, 6, 7}) {
			t.Errorf("stream of samples %v, want 3 to 7", numbers)
		}
	})
}
