package systemd

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/systemd/testbus"
)

const (
	metricsUnit = "arasul-metrics.service"
	stickUnit   = "arasul-usb@sda1.service"
)

// alone keeps a test off the service manager of the machine it runs on.
func alone(t *testing.T) options {
	t.Helper()
	return options{private: "unix:path=" + filepath.Join(t.TempDir(), "none"), timeout: 500 * time.Millisecond}
}

// looks are what a running Watcher has seen.
type looks struct {
	t     *testing.T
	seen  chan []api.Unit
	blind atomic.Int32 // attempts that saw nothing
	mu    sync.Mutex
	log   bytes.Buffer
}

func (l *looks) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.log.Write(p)
}

func (l *looks) logged(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.log.String(), text)
}

// watch runs a Watcher until the test ends.
func watch(t *testing.T, patterns ...string) *looks {
	t.Helper()
	return watchEvery(t, 0, 0, patterns...)
}

// watchEvery is watch with passes more often than in life.
func watchEvery(t *testing.T, pass time.Duration, whole int, patterns ...string) *looks {
	t.Helper()
	l := &looks{t: t, seen: make(chan []api.Unit, 100)}
	w := &Watcher{Patterns: patterns, Log: slog.New(slog.NewTextHandler(l, nil)), options: alone(t)}
	w.options.pass, w.options.whole = pass, whole
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- w.Watch(ctx, func(at time.Time, units []api.Unit) {
			if d := time.Since(at); d < 0 || d > time.Second {
				t.Errorf("seen %s ago", d)
			}
			if units == nil { // an attempt that saw nothing
				l.blind.Add(1)
				return
			}
			l.seen <- units
		})
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("watching ended with %v", err)
			}
		case <-time.After(5 * time.Second):
			t.Error("watching did not end with its context")
		}
	})
	return l
}

// next waits for a look: of all units at the start, of those that changed later.
func (l *looks) next(within time.Duration) []api.Unit {
	l.t.Helper()
	select {
	case units := <-l.seen:
		return units
	case <-time.After(within):
		l.mu.Lock()
		defer l.mu.Unlock()
		l.t.Fatalf("nothing seen within %s; log:\n%s", within, &l.log)
		return nil
	}
}

func (l *looks) wantNames(want ...string) {
	l.t.Helper()
	var got []string
	for _, u := range l.next(5 * time.Second) {
		got = append(got, u.Name)
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		l.t.Errorf("units (-want +got):\n%s", diff)
	}
}

func TestFirstLookShowsAllUnitsWhole(t *testing.T) {
	m := newManager(t, testbus.New(t))
	m.set(metricsUnit, nil, 0)
	m.set("ssh.service", nil, 0)
	l := watch(t, metricsUnit, "arasul-missing.service")
	want := []api.Unit{{
		Name: metricsUnit, Description: "A unit", LoadState: "loaded", ActiveState: "active", SubState: "running", Result: "success",
		InvocationID: "cafe", Restarts: 1, MainPID: 42, Job: 7, ExitCode: 2, ExitStatus: 9,
		StateChange: time.UnixMicro(1_700_000_000_000_001).UTC(), Started: time.UnixMicro(1_700_000_000_000_000).UTC(),
	}, {
		Name: "arasul-missing.service", LoadState: "not-found", ActiveState: "inactive", SubState: "dead",
	}}
	if diff := cmp.Diff(want, l.next(5*time.Second)); diff != "" {
		t.Errorf("units (-want +got):\n%s", diff)
	}
}

func TestGlobsAreAnsweredByTheManager(t *testing.T) {
	m := newManager(t, testbus.New(t))
	for _, name := range []string{metricsUnit, stickUnit, "ssh.service"} {
		m.set(name, map[string]any{"Type": "oneshot"}, 0)
	}
	watch(t, "arasul-*.service").wantNames(metricsUnit, stickUnit)
}

// Proves HEAL: a crash is noticed when it happens, not at the next tick. Names
// come escaped in object paths: arasul_2dusb_40sda1_2eservice.
func TestChangeIsSeenAtOnce(t *testing.T) {
	m := newManager(t, testbus.New(t))
	for _, name := range []string{metricsUnit, stickUnit, `a\x2db.service`} {
		m.set(name, nil, 0)
		l := watch(t, name)
		l.next(5 * time.Second)
		m.set(name, map[string]any{"ActiveState": "failed", "Result": "signal", "MainPID": uint32(0)}, 1)
		got := l.next(time.Second)
		if len(got) != 1 || got[0].Name != name || got[0].ActiveState != "failed" || got[0].Result != "signal" {
			t.Errorf("seen %+v, want %s failed by a signal", got, name)
		}
	}
}

// Proves HEAL: the pass every ten seconds finds what no signal told of, also a
// restart that is over, and reads nothing that did not change.
func TestPassReadsWhatMovedWithoutASignal(t *testing.T) {
	for name, change := range map[string]map[string]any{
		"failed":         {"ActiveState": "failed", "SubState": "failed"},
		"restarted":      {"NRestarts": uint32(2), "StateChangeTimestamp": uint64(1_700_000_000_000_002)},
		"masked":         {"LoadState": "masked", "UnitFileState": "masked"},
		"about to start": {"Job": job{8, "/"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newManager(t, testbus.New(t))
			m.set(metricsUnit, nil, 0)
			m.set(stickUnit, nil, 0)
			l := watchEvery(t, 20*time.Millisecond, 1e6, metricsUnit, stickUnit, "arasul-missing.service")
			before := l.next(5 * time.Second)
			for range 3 { // which find nothing
				if diff := cmp.Diff(before, l.next(time.Second)); diff != "" {
					t.Fatalf("a pass later (-want +got):\n%s", diff)
				}
			}
			if n := m.readsOf(metricsUnit); n != 1 {
				t.Errorf("read %d times without need", n)
			}
			m.set(metricsUnit, change, 0)
			for diff, begin := "", time.Now(); diff == ""; diff = cmp.Diff(before, l.next(time.Second)) {
				if time.Since(begin) > 5*time.Second {
					t.Fatal("not seen")
				}
			}
			if n := m.readsOf(metricsUnit); n != 2 {
				t.Errorf("read %d times, want once more", n)
			}
			if n := m.readsOf(stickUnit); n != 1 {
				t.Errorf("the other unit was read %d times", n)
			}
		})
	}
}

// What changes without a change of state shows within a minute.
func TestEverySixthPassReadsEverything(t *testing.T) {
	m := newManager(t, testbus.New(t))
	m.set(metricsUnit, nil, 0)
	l := watchEvery(t, 100*time.Millisecond, 6, "arasul-*.service")
	l.next(5 * time.Second)
	m.set(metricsUnit, map[string]any{"MainPID": uint32(43)}, 0)
	for pass := 1; l.next(time.Second)[0].MainPID != 43; pass++ {
		if pass == 6 {
			t.Fatal("not seen by the sixth pass")
		}
	}
}

func TestUnitsOfOthersAreNotRead(t *testing.T) {
	m := newManager(t, testbus.New(t))
	for _, name := range []string{metricsUnit, "ssh.service"} {
		m.set(name, nil, 0)
	}
	l := watch(t, "arasul-*.service")
	l.wantNames(metricsUnit)
	m.set("ssh.service", nil, 10)
	m.set(metricsUnit, nil, 1)
	l.wantNames(metricsUnit)
	if n := m.readsOf("ssh.service"); n > 0 {
		t.Errorf("ssh.service was read %d times", n)
	}
}

// What changes while a look is under way is looked at once more, however often
// it is signalled.
func TestSignalsThatWaitAreAnsweredByOneRead(t *testing.T) {
	m := newManager(t, testbus.New(t))
	m.set(metricsUnit, nil, 0)
	l := watch(t, metricsUnit)
	l.next(5 * time.Second)
	before := m.readsOf(metricsUnit)

	release := m.hold()
	defer release()
	m.set(metricsUnit, map[string]any{"SubState": "auto-restart"}, 1)
	for m.readsOf(metricsUnit) == before {
		time.Sleep(time.Millisecond)
	}
	m.set(metricsUnit, map[string]any{"SubState": "running", "NRestarts": uint32(2)}, 100)
	time.Sleep(50 * time.Millisecond) // for the bus to pass them on
	release()
	l.next(time.Second)
	got := l.next(time.Second)
	time.Sleep(50 * time.Millisecond) // for reads that should not be
	if got[0].SubState != "running" || got[0].Restarts != 2 {
		t.Errorf("seen %+v, want it running after two restarts", got)
	}
	if n := m.readsOf(metricsUnit) - before; n > 4 {
		t.Errorf("101 signals led to %d reads", n)
	}
}

// Proves HEAL-6: works with D-Bus down, and sees everything when it is back.
func TestBusThatComesBackIsTakenUpAgain(t *testing.T) {
	bus := testbus.New(t)
	m := newManager(t, bus)
	m.set(metricsUnit, nil, 0)
	l := watch(t, metricsUnit)
	l.next(5 * time.Second)
	bus.Kill()
	for l.logged("service manager out of sight") == 0 {
		time.Sleep(time.Millisecond)
	}
	m.set(metricsUnit, map[string]any{"ActiveState": "failed"}, 0) // and nobody says so
	time.Sleep(250 * time.Millisecond)                             // two attempts
	bus.Start()
	m.join(bus)
	if got := l.next(5 * time.Second); len(got) != 1 || got[0].ActiveState != "failed" {
		t.Errorf("seen %+v, want the unit failed", got)
	}
	if l.blind.Load() == 0 {
		t.Error("attempts that saw nothing were not reported")
	}
	m.set(metricsUnit, map[string]any{"ActiveState": "active"}, 1)
	if got := l.next(time.Second); got[0].ActiveState != "active" {
		t.Errorf("seen %+v, want the unit active", got)
	}
	if out, in := l.logged("out of sight"), l.logged("in sight again"); out != 1 || in != 1 {
		t.Errorf("said %d times that it is out of sight and %d times that it is in sight again, want once", out, in)
	}
}

func TestManagerThatNeverAnswersIsGivenUp(t *testing.T) {
	m := newManager(t, testbus.New(t))
	m.set(metricsUnit, nil, 0)
	l := watch(t, metricsUnit)
	l.next(5 * time.Second)
	release := m.hold()
	defer release()
	m.set(metricsUnit, nil, 1)
	for begin := time.Now(); l.logged("out of sight") == 0; time.Sleep(time.Millisecond) {
		if time.Since(begin) > 3*time.Second {
			t.Fatal("still waiting for an answer")
		}
	}
	release()
	l.next(5 * time.Second)
}

func TestFrozenBusIsGivenUp(t *testing.T) {
	bus := testbus.New(t)
	bus.Freeze()
	defer bus.Thaw()
	begin := time.Now()
	if _, err := connect(t.Context(), alone(t)); err == nil {
		t.Error("connected to a frozen bus")
	}
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("gave up after %s", d)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := connect(ctx, alone(t)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the end of the context", err)
	}
}

func newHands(t *testing.T) *Hands {
	t.Helper()
	h := &Hands{options: alone(t)}
	t.Cleanup(h.Close)
	return h
}

func TestRestartClearsTheStartLimitFirst(t *testing.T) {
	m := newManager(t, testbus.New(t))
	m.jobsEnd(metricsUnit, "done")
	if err := newHands(t).Restart(t.Context(), metricsUnit); err != nil {
		t.Fatal(err)
	}
	want := []string{"Subscribe", "ResetFailedUnit " + metricsUnit, "RestartUnit " + metricsUnit + " replace"}
	if diff := cmp.Diff(want, m.called()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestStopStartWaitsForTheStop(t *testing.T) {
	m := newManager(t, testbus.New(t))
	m.jobsEnd(metricsUnit, "done")
	h := newHands(t)
	if err := h.StopStart(t.Context(), metricsUnit); err != nil {
		t.Fatal(err)
	}
	want := []string{"Subscribe", "StopUnit " + metricsUnit + " replace", "ResetFailedUnit " + metricsUnit, "StartUnit " + metricsUnit + " replace"}
	if diff := cmp.Diff(want, m.called()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	m.jobsEnd(metricsUnit, "timeout")
	if err := h.StopStart(t.Context(), metricsUnit); err == nil || !strings.Contains(err.Error(), "to stop arasul-metrics.service") {
		t.Errorf("got %v, want that it was not stopped", err)
	}
	if calls := m.called(); len(calls) != len(want)+1 {
		t.Errorf("after the stop failed came %q", calls[len(want)+1:])
	}
}

func TestJobThatIsNotDoneIsAnErrorThatNamesTheResult(t *testing.T) {
	m := newManager(t, testbus.New(t))
	h := newHands(t)
	for _, result := range []string{"failed", "timeout", "canceled", "dependency", "skipped"} {
		m.jobsEnd(metricsUnit, result)
		err := h.Restart(t.Context(), metricsUnit)
		if want := `systemd's job to restart arasul-metrics.service ended as "` + result + `"`; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	err := h.Restart(t.Context(), "arasul-none.service")
	if want := "asking systemd to restart arasul-none.service: Unit arasul-none.service not found."; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestJobThatNeverEndsIsBoundedByTheContext(t *testing.T) {
	m := newManager(t, testbus.New(t))
	m.jobsEnd(metricsUnit, "")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := newHands(t).Restart(ctx, metricsUnit); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestHandsNoticeThatTheBusDiedAndConnectAnew(t *testing.T) {
	bus := testbus.New(t)
	m := newManager(t, bus)
	m.jobsEnd(metricsUnit, "")
	h := newHands(t)
	failure := make(chan error, 1)
	go func() { failure <- h.Restart(t.Context(), metricsUnit) }()
	for !slices.Contains(m.called(), "RestartUnit "+metricsUnit+" replace") {
		time.Sleep(time.Millisecond)
	}
	bus.Kill()
	select {
	case err := <-failure:
		if err == nil {
			t.Error("the job ended well on a dead bus")
		}
	case <-time.After(3 * time.Second):
		t.Fatal("still waiting for a job on a dead bus")
	}
	if err := h.Restart(t.Context(), metricsUnit); err == nil {
		t.Error("restarted over a dead bus")
	}
	bus.Start()
	m.join(bus)
	m.jobsEnd(metricsUnit, "done")
	if err := h.Restart(t.Context(), metricsUnit); err != nil {
		t.Error(err)
	}
}

// A bus that hangs is not believed in any more: the next attempt dials anew,
// and may find the private socket.
func TestHandsLetGoOfABusThatHangs(t *testing.T) {
	bus := testbus.New(t)
	m := newManager(t, bus)
	m.set(metricsUnit, nil, 0)
	m.jobsEnd(metricsUnit, "done")
	for name, do := range map[string]func(*Hands, context.Context, string) error{
		"restart": (*Hands).Restart, "stop-start": (*Hands).StopStart, "start": (*Hands).Start, "stop": (*Hands).Stop, "run": (*Hands).Run,
		"pause": (*Hands).Pause, "resume": (*Hands).Resume, "forget": (*Hands).ForgetFailures,
		"reboot": func(h *Hands, ctx context.Context, _ string) error { _, err := h.Reboot(ctx, "a test"); return err },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHands(t)
			if err := h.Restart(t.Context(), metricsUnit); err != nil {
				t.Fatal(err)
			}
			c := h.c
			bus.Freeze()
			defer bus.Thaw()
			begin := time.Now()
			if err := do(h, t.Context(), metricsUnit); err == nil {
				t.Error("done over a frozen bus")
			}
			if d := time.Since(begin); d > 3*time.Second {
				t.Errorf("gave up after %s", d)
			}
			if c.Connected() {
				t.Error("the hands still hold on to the frozen bus")
			}
		})
	}
}

func TestUnitNamesAreUnescaped(t *testing.T) {
	tests := map[dbus.ObjectPath]string{
		"/org/freedesktop/systemd1/unit/arasul_2dusb_40sda1_2eservice": stickUnit,
		"/org/freedesktop/systemd1/unit/a_5cx2db_2eservice":            `a\x2db.service`,
		"/org/freedesktop/systemd1/unit/_30_2eservice":                 "0.service",
		"/org/freedesktop/systemd1/unit/a_2":                           "",
		"/org/freedesktop/systemd1/unit/a_zz":                          "",
		"/org/freedesktop/systemd1/job/7":                              "",
		"/org/freedesktop/systemd1":                                    "",
	}
	for path, want := range tests {
		if got, ok := unitName(path); got != want || ok != (want != "") {
			t.Errorf("%s is %q, %v, want %q", path, got, ok, want)
		}
	}
}
