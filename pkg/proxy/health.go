package proxy

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

const (
	healthWithin = 900 * time.Millisecond // for all upstreams together
	healthFor    = time.Second            // that the answer is given again
)

// Health is what the proxy says about itself. That it says so at all means that
// it lives; those behind it may not.
type Health struct {
	Status    string            `json:"status"`    // up
	Dashboard string            `json:"dashboard"` // up or down
	Upstreams map[string]string `json:"upstreams"` // the same of the others
	Timestamp time.Time         `json:"timestamp"`
}

// pulse is the last look at those behind us: anybody may ask for it, and must
// not be able to make us ask them all day.
type pulse struct {
	mu   sync.Mutex
	last Health
}

func (p *Proxy) health(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		answer(w, r, notAllowed, "")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_ = json.NewEncoder(w).Encode(p.look())
}

// look asks all upstreams at once. Whoever comes meanwhile gets the same answer.
func (p *Proxy) look() Health {
	p.pulse.mu.Lock()
	defer p.pulse.mu.Unlock()
	if time.Since(p.pulse.last.Timestamp) < healthFor {
		return p.pulse.last
	}
	ctx, cancel := context.WithTimeout(context.Background(), healthWithin)
	defer cancel()
	var mu sync.Mutex
	var asked sync.WaitGroup
	h := Health{Status: "up", Dashboard: "down", Upstreams: make(map[string]string)}
	for name, u := range p.upstreams {
		if name == assistant { // is the dashboard
			continue
		}
		asked.Go(func() {
			state := "down"
			if u.up(ctx) {
				state = "up"
			}
			mu.Lock()
			defer mu.Unlock()
			if name == dashboard {
				h.Dashboard = state
			} else {
				h.Upstreams[name] = state
			}
		})
	}
	asked.Wait()
	h.Timestamp = time.Now().UTC()
	p.pulse.last = h
	return h
}

func (u *upstream) up(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+u.host()+u.probe, nil)
	if err != nil {
		return false
	}
	resp, err := u.transport.RoundTrip(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	ok := resp.StatusCode == http.StatusOK
	if ok {
		u.seen.Store(true)
	}
	return ok
}
