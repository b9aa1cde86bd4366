package heal

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
)

// Detector watches one metric. It begins to fire when the metric was beyond its
// limit for as long as For, and ends when it has come back as far as Clear:
//
//	          ┌──── hot for For ────┐
//	quiet ──► hot                   ├──► firing ──── cool ────► quiet
//	  ▲        │ not hot any more   ┘
//	  └────────┘
//
// Hot and cool are what Samples say: "3 of 5" wants three of the last five
// readings beyond the limit, or back at Clear, so that one spike is nothing and
// one dip does not begin anew. A metric that counts events is hot when there
// were more than Above of them Within the last so long; it needs no more.
type Detector struct {
	Metric  string          `toml:"metric"`
	Of      string          `toml:"of"`      // whose, for metrics that there are several of
	Above   *float64        `toml:"above"`   // hot beyond it; either this
	Below   *float64        `toml:"below"`   // or this
	Clear   *float64        `toml:"clear"`   // cool at or back behind it
	For     config.Duration `toml:"for"`     // 0s to 24h
	Samples Quorum          `toml:"samples"` // default 1 of 1
	Stale   config.Duration `toml:"stale"`   // without a reading for so long nothing is known, 1s to 10m; default 30s
	Within  config.Duration `toml:"within"`  // for events: counted over so long, 1s to 24h
}

// Quorum is N of the last M readings.
type Quorum struct{ N, M int }

// UnmarshalText reads "3 of 5".
func (q *Quorum) UnmarshalText(text []byte) error {
	n, m, ok := strings.Cut(string(text), " of ")
	var err1, err2 error
	q.N, err1 = strconv.Atoi(n)
	q.M, err2 = strconv.Atoi(m)
	if !ok || err1 != nil || err2 != nil || q.N < 1 || q.M < q.N || q.M > 64 {
		return fmt.Errorf(`%q is not a number of readings such as "3 of 5", of at most 64`, text)
	}
	return nil
}

const defaultStale = 30 * time.Second

func (d *Detector) quorum() Quorum {
	if d.Samples.M == 0 {
		return Quorum{1, 1}
	}
	return d.Samples
}

func (d *Detector) stale() time.Duration {
	if d.Stale == 0 {
		return defaultStale
	}
	return d.Stale.Std()
}

// hot and cool judge one reading.
func (d *Detector) hot(v float64) bool {
	if d.Above != nil {
		return v > *d.Above
	}
	return v < *d.Below
}

func (d *Detector) cool(v float64) bool {
	if d.Above != nil {
		return v <= *d.Clear
	}
	return v >= *d.Clear
}

// String says what the detector waits for.
func (d *Detector) String() string {
	var b strings.Builder
	b.WriteString(d.Metric)
	if d.Of != "" {
		fmt.Fprintf(&b, " of %s", d.Of)
	}
	if d.Above != nil {
		fmt.Fprintf(&b, " above %g", *d.Above)
	} else {
		fmt.Fprintf(&b, " below %g", *d.Below)
	}
	if d.Within > 0 {
		fmt.Fprintf(&b, " within %s", d.Within)
	}
	if d.For > 0 {
		fmt.Fprintf(&b, " for %s", d.For)
	}
	return b.String()
}

// Trend is what is remembered of a detector's readings.
type Trend struct {
	Hot    uint64    `json:"hot"`  // one bit for each of the last readings, the newest lowest
	Cool   uint64    `json:"cool"` // the same
	Value  float64   `json:"value"`
	At     time.Time `json:"at"`              // of the newest
	Since  time.Time `json:"since,omitzero"`  // hot since then; zero when it is not
	Firing bool      `json:"firing,omitzero"` // hot for long enough, and not cool since
}

// take adds a reading.
func (t Trend) take(d *Detector, value float64, at time.Time) Trend {
	if !t.At.IsZero() && (at.Sub(t.At) > d.stale() || at.Before(t.At)) { // a gap proves nothing
		t.Hot, t.Cool, t.Since = 0, 0, time.Time{}
	}
	q := d.quorum()
	last := uint64(1)<<q.M - 1
	if q.M == 64 {
		last = ^uint64(0)
	}
	t.Hot = t.Hot << 1 & last
	t.Cool = t.Cool << 1 & last
	if d.hot(value) {
		t.Hot |= 1
	}
	if d.cool(value) {
		t.Cool |= 1
	}
	t.Value, t.At = value, at
	switch {
	case bits.OnesCount64(t.Hot) < q.N:
		t.Since = time.Time{}
	case t.Since.IsZero():
		t.Since = at
	}
	switch {
	case t.Firing:
		t.Firing = bits.OnesCount64(t.Cool) < q.N
	case !t.Since.IsZero():
		t.Firing = at.Sub(t.Since) >= d.For.Std()
	}
	return t
}

// signal is what a detector says at one moment.
type signal int

const (
	unknown signal = iota // no reading, or none for too long
	quiet
	firing
)

func (t Trend) signal(d *Detector, now time.Time) signal {
	switch {
	case t.At.IsZero() || now.Sub(t.At) > d.stale():
		return unknown
	case t.Firing:
		return firing
	default:
		return quiet
	}
}

// metric is what the policy language knows about a metric.
type metric struct {
	of    bool // there is one per unit
	event bool // it counts
}

// metrics are all that a detector can name. docs/healing.md gives their units.
var metrics = map[string]metric{
	"cpu_ratio":                {},
	"memory_ratio":             {},
	"swap_ratio":               {},
	"disk_ratio":               {},
	"disk_free_bytes":          {},
	"temperature_celsius":      {},
	"heat_celsius":             {},
	"pressure_cpu_ratio":       {},
	"pressure_memory_ratio":    {},
	"pressure_io_ratio":        {},
	"gpu_utilisation_ratio":    {},
	"gpu_memory_level":         {},
	"gpu_temperature_celsius":  {},
	"gpu_hang":                 {},
	"gpu_recovery":             {},
	"service_cpu_ratio":        {of: true},
	"service_memory_bytes":     {of: true},
	"probe_up":                 {of: true},
	"probe_degraded":           {of: true},
	"unit_down":                {of: true},
	"service_failures":         {event: true},
	"critical_incidents":       {event: true},
	"kernel_oom_kills":         {event: true},
	"kernel_io_errors":         {event: true},
	"kernel_filesystem_errors": {event: true},
	"kernel_hung_tasks":        {event: true},
	"kernel_gpu_errors":        {event: true},
}

// kernelMetrics name what the kernel tells of.
var kernelMetrics = map[api.KernelEventKind]string{
	api.KernelOOMKill:         "kernel_oom_kills",
	api.KernelIOError:         "kernel_io_errors",
	api.KernelFilesystemError: "kernel_filesystem_errors",
	api.KernelHungTask:        "kernel_hung_tasks",
	api.KernelXid:             "kernel_gpu_errors",
	api.KernelGPUError:        "kernel_gpu_errors",
}
