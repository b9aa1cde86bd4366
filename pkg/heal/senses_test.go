package heal

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// Proves HEAL-9: a unit is probed every five seconds while it runs, and again
// after a second when the probe missed; each look ends at its deadline.
func TestProbesLookWhileTheUnitRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var hangs atomic.Bool
		var looks []time.Time
		b.o.Probes = map[string]Probe{metricsUnit: func(ctx context.Context) api.ProbeResult {
			looks = append(looks, time.Now())
			if !hangs.Load() {
				return api.ProbeResult{Status: api.Up}
			}
			<-ctx.Done()
			return api.ProbeResult{Status: api.Down, Detail: "no answer"}
		}}
		b.start()
		defer func() { b.stop() }()
		b.wait(time.Minute)
		if len(looks) > 0 {
			t.Fatal("looked at a unit that does not run")
		}
		b.up(metricsUnit)
		b.wait(time.Minute)
		if n := len(looks); n != 12 {
			t.Errorf("%d looks in a minute", n)
		}
		if p := b.healer.Probes(); len(p) != 1 || p[0].Unit != metricsUnit || p[0].Status != api.Up {
			t.Errorf("probes %+v", p)
		}
		hangs.Store(true)
		began := time.Now()
		b.wait(10 * time.Second) // up to 5 s until the next look, then three of 1 s, 1 s apart
		b.wantAsked("restart " + metricsUnit)
		if inc := b.incident(); inc.Fault != api.Unresponsive || inc.DetectedAt.Sub(inc.FaultAt) > 5*time.Second || inc.DetectedAt.Sub(began) > 10*time.Second {
			t.Errorf("%s, noticed %s after its first miss", inc.Fault, inc.DetectedAt.Sub(inc.FaultAt))
		}
	})
}

func TestSenseThatEndsIsMissedAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.o.Senses = map[string]Sense{
			"nose": func(context.Context, func(Observation)) error { return errors.New("stuffed up") },
			"ear": func(ctx context.Context, report func(Observation)) error {
				report(Observation{At: time.Now(), Kernel: []api.KernelEvent{{Kind: api.KernelFilesystemError}}})
				<-ctx.Done()
				return ctx.Err()
			},
		}
		b.start()
		defer func() { b.stop() }()
		b.wantLog(`msg="going without a sense" reason=nose err="stuffed up"`)
		b.wantLog("rule=filesystem-errors")
		b.failed(metricsUnit)
		b.wantAsked("restart " + metricsUnit)
	})
}

// lostGPU is a sense that says so from the beginning.
func lostGPU(ctx context.Context, report func(Observation)) error {
	for {
		now := time.Now()
		report(Observation{At: now, Readings: []api.Reading{{Metric: "gpu_recovery", Value: 4, Time: now}}})
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Second):
		}
	}
}

// Proves HEAL-4: the intent is on disk before the machine is asked to reboot,
// and what cannot be written down is not done.
func TestRebootIsWrittenDownBefore(t *testing.T) {
	for _, full := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t)
			b.o.Policy.AllowReboot = true
			b.o.Boot, b.o.Booted = "boot-1", time.Now().Add(-time.Hour)
			b.o.Senses = map[string]Sense{"gpu": lostGPU}
			if full {
				b.o.Path = filepath.Join(t.TempDir(), "missing", "state.json")
			}
			b.hands.do = func(context.Context) error {
				if data, err := os.ReadFile(b.o.Path); err != nil || !strings.Contains(string(data), `"boot_id":"boot-1"`) {
					t.Errorf("the state says %q (%v) while the machine is asked to reboot", data, err)
				}
				return nil
			}
			b.start()
			defer func() { b.stop() }()
			b.wait(3 * time.Minute)
			if full {
				b.wantAsked()
				b.wantLog("nobody would know of the reboot afterwards")
			} else {
				b.wantAsked("reboot")
			}
		})
	}
}

func TestReadingsNormaliseHeat(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		celsius, trip float64
		want          float64
	}{
		{83, 99, 83}, {83, 0, 83}, {83, 89, 93}, {83, 45, 83}, {83, 200, 83},
	} {
		s := &api.Sample{TemperatureCelsius: &tt.celsius, TripCelsius: &tt.trip}
		for _, r := range Readings(now, s, nil) {
			if r.Metric == "heat_celsius" && r.Value != tt.want {
				t.Errorf("%g °C with a trip point at %g °C are heat %g, want %g", tt.celsius, tt.trip, r.Value, tt.want)
			}
		}
	}
}

func TestReadingsNameOnlyKnownMetrics(t *testing.T) {
	one, n := 1.0, uint64(8)
	s := &api.Sample{
		MemoryTotalBytes: 2, SwapTotalBytes: 2, DiskTotalBytes: 2, TemperatureCelsius: &one,
		PressureCPURatio: &one, PressureMemoryRatio: &one, PressureIORatio: &one,
		Services: []api.ServiceSample{{Unit: metricsUnit, MemoryBytes: &n}},
	}
	g := &api.GPUStatus{
		GPUs:     []api.GPU{{UtilisationRatio: &one, TemperatureCelsius: &one, Recovery: api.RecoverReset}},
		Problems: []api.GPUProblem{{Kind: api.GPUHang}, {Kind: api.GPUMemory, Level: api.GPUCritical}},
	}
	got := map[string]float64{}
	for _, r := range Readings(time.Now(), s, g) {
		if m, ok := metrics[r.Metric]; !ok || m.event || m.of != (r.Of != "") {
			t.Errorf("no detector can name %+v", r)
		}
		got[r.Metric] = r.Value
	}
	for name, m := range metrics {
		derived := name == "probe_up" || name == "probe_degraded" || name == "unit_down" || m.event
		if _, ok := got[name]; !ok && !derived {
			t.Errorf("nobody measures %s", name)
		}
	}
	if got["gpu_hang"] != 1 || got["gpu_memory_level"] != 2 || got["gpu_recovery"] != 2 {
		t.Errorf("%v", got)
	}
}
