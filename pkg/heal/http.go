package heal

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// Status is what the healer says about itself.
func (h *Healer) Status() api.HealerStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := api.HealerStatus{
		Mode:        h.o.Mode,
		Maintenance: h.state.Maintenance,
		LastCheck:   h.lastCheck,
		Mirrored:    true,
		Timestamp:   time.Now(),
	}
	for i := range h.state.Incidents {
		inc := &h.state.Incidents[i]
		if inc.Open() {
			s.Open++
		}
		s.Mirrored = s.Mirrored && inc.Mirrored >= inc.Revision
	}
	return s
}

// Incidents returns up to limit incidents, newest first.
func (h *Healer) Incidents(limit int) []api.Incident {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := []api.Incident{}
	for _, inc := range slices.Backward(h.state.Incidents) {
		if len(out) == limit {
			break
		}
		out = append(out, inc.Incident)
	}
	return out
}

// Handler answers on the healer's unix socket, for whoever may open it:
//
//	GET /status      api.HealerStatus
//	GET /incidents   {"incidents": […]}, newest first; ?limit=1..400, default 50
//	GET /stream      every changed api.Incident, newline-delimited
func (h *Healer) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { answer(w, h.Status()) })
	mux.HandleFunc("GET /incidents", func(w http.ResponseWriter, r *http.Request) {
		limit := 50
		if q := r.URL.Query().Get("limit"); q != "" {
			n, err := strconv.Atoi(q)
			if err != nil || n < 1 || n > 2*keepClosed {
				http.Error(w, "limit must be 1 to 400", http.StatusBadRequest)
				return
			}
			limit = n
		}
		answer(w, map[string]any{"incidents": h.Incidents(limit)})
	})
	mux.Handle("GET /stream", &h.hub)
	return mux
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client has gone: nobody is left to tell
}
