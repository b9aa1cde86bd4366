package gpu

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// Handler answers on the daemon's socket, for whoever may open it:
//
//	GET /live    the newest api.GPUStatus; 503 before the first
//	GET /stream  the newest and every later one, a line each
//	GET /events  {"events": […]}, newest first; ?limit=1..256, default 50
//	PUT /tokens  {"total": n}: tokens that the LLM has produced so far, at
//	             least every 15 s while it works
func (w *Watcher) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /live", func(rw http.ResponseWriter, _ *http.Request) {
		s := w.Status()
		if s.Time.IsZero() {
			http.Error(rw, "no sample was taken yet", http.StatusServiceUnavailable)
			return
		}
		answer(rw, s)
	})
	mux.Handle("GET /stream", &w.hub)
	mux.HandleFunc("GET /events", func(rw http.ResponseWriter, r *http.Request) {
		limit := 50
		if q := r.URL.Query().Get("limit"); q != "" {
			n, err := strconv.Atoi(q)
			if err != nil || n < 1 || n > maxEvents {
				http.Error(rw, "limit must be 1 to 256", http.StatusBadRequest)
				return
			}
			limit = n
		}
		answer(rw, map[string]any{"events": w.Events(limit)})
	})
	mux.HandleFunc("PUT /tokens", func(rw http.ResponseWriter, r *http.Request) {
		var report struct {
			Total *uint64 `json:"total"`
		}
		d := json.NewDecoder(http.MaxBytesReader(rw, r.Body, 1<<10))
		if err := d.Decode(&report); err != nil || report.Total == nil {
			http.Error(rw, `want {"total": n}`, http.StatusBadRequest)
			return
		}
		w.Tokens(*report.Total)
		rw.WriteHeader(http.StatusNoContent)
	})
	return mux
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // a client that left needs no answer
}
