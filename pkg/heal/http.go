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
		Policy:      h.o.Policy.Hash,
		Lease:       h.state.Lease,
		LastCheck:   h.lastCheck,
		Units:       h.o.Policy.UnitNames(),
		Timestamp:   time.Now(),
	}
	if until := h.state.Breaker.Until; !until.IsZero() {
		s.BreakerOpen = &until
	}
	waiting, lost := h.queue.stats()
	s.Mirrored, s.LostEvents = waiting == 0, lost
	for i := range h.state.Incidents {
		if h.state.Incidents[i].Open() {
			s.Open++
		}
	}
	return s
}

// Probes returns the last look at each unit that is probed, in start order.
func (h *Healer) Probes() []api.ProbeResult {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := []api.ProbeResult{}
	for _, name := range h.o.Policy.UnitNames() {
		if p, ok := h.probes[name]; ok {
			out = append(out, p)
		}
	}
	return out
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
//	GET /probes      {"probes": […]}, the last look at each unit that is probed
//	GET /explain/ID  {"text": …}, why an incident is what it is, for people; 404 when it is not remembered
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
	mux.HandleFunc("GET /probes", func(w http.ResponseWriter, _ *http.Request) { answer(w, map[string]any{"probes": h.Probes()}) })
	mux.HandleFunc("GET /explain/{id}", func(w http.ResponseWriter, r *http.Request) {
		text, known := h.Explain(r.PathValue("id"))
		if !known {
			http.Error(w, "no such incident is remembered", http.StatusNotFound)
			return
		}
		answer(w, map[string]any{"text": text})
	})
	mux.Handle("GET /stream", &h.hub)
	return mux
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client has gone: nobody is left to tell
}
