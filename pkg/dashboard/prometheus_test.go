package dashboard

import (
	"errors"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/arasul/arasul/pkg/api"
)

// scraped returns what Prometheus gets, without comments.
func scraped(t *testing.T, d *Dashboard, accept string) (lines []string, contentType, text string) {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/metrics", nil)
	r.Header.Set("Accept", accept)
	d.Handler().ServeHTTP(w, r)
	if w.Code != 200 || w.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v: %s", w.Code, w.Header(), w.Body)
	}
	text = w.Body.String()
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return lines, w.Header().Get("Content-Type"), text
}

// Proves METRICS-4.
func TestPrometheusGetsWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDashboard(t, Options{})
		d.OnSample(api.Sample{
			Time: time.Now(), CPURatio: 0.25, CPUCores: 8, Load1: 1.5, UptimeSecs: 3600,
			MemoryTotalBytes: 64 << 30, MemoryUsedBytes: 1 << 30, TemperatureCelsius: new(48.5), PressureIORatio: new(0.125),
			GPUUtilisationRatio: new(0.5), GPUMemoryTotalBytes: new(uint64(64 << 30)), GPUMemoryUsedBytes: new(uint64(1 << 30)),
			GPUTemperatureCelsius: new(61.5), GPUPowerWatts: new(15.25),
			Services: []api.ServiceSample{
				{Unit: "arasul-proxy.service", CPURatio: 0.5, CPUSecondsTotal: 12.25, MemoryBytes: new(uint64(4096)), OOMKillsTotal: new(uint64(2)), PressureMemoryRatio: new(0.75)},
				{Unit: "arasul-llm.service"},
			},
		})
		d.OnServices([]api.Service{
			{Name: "proxy", Status: api.Up, Restarts: 3}, {Name: "llm", Status: api.Down}, {Name: "n8n", Status: api.Unknown}, {Name: "mdns", Status: api.Degraded},
		})
		crash := api.Incident{ID: "1", Rule: "down", Unit: "arasul-proxy.service", Fault: api.Crashed, FaultAt: time.Now()}
		crash.Actions = []api.Action{{Attempt: 1, Kind: "systemd-restart", Outcome: "failed"}, {Attempt: 2, Kind: "restart", Outcome: "running"}}
		d.OnIncident(crash)
		crash.Actions = []api.Action{crash.Actions[0], {Attempt: 2, Kind: "restart", Outcome: "helped"}}
		crash.ClosedAt = new(time.Now())
		d.OnIncident(crash)
		d.OnIncident(crash) // told again after a reconnect
		crash.ID, crash.ClosedAt = "2", nil
		d.OnIncident(crash)
		d.OnIncident(api.Incident{ID: "3", Rule: "memory-overload", Fault: api.Measured, FaultAt: time.Now()})
		d.OnDatabase(nil)
		d.OnHealer(errors.New("no socket"))

		got, contentType, _ := scraped(t, d, "")
		if contentType != "text/plain; version=0.0.4; charset=utf-8; escaping=underscores" {
			t.Errorf("content type %s", contentType)
		}
		want := strings.Split(strings.TrimSpace(`
arasul_actions_total{action="restart",outcome="helped",rule="down"} 2
arasul_actions_total{action="systemd-restart",outcome="failed",rule="down"} 2
arasul_build_info{version="VERSION"} 1
arasul_component_up{component="database"} 1
arasul_component_up{component="healer"} 0
arasul_component_up{component="metrics"} 1
arasul_cpu_cores 8
arasul_cpu_ratio 0.25
arasul_disk_read_bytes_per_second 0
arasul_disk_total_bytes 0
arasul_disk_used_bytes 0
arasul_disk_write_bytes_per_second 0
arasul_gpu_memory_total_bytes 6.8719476736e+10
arasul_gpu_memory_used_bytes 1.073741824e+09
arasul_gpu_power_watts 15.25
arasul_gpu_temperature_celsius 61.5
arasul_gpu_utilisation_ratio 0.5
arasul_incidents_open 2
arasul_incidents_total{fault="crashed",rule="down",unit="arasul-proxy.service"} 2
arasul_incidents_total{fault="measured",rule="memory-overload",unit=""} 1
arasul_load1 1.5
arasul_memory_total_bytes 6.8719476736e+10
arasul_memory_used_bytes 1.073741824e+09
arasul_network_receive_bytes_per_second 0
arasul_network_transmit_bytes_per_second 0
arasul_pressure_ratio{resource="io"} 0.125
arasul_sample_timestamp_seconds 9.466848e+08
arasul_service_cpu_ratio{service="llm"} 0
arasul_service_cpu_ratio{service="proxy"} 0.5
arasul_service_cpu_seconds_total{service="llm"} 0
arasul_service_cpu_seconds_total{service="proxy"} 12.25
arasul_service_memory_bytes{service="proxy"} 4096
arasul_service_oom_kills_total{service="proxy"} 2
arasul_service_pressure_ratio{resource="memory",service="proxy"} 0.75
arasul_service_restarts_total{service="llm"} 0
arasul_service_restarts_total{service="mdns"} 0
arasul_service_restarts_total{service="n8n"} 0
arasul_service_restarts_total{service="proxy"} 3
arasul_status{status="CRITICAL"} 1
arasul_status{status="OK"} 0
arasul_status{status="WARNING"} 0
arasul_swap_total_bytes 0
arasul_swap_used_bytes 0
arasul_temperature_celsius 48.5
arasul_up{service="llm"} 0
arasul_up{service="mdns"} 1
arasul_up{service="proxy"} 1
arasul_uptime_seconds 3600
`), "\n")
		want[2] = strings.Replace(want[2], "VERSION", strings.Split(got[2], `"`)[1], 1)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}

		// What nobody measures any more is not shown as if it still held.
		time.Sleep(time.Minute)
		for _, line := range first(scraped(t, d, "")) {
			if strings.HasPrefix(line, "arasul_cpu_ratio") || strings.HasPrefix(line, "arasul_service_memory") || line == `arasul_component_up{component="metrics"} 1` {
				t.Errorf("a minute without samples: %s", line)
			}
		}
	})
}

func first(lines []string, _, _ string) []string { return lines }

// Proves METRICS-4.
func TestPrometheusGetsTheFormatItAsksFor(t *testing.T) {
	d := newDashboard(t, Options{})
	d.OnSample(api.Sample{Time: time.Now(), Services: []api.ServiceSample{{Unit: "arasul-proxy.service"}}})
	_, contentType, text := scraped(t, d, "application/openmetrics-text; version=1.0.0")
	if !strings.HasPrefix(contentType, "application/openmetrics-text; version=1.0.0") || !strings.HasSuffix(text, "# EOF\n") {
		t.Errorf("%s: %s", contentType, text)
	}
	_, _, text = scraped(t, d, "text/plain")
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestIncidentsAreCountedInBoundedMemory(t *testing.T) {
	var c tally
	for n := range 3 * rememberedIDs {
		c.count(api.Incident{ID: string(rune(n)), Unit: "u", Fault: api.Crashed})
	}
	if len(c.ids) != rememberedIDs || len(c.attempts) != rememberedIDs || c.kinds[kind{"", "u", api.Crashed}] != 3*rememberedIDs {
		t.Errorf("%d remembered, counted %v", len(c.ids), c.kinds)
	}
}

func TestEveryMetricIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	described := make(chan *prometheus.Desc, 100)
	exporter{}.Describe(described)
	close(described)
	for d := range described {
		name := strings.Split(d.String(), `"`)[1]
		if !strings.Contains(string(doc), "`"+name+"`") {
			t.Errorf("docs/metrics.md says nothing about %s", name)
		}
	}
}

func BenchmarkScrape(b *testing.B) {
	d, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	s := api.Sample{Time: time.Now()}
	var services []api.Service
	for _, n := range strings.Fields("a b c d e f g h i j") {
		s.Services = append(s.Services, api.ServiceSample{Unit: "arasul-" + n + ".service", MemoryBytes: new(uint64(1)), PressureIORatio: new(0.5)})
		services = append(services, api.Service{Name: n, Status: api.Up})
	}
	d.OnSample(s)
	d.OnServices(services)
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		d.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	}
}
