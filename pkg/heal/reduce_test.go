package heal

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arasul/arasul/pkg/api"
)

const metricsUnit = "arasul-metrics.service"

var epoch = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// trace plays a story to Reduce and keeps what came of it.
type trace struct {
	t        *testing.T
	policy   *Policy
	state    State
	now      time.Time
	run      int // invocations so far
	units    map[string]api.Unit
	commands []Command
	observed int
	careful  bool // check that Reduce leaves its arguments alone
	check    func(before State, issued []Command)
}

func newTrace(t *testing.T) *trace {
	t.Helper()
	p, err := LoadPolicy("")
	if err != nil {
		t.Fatal(err)
	}
	tr := &trace{t: t, policy: p, now: epoch, units: map[string]api.Unit{}}
	for _, name := range p.UnitNames() {
		tr.units[name] = api.Unit{Name: name, LoadState: "loaded", OneShot: name == "arasul-db.service"}
		tr.start(name)
	}
	return tr
}

func (tr *trace) observe(o Observation) {
	tr.t.Helper()
	o.At = tr.now
	tr.observed++
	var before []byte
	if tr.careful && tr.observed%17 == 0 {
		before, _ = json.Marshal(tr.state)
	}
	next, cmds := Reduce(tr.policy, tr.state, o, tr.now)
	if tr.careful && tr.observed%17 == 0 {
		if after, _ := json.Marshal(tr.state); string(after) != string(before) {
			tr.t.Fatal("Reduce changed the state it was given")
		}
	}
	was := tr.state
	tr.state = next
	if tr.check != nil {
		tr.check(was, cmds)
	}
	tr.commands = append(tr.commands, cmds...)
}

// see lets the healer look at a unit whose fields were changed by f.
func (tr *trace) see(name string, f func(*api.Unit)) {
	tr.t.Helper()
	u := tr.units[name]
	f(&u)
	u.StateChange = tr.now
	tr.units[name] = u
	tr.observe(Observation{Units: []api.Unit{u}})
}

func (tr *trace) start(name string) {
	tr.t.Helper()
	tr.run++
	tr.see(name, func(u *api.Unit) {
		u.ActiveState, u.SubState, u.Result = "active", "running", "success"
		u.InvocationID = fmt.Sprintf("run-%d", tr.run)
		u.Started, u.Exited = tr.now, time.Time{}
	})
}

// crash ends the unit's run by SIGKILL; systemd is about to restart it.
func (tr *trace) crash(name string) { tr.die(name, "activating", "auto-restart", "signal") }

// fail ends the unit's run for good.
func (tr *trace) fail(name, result string) { tr.die(name, "failed", "failed", result) }

func (tr *trace) die(name, active, sub, result string) {
	tr.t.Helper()
	tr.see(name, func(u *api.Unit) {
		u.ActiveState, u.SubState, u.Result = active, sub, result
		u.ExitCode, u.ExitStatus, u.Exited = 2, 9, tr.now.Add(-3*time.Millisecond)
	})
}

// restarted is systemd's Restart= having done its work.
func (tr *trace) restarted(name string) {
	tr.t.Helper()
	u := tr.units[name]
	u.Restarts++
	tr.units[name] = u
	tr.start(name)
}

func (tr *trace) wait(d time.Duration) {
	tr.t.Helper()
	tr.now = tr.now.Add(d)
	tr.observe(Observation{})
}

// done reports how the command under way ended.
func (tr *trace) done(err string) {
	tr.t.Helper()
	c := tr.state.Running
	if c == nil {
		tr.t.Fatal("no command is under way")
	}
	tr.observe(Observation{Result: &Result{Incident: c.Incident, Attempt: c.Attempt, Error: err}})
}

func (tr *trace) incident() Incident {
	tr.t.Helper()
	if len(tr.state.Incidents) != 1 {
		tr.t.Fatalf("%d incidents, want 1", len(tr.state.Incidents))
	}
	return tr.state.Incidents[0]
}

func (tr *trace) want(state api.IncidentState, commands ...string) {
	tr.t.Helper()
	if got := tr.incident().State; got != state {
		tr.t.Errorf("incident is %s, want %s", got, state)
	}
	var got []string
	for _, c := range tr.commands {
		got = append(got, c.Action)
	}
	if diff := cmp.Diff(commands, got); diff != "" {
		tr.t.Errorf("commands (-want +got):\n%s", diff)
	}
}

// Proves HEAL-1: systemd's own restart comes first and is verified after 5 s.
func TestCrashIsLeftToSystemdAndVerified(t *testing.T) {
	tr := newTrace(t)
	tr.crash(metricsUnit)
	tr.want(api.IncidentActing)
	tr.now = tr.now.Add(600 * time.Millisecond)
	tr.restarted(metricsUnit)
	tr.want(api.IncidentVerifying)
	tr.wait(5 * time.Second)
	tr.want(api.IncidentResolved)

	inc := tr.incident()
	want := api.Incident{
		ID: "20261123T120000-1", Rule: "down", Class: api.ClassService, Policy: tr.policy.Hash, Unit: metricsUnit, Fault: api.Crashed, Detail: "killed by SIGKILL",
		State: api.IncidentResolved, Count: 1,
		FaultAt: epoch.Add(-3 * time.Millisecond), DetectedAt: epoch,
		ActedAt: at(0), RecoveredAt: at(600 * time.Millisecond), VerifiedAt: at(5600 * time.Millisecond), ClosedAt: at(5600 * time.Millisecond),
		Failures: []api.Failure{{Fault: api.Crashed, Detail: "killed by SIGKILL", At: epoch.Add(-3 * time.Millisecond), DetectedAt: epoch}},
		Actions: []api.Action{{
			Attempt: 1, Kind: ActionSystemdRestart, Unit: metricsUnit, Reason: "the unit's own Restart= comes first",
			StartedAt: epoch, FinishedAt: at(5600 * time.Millisecond), Outcome: "helped",
		}},
	}
	if diff := cmp.Diff(want, inc.Incident); diff != "" {
		t.Errorf("incident (-want +got):\n%s", diff)
	}
}

func at(d time.Duration) *time.Time { t := epoch.Add(d); return &t }

// Proves HEAL-1: restart, then stop+start, then out of means.
func TestFailedUnitClimbsTheLadder(t *testing.T) {
	tr := newTrace(t)
	tr.fail(metricsUnit, "start-limit-hit")
	tr.want(api.IncidentActing, ActionRestart)
	tr.done("job failed")
	tr.want(api.IncidentOpen, ActionRestart)
	tr.wait(4 * time.Second)
	tr.want(api.IncidentOpen, ActionRestart)
	tr.wait(time.Second)
	tr.want(api.IncidentActing, ActionRestart, ActionStopStart)
	tr.done("job failed")
	tr.wait(5 * time.Second)
	tr.want(api.IncidentExhausted, ActionRestart, ActionStopStart)
	tr.wait(4 * time.Minute)
	tr.want(api.IncidentExhausted, ActionRestart, ActionStopStart)
	tr.wait(time.Minute)
	tr.want(api.IncidentActing, ActionRestart, ActionStopStart, ActionRestart)
	tr.done("")
	tr.start(metricsUnit)
	tr.wait(5 * time.Second)
	tr.want(api.IncidentResolved, ActionRestart, ActionStopStart, ActionRestart)
}

func TestRepairThatDoesNotLastCountsAsFailed(t *testing.T) {
	tr := newTrace(t)
	tr.fail(metricsUnit, "exit-code")
	tr.done("")
	tr.start(metricsUnit)
	tr.want(api.IncidentVerifying, ActionRestart)
	tr.now = tr.now.Add(2 * time.Second)
	tr.fail(metricsUnit, "exit-code")
	tr.want(api.IncidentActing, ActionRestart, ActionStopStart)
	if got := tr.incident().Actions[0].Outcome; got != "failed" {
		t.Errorf("first action %s, want failed", got)
	}
	if got := tr.incident().Count; got != 2 {
		t.Errorf("%d failures counted, want 2", got)
	}
}

func TestSlowSystemdRestartHandsOverToTheHealer(t *testing.T) {
	tr := newTrace(t)
	tr.crash(metricsUnit)
	tr.wait(19 * time.Second)
	tr.want(api.IncidentActing)
	tr.wait(time.Second)
	tr.want(api.IncidentActing, ActionRestart)
}

// Proves HEAL-5: no action on what an operator stopped.
func TestOperatorStopIsRespected(t *testing.T) {
	tr := newTrace(t)
	tr.see(metricsUnit, func(u *api.Unit) { u.ActiveState, u.SubState, u.Result = "inactive", "dead", "success" })
	tr.wait(time.Hour)
	if len(tr.state.Incidents) != 0 || len(tr.commands) != 0 {
		t.Errorf("incidents %v, commands %v, want none", tr.state.Incidents, tr.commands)
	}
}

func TestOperatorStopDuringRepairEndsTheIncident(t *testing.T) {
	tr := newTrace(t)
	tr.crash(metricsUnit)
	tr.see(metricsUnit, func(u *api.Unit) { u.ActiveState, u.SubState, u.Result = "inactive", "dead", "success" })
	tr.wait(time.Hour)
	tr.want(api.IncidentResolved)
}

func TestOperatorRestartIsNoFault(t *testing.T) {
	tr := newTrace(t)
	tr.see(metricsUnit, func(u *api.Unit) { u.ActiveState, u.SubState = "deactivating", "stop-sigterm" })
	tr.see(metricsUnit, func(u *api.Unit) { u.ActiveState, u.SubState, u.Restarts = "inactive", "dead", 0 })
	tr.start(metricsUnit)
	if len(tr.state.Incidents) != 0 {
		t.Errorf("incidents: %v", tr.state.Incidents)
	}
}

func TestHungUnitIsNoticedWhenTheWatchdogFires(t *testing.T) {
	tr := newTrace(t)
	tr.see(metricsUnit, func(u *api.Unit) { u.ActiveState, u.SubState, u.Result = "deactivating", "stop-watchdog", "watchdog" })
	if got := tr.incident().Fault; got != api.Hung {
		t.Errorf("fault %s, want %s", got, api.Hung)
	}
	tr.now = tr.now.Add(200 * time.Millisecond)
	tr.die(metricsUnit, "activating", "auto-restart", "watchdog")
	tr.restarted(metricsUnit)
	tr.wait(5 * time.Second)
	tr.want(api.IncidentResolved)
	if got := tr.incident().Count; got != 1 {
		t.Errorf("one hang counted %d times", got)
	}
}

func TestRestartBetweenTwoLooksIsStillCounted(t *testing.T) {
	tr := newTrace(t)
	tr.now = tr.now.Add(time.Second)
	tr.restarted(metricsUnit)
	tr.want(api.IncidentVerifying)
	tr.wait(5 * time.Second)
	tr.want(api.IncidentResolved)
}

// The prototype wrote 8,640 rows a day for one stuck service.
func TestStuckUnitIsOneIncident(t *testing.T) {
	tr := newTrace(t)
	tr.fail(metricsUnit, "exit-code")
	for range 8640 {
		if tr.state.Running != nil {
			tr.done("job failed")
		}
		tr.now = tr.now.Add(10 * time.Second)
		tr.observe(Observation{Units: []api.Unit{tr.units[metricsUnit]}})
	}
	inc := tr.incident()
	if inc.Count != 1 || len(inc.Failures) != 1 {
		t.Errorf("%d failures counted, %d listed, want 1", inc.Count, len(inc.Failures))
	}
	// Two rungs every five minutes and a bit, all day.
	if n := len(tr.commands); n < 500 || n > 576 {
		t.Errorf("%d actions in a day, want two per five minutes", n)
	}
}

// Proves HEAL-5: dependency first, one mutating action at a time.
func TestDatabaseIsRepairedBeforeItsUsers(t *testing.T) {
	tr := newTrace(t)
	on := true
	tr.observe(Observation{Maintenance: &on}) // so that both wait
	tr.fail(metricsUnit, "exit-code")
	tr.fail("arasul-postgres.service", "exit-code")
	if len(tr.commands) != 0 {
		t.Fatalf("commands in maintenance: %v", tr.commands)
	}
	off := false
	tr.observe(Observation{Maintenance: &off})
	if len(tr.commands) != 1 || tr.commands[0].Unit != "arasul-postgres.service" {
		t.Fatalf("commands %v, want PostgreSQL alone", tr.commands)
	}
	tr.wait(time.Minute)
	if len(tr.commands) != 1 {
		t.Fatalf("a second command while the first is under way: %v", tr.commands)
	}
	tr.done("")
	if len(tr.commands) != 2 || tr.commands[1].Unit != metricsUnit {
		t.Fatalf("commands %v, want metrics next", tr.commands)
	}
}

func TestHealerRestartedDuringItsCommandGoesOn(t *testing.T) {
	tr := newTrace(t)
	tr.fail(metricsUnit, "exit-code")
	tr.done("the healer was restarted meanwhile")
	tr.wait(5 * time.Second)
	tr.want(api.IncidentActing, ActionRestart, ActionStopStart)
}

// As when the bus went away in the middle of it.
func TestUnitThatIsUpAfterAFailedActionIsNotHurtByTheNext(t *testing.T) {
	tr := newTrace(t)
	tr.fail(metricsUnit, "exit-code")
	tr.start(metricsUnit)
	tr.done("the connection was lost")
	tr.wait(6 * time.Second)
	tr.want(api.IncidentResolved, "restart")
	if a := tr.incident().Actions[0]; a.Outcome != "failed" {
		t.Errorf("the restart %s", a.Outcome)
	}
}

func TestUnitsOfOthersAreNotTouched(t *testing.T) {
	tr := newTrace(t)
	tr.units["ssh.service"] = api.Unit{Name: "ssh.service", LoadState: "loaded"}
	tr.fail("ssh.service", "exit-code")
	if len(tr.state.Incidents) != 0 {
		t.Errorf("incidents: %v", tr.state.Incidents)
	}
}

// A database that recovers after a power cut may take minutes; killing it only
// makes it begin again.
func TestLongStartIsNotInterrupted(t *testing.T) {
	tr := newTrace(t)
	const db = "arasul-postgres.service"
	tr.crash(db)
	starting := func(u *api.Unit) { u.ActiveState, u.SubState, u.Result, u.Job = "activating", "start", "success", 7 }
	tr.now = tr.now.Add(2 * time.Second)
	tr.see(db, starting)
	for range 100 {
		tr.wait(10 * time.Second)
	}
	tr.want(api.IncidentActing)
	tr.restarted(db)
	tr.wait(5 * time.Second)
	tr.want(api.IncidentResolved)
}

func TestOurOwnRestartMayTakeLongerThanItsTimeout(t *testing.T) {
	tr := newTrace(t)
	const db = "arasul-postgres.service"
	tr.fail(db, "exit-code")
	tr.see(db, func(u *api.Unit) { u.ActiveState, u.SubState, u.Result, u.Job = "activating", "start", "success", 7 })
	tr.done("waiting for systemd: deadline exceeded")
	tr.wait(5 * time.Minute)
	tr.want(api.IncidentActing, ActionRestart)
	tr.start(db)
	tr.wait(5 * time.Second)
	tr.want(api.IncidentResolved, ActionRestart)
}

// systemd puts a unit whose start waits for another into inactive.
func TestQueuedStartIsNoOperatorsStop(t *testing.T) {
	tr := newTrace(t)
	tr.crash(metricsUnit)
	tr.see(metricsUnit, func(u *api.Unit) { u.ActiveState, u.SubState, u.Job = "inactive", "dead", 3007 })
	tr.wait(time.Minute)
	tr.want(api.IncidentActing)
	tr.see(metricsUnit, func(u *api.Unit) { u.Job = 0 })
	tr.want(api.IncidentResolved)
}

// Proves HEAL-5: a stop that an operator asked for and that goes wrong is still his.
func TestOperatorsStopThatFailsIsRespected(t *testing.T) {
	tr := newTrace(t)
	tr.see(metricsUnit, func(u *api.Unit) { u.ActiveState, u.SubState = "deactivating", "stop-sigterm" })
	tr.fail(metricsUnit, "timeout")
	for range 5 {
		tr.now = tr.now.Add(10 * time.Second)
		tr.observe(Observation{Units: []api.Unit{tr.units[metricsUnit]}})
	}
	tr.wait(time.Hour)
	if len(tr.state.Incidents) != 0 || len(tr.commands) != 0 {
		t.Errorf("incidents %v, commands %v, want none", tr.state.Incidents, tr.commands)
	}
}

func TestUnitThatNeverComesUpIsNotLeftToSystemdForEver(t *testing.T) {
	tr := newTrace(t)
	for i := range 10 { // systemd tries every five seconds
		tr.now = tr.now.Add(5 * time.Second)
		tr.see(metricsUnit, func(u *api.Unit) {
			u.ActiveState, u.SubState, u.Result = "activating", "auto-restart", "exit-code"
			u.InvocationID = fmt.Sprintf("try-%d", i)
		})
	}
	if len(tr.commands) == 0 {
		t.Error("50 s of failing starts and no action")
	}
}

func TestUnitThatThePolicyDroppedIsLeftAlone(t *testing.T) {
	tr := newTrace(t)
	tr.fail(metricsUnit, "exit-code")
	tr.done("job failed")
	smaller := *tr.policy
	smaller.Units = tr.policy.Units[:1]
	tr.policy = &smaller
	tr.wait(time.Hour)
	tr.want(api.IncidentResolved, ActionRestart)
}

func TestMaskedUnitIsLeftAlone(t *testing.T) {
	tr := newTrace(t)
	tr.fail(metricsUnit, "exit-code")
	tr.done("job failed")
	tr.see(metricsUnit, func(u *api.Unit) { u.LoadState = "masked" })
	tr.wait(time.Hour)
	tr.want(api.IncidentResolved, ActionRestart)
}

func TestMissedFailureIsDatedByTheEndOfTheRun(t *testing.T) {
	tr := newTrace(t)
	ended := tr.now.Add(time.Second)
	tr.now = tr.now.Add(17 * time.Second)
	u := tr.units[metricsUnit]
	u.ActiveExit = ended
	tr.units[metricsUnit] = u
	tr.restarted(metricsUnit)
	inc := tr.incident()
	if !inc.FaultAt.Equal(ended) || inc.ActedAt.After(*inc.RecoveredAt) {
		t.Errorf("fault at %s (want %s), acted at %s, recovered at %s", inc.FaultAt, ended, inc.ActedAt, inc.RecoveredAt)
	}
}

func TestRestartMissedDuringOurCommandLeavesItsTimesAlone(t *testing.T) {
	tr := newTrace(t)
	tr.fail(metricsUnit, "exit-code")
	began := tr.incident().Actions[0].StartedAt
	tr.now = tr.now.Add(3 * time.Second)
	tr.restarted(metricsUnit)
	tr.now = tr.now.Add(3 * time.Second)
	tr.restarted(metricsUnit) // ended and came back unseen, while we were restarting it
	if a := tr.incident().Actions[0]; !a.StartedAt.Equal(began) || len(tr.incident().Actions) != 1 {
		t.Errorf("actions %+v, want ours alone, begun at %s", tr.incident().Actions, began)
	}
}
