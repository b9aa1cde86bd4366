package gpu

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// machine is a back end whose GPUs a test sets.
type machine struct {
	board
	gpus    []api.GPU
	err     error // of Sample
	absent  error // of opening
	events  []api.GPUEvent
	opened  atomic.Int32
	closed  atomic.Int32
	reset   func(id string) (bool, error)
	refused bool // part of the processor
}

func (m *machine) open() (*Backend, error) {
	if m.absent != nil {
		return nil, m.absent
	}
	m.opened.Add(1)
	b := &Backend{Sampler: m, Limiter: m, Events: m, Resetter: m}
	if m.refused {
		b.Resetter, b.Events = nil, nil
	}
	return b, nil
}

func (m *machine) Sample() ([]api.GPU, error) { return m.gpus, m.err }
func (m *machine) Close() error               { m.closed.Add(1); return nil }

func (m *machine) Wait(d time.Duration) (*api.GPUEvent, error) {
	if len(m.events) > 0 {
		e := m.events[0]
		m.events, e.Time = m.events[1:], time.Now()
		return &e, nil
	}
	time.Sleep(d)
	return nil, nil
}

func (m *machine) Reset(_ context.Context, id string) (bool, error) {
	if m.closed.Load() != m.opened.Load() {
		return false, errors.New("in use by another client")
	}
	return m.reset(id)
}

func absent() *machine { return &machine{absent: errors.New("not here")} }

// watch runs a Watcher over two back ends within a synctest bubble.
func watch(t *testing.T, jetson, nvml *machine, f func(t *testing.T, w *Watcher)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "caps.json")
	synctest.Test(t, func(t *testing.T) {
		w := New(Options{Jetson: jetson.open, NVML: nvml.open, Path: path, Boot: "boot-1", Log: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		alive := time.Now()
		done := make(chan error, 1)
		go func() {
			done <- w.Run(ctx, func() {
				if since := time.Since(alive); since > 2*interval {
					t.Errorf("no sign of life for %s", since)
				}
				alive = time.Now()
			})
		}()
		f(t, w)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if jetson.opened.Load() != jetson.closed.Load() || nvml.opened.Load() != nvml.closed.Load() {
			t.Error("a back end was left open")
		}
	})
}

// change changes a back end while the Watcher leaves it alone.
func change(w *Watcher, f func()) {
	w.lock()
	defer w.unlock()
	f()
}

// after lets time pass and everything that is due happen.
func after(d time.Duration) {
	time.Sleep(d + time.Millisecond)
	synctest.Wait()
}

func jetson() *machine {
	return &machine{board: *orinClocks(), refused: true, gpus: []api.GPU{orin(10)}}
}

func nvml() *machine { return &machine{board: *cardPower(), gpus: []api.GPU{card("a")}} }

// Proves GPU-1.
func TestMachineWithoutGPUIsNoError(t *testing.T) {
	watch(t, absent(), absent(), func(t *testing.T, w *Watcher) {
		after(time.Minute)
		s := w.Status()
		if s.Backend != api.GPUNone || s.Reason != "not here; not here" || s.GPUs == nil || s.Problems == nil || len(s.Problems) > 0 {
			t.Errorf("%+v", s)
		}
		if len(w.Events(9)) > 0 {
			t.Errorf("%+v", w.Events(9))
		}
		if w.CapClocks(t.Context(), api.CapLight) == nil || w.Reset(t.Context(), "") == nil || w.UncapClocks(t.Context()) != nil {
			t.Error("a GPU that is not there obeys")
		}
	})
}

// Proves GPU-1.
func TestJetsonGoesBeforeNVML(t *testing.T) {
	other := nvml()
	watch(t, jetson(), other, func(t *testing.T, w *Watcher) {
		after(0)
		if s := w.Status(); s.Backend != api.GPUJetson || other.opened.Load() > 0 {
			t.Errorf("%+v, NVML opened %d times", s, other.opened.Load())
		}
	})
}

// NVML of an Orin starts and has nothing but a name; the load file comes late.
func TestStubOfNVMLIsNotTrusted(t *testing.T) {
	j, n := absent(), nvml()
	n.gpus[0].Name = "Orin (nvgpu)"
	watch(t, j, n, func(t *testing.T, w *Watcher) {
		after(0)
		if s := w.Status(); s.Backend != api.GPUNone || !strings.Contains(s.Reason, "nvgpu") || n.closed.Load() != 1 {
			t.Errorf("%+v, closed %d times", s, n.closed.Load())
		}
		change(w, func() { j.absent, j.board, j.refused, j.gpus = nil, *orinClocks(), true, []api.GPU{orin(10)} })
		after(2 * reprobe)
		if s := w.Status(); s.Backend != api.GPUJetson || s.Reason != "" {
			t.Errorf("%+v", s)
		}
	})
}

func TestDriverThatGoesAndComesBackIsFoundAgain(t *testing.T) {
	n := nvml()
	watch(t, absent(), n, func(t *testing.T, w *Watcher) {
		after(0)
		change(w, func() { n.err = errors.New("driver not loaded") })
		after(interval)
		if s := w.Status(); s.Backend != api.GPUNVML || n.closed.Load() > 0 {
			t.Errorf("given up after one failure: %+v", s)
		}
		after(2 * interval)
		if s := w.Status(); s.Backend != api.GPUNone || s.Reason != "driver not loaded" {
			t.Errorf("%+v", s)
		}
		change(w, func() { n.err = nil })
		after(2 * reprobe)
		if s := w.Status(); s.Backend != api.GPUNVML || len(s.GPUs) != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// Proves GPU-1, GPU-2.
func TestXidIsToldAtOnceAndCounted(t *testing.T) {
	n := nvml()
	watch(t, absent(), n, func(t *testing.T, w *Watcher) {
		after(time.Second)
		xid := api.GPUEvent{GPU: "a", Kind: api.GPUEventXid, Code: 119, Message: "Xid 119"}
		change(w, func() { n.events = []api.GPUEvent{xid, xid, xid} })
		after(slice)
		s := w.Status()
		if len(s.Problems) != 1 || s.Problems[0].Recovery != api.RecoverReset || time.Since(s.Time) > 2*slice {
			t.Errorf("%+v", s)
		}
		after(slice)
		var xids []api.GPUEvent
		for _, e := range w.Events(maxEvents) {
			if e.Kind == api.GPUEventXid {
				xids = append(xids, e)
			}
		}
		if len(xids) != 1 || xids[0].Count != 3 || xids[0].Recovery != api.RecoverReset {
			t.Errorf("%+v", xids)
		}
	})
}

func TestProblemIsRecordedWhenItBeginsAndEnds(t *testing.T) {
	j := jetson()
	watch(t, j, absent(), func(t *testing.T, w *Watcher) {
		after(0)
		change(w, func() { j.gpus = []api.GPU{orin(39)} })
		after(time.Minute)
		change(w, func() { j.gpus = []api.GPU{orin(10)} })
		after(time.Minute)
		var kinds []string
		for _, e := range w.Events(maxEvents) {
			kinds = append(kinds, string(e.Kind)+" "+e.Message)
		}
		got := strings.Join(kinds, "\n")
		want := "cleared memory critical is over\nproblem memory critical: 61 % of the memory is held for the GPU\nbackend found through jetson"
		if got != want {
			t.Errorf("%s\nwant\n%s", got, want)
		}
	})
}

// Proves GPU-3.
func TestCapIsShownAndTakenBack(t *testing.T) {
	j := jetson()
	watch(t, j, absent(), func(t *testing.T, w *Watcher) {
		after(0)
		if err := w.CapClocks(t.Context(), api.CapDeep); err != nil {
			t.Fatal(err)
		}
		after(0)
		if s := w.Status(); len(s.Caps) != 1 || s.Caps[0].Value != 612000000 || j.limit.Now != 612000000 {
			t.Errorf("%+v, limit %d", s.Caps, j.limit.Now)
		}
		if err := w.UncapClocks(t.Context()); err != nil {
			t.Fatal(err)
		}
		after(0)
		if s := w.Status(); len(s.Caps) != 0 || j.limit.Now != 1300500000 {
			t.Errorf("%+v, limit %d", s.Caps, j.limit.Now)
		}
		if w.CapClocks(t.Context(), "a bit") == nil {
			t.Error("an unknown level was taken")
		}
	})
}

// Proves GPU-3.
func TestJetsonIsNotReset(t *testing.T) {
	watch(t, jetson(), absent(), func(t *testing.T, w *Watcher) {
		after(0)
		if err := w.Reset(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "restart the units") {
			t.Errorf("got %v", err)
		}
	})
}

// Proves GPU-3. A reset takes longer than the watchdog waits.
func TestResetLetsGoOfTheDriverAndComesBack(t *testing.T) {
	n := nvml()
	n.gpus[0].Recovery = api.RecoverReset
	n.reset = func(id string) (bool, error) {
		time.Sleep(time.Minute)
		n.gpus = []api.GPU{card(id)}
		return false, nil
	}
	watch(t, absent(), n, func(t *testing.T, w *Watcher) {
		after(0)
		if p := w.Status().Problems; len(p) != 1 || p[0].Recovery != api.RecoverReset {
			t.Errorf("%+v", p)
		}
		go func() {
			after(30 * time.Second)
			if s := w.Status(); s.Reason != "a is being reset" || s.Backend != api.GPUNone {
				t.Errorf("meanwhile: %+v", s)
			}
		}()
		if err := w.Reset(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		after(0)
		if s := w.Status(); s.Backend != api.GPUNVML || len(s.Problems) > 0 || n.opened.Load() != 2 {
			t.Errorf("%+v, opened %d times", s, n.opened.Load())
		}
	})
}

func TestGPUInUseIsNotReset(t *testing.T) {
	n := nvml()
	n.gpus[0].Processes = []api.GPUProcess{{PID: 4711}}
	watch(t, absent(), n, func(t *testing.T, w *Watcher) {
		after(0)
		if err := w.Reset(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "4711") || n.closed.Load() > 0 {
			t.Errorf("%v, closed %d times", err, n.closed.Load())
		}
		if err := w.Reset(t.Context(), "b"); err == nil || n.closed.Load() > 0 {
			t.Errorf("%v, closed %d times", err, n.closed.Load())
		}
	})
}

func TestResetThatDoesNotHelpIsAnError(t *testing.T) {
	n := nvml()
	n.gpus[0].Recovery = api.RecoverReset
	n.reset = func(string) (bool, error) { return false, nil }
	watch(t, absent(), n, func(t *testing.T, w *Watcher) {
		after(0)
		if err := w.Reset(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), "another recovery") {
			t.Errorf("got %v", err)
		}
		if e := w.Events(1)[0]; e.Kind != api.GPUEventReset || !strings.Contains(e.Message, "did not help") {
			t.Errorf("%+v", e)
		}
	})
}

// With a dead GPU even opening the driver may hang, so it is left alone then.
func TestResetThatHangsAsksForAReboot(t *testing.T) {
	n := nvml()
	n.reset = func(string) (bool, error) { return true, errors.New("hangs") }
	watch(t, absent(), n, func(t *testing.T, w *Watcher) {
		after(0)
		if w.Reset(t.Context(), "a") == nil {
			t.Error("no error")
		}
		after(10 * time.Minute)
		s := w.Status()
		if len(s.Problems) != 1 || s.Problems[0].Recovery != api.RecoverReboot || n.opened.Load() != 1 {
			t.Errorf("%+v, opened %d times", s, n.opened.Load())
		}
		if w.Reset(t.Context(), "a") == nil {
			t.Error("a second reset was tried")
		}
	})
}

func TestSocketAnswers(t *testing.T) {
	w := New(Options{Jetson: jetson().open, NVML: absent().open, Path: filepath.Join(t.TempDir(), "caps.json"), Log: slog.New(slog.DiscardHandler)})
	ask := func(method, path, body string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		w.Handler().ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body)))
		return rec
	}
	if rec := ask("GET", "/live", ""); rec.Code != http.StatusServiceUnavailable {
		t.Errorf("before the first sample: %d", rec.Code)
	}
	w.tick(time.Now())
	defer w.close()
	var s api.GPUStatus
	if err := json.Unmarshal(ask("GET", "/live", "").Body.Bytes(), &s); err != nil || s.Backend != api.GPUJetson || len(s.GPUs) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	for path, want := range map[string]int{"/events": 200, "/events?limit=1": 200, "/events?limit=0": 400, "/events?limit=x": 400, "/events?limit=257": 400} {
		if rec := ask("GET", path, ""); rec.Code != want {
			t.Errorf("%s: %d", path, rec.Code)
		}
	}
	for body, want := range map[string]int{`{"total":7}`: 204, `{}`: 400, `{"total":-1}`: 400, "": 400, strings.Repeat(" ", 2<<10) + `{"total":8}`: 400} {
		if rec := ask("PUT", "/tokens", body); rec.Code != want {
			t.Errorf("%.20q: %d", body, rec.Code)
		}
	}
	if w.tokens.total != 7 || w.tokens.at.IsZero() {
		t.Errorf("%+v", w.tokens)
	}
}
