package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// part answers as a small daemon would.
type part struct {
	answer string
	err    error
}

func (p part) GetJSON(_ context.Context, _ string, answer any) error {
	if p.err != nil {
		return p.err
	}
	return json.Unmarshal([]byte(p.answer), answer)
}

func (p part) Health(context.Context) (api.DatabaseHealth, error) {
	return api.DatabaseHealth{Status: api.Up, Latency: 0.001, Version: "15.1", Time: time.Now()}, p.err
}

func (part) Show(string) api.Certificates {
	return api.Certificates{Ready: true, Time: time.Now()}
}

func TestPartsThatAreAwayAreProblemsOfTheirOwn(t *testing.T) {
	away := part{err: errors.New("dial unix: secret")}
	for _, opts := range []Options{{}, {Network: away, Inspector: away}} {
		d := newDashboard(t, opts)
		for _, path := range []string{"/api/system/network", "/api/database/health", "/api/certificates"} {
			code, body := ask(t, d, path)
			if detail, _ := body["detail"].(string); code != 503 || strings.Contains(detail, "secret") {
				t.Errorf("%s: %d %v", path, code, body)
			}
		}
		for _, path := range []string{"/api/system/health", "/api/services/ai"} {
			if code, body := ask(t, d, path); code != 200 {
				t.Errorf("%s: %d %v", path, code, body)
			}
		}
	}
}

func TestPartsThatAreThereAnswer(t *testing.T) {
	there := part{answer: `{"interfaces": [{"name": "eth0", "up": true, "addresses": ["192.168.1.20/24"]}], "mdns_name": "arasul.local", "internet": true, "timestamp": "2026-03-01T10:00:00Z"}`}
	d := newDashboard(t, Options{Network: there, Inspector: there, Certificates: there})
	for path, field := range map[string]string{
		"/api/system/network": "mdns_name", "/api/database/health": "latency_seconds", "/api/certificates": "ready",
	} {
		if code, body := ask(t, d, path); code != 200 || body[field] == nil {
			t.Errorf("%s: %d %v", path, code, body)
		}
	}
	d.OnDatabase(errors.New("gone"))
	if code, _ := ask(t, d, "/api/database/health"); code != 503 {
		t.Errorf("a database that is known to be away was asked: %d", code)
	}
}

// looked is a healer with these probes.
type looked struct {
	recorded
	probes []api.ProbeResult
}

func (l *looked) Probes(context.Context) ([]api.ProbeResult, error) { return l.probes, l.err }

func TestSystemHealthCountsProbes(t *testing.T) {
	healer := &looked{probes: []api.ProbeResult{{Unit: "arasul-proxy.service", Status: api.Up}}}
	d := newDashboard(t, Options{Healer: healer})
	d.OnHealer(nil)
	d.OnDatabase(nil)
	d.OnSample(api.Sample{Time: time.Now()})
	if code, body := ask(t, d, "/api/system/health"); code != 200 || body["status"] != "up" || len(body["probes"].([]any)) != 1 || body["components"] == nil {
		t.Errorf("%d %v", code, body)
	}
	healer.probes[0].Status = api.Degraded
	if _, body := ask(t, d, "/api/system/health"); body["status"] != "degraded" {
		t.Errorf("%v", body)
	}
}

func TestLanguageModelsAreWhatTheHealerSaw(t *testing.T) {
	const llm = "arasul-llm.service"
	up := []api.Service{{Name: "llm", Unit: llm, Status: api.Up}}
	probes := []api.ProbeResult{{Unit: llm, Status: api.Degraded, Detail: "slow", Models: []api.Model{{Name: "llama"}}}}
	for name, tt := range map[string]struct {
		services       []api.Service
		healer         Healer
		status, reason string
		models         int
	}{
		"nobody looked yet": {nil, nil, "unknown", "not looked at yet", 0},
		"not installed":     {[]api.Service{{Unit: "arasul-proxy.service"}}, &looked{probes: probes}, "unknown", "not installed", 0},
		"down":              {[]api.Service{{Unit: llm, Status: api.Down, Reason: "stopped"}}, &looked{probes: probes}, "down", "stopped", 0},
		"no healer":         {up, nil, "unknown", "it runs, and the healer, which looks at it, cannot be reached", 0},
		"not probed yet":    {up, &looked{}, "unknown", "it runs, and has not been looked at yet", 0},
		"slow":              {up, &looked{probes: probes}, "degraded", "slow", 1},
	} {
		d := newDashboard(t, Options{Healer: tt.healer})
		if tt.services != nil {
			d.OnServices(tt.services)
		}
		_, body := ask(t, d, "/api/services/ai")
		list := body["services"].([]any)
		s := list[0].(map[string]any)
		if len(list) != 2 || s["status"] != tt.status || s["reason"] != tt.reason || len(s["models"].([]any)) != tt.models {
			t.Errorf("%s: %v", name, body)
		}
	}
}

// hands remember who wanted what restarted.
type hands struct {
	asked []string
	err   error
}

func (h *hands) Restart(_ context.Context, unit, actor string) (string, error) {
	h.asked = append(h.asked, unit+" for "+actor)
	return "20260301T100000-1", h.err
}

// Proves AUTH-7 and HEAL-7 for restarts: who, what, and what came of it.
func TestRestartGoesThroughTheHealerAndIntoTheAudit(t *testing.T) {
	h := newHouse(t)
	b := h.setUp()
	asked := &hands{}
	h.opts.Restarter = asked
	h.OnServices([]api.Service{{Name: "metrics", Unit: "arasul-metrics.service", Status: api.Up}})
	for _, tt := range []struct {
		name string
		err  error
		code int
	}{
		{"metrics", nil, 202},
		{"metrics", &api.Refusal{Code: api.RefusedBusy, Reason: "systemd is starting it"}, 409},
		{"metrics", &api.Refusal{Code: api.RefusedUnknown, Reason: "it is not looked after"}, 409},
		{"metrics", &api.Refusal{Code: api.RefusedSoon, Reason: "it was restarted"}, 429},
		{"metrics", errors.New("no bus"), 503},
		{"nobody", nil, 404},
		{"..%2fmetrics", nil, 404},
	} {
		asked.asked, asked.err = nil, tt.err
		r := b.send("POST", "/api/services/"+tt.name+"/restart", nil)
		if r.code != tt.code {
			t.Errorf("%s, %v: %d %v", tt.name, tt.err, r.code, r.body)
		}
		if (tt.code == 404) != (len(asked.asked) == 0) || len(asked.asked) > 0 && asked.asked[0] != "arasul-metrics.service for admin" {
			t.Errorf("%s: asked %q", tt.name, asked.asked)
		}
		if tt.code == 429 && r.header.Get("Retry-After") != "10" {
			t.Errorf("Retry-After %q", r.header.Get("Retry-After"))
		}
	}
	events, err := h.opts.Audit.Events(t.Context(), api.AuditQuery{Action: "service.restart", Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	var results []string
	for _, e := range events {
		results = append(results, string(e.Result))
		if e.Actor != "admin" || e.Subject != "arasul-metrics.service" || e.Address != owner {
			t.Errorf("%+v", e)
		}
	}
	if got := strings.Join(results, " "); got != "failed refused refused refused success" {
		t.Errorf("audited %s", got)
	}
}

func TestRestartWithoutAHealerIsAProblem(t *testing.T) {
	h := newHouse(t)
	b := h.setUp()
	h.OnServices([]api.Service{{Name: "metrics", Unit: "arasul-metrics.service"}})
	if r := b.send("POST", "/api/services/metrics/restart", nil); r.code != 503 {
		t.Errorf("%d", r.code)
	}
	w := httptest.NewRecorder()
	h.Handler().ServeHTTP(w, atConsole("POST", "/api/services/metrics/restart", nil))
	if w.Code != 401 { // arasul restart asks the healer itself
		t.Errorf("the console: %d", w.Code)
	}
}
