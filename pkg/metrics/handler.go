package metrics

import (
	"encoding/json"
	"net/http"
)

// Handler answers on the daemon's socket:
//
//	GET /live    the newest sample; 503 before the first one
//	GET /stream  the newest sample and every later one, a line each
//	GET /ping    204
//	GET /stats   Stats
func (r *Recorder) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /live", r.live)
	mux.Handle("GET /stream", &r.hub)
	mux.HandleFunc("GET /ping", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, "application/json", http.StatusOK, r.Stats())
	})
	return mux
}

func (r *Recorder) live(w http.ResponseWriter, _ *http.Request) {
	last := r.hub.Last()
	if last == nil {
		reply(w, "application/problem+json", http.StatusServiceUnavailable, problem{
			Title:  http.StatusText(http.StatusServiceUnavailable),
			Status: http.StatusServiceUnavailable,
			Detail: "no sample was taken yet",
		})
		return
	}
	reply(w, "application/json", http.StatusOK, json.RawMessage(last))
}

// problem is an error as RFC 9457 has it.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

func reply(w http.ResponseWriter, contentType string, status int, body any) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that left needs no answer
}
