package dashboard

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/arasul/arasul/pkg/api"
)

var update = flag.Bool("update", false, "rewrite docs/openapi.json")

// recorded answers as a database or a healer would, or with err. A nil err and
// no incidents mean that nothing ever happened.
type recorded struct {
	incidents []api.Incident // newest first
	samples   []api.Sample
	err       error
	hang      bool
	points    int
	span      time.Duration
}

func (m *recorded) Incidents(ctx context.Context, q api.IncidentQuery) ([]api.Incident, error) {
	if m.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	var found []api.Incident
	for _, i := range m.incidents {
		if asked(q, i) {
			found = append(found, i)
		}
	}
	return newest(found, q.Limit), m.err
}

func (m *recorded) Status(context.Context) (api.HealerStatus, error) {
	return api.HealerStatus{Mode: "act"}, m.err
}

func (m *recorded) Probes(context.Context) ([]api.ProbeResult, error) {
	return []api.ProbeResult{{Unit: "arasul-proxy.service", Status: api.Up}}, m.err
}

// noSuch is an answer of a healer that has forgotten.
type noSuch struct{ error }

func (noSuch) NotFound() bool { return true }

func (m *recorded) Explain(_ context.Context, incident string) (string, error) {
	for _, i := range m.incidents {
		if i.ID == incident {
			return "because " + i.Detail, m.err
		}
	}
	return "", cmp.Or[error](m.err, noSuch{errors.New("404 Not Found")})
}

func (m *recorded) Reboots(_ context.Context, limit int) ([]api.Reboot, error) {
	return []api.Reboot{{BootID: "b", RequestedAt: time.Now()}}[:min(1, limit)], m.err
}

func (m *recorded) HealingStatistics(_ context.Context, since time.Time) ([]api.FaultStatistics, error) {
	m.span = time.Since(since)
	return []api.FaultStatistics{{Rule: "down", Fault: api.Crashed, Count: 1}}, m.err
}

func (m *recorded) History(_ context.Context, from, to time.Time, maxPoints int) ([]api.Sample, error) {
	m.span, m.points = to.Sub(from), maxPoints
	return m.samples, m.err
}

// GetJSON answers as the GPU daemon would.
func (m *recorded) GetJSON(ctx context.Context, path string, answer any) error {
	if m.err != nil || path != "/live" {
		return cmp.Or(m.err, errors.New(path))
	}
	return json.Unmarshal([]byte(`{"timestamp": "2026-03-01T10:00:00Z", "backend": "nvml", "problems": [], "caps": [], "gpus": [
		{"id": "a", "name": "A", "utilisation_ratio": 0.5, "throttle": [], "processes": [{"pid": 1, "name": "secret"}]}]}`), answer)
}

func newDashboard(t *testing.T, opts Options) *Dashboard {
	t.Helper()
	d, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// atConsole is a request of root on the machine.
func atConsole(method, path string, body io.Reader) *http.Request {
	r := httptest.NewRequest(method, path, body)
	return r.WithContext(context.WithValue(r.Context(), peerKey{}, true))
}

// ask sends a GET to the handler, as root, who may read everything, and decodes
// the JSON answer.
func ask(t *testing.T, d *Dashboard, path string) (status int, body map[string]any) {
	t.Helper()
	w := httptest.NewRecorder()
	d.Handler().ServeHTTP(w, atConsole("GET", path, nil))
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("GET %s: %v in %q", path, err, w.Body)
	}
	if want := "application/json"; w.Code == 200 && w.Header().Get("Content-Type") != want {
		t.Errorf("GET %s: Content-Type %q", path, w.Header().Get("Content-Type"))
	}
	if w.Code >= 400 {
		if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
			t.Errorf("GET %s: Content-Type %q of a problem", path, got)
		}
		if body["status"] != float64(w.Code) || body["detail"] == "" || body["title"] == "" {
			t.Errorf("GET %s: not a problem of RFC 9457: %v", path, body)
		}
	} else if _, err := time.Parse(time.RFC3339Nano, fmt.Sprint(body["timestamp"])); err != nil && path != "/api/openapi.json" {
		t.Errorf("GET %s: no timestamp: %v", path, err)
	}
	return w.Code, body
}

func incident(id string, fault time.Time) api.Incident {
	return api.Incident{
		ID: id, Rule: "down", Class: api.ClassService, Unit: "arasul-" + id + ".service", State: api.IncidentOpen, FaultAt: fault,
	}
}

func ids(t *testing.T, body map[string]any) (got []string) {
	t.Helper()
	for _, e := range body["events"].([]any) {
		got = append(got, e.(map[string]any)["id"].(string))
	}
	return got
}

// Proves HEAL-9: alive, and honest about what is missing, with all of it gone.
func TestHealthAnswersWhenEverythingElseIsGone(t *testing.T) {
	gone := &recorded{err: errors.New("gone"), hang: true}
	d := newDashboard(t, Options{History: gone, Database: gone, Healer: gone, Interval: time.Nanosecond})
	d.OnHealer(errors.New("dial unix: no such file"))
	d.OnDatabase(errors.New("password of alice refused"))
	begin := time.Now()
	code, body := ask(t, d, "/api/health")
	if took := time.Since(begin); code != 200 || took > time.Second {
		t.Errorf("status %d after %v", code, took)
	}
	parts := body["components"].(map[string]any)
	for _, name := range []string{"database", "healer", "metrics"} {
		c := parts[name].(map[string]any)
		if c["status"] != "down" || c["reason"] == "" {
			t.Errorf("%s is %v", name, c)
		}
	}
	if body["status"] != "degraded" || strings.Contains(fmt.Sprint(body), "alice") {
		t.Errorf("answered %v", body)
	}
}

func TestHealthIsUpWhenAllIsThere(t *testing.T) {
	d := newDashboard(t, Options{})
	if _, body := ask(t, d, "/api/health"); body["status"] != "degraded" {
		t.Errorf("up before anybody was heard: %v", body)
	}
	d.OnHealer(nil)
	d.OnDatabase(nil)
	d.OnSample(api.Sample{Time: time.Now()})
	if _, body := ask(t, d, "/api/health"); body["status"] != "up" {
		t.Errorf("answered %v", body)
	}
}

func TestRoutesAnswerFromWhatWasTold(t *testing.T) {
	store := &recorded{samples: []api.Sample{{CPUCores: 8}}}
	d := newDashboard(t, Options{Hostname: "box", Kernel: "6.1", History: store, Database: store, Healer: store, GPU: store})
	d.OnSample(api.Sample{Time: time.Now(), CPUCores: 12, UptimeSecs: 100, MemoryTotalBytes: 64e9})
	d.OnServices([]api.Service{{Name: "metrics", Unit: "arasul-metrics.service", Status: api.Up}})
	d.OnIncident(incident("a", time.Now()))
	tests := []struct {
		path  string
		code  int
		field string
		want  any
	}{
		{"/api/system/status", 200, "hostname", "box"},
		{"/api/system/status", 200, "status", "OK"},
		{"/api/system/info", 200, "kernel", "6.1"},
		{"/api/system/info", 200, "cpu_cores", 12.0},
		{"/api/metrics/live", 200, "memory_total_bytes", 64e9},
		{"/api/metrics/ping", 200, "", nil},
		{"/api/gpu", 200, "backend", "nvml"},
		{"/api/metrics/history", 200, "", nil},
		{"/api/metrics/history?range=1y", 422, "title", "Unprocessable Entity"},
		{"/api/services/metrics", 200, "unit", "arasul-metrics.service"},
		{"/api/services/..%2fetc", 404, "", nil},
		{"/api/services/nobody", 404, "", nil},
		{"/api/services", 200, "", nil},
		{"/api/self-healing/status", 200, "mode", "act"},
		{"/api/self-healing/events", 200, "source", "database"},
		{"/api/self-healing/events?limit=0", 422, "", nil},
		{"/api/self-healing/events?limit=1000", 422, "", nil},
		{"/api/self-healing/events?before=yesterday", 422, "", nil},
		{"/api/self-healing/events?class=D", 422, "", nil},
		{"/api/self-healing/events?state=bad", 422, "", nil},
		{"/api/self-healing/events?since=1", 422, "", nil},
		{"/api/self-healing/events/nobody/explanation", 404, "", nil},
		{"/api/self-healing/statistics", 200, "", nil},
		{"/api/self-healing/statistics?since=30d", 422, "", nil},
		{"/api/self-healing/reboots", 200, "", nil},
		{"/api/self-healing/probes", 200, "", nil},
		{"/api/openapi.json", 200, "openapi", "3.1.0"},
		{"/api/metrics/live-stream", 426, "", nil},
		{"/api/nothing", 404, "", nil},
		{"/api", 404, "", nil},
		{"/api/", 404, "", nil},
		{"/api//health", 404, "", nil},
	}
	for _, tt := range tests {
		code, body := ask(t, d, tt.path)
		if code != tt.code {
			t.Errorf("GET %s: status %d, want %d: %v", tt.path, code, tt.code, body)
		}
		if tt.field != "" && body[tt.field] != tt.want {
			t.Errorf("GET %s: %s is %v, want %v", tt.path, tt.field, body[tt.field], tt.want)
		}
	}
}

func TestWhatIsMissingIsA503(t *testing.T) {
	broken := &recorded{err: errors.New("broken")}
	for _, d := range []*Dashboard{
		newDashboard(t, Options{Interval: time.Hour}),
		newDashboard(t, Options{Interval: time.Hour, History: broken, Database: broken, Healer: broken, GPU: broken}),
	} {
		for _, path := range []string{
			"/api/metrics/live", "/api/metrics/ping", "/api/metrics/history", "/api/self-healing/events", "/api/self-healing/status", "/api/gpu",
			"/api/self-healing/events/a/explanation", "/api/self-healing/statistics", "/api/self-healing/reboots", "/api/self-healing/probes",
		} {
			if code, _ := ask(t, d, path); code != 503 {
				t.Errorf("GET %s: status %d", path, code)
			}
		}
	}
}

// Proves AUTH-6 for the GPU: anybody may see how it does, not what runs on it.
func TestGPUIsShownWithoutItsPrograms(t *testing.T) {
	w := httptest.NewRecorder()
	newDashboard(t, Options{GPU: &recorded{}}).Handler().ServeHTTP(w, httptest.NewRequest("GET", "/api/gpu", nil))
	var s api.GPUStatus
	if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil || len(s.GPUs) != 1 || *s.GPUs[0].UtilisationRatio != 0.5 {
		t.Errorf("%v: %s", err, w.Body)
	}
	if strings.Contains(w.Body.String(), "secret") {
		t.Errorf("answered %s", w.Body)
	}
}

// Proves METRICS-3 as far as the dashboard goes: each range asks for as much
// time as it says, and for at most 1,000 points.
func TestHistoryAsksForItsRange(t *testing.T) {
	store := &recorded{samples: make([]api.Sample, 3)}
	d := newDashboard(t, Options{History: store})
	for name, want := range map[string]time.Duration{"": time.Hour, "1h": time.Hour, "24h": 24 * time.Hour, "7d": 168 * time.Hour} {
		_, body := ask(t, d, "/api/metrics/history?range="+name)
		if store.span != want || store.points != 1000 || len(body["samples"].([]any)) != 3 {
			t.Errorf("range %q: asked for %v and %d points, answered %v", name, store.span, store.points, body)
		}
	}
	d.OnDatabase(errors.New("gone"))
	store.span = 0
	if code, _ := ask(t, d, "/api/metrics/history"); code != 503 || store.span != 0 {
		t.Errorf("status %d, asked a database known to be away: %v", code, store.span != 0)
	}
}

func TestIncidentMemoryIsBounded(t *testing.T) {
	d := newDashboard(t, Options{})
	now := time.Now()
	for n := range 2 * maxIncidents {
		d.OnIncident(incident(fmt.Sprintf("%04d", n), now.Add(time.Duration(n))))
	}
	closed := now.Add(-restartRecent)
	over := incident("over", now.Add(time.Hour))
	over.ClosedAt = &closed
	d.OnIncident(over)
	kept := d.kept()
	if len(kept) != maxIncidents || kept[0].ID != fmt.Sprintf("%04d", maxIncidents) {
		t.Errorf("kept %d, the oldest is %s", len(kept), kept[0].ID)
	}
}

func TestNothingButReadingIsAllowed(t *testing.T) {
	d := newDashboard(t, Options{})
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"} {
		for _, path := range []string{"/api/health", "/api/metrics/live-stream", "/", "/assets/x.js"} {
			w := httptest.NewRecorder()
			d.Handler().ServeHTTP(w, httptest.NewRequest(method, path, nil))
			if w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: status %d, Allow %q", method, path, w.Code, w.Header().Get("Allow"))
			}
		}
	}
}

func TestHeadIsGetWithoutABody(t *testing.T) {
	server := httptest.NewServer(newDashboard(t, Options{}).Handler())
	defer server.Close()
	resp, err := server.Client().Head(server.URL + "/api/health")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || len(body) != 0 {
		t.Errorf("status %d with %d bytes", resp.StatusCode, len(body))
	}
}

// Proves AUTH-4 in part: a strict CSP, on errors and pages alike.
func TestEveryAnswerCarriesSecurityHeaders(t *testing.T) {
	d := newDashboard(t, Options{})
	for _, path := range []string{"/", "/api/health", "/api/nothing", "/api/metrics/live-stream", "/assets/none.js"} {
		w := httptest.NewRecorder()
		d.Handler().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		csp := w.Header().Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("GET %s: CSP %q", path, csp)
		}
		if w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Referrer-Policy") == "" || w.Header().Get("Server") != "" {
			t.Errorf("GET %s: headers %v", path, w.Header())
		}
	}
}

func TestOpenAPIDocumentIsCommitted(t *testing.T) {
	const file = "../../docs/openapi.json"
	spec, err := Spec()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, spec, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	committed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(spec, committed) {
		t.Error("docs/openapi.json is not what the handlers say; run: go test ./pkg/dashboard -run TestOpenAPI -update")
	}
}

func TestOpenAPIDescribesEveryRoute(t *testing.T) {
	d := newDashboard(t, Options{})
	var doc struct {
		Paths      map[string]map[string]any
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal(d.spec, &doc); err != nil {
		t.Fatal(err)
	}
	routes := 0
	err := chi.Walk(d.handler.(chi.Routes), func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		if strings.HasPrefix(route, "/internal/") {
			return nil // no client can ask there
		}
		routes++
		if doc.Paths[route][strings.ToLower(method)] == nil {
			t.Errorf("%s %s is not in the document", method, route)
		}
		return nil
	})
	operations := 0
	for _, item := range doc.Paths {
		operations += len(item)
	}
	if err != nil || routes != operations {
		t.Errorf("%d routes, %d operations, %v", routes, operations, err)
	}
	for _, name := range []string{"Event", "Incident", "Sample", "Service", "SystemStatus", "HealerStatus", "Problem"} {
		if doc.Components.Schemas[name] == nil {
			t.Errorf("no schema %s", name)
		}
	}
}

// listen serves the dashboard on a unix socket until the test ends and returns
// a function that connects to it.
func listen(t *testing.T, d *Dashboard) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	server := &http.Server{
		Handler:           d.Handler(),
		ReadHeaderTimeout: time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() {
		cancel()
		_ = server.Close()
		<-done
		if err := d.Run(ctx); !errors.Is(err, context.Canceled) { // waits for the WebSockets
			t.Errorf("run ended with %v", err)
		}
	})
	return socket
}

// The page offers a restart only of what the healer looks after.
func TestServicesSayWhetherTheyCanBeRestarted(t *testing.T) {
	d := newDashboard(t, Options{})
	d.OnServices([]api.Service{{Name: "proxy", Unit: "arasul-proxy.service"}, {Name: "healer", Unit: "arasul-healer.service"}})
	d.OnHealerStatus(api.HealerStatus{Units: []string{"arasul-proxy.service"}})
	list, err := d.services(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if s := list.Body.Services; !s[0].Restartable || s[1].Restartable {
		t.Errorf("got %+v", s)
	}
}
