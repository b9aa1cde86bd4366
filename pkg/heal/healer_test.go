package heal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/spool"
)

// fakeEyes hand over what the test shows them.
type fakeEyes struct{ units chan []api.Unit }

func (e fakeEyes) Watch(ctx context.Context, seen func(time.Time, []api.Unit)) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case units := <-e.units:
			seen(time.Now(), units)
		}
	}
}

// fakeHands write down what they were asked to do, and then do as do says.
type fakeHands struct {
	asked []string

	mu sync.Mutex
	do func(ctx context.Context) error
}

// then says what happens from now on when they are asked.
func (h *fakeHands) then(do func(ctx context.Context) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.do = do
}

func (h *fakeHands) all() map[string]Hand {
	hands := map[string]Hand{}
	for _, name := range Actions() {
		hands[name] = func(ctx context.Context, c Command) error {
			h.mu.Lock()
			h.asked = append(h.asked, strings.TrimSpace(c.Action+" "+c.Unit))
			do := h.do
			h.mu.Unlock()
			return do(ctx)
		}
	}
	return hands
}

// fakeMirror keeps what it is given, unless it is away.
type fakeMirror struct {
	away    atomic.Bool
	copies  []api.Incident
	reboots []api.Reboot
}

func (m *fakeMirror) MirrorIncidents(_ context.Context, incidents []api.Incident) error {
	if m.away.Load() {
		return errors.New("no route to database")
	}
	m.copies = append(m.copies, incidents...)
	return nil
}

// stored is what a database makes of the copies.
func (m *fakeMirror) stored() (incidents []api.Incident) {
	for _, inc := range m.copies {
		incidents = merge(incidents, inc)
	}
	return incidents
}

func (m *fakeMirror) MirrorReboots(_ context.Context, reboots []api.Reboot) error {
	if m.away.Load() {
		return errors.New("no route to database")
	}
	m.reboots = append(m.reboots, reboots...)
	return nil
}

// bench is a healer with everything around it. It lives in a synctest bubble,
// where its fields may be read whenever all is quiet.
type bench struct {
	t      *testing.T
	o      Options
	eyes   fakeEyes
	hands  *fakeHands
	mirror *fakeMirror
	log    bytes.Buffer
	alive  func()

	healer   *Healer
	spoolDir string
	events   <-chan []byte // what the hub published
	stop     func()
	runs     int
}

func newBench(t *testing.T) *bench {
	t.Helper()
	policy, err := LoadPolicy("")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{
		t:      t,
		eyes:   fakeEyes{make(chan []api.Unit)},
		hands:  &fakeHands{do: func(context.Context) error { return nil }},
		mirror: &fakeMirror{},
		alive:  func() {},

		spoolDir: filepath.Join(t.TempDir(), "spool"),
	}
	b.o = Options{
		Policy: policy, Mode: config.ModeAct, Path: filepath.Join(t.TempDir(), "state.json"),
		Eyes: b.eyes, Hands: b.hands.all(), Mirror: b.mirror, Log: slog.New(slog.NewTextHandler(&b.log, nil)),
	}
	return b
}

// start brings a healer up, as the daemon does; stop ends it and waits.
func (b *bench) start() {
	events, err := spool.Open(b.spoolDir, spool.Options{})
	if err != nil {
		b.t.Fatal(err)
	}
	b.o.Spool = events
	b.healer = New(b.o)
	published, cancelPublished := b.healer.hub.Subscribe()
	b.events = published
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.healer.Run(ctx, func() { b.alive() }) }()
	b.stop = func() {
		b.t.Helper()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			b.t.Errorf("the healer ended with %v", err)
		}
		cancelPublished()
		if err := events.Close(); err != nil {
			b.t.Error(err)
		}
	}
	synctest.Wait()
}

// show lets the healer see a unit in one of the states below.
func (b *bench) show(name string, f func(*api.Unit)) {
	u := api.Unit{Name: name, LoadState: "loaded", InvocationID: fmt.Sprintf("run-%d", b.runs), StateChange: time.Now(), Started: time.Now()}
	f(&u)
	b.eyes.units <- []api.Unit{u}
	synctest.Wait()
}

func (b *bench) up(name string) {
	b.runs++
	b.show(name, func(u *api.Unit) { u.ActiveState, u.SubState, u.Result = "active", "running", "success" })
}

func (b *bench) crashed(name string) {
	b.show(name, func(u *api.Unit) {
		u.ActiveState, u.SubState, u.Result = "activating", "auto-restart", "signal"
		u.ExitCode, u.ExitStatus, u.Exited = 2, 9, time.Now()
	})
}

func (b *bench) failed(name string) {
	b.show(name, func(u *api.Unit) {
		u.ActiveState, u.SubState, u.Result = "failed", "failed", "exit-code"
		u.ExitCode, u.ExitStatus, u.Exited = 1, 3, time.Now()
	})
}

func (b *bench) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// published are the states of the incidents on the hub since the last call.
func (b *bench) published() (states []api.IncidentState) {
	b.t.Helper()
	for len(b.events) > 0 {
		var inc api.Incident
		if err := json.Unmarshal(<-b.events, &inc); err != nil {
			b.t.Fatal(err)
		}
		states = append(states, inc.State)
	}
	return states
}

func (b *bench) incident() api.Incident {
	b.t.Helper()
	list := b.healer.Incidents(10)
	if len(list) != 1 {
		b.t.Fatalf("%d incidents, want 1", len(list))
	}
	return list[0]
}

func (b *bench) wantAsked(want ...string) {
	b.t.Helper()
	b.hands.mu.Lock()
	defer b.hands.mu.Unlock()
	if diff := cmp.Diff(want, b.hands.asked); diff != "" {
		b.t.Errorf("asked of the hands (-want +got):\n%s", diff)
	}
}

func (b *bench) wantLog(words ...string) {
	b.t.Helper()
	for _, w := range words {
		if !strings.Contains(b.log.String(), w) {
			b.t.Errorf("log does not say %q:\n%s", w, &b.log)
		}
	}
}

// Proves HEAL-1 and HEAL-7: from the fault to the proof that it is over, and
// everybody is told about each step.
func TestFailedUnitIsRepairedAndVerified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.hands.then(func(context.Context) error { time.Sleep(2 * time.Second); return nil })
		b.start()
		defer func() { b.stop() }()
		b.up(metricsUnit)
		b.failed(metricsUnit)
		b.wantAsked("restart " + metricsUnit)
		b.wait(2 * time.Second)
		b.up(metricsUnit)
		b.wait(5 * time.Second)

		want := []api.IncidentState{api.IncidentActing, api.IncidentVerifying, api.IncidentResolved}
		if diff := cmp.Diff(want, b.published()); diff != "" {
			t.Errorf("published states (-want +got):\n%s", diff)
		}
		inc := b.incident()
		if a := inc.Actions[0]; len(inc.Actions) != 1 || a.Kind != ActionRestart || a.Outcome != "helped" || a.FinishedAt.Sub(a.StartedAt) != 2*time.Second {
			t.Errorf("actions %+v, want one restart of 2 s that helped", inc.Actions)
		}
		if diff := cmp.Diff([]api.Incident{inc}, b.mirror.stored()); diff != "" {
			t.Errorf("the mirror's last copy (-healer +mirror):\n%s", diff)
		}
		if s := b.healer.Status(); s.Open != 0 || !s.Mirrored || s.Mode != config.ModeAct {
			t.Errorf("status %+v", s)
		}
		b.wantLog(`msg=repairing incident=`, `rule=down`, `action=restart attempt=1`, `msg="incident resolved"`)
	})
}

func TestCrashIsReportedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		b.up(metricsUnit)
		b.crashed(metricsUnit)
		if got := b.published(); len(got) != 1 || got[0] != api.IncidentActing {
			t.Errorf("published %v without a tick, want acting", got)
		}
		if s := b.healer.Status(); s.Open != 1 {
			t.Errorf("%d open incidents, want 1", s.Open)
		}
	})
}

// Proves HEAL-1: failure counters persist.
func TestNewHealerGoesOnWithTheOpenIncident(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		b.up(metricsUnit)
		b.crashed(metricsUnit)
		b.stop()
		before := b.incident()

		b.start()
		defer func() { b.stop() }()
		if diff := cmp.Diff(before, b.incident()); diff != "" {
			t.Fatalf("the incident changed by restarting the healer:\n%s", diff)
		}
		b.crashed(metricsUnit) // the same end of the same run
		if got := b.incident().Count; got != 1 {
			t.Errorf("one crash counted %d times", got)
		}
		b.up(metricsUnit)
		b.wait(5 * time.Second)
		if got := b.incident().State; got != api.IncidentResolved {
			t.Errorf("incident is %s", got)
		}
	})
}

func TestCommandThatRanWhenTheHealerDiedIsSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.hands.then(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		b.start()
		b.up(metricsUnit)
		b.failed(metricsUnit)
		b.stop()

		b.start()
		defer func() { b.stop() }()
		if a := b.incident().Actions[0]; a.Outcome != "failed" || !strings.Contains(a.Error, "restarted meanwhile") {
			t.Errorf("action %+v, want failed because of the restart", a)
		}
		b.wait(5 * time.Second)
		b.wantAsked("restart "+metricsUnit, "stop-start "+metricsUnit)
	})
}

// What the healer had stopped when it died is not left stopped, as if an operator
// had done it.
func TestUnitThatWasStoppedWhenTheHealerDiedIsStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		b.up(metricsUnit)
		b.hands.then(func(context.Context) error { return errors.New("job failed") })
		b.failed(metricsUnit)
		b.hands.then(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		b.wait(6 * time.Second)
		b.wantAsked("restart "+metricsUnit, "stop-start "+metricsUnit)
		b.stop() // in the middle of it

		b.hands.then(func(context.Context) error { time.Sleep(time.Second); return nil })
		b.start()
		defer func() { b.stop() }()
		b.show(metricsUnit, func(u *api.Unit) { u.ActiveState, u.Result = "inactive", "success" })
		b.wait(500 * time.Millisecond)
		b.up(metricsUnit)
		b.wait(12 * time.Second)
		b.wantAsked("restart "+metricsUnit, "stop-start "+metricsUnit, "start "+metricsUnit)
		if inc := b.incident(); inc.State != api.IncidentResolved || strings.Contains(inc.Detail, "operator") {
			t.Errorf("%s: %s", inc.State, inc.Detail)
		}
	})
}

func TestUnreadableStateIsMovedAsideAndHealingGoesOn(t *testing.T) {
	tests := map[string]string{
		"not JSON":              `{"seq":`,
		"of another shape":      `{"units":[]}`,
		"incident without past": `{"incidents":[{"id":"1","unit":"arasul-metrics.service","state":"open"}]}`,
		"oversized":             strings.Repeat(" ", maxStateBytes) + "{}",
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				if err := os.WriteFile(b.o.Path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				b.start()
				defer func() { b.stop() }()
				b.failed(metricsUnit)
				b.wantAsked("restart " + metricsUnit)
				if aside, err := os.ReadFile(b.o.Path + ".bad"); err != nil || string(aside) != text {
					t.Errorf("aside lies %.40q, %v", aside, err)
				}
				b.wantLog(`level=ERROR msg="state file unreadable, starting without memory"`)
				if s, err := load(b.o.Path); err != nil || len(s.Incidents) != 1 {
					t.Errorf("the new state file: %d incidents, %v", len(s.Incidents), err)
				}
			})
		})
	}
}

// Proves HEAL-6: works with the disk full.
func TestHealingGoesOnWhenNothingCanBeSaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.o.Path = filepath.Join(t.TempDir(), "missing", "state.json")
		b.start()
		defer func() { b.stop() }()
		b.failed(metricsUnit)
		b.wantAsked("restart " + metricsUnit)
		b.up(metricsUnit)
		b.wait(5 * time.Second)
		if got := b.incident().State; got != api.IncidentResolved {
			t.Errorf("incident is %s", got)
		}
		b.wantLog(`level=ERROR msg="state not saved"`)
	})
}

func TestBadStateThatCannotBeMovedDoesNotStopHealing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		if err := errors.Join(os.WriteFile(b.o.Path, []byte("?"), 0o600), os.MkdirAll(b.o.Path+".bad/in-the-way", 0o700)); err != nil {
			t.Fatal(err)
		}
		b.start()
		defer func() { b.stop() }()
		b.failed(metricsUnit)
		b.wantAsked("restart " + metricsUnit)
		b.wantLog(`msg="state file not moved aside"`)
	})
}

// Proves HEAL-6: works with PostgreSQL down; events reach it when it is back,
// in order, each once, none lost.
func TestMirrorCatchesUpWhenTheDatabaseIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.mirror.away.Store(true)
		b.start()
		defer func() { b.stop() }()
		for _, unit := range []string{"arasul-postgres.service", metricsUnit, "arasul-proxy.service"} {
			b.up(unit)
			b.failed(unit)
			b.wantLog("unit=" + unit)
			b.up(unit)
			b.wait(20 * time.Second)
		}
		if b.healer.Status().Mirrored {
			t.Error("the healer says that all has reached the database")
		}
		b.mirror.away.Store(false)
		b.wait(mirrorPause)

		want := b.healer.Incidents(10)
		slices.Reverse(want) // oldest first
		if diff := cmp.Diff(want, b.mirror.stored()); diff != "" {
			t.Errorf("copies (-healer +mirror):\n%s", diff)
		}
		if !b.healer.Status().Mirrored {
			t.Error("the healer does not know that all has reached the database")
		}
		if got := strings.Count(b.log.String(), "events wait for the database"); got != 1 {
			t.Errorf("said %d times that the database is away, want once", got)
		}
	})
}

func TestEachRevisionIsMirroredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		b.up(metricsUnit)
		b.crashed(metricsUnit)
		b.wait(time.Second)
		b.up(metricsUnit)
		b.wait(time.Hour)
		var states []api.IncidentState
		for _, inc := range b.mirror.copies {
			states = append(states, inc.State)
		}
		want := []api.IncidentState{api.IncidentActing, api.IncidentVerifying, api.IncidentResolved}
		if diff := cmp.Diff(want, states); diff != "" {
			t.Errorf("copies (-want +got):\n%s", diff)
		}
	})
}

func TestWhatTheOldHealerCouldNotMirrorTheNewOneDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.mirror.away.Store(true)
		b.start()
		b.crashed(metricsUnit)
		b.stop()
		b.mirror.away.Store(false)
		b.start()
		defer func() { b.stop() }()
		if diff := cmp.Diff([]api.Incident{b.incident()}, b.mirror.stored()); diff != "" {
			t.Errorf("copies (-healer +mirror):\n%s", diff)
		}
	})
}

// Proves HEAL-8: shadow mode decides, does not act.
func TestShadowModeTouchesNothingAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.o.Mode = config.ModeShadow
		b.start()
		defer func() { b.stop() }()
		b.failed(metricsUnit)
		b.wait(time.Minute)
		b.wantAsked()
		if a := b.incident().Actions; len(a) != 2 || a[0].Error != "shadow mode: decided, not done" {
			t.Errorf("actions %+v, want both rungs, decided and not done", a)
		}
	})
}

func TestReloadChangesTheMode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.o.Mode = config.ModeShadow
		b.start()
		defer func() { b.stop() }()
		b.healer.Reload(b.o.Policy, config.ModeShadow)
		b.healer.Reload(b.o.Policy, config.ModeAct)
		synctest.Wait()
		b.failed(metricsUnit)
		b.wantAsked("restart " + metricsUnit)
		if got := b.healer.Status().Mode; got != config.ModeAct {
			t.Errorf("mode %s", got)
		}
	})
}

func TestHandsThatHangAreBoundedByTheRung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.hands.then(func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) })
		b.start()
		defer func() { b.stop() }()
		b.failed(metricsUnit)
		b.wait(89 * time.Second)
		if a := b.incident().Actions[0]; a.Outcome != "running" {
			t.Fatalf("action %+v before its timeout", a)
		}
		b.wait(time.Second)
		a := b.incident().Actions[0]
		if a.Outcome != "failed" || a.FinishedAt.Sub(a.StartedAt) != 90*time.Second {
			t.Errorf("action %+v, want failed after 90 s", a)
		}
		b.wait(5 * time.Second)
		b.wantAsked("restart "+metricsUnit, "stop-start "+metricsUnit)
	})
}

// The watchdog lives on looks: timers tick on when the eyes are stuck.
func TestHealerIsAliveAsLongAsItsEyesReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		beats := 0
		b.alive = func() { beats++ }
		b.start()
		defer func() { b.stop() }()
		b.wait(time.Minute)
		if beats != 0 {
			t.Errorf("%d signs of life from a healer that sees nothing", beats)
		}
		b.eyes.units <- nil // looked, and systemd was out of sight
		synctest.Wait()
		if beats != 1 {
			t.Errorf("%d signs of life after one look", beats)
		}
		if got := b.healer.Status(); got.Timestamp.Sub(got.LastCheck) > 10*time.Second {
			t.Errorf("last check at %s, now it is %s", got.LastCheck, got.Timestamp)
		}
	})
}

// A deadline that passes while a decision is written down is not forgotten
// until the next heartbeat.
func TestDeadlineDuringASlowDecisionIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		b.up(metricsUnit)
		b.crashed(metricsUnit)
		b.up(metricsUnit) // verified 5 s from now
		b.wait(4 * time.Second)
		b.alive = func() { time.Sleep(2 * time.Second) } // a slow disk
		b.up(metricsUnit)
		b.wait(2 * time.Second)
		if got := b.incident().State; got != api.IncidentResolved {
			t.Errorf("incident is %s a second after its proof was due", got)
		}
	})
}

// Proves HEAL-5: a maintenance mode, which outlives the healer.
func TestMaintenancePersists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		if err := b.healer.SetMaintenance(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		b.stop()

		b.start()
		defer func() { b.stop() }()
		b.failed(metricsUnit)
		b.wait(time.Hour)
		b.wantAsked()
		if s := b.healer.Status(); !s.Maintenance || s.Open != 1 {
			t.Errorf("status %+v, want maintenance and one open incident", s)
		}
		if err := b.healer.SetMaintenance(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		b.wantAsked("restart " + metricsUnit)
	})
}

func TestMaintenanceIsNotWaitedForBeyondTheContext(t *testing.T) {
	h := New(newBench(t).o) // nobody runs it
	for range cap(h.observations) {
		h.observations <- Observation{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.SetMaintenance(ctx, true); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestHandlerAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		b.failed("arasul-proxy.service")
		b.wait(time.Second)
		b.crashed(metricsUnit)

		get := func(path string) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			b.healer.Handler().ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", path, nil))
			return w
		}
		var status api.HealerStatus
		if err := json.Unmarshal(get("/status").Body.Bytes(), &status); err != nil || status.Open != 2 {
			t.Errorf("status %+v, %v", status, err)
		}
		var list struct{ Incidents []api.Incident }
		if err := json.Unmarshal(get("/incidents?limit=1").Body.Bytes(), &list); err != nil || len(list.Incidents) != 1 || list.Incidents[0].Unit != metricsUnit {
			t.Errorf("newest incident: %+v, %v", list, err)
		}
		for _, limit := range []string{"0", "401", "-1", "x", "1e2"} {
			if w := get("/incidents?limit=" + limit); w.Code != 400 {
				t.Errorf("limit %s: status %d", limit, w.Code)
			}
		}
		var streamed api.Incident
		if err := json.Unmarshal(get("/stream").Body.Bytes(), &streamed); err != nil || streamed.Unit != metricsUnit {
			t.Errorf("stream begins with %+v, %v", streamed, err)
		}
	})
}
