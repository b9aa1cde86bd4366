package systemd

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/arasul/arasul/pkg/systemd/testbus"
)

const (
	cleanupUnit = "arasul-cleanup.service"
	n8nUnit     = "arasul-n8n.service"
)

// withUnits is a manager with these units, which run and whose jobs end well.
func withUnits(t *testing.T, names ...string) *fakeManager {
	t.Helper()
	m := newManager(t, testbus.New(t))
	for _, name := range names {
		m.set(name, nil, 0)
		m.jobsEnd(name, "done")
	}
	return m
}

// asked are the calls but for Subscribe, and for ResetFailedUnit when it is
// not what the test is about.
func (m *fakeManager) asked() []string {
	return slices.DeleteFunc(m.called(), func(call string) bool {
		return call == "Subscribe" || strings.HasPrefix(call, "ResetFailedUnit")
	})
}

func wantCalls(t *testing.T, m *fakeManager, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, m.asked(), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("got %v", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestStartSeesTheUnitActive(t *testing.T) {
	m := withUnits(t, n8nUnit, cleanupUnit)
	m.set(n8nUnit, map[string]any{"ActiveState": "failed"}, 0)
	m.set(cleanupUnit, map[string]any{"ActiveState": "failed", "Type": "oneshot"}, 0)
	h := newHands(t)
	wantError(t, h.Start(t.Context(), n8nUnit), "")
	wantError(t, h.Start(t.Context(), cleanupUnit), "")
	m.leaves(n8nUnit, map[string]any{"ActiveState": "failed"})
	wantError(t, h.Start(t.Context(), n8nUnit), "systemd started arasul-n8n.service, and it is failed")
	m.jobsEnd(n8nUnit, "dependency")
	wantError(t, h.Start(t.Context(), n8nUnit), `ended as "dependency"`)
	if want := "ResetFailedUnit " + n8nUnit; m.called()[1] != want {
		t.Errorf("calls %q, want %s first", m.called(), want)
	}
}

func TestStopSeesTheUnitGone(t *testing.T) {
	m := withUnits(t, n8nUnit)
	h := newHands(t)
	wantError(t, h.Stop(t.Context(), n8nUnit), "")
	m.leaves(n8nUnit, map[string]any{"ActiveState": "activating"})
	wantError(t, h.Stop(t.Context(), n8nUnit), "it is activating again: something else has started it")
	m.jobsEnd(n8nUnit, "timeout")
	wantError(t, h.Stop(t.Context(), n8nUnit), `ended as "timeout"`)
}

func TestRunWaitsForTheEndOfAOneshotAndSaysHowItEnded(t *testing.T) {
	oneshot := map[string]any{"Type": "oneshot", "ActiveState": "inactive"}
	for name, test := range map[string]struct {
		before, after map[string]any
		job, want     string
	}{
		"well":            {before: oneshot, job: "done"},
		"runs already":    {before: map[string]any{"Type": "oneshot", "ActiveState": "activating"}, job: "done"},
		"failed":          {before: oneshot, after: map[string]any{"Result": "exit-code", "ExecMainStatus": int32(3)}, job: "failed", want: "arasul-cleanup.service failed (exit-code, status 3); its log: journalctl -u arasul-cleanup.service"},
		"job done anyway": {before: oneshot, after: map[string]any{"Result": "timeout"}, job: "done", want: "failed (timeout"},
		"not its fault":   {before: oneshot, job: "dependency", want: `job to run arasul-cleanup.service ended as "dependency"`},
		"condition":       {before: oneshot, after: map[string]any{"ConditionTimestamp": uint64(1), "ConditionResult": false}, job: "done", want: "one of its conditions is not met"},
		"condition met":   {before: oneshot, after: map[string]any{"ConditionTimestamp": uint64(1), "ConditionResult": true}, job: "done"},
		"forgotten":       {before: oneshot, after: map[string]any{"ConditionTimestamp": uint64(0), "ConditionResult": false}, job: "done"},
		"a daemon":        {job: "done", want: `it is of type "notify", and would not end`},
		"not there":       {before: map[string]any{"LoadState": "not-found"}, job: "done", want: "the unit is not-found"},
		"masked":          {before: map[string]any{"LoadState": "masked"}, job: "done", want: "the unit is masked"},
	} {
		t.Run(name, func(t *testing.T) {
			m := withUnits(t, cleanupUnit)
			m.set(cleanupUnit, map[string]any{"ExecMainStatus": int32(0)}, 0)
			m.set(cleanupUnit, test.before, 0)
			m.leaves(cleanupUnit, test.after)
			m.jobsEnd(cleanupUnit, test.job)
			wantError(t, newHands(t).Run(t.Context(), cleanupUnit), test.want)
		})
	}
}

func TestRunThatTakesTooLongIsBoundedByTheContext(t *testing.T) {
	m := withUnits(t, cleanupUnit)
	m.set(cleanupUnit, map[string]any{"Type": "oneshot"}, 0)
	m.jobsEnd(cleanupUnit, "")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := newHands(t).Run(ctx, cleanupUnit); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// The fourth bug of the field: a pause that was a restart destroyed the
// workflows under way.
func TestPauseFreezesAndResumeThaws(t *testing.T) {
	m := withUnits(t, n8nUnit)
	m.set(n8nUnit, map[string]any{"WatchdogUSec": uint64(math.MaxUint64)}, 0)
	h := newHands(t)
	for range 2 {
		wantError(t, h.Pause(t.Context(), n8nUnit), "")
	}
	wantCalls(t, m, "FreezeUnit "+n8nUnit)
	for range 2 {
		wantError(t, h.Resume(t.Context(), n8nUnit), "")
	}
	cont := "KillUnit " + n8nUnit + " all continued"
	wantCalls(t, m, "FreezeUnit "+n8nUnit, "ThawUnit "+n8nUnit, cont, cont)
}

func TestPauseWithoutAFreezerStopsEveryProcess(t *testing.T) {
	m := withUnits(t, n8nUnit)
	unsupported := dbus.NewError("org.freedesktop.DBus.Error.NotSupported", []any{"Unit 'arasul-n8n.service' does not support freezing."})
	m.refuses("FreezeUnit", unsupported)
	m.refuses("ThawUnit", unsupported)
	m.set(n8nUnit, map[string]any{"FreezerState": "running"}, 0)
	h := newHands(t)
	wantError(t, h.Pause(t.Context(), n8nUnit), "")
	wantError(t, h.Resume(t.Context(), n8nUnit), "")
	wantCalls(t, m, "FreezeUnit "+n8nUnit, "KillUnit "+n8nUnit+" all stopped (signal)", "KillUnit "+n8nUnit+" all continued")
}

func TestPauseIsRefusedToThoseItWouldHarm(t *testing.T) {
	m := withUnits(t, n8nUnit)
	h := newHands(t)
	m.set(n8nUnit, map[string]any{"WatchdogUSec": uint64(30_000_000)}, 0)
	wantError(t, h.Pause(t.Context(), n8nUnit), "it has a watchdog (WatchdogSec=), which would kill it")
	for _, state := range []string{"inactive", "failed", "activating", "deactivating"} {
		m.set(n8nUnit, map[string]any{"WatchdogUSec": uint64(0), "ActiveState": state}, 0)
		wantError(t, h.Pause(t.Context(), n8nUnit), "it is "+state)
	}
	wantCalls(t, m)
}

func TestPauseThatDidNotTakeIsUndone(t *testing.T) {
	m := withUnits(t, n8nUnit)
	h := newHands(t)
	m.set(n8nUnit, map[string]any{"FreezerState": "freezing"}, 0)
	m.refuses("FreezeUnit", dbus.NewError("org.freedesktop.systemd1.UnitBusy", []any{"has a pending job"}))
	wantError(t, h.Pause(t.Context(), n8nUnit), "pausing arasul-n8n.service: has a pending job")
	wantCalls(t, m, "FreezeUnit "+n8nUnit, "ThawUnit "+n8nUnit, "KillUnit "+n8nUnit+" all continued")
}

func TestResumeOfWhatIsGoneIsNoError(t *testing.T) {
	m := withUnits(t, n8nUnit)
	m.set(n8nUnit, map[string]any{"ActiveState": "inactive"}, 0)
	h := newHands(t)
	wantError(t, h.Resume(t.Context(), n8nUnit), "")
	wantCalls(t, m)
	m.set(n8nUnit, map[string]any{"ActiveState": "active"}, 0)
	m.refuses("KillUnit", dbus.NewError("org.freedesktop.systemd1.NoSuchProcess", []any{"No matching processes to kill"}))
	wantError(t, h.Resume(t.Context(), n8nUnit), "")
	m.refuses("KillUnit", dbus.NewError("org.freedesktop.DBus.Error.AccessDenied", []any{"no"}))
	wantError(t, h.Resume(t.Context(), n8nUnit), "resuming arasul-n8n.service: no")
}

func TestForgottenFailuresAreNoLongerCounted(t *testing.T) {
	m := withUnits(t, n8nUnit)
	m.set(n8nUnit, map[string]any{"NRestarts": uint32(7)}, 0)
	h := newHands(t)
	wantError(t, h.ForgetFailures(t.Context(), n8nUnit), "")
	wantError(t, h.ForgetFailures(t.Context(), "arasul-none.service"), "")
	m.set(n8nUnit, map[string]any{"NRestarts": uint32(7)}, 0)
	m.refuses("ResetFailedUnit", dbus.NewError("org.freedesktop.DBus.Error.AccessDenied", []any{"no"}))
	wantError(t, h.ForgetFailures(t.Context(), n8nUnit), "forgetting the 7 restarts of arasul-n8n.service: no")
}

func TestHardRestartStopsAllInReverseAndStartsAllInOrder(t *testing.T) {
	m := withUnits(t, "a.service", "b.service", "c.service", "stopped.service")
	m.set("stopped.service", map[string]any{"ActiveState": "inactive"}, 0)
	m.set("c.service", map[string]any{"ActiveState": "failed"}, 0)
	units := []string{"a.service", "stopped.service", "b.service", "c.service", "missing.service"}
	wantError(t, newHands(t).HardRestart(t.Context(), units), "")
	wantCalls(t, m, "StopUnit c.service replace", "StopUnit b.service replace", "StopUnit a.service replace",
		"StartUnit a.service replace", "StartUnit b.service replace", "StartUnit c.service replace")
}

func TestHardRestartOfNothingIsAnError(t *testing.T) {
	m := withUnits(t, "a.service")
	m.set("a.service", map[string]any{"ActiveState": "inactive"}, 0)
	h := newHands(t)
	wantError(t, h.HardRestart(t.Context(), []string{"a.service", "missing.service"}), "none of the units was running")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantError(t, h.HardRestart(ctx, []string{"a.service"}), "context canceled")
	wantCalls(t, m)
}

func TestHardRestartStartsWhatItCanWhateverGoesWrong(t *testing.T) {
	m := withUnits(t, "a.service", "b.service", "c.service")
	m.jobsEnd("b.service", "failed")
	err := newHands(t).HardRestart(t.Context(), []string{"a.service", "b.service", "c.service"})
	wantError(t, err, `hard restart: systemd's job to stop b.service ended as "failed"; systemd's job to restart b.service ended as "failed"`)
	wantCalls(t, m, "StopUnit c.service replace", "StopUnit b.service replace", "StopUnit a.service replace",
		"StartUnit a.service replace", "RestartUnit b.service replace", "StartUnit c.service replace")
}

// A stop that hangs takes half of the time, a start that hangs the rest of it;
// all others are asked for even then.
func TestHardRestartLeavesNobodyStoppedWhenItsTimeIsUp(t *testing.T) {
	m := withUnits(t, "a.service", "b.service", "c.service")
	m.jobsEnd("b.service", "")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	err := newHands(t).HardRestart(ctx, []string{"a.service", "b.service", "c.service"})
	wantError(t, err, "waiting for systemd to stop b.service: context deadline exceeded; no time to stop a.service; waiting for systemd to restart b.service")
	wantCalls(t, m, "StopUnit c.service replace", "StopUnit b.service replace",
		"RestartUnit a.service replace", "RestartUnit b.service replace", "StartUnit c.service replace")
}

func TestHardRestartEndsWhenTheBusDies(t *testing.T) {
	bus := testbus.New(t)
	m := newManager(t, bus)
	for _, name := range []string{"a.service", "b.service"} {
		m.set(name, nil, 0)
		m.jobsEnd(name, "")
	}
	failure := make(chan error, 1)
	go func() { failure <- newHands(t).HardRestart(t.Context(), []string{"a.service", "b.service"}) }()
	for !slices.Contains(m.called(), "StopUnit b.service replace") {
		time.Sleep(time.Millisecond)
	}
	bus.Kill()
	select {
	case err := <-failure:
		wantError(t, err, "to stop b.service: ")
	case <-time.After(5 * time.Second):
		t.Error("still waiting for jobs on a dead bus")
	}
}

func TestRebootAsksLogindAndObeysItsLocks(t *testing.T) {
	m := withUnits(t)
	m.login()
	delay, sleep := inhibitor{"shutdown", "healer", "saves its state", "delay", 0, 1}, inhibitor{"sleep:idle", "player", "plays", "block", 1000, 2}
	m.locked(delay, sleep)
	h := newHands(t)
	how, err := h.Reboot(t.Context(), "the GPU is lost")
	wantError(t, err, "")
	if how != ByLogin1 {
		t.Errorf("by %q", how)
	}
	reboot := []string{"ListInhibitors", "SetWallMessage the GPU is lost", "RebootWithFlags 1"}
	wantCalls(t, m, reboot...)

	m.locked(delay, inhibitor{"sleep:shutdown", "updater", "installs release 7", "block", 0, 42})
	how, err = h.Reboot(t.Context(), "the GPU is lost")
	wantError(t, err, "rebooting: blocked by updater (pid 42): installs release 7")
	m.locked()
	m.refuses("RebootWithFlags", dbus.NewError("org.freedesktop.DBus.Error.AccessDenied", []any{"not you"}))
	_, err2 := h.Reboot(t.Context(), "the GPU is lost")
	wantError(t, err2, "not you")
	if how != "" {
		t.Errorf("by %q", how)
	}
	wantCalls(t, m, slices.Concat(reboot, []string{"ListInhibitors"}, reboot)...) // and never reboot.target
}

func TestRebootWithoutLogindAsksSystemd(t *testing.T) {
	m := withUnits(t, BySystemd)
	how, err := newHands(t).Reboot(t.Context(), "the GPU is lost")
	wantError(t, err, "")
	if how != BySystemd {
		t.Errorf("by %q", how)
	}
	wantCalls(t, m, "StartUnit reboot.target replace-irreversibly")

	m.login()
	m.refuses("RebootWithFlags", dbus.NewError("org.freedesktop.DBus.Error.UnknownMethod", []any{"too old"}))
	how, err = newHands(t).Reboot(t.Context(), "the GPU is lost")
	wantError(t, err, "")
	if how != BySystemd {
		t.Errorf("by %q", how)
	}
}

func TestRebootDoesNotWaitForALogindThatHangs(t *testing.T) {
	m := withUnits(t, BySystemd)
	m.login()
	m.mu.Lock()
	m.stuck = make(chan struct{})
	m.mu.Unlock()
	defer close(m.stuck)
	how, err := newHands(t).Reboot(t.Context(), "the GPU is lost")
	wantError(t, err, "")
	if how != BySystemd {
		t.Errorf("by %q", how)
	}
}

func TestRebootThatNobodyTakesIsAnError(t *testing.T) {
	withUnits(t)
	_, err := newHands(t).Reboot(t.Context(), "the GPU is lost")
	wantError(t, err, "asking logind: ListInhibitors")
	wantError(t, err, "Unit reboot.target not found")
}
