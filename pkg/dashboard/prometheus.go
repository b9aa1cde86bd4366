package dashboard

import (
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/version"
)

// scrapes is how many may be under way at once; one takes a millisecond.
const scrapes = 4

// exporter shows what the dashboard knows as Prometheus metrics. What is not
// known, or no longer, is absent: no sensor, no look for three intervals, a
// unit nobody has seen. docs/metrics.md lists them all.
type exporter struct{ d *Dashboard }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("arasul_"+name, help, labels, nil)
}

// hostMetrics are the gauges that a sample has one of.
var hostMetrics = []struct {
	desc  *prometheus.Desc
	value func(s *api.Sample) *float64 // nil: absent
}{
	{desc("cpu_ratio", "Busy share of all cores since the sample before, 0 to 1."), func(s *api.Sample) *float64 { return &s.CPURatio }},
	{desc("cpu_cores", "Cores online."), func(s *api.Sample) *float64 { return new(float64(s.CPUCores)) }},
	{desc("load1", "Load average over one minute."), func(s *api.Sample) *float64 { return &s.Load1 }},
	{desc("uptime_seconds", "Seconds since the kernel started."), func(s *api.Sample) *float64 { return &s.UptimeSecs }},
	{desc("memory_total_bytes", "Memory of the machine."), bytesOf(func(s *api.Sample) uint64 { return s.MemoryTotalBytes })},
	{desc("memory_used_bytes", "MemTotal less MemAvailable."), bytesOf(func(s *api.Sample) uint64 { return s.MemoryUsedBytes })},
	{desc("swap_total_bytes", "Swap space."), bytesOf(func(s *api.Sample) uint64 { return s.SwapTotalBytes })},
	{desc("swap_used_bytes", "Swap space in use."), bytesOf(func(s *api.Sample) uint64 { return s.SwapUsedBytes })},
	{desc("disk_total_bytes", "Size of the file system that holds /var/lib/arasul."), bytesOf(func(s *api.Sample) uint64 { return s.DiskTotalBytes })},
	{desc("disk_used_bytes", "Used on the file system that holds /var/lib/arasul."), bytesOf(func(s *api.Sample) uint64 { return s.DiskUsedBytes })},
	{desc("disk_read_bytes_per_second", "Read from all disks together."), func(s *api.Sample) *float64 { return &s.DiskReadBps }},
	{desc("disk_write_bytes_per_second", "Written to all disks together."), func(s *api.Sample) *float64 { return &s.DiskWriteBps }},
	{desc("network_receive_bytes_per_second", "Received on all interfaces but loopback and container bridges."), func(s *api.Sample) *float64 { return &s.NetworkReceiveBps }},
	{desc("network_transmit_bytes_per_second", "Sent on all interfaces but loopback and container bridges."), func(s *api.Sample) *float64 { return &s.NetworkTransmitBps }},
	{desc("temperature_celsius", "Hottest thermal zone."), func(s *api.Sample) *float64 { return s.TemperatureCelsius }},
	{desc("gpu_utilisation_ratio", "Share of time with work on the GPU, 0 to 1; of several the busiest."), func(s *api.Sample) *float64 { return s.GPUUtilisationRatio }},
	{desc("gpu_memory_total_bytes", "Memory that the GPUs can use; on a Jetson the machine's."), optionalBytes(func(s *api.Sample) *uint64 { return s.GPUMemoryTotalBytes })},
	{desc("gpu_memory_used_bytes", "Memory held for the GPUs."), optionalBytes(func(s *api.Sample) *uint64 { return s.GPUMemoryUsedBytes })},
	{desc("gpu_temperature_celsius", "Hottest GPU."), func(s *api.Sample) *float64 { return s.GPUTemperatureCelsius }},
	{desc("gpu_power_watts", "Power of all GPUs together."), func(s *api.Sample) *float64 { return s.GPUPowerWatts }},
	{desc("sample_timestamp_seconds", "When the newest sample was taken, in Unix time."), func(s *api.Sample) *float64 { return new(float64(s.Time.UnixMilli()) / 1000) }},
}

func bytesOf(field func(s *api.Sample) uint64) func(s *api.Sample) *float64 {
	return func(s *api.Sample) *float64 { return new(float64(field(s))) }
}

func optionalBytes(field func(s *api.Sample) *uint64) func(s *api.Sample) *float64 {
	return func(s *api.Sample) *float64 {
		if n := field(s); n != nil {
			return new(float64(*n))
		}
		return nil
	}
}

// resources are what pressure is measured of, in the order of pressures.
var resources = [...]string{"cpu", "memory", "io"}

var (
	pressureRatio = desc("pressure_ratio", "Share of the last ten seconds in which some task waited (PSI some avg10), 0 to 1.", "resource")

	serviceCPURatio = desc("service_cpu_ratio", "Share of all cores since the sample before, 0 to 1.", "service")
	serviceCPU      = desc("service_cpu_seconds_total", "Processor time since the unit was started.", "service")
	serviceMemory   = desc("service_memory_bytes", "Memory charged to the unit, page cache included.", "service")
	serviceKills    = desc("service_oom_kills_total", "Processes killed for want of memory since the unit was started.", "service")
	servicePressure = desc("service_pressure_ratio", "Share of the last ten seconds in which some task of the unit waited, 0 to 1.", "service", "resource")

	up       = desc("up", "1 when the service works, 0 when it is down; absent while nobody knows.", "service")
	restarts = desc("service_restarts_total", "Restarts by systemd since the unit was last started by hand.", "service")

	componentUp = desc("component_up", "1 when the dashboard reaches what it depends on.", "component")
	status      = desc("status", "1 for the overall status that holds, 0 for the others.", "status")
	incidents   = desc("incidents_total", "Incidents since the dashboard started and those that the healer remembered then.", "rule", "unit", "fault")
	actions     = desc("actions_total", "What was done in these incidents, systemd's own restarts included, by how it ended.", "rule", "action", "outcome")
	openOnes    = desc("incidents_open", "Incidents that are not over.")
	buildInfo   = desc("build_info", "Always 1.", "version")
)

// Describe lists all metrics, so that the registry checks them.
func (e exporter) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range hostMetrics {
		ch <- m.desc
	}
	for _, d := range []*prometheus.Desc{pressureRatio, serviceCPURatio, serviceCPU, serviceMemory, serviceKills, servicePressure,
		up, restarts, componentUp, status, incidents, actions, openOnes, buildInfo} {
		ch <- d
	}
}

// Collect sends what is known now.
func (e exporter) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	e.d.mu.Lock()
	defer e.d.mu.Unlock()
	seen := e.d.seen
	now := time.Now()

	if s := seen.Sample; s != nil && !seen.Stale(now) {
		for _, m := range hostMetrics {
			if v := m.value(s); v != nil {
				gauge(m.desc, *v)
			}
		}
		for i, p := range [...]*float64{s.PressureCPURatio, s.PressureMemoryRatio, s.PressureIORatio} {
			if p != nil {
				gauge(pressureRatio, *p, resources[i])
			}
		}
		for _, u := range s.Services {
			name := shortName(u.Unit)
			gauge(serviceCPURatio, u.CPURatio, name)
			counter(serviceCPU, u.CPUSecondsTotal, name)
			if u.MemoryBytes != nil {
				gauge(serviceMemory, float64(*u.MemoryBytes), name)
			}
			if u.OOMKillsTotal != nil {
				counter(serviceKills, float64(*u.OOMKillsTotal), name)
			}
			for i, p := range [...]*float64{u.PressureCPURatio, u.PressureMemoryRatio, u.PressureIORatio} {
				if p != nil {
					gauge(servicePressure, *p, name, resources[i])
				}
			}
		}
	}
	for _, s := range seen.Services {
		if s.Status != api.Unknown {
			gauge(up, truth(s.Status != api.Down), s.Name)
		}
		counter(restarts, float64(s.Restarts), s.Name)
	}
	if e.d.known.database {
		gauge(componentUp, truth(seen.DatabaseErr == nil), "database")
	}
	if e.d.known.healer {
		gauge(componentUp, truth(seen.HealerErr == nil), "healer")
	}
	gauge(componentUp, truth(seen.Sample != nil && !seen.Stale(now)), "metrics")
	for _, s := range [...]api.Overall{api.OK, api.Warning, api.Critical} {
		gauge(status, truth(e.d.verdict.Status == s), string(s))
	}
	open := 0
	for _, i := range e.d.incidents {
		if i.ClosedAt == nil {
			open++
		}
	}
	gauge(openOnes, float64(open))
	for kind, n := range e.d.counted.kinds {
		counter(incidents, float64(n), kind.rule, kind.unit, string(kind.fault))
	}
	for deed, n := range e.d.counted.deeds {
		counter(actions, float64(n), deed.rule, deed.action, deed.outcome)
	}
	gauge(buildInfo, 1, version.Version)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func shortName(unit string) string {
	return strings.TrimSuffix(strings.TrimPrefix(unit, "arasul-"), ".service")
}

// scrape answers GET /metrics, in the text format that the client asks for.
func (d *Dashboard) scrape() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(exporter{d})
	h := promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(d.opts.Log.Handler(), slog.LevelWarn),
		MaxRequestsInFlight: scrapes,
		EnableOpenMetrics:   true,
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		h.ServeHTTP(w, r)
	})
}

func scrapeOperation() *huma.Operation {
	text := map[string]*huma.MediaType{"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}}
	return &huma.Operation{
		OperationID: "metrics-scrape", Method: http.MethodGet, Path: "/metrics", Tags: []string{"metrics"},
		Summary:     "State and figures for Prometheus",
		Description: "The Prometheus text format, or OpenMetrics when asked for.",
		Responses:   map[string]*huma.Response{"200": {Description: "The metrics", Content: text}, "503": {Description: "Too many scrapes at once"}},
	}
}
