package heal

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arasul/arasul/pkg/api"
)

const (
	llmUnit      = "arasul-llm.service"
	n8nUnit      = "arasul-n8n.service"
	postgresUnit = "arasul-postgres.service"
	minioUnit    = "arasul-minio.service"
)

// measured lets readings come in every 5 s for so long.
func (tr *trace) measured(d time.Duration, values map[string]float64) {
	tr.t.Helper()
	for range int(d / (5 * time.Second)) {
		tr.now = tr.now.Add(5 * time.Second)
		var readings []api.Reading
		for _, name := range sortedKeys(values) {
			metric, of, _ := strings.Cut(name, "/")
			readings = append(readings, api.Reading{Metric: metric, Of: of, Value: values[name], Time: tr.now})
		}
		tr.observe(Observation{Readings: readings})
	}
}

// probed lets a unit's probe look so many times, 5 s apart.
func (tr *trace) probed(unit string, times int, status api.Status) {
	tr.t.Helper()
	for range times {
		tr.now = tr.now.Add(5 * time.Second)
		tr.observe(Observation{Probes: []api.ProbeResult{{Unit: unit, Status: status, Detail: "no answer", Time: tr.now}}})
	}
}

// asked are the commands so far, in short.
func (tr *trace) asked() (out []string) {
	for _, c := range tr.commands {
		out = append(out, strings.TrimSpace(c.Action+" "+strings.TrimSuffix(strings.TrimPrefix(c.Unit, "arasul-"), ".service")))
	}
	return out
}

func (tr *trace) wantAsked(want ...string) {
	tr.t.Helper()
	if diff := cmp.Diff(want, tr.asked()); diff != "" {
		tr.t.Errorf("commands (-want +got):\n%s", diff)
	}
}

// about returns the newest incident of a rule.
func (tr *trace) about(rule string) Incident {
	tr.t.Helper()
	for _, inc := range slices.Backward(tr.state.Incidents) {
		if inc.Rule == rule {
			return inc
		}
	}
	tr.t.Fatalf("no incident of %s", rule)
	return Incident{}
}

func outcomes(inc Incident) (out []string) {
	for _, a := range inc.Actions {
		out = append(out, a.Kind+" "+a.Outcome)
	}
	return out
}

// Proves HEAL-2: memory short for two minutes pauses n8n, which resumes when
// that has been over for long enough. A restart, which destroys the workflows
// under way, is not the first thing to try.
func TestMeasureIsTakenBackWhenItIsOver(t *testing.T) {
	tr := newTrace(t)
	full, fine := map[string]float64{"memory_ratio": 0.95}, map[string]float64{"memory_ratio": 0.5}
	tr.measured(2*time.Minute, full)
	tr.wantAsked()
	tr.measured(15*time.Second, full)
	tr.wantAsked("pause n8n")
	tr.done("")
	tr.measured(15*time.Second, fine)
	if inc := tr.about("memory-overload"); inc.State != api.IncidentHolding || inc.Actions[0].Outcome != "helped" {
		t.Fatalf("%s, actions %v", inc.State, outcomes(inc))
	}
	tr.measured(110*time.Second, fine)
	tr.wantAsked("pause n8n")
	tr.measured(15*time.Second, fine)
	tr.wantAsked("pause n8n", "resume n8n")
	tr.done("")
	if inc := tr.about("memory-overload"); inc.State != api.IncidentResolved || len(inc.Measures) > 0 {
		t.Errorf("%s, measures %v", inc.State, inc.Measures)
	}
}

func TestMeasureThatDoesNotHelpStaysWhileTheNextIsTried(t *testing.T) {
	tr := newTrace(t)
	full, fine := map[string]float64{"memory_ratio": 0.95}, map[string]float64{"memory_ratio": 0.5}
	tr.measured(3*time.Minute, full)
	tr.done("")
	tr.measured(2*time.Minute, full)
	tr.wantAsked("pause n8n", "restart n8n")
	tr.done("")
	tr.measured(30*time.Second, fine)
	tr.measured(2*time.Minute, fine)
	tr.wantAsked("pause n8n", "restart n8n", "resume n8n")
	tr.done("")
	want := []string{"pause failed", "restart helped", "resume undone"}
	if diff := cmp.Diff(want, outcomes(tr.about("memory-overload"))); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
}

func TestMeasureThatCannotBeTakenBackIsTriedAgain(t *testing.T) {
	tr := newTrace(t)
	fine := map[string]float64{"heat_celsius": 50}
	tr.measured(2*time.Minute, map[string]float64{"heat_celsius": 84})
	tr.done("")
	tr.measured(6*time.Minute, fine)
	for range undoTries {
		tr.done("the daemon is away")
		tr.measured(70*time.Second, fine)
	}
	if n := len(tr.commands); n > undoTries+2 {
		t.Errorf("%d commands: %v", n, tr.asked())
	}
	if tr.state.Running != nil {
		tr.done("the daemon is away")
	}
	inc := tr.about("heat")
	if inc.Open() || !strings.Contains(inc.Detail, "uncap-clocks did not succeed: the daemon is away") {
		t.Errorf("%s: %s", inc.State, inc.Detail)
	}
}

// Proves HEAL-2: what the healer stopped is no operator's stop, and who starts
// it again meanwhile wants it to run.
func TestUnitThatWasStoppedForHeat(t *testing.T) {
	for _, meanwhile := range []bool{false, true} {
		t.Run(fmt.Sprintf("started by somebody meanwhile %t", meanwhile), func(t *testing.T) {
			tr := newTrace(t)
			tr.policy.Rules = slices.DeleteFunc(slices.Clone(tr.policy.Rules), func(r Rule) bool { return r.Name != "heat-critical" })
			fine := map[string]float64{"heat_celsius": 50}
			tr.measured(time.Minute, map[string]float64{"heat_celsius": 95})
			tr.wantAsked("stop llm")
			tr.see(llmUnit, func(u *api.Unit) { u.ActiveState, u.SubState, u.Result = "inactive", "dead", "success" })
			tr.done("")
			tr.measured(time.Minute, fine)
			if meanwhile {
				tr.start(llmUnit)
			}
			tr.measured(6*time.Minute, fine)
			if meanwhile {
				tr.wantAsked("stop llm")
			} else {
				tr.wantAsked("stop llm", "start llm")
				tr.start(llmUnit)
				tr.done("")
			}
			if inc := tr.about("heat-critical"); inc.Open() {
				t.Errorf("still %s", inc.State)
			}
		})
	}
}

// Proves HEAL-5: no action on what an operator stopped.
func TestRuleLeavesAUnitAloneThatAnOperatorStopped(t *testing.T) {
	tr := newTrace(t)
	tr.see(llmUnit, func(u *api.Unit) { u.ActiveState, u.SubState, u.Result = "inactive", "dead", "success" })
	tr.measured(time.Hour, map[string]float64{"cpu_ratio": 1, "heat_celsius": 88})
	for _, c := range tr.commands {
		if c.Unit == llmUnit {
			t.Errorf("%s of a unit that an operator stopped", c.Action)
		}
	}
}

// Proves HEAL-1 and HEAL-9: three failed checks in a row make a unit down that
// runs; one or two do not.
func TestUnitThatDoesNotAnswerIsRestarted(t *testing.T) {
	tr := newTrace(t)
	tr.probed(minioUnit, 3, api.Up)
	tr.wait(time.Minute)
	tr.probed(minioUnit, 2, api.Down)
	tr.probed(minioUnit, 1, api.Up)
	tr.probed(minioUnit, 2, api.Down)
	tr.probed(minioUnit, 3, api.Unknown)
	tr.probed(minioUnit, 1, api.Degraded)
	tr.wantAsked()
	tr.probed(minioUnit, 3, api.Down)
	tr.wantAsked("restart minio")
	if inc := tr.incident(); inc.Fault != api.Unresponsive || !inc.FaultAt.Equal(tr.now.Add(-10*time.Second)) {
		t.Errorf("%s at %s", inc.Fault, inc.FaultAt)
	}
	tr.start(minioUnit)
	tr.done("")
	tr.probed(minioUnit, 5, api.Down) // it may take 30 s to start
	tr.want(api.IncidentVerifying, ActionRestart)
	tr.probed(minioUnit, 1, api.Up)
	tr.want(api.IncidentResolved, ActionRestart)
}

func TestUnitThatDoesNotAnswerAfterARestartIsStoppedAndStarted(t *testing.T) {
	tr := newTrace(t)
	tr.probed(minioUnit, 1, api.Up)
	tr.probed(minioUnit, 3, api.Down)
	tr.start(minioUnit)
	tr.done("")
	tr.probed(minioUnit, 9, api.Down)
	tr.wantAsked("restart minio", "stop-start minio")
}

// Proves HEAL-5: dependency first. What needs a database that is down is not
// touched until that is well again, and then has a moment to recover by itself.
func TestTroubleOfAnotherIsSuppressed(t *testing.T) {
	tr := newTrace(t)
	tr.fail(postgresUnit, "exit-code")
	tr.fail(n8nUnit, "exit-code")
	tr.wantAsked("restart postgres")
	tr.done("job failed")
	tr.wait(time.Second)
	inc := tr.state.openIncident(downRule, n8nUnit)
	if inc.State != api.IncidentSuppressed || inc.Cause != postgresUnit {
		t.Fatalf("n8n is %s because of %q", inc.State, inc.Cause)
	}
	tr.wait(4 * time.Second)
	tr.wantAsked("restart postgres", "stop-start postgres")
	tr.start(postgresUnit)
	tr.done("")
	tr.wait(4 * time.Second)
	tr.wantAsked("restart postgres", "stop-start postgres")
	tr.wait(time.Second)
	tr.wantAsked("restart postgres", "stop-start postgres", "restart n8n")
	if inc := tr.state.openIncident(downRule, n8nUnit); inc.Cause != "" {
		t.Errorf("still because of %q", inc.Cause)
	}
}

// Proves HEAL-3: three service failures in ten minutes are a hard restart of
// the application services that run.
func TestServicesThatCannotBeRepairedAreRestartedTogether(t *testing.T) {
	tr := newTrace(t)
	tr.see("arasul-embeddings.service", func(u *api.Unit) { u.ActiveState, u.SubState = "inactive", "dead" })
	tr.fail(minioUnit, "exit-code")
	for range 2 {
		tr.done("job failed")
		tr.wait(5 * time.Second)
	}
	tr.wait(5 * time.Second)
	tr.wantAsked("restart minio", "stop-start minio", "hard-restart")
	want := []string{minioUnit, llmUnit, "arasul-dashboard.service", n8nUnit}
	if diff := cmp.Diff(want, tr.commands[2].Units); diff != "" {
		t.Errorf("units (-want +got):\n%s", diff)
	}
	tr.done("")
	tr.start(minioUnit)
	tr.wait(5 * time.Second)
	if inc := tr.state.Incidents[0]; inc.Open() {
		t.Errorf("%s of minio is %s", inc.Rule, inc.State)
	}
	tr.wait(2 * time.Minute)
	if inc := tr.about("services-failing"); inc.State != api.IncidentResolved || inc.Actions[0].Outcome != "helped" {
		t.Errorf("%s, %v", inc.State, outcomes(inc))
	}
	tr.wait(10 * time.Minute)
	tr.wantAsked("restart minio", "stop-start minio", "hard-restart") // the failures before are settled
}

// Proves HEAL-5: what helped twice and did not last is struck off.
func TestActionThatDoesNotLastIsStruckOff(t *testing.T) {
	tr := newTrace(t)
	for range 3 {
		tr.fail(metricsUnit, "exit-code")
		tr.start(metricsUnit)
		tr.done("")
		tr.wait(5 * time.Second)
		tr.wait(4 * time.Minute)
	}
	tr.wantAsked("restart metrics", "restart metrics", "stop-start metrics")
	if a := tr.about(downRule).Actions[0]; a.Kind != ActionRestart || a.Outcome != "refused" || !strings.HasPrefix(a.Error, "struck off") {
		t.Errorf("first action %+v", a)
	}
	tr.wait(2 * time.Hour)
	tr.fail(metricsUnit, "exit-code")
	tr.wantAsked("restart metrics", "restart metrics", "stop-start metrics", "restart metrics")
}

// Proves HEAL-5: too much in too short a time opens the breaker, which stays
// open until time or an operator closes it.
func TestBreakerStopsAHealerThatDoesTooMuch(t *testing.T) {
	for _, reset := range []bool{false, true} {
		tr := newTrace(t)
		tr.policy.Breaker.Actions = 3
		for _, unit := range []string{metricsUnit, "arasul-gpu.service", "arasul-mdns.service", "arasul-proxy.service"} {
			tr.fail(unit, "exit-code")
			if tr.state.Running != nil {
				tr.start(unit)
				tr.done("")
			}
		}
		tr.wantAsked("restart metrics", "restart gpu", "restart mdns")
		if tr.state.Breaker.Until.IsZero() {
			t.Fatal("the breaker is closed")
		}
		if reset {
			tr.wait(time.Minute)
			tr.observe(Observation{ResetBreaker: true})
		} else {
			tr.wait(59 * time.Minute)
			tr.wantAsked("restart metrics", "restart gpu", "restart mdns")
			tr.wait(time.Minute)
		}
		tr.wantAsked("restart metrics", "restart gpu", "restart mdns", "restart proxy")
	}
}

// Proves HEAL-5: the updater's lease keeps hands off, and ends by itself.
func TestLeaseKeepsHandsOff(t *testing.T) {
	tr := newTrace(t)
	tr.observe(Observation{Lease: &api.Lease{Holder: "updater", Until: tr.now.Add(24 * time.Hour)}})
	if until := tr.state.Lease.Until; !until.Equal(tr.now.Add(longestLease)) {
		t.Errorf("the lease lasts until %s", until)
	}
	tr.fail(metricsUnit, "exit-code")
	tr.wait(59 * time.Minute)
	tr.wantAsked()
	tr.wait(time.Minute)
	tr.wantAsked("restart metrics")
	tr.done("job failed")
	tr.observe(Observation{Lease: &api.Lease{Holder: "updater", Until: tr.now.Add(time.Hour)}})
	tr.wait(time.Minute)
	tr.wantAsked("restart metrics")
	tr.observe(Observation{Lease: &api.Lease{Holder: "updater", Until: tr.now}})
	tr.wantAsked("restart metrics", "stop-start metrics")
}

// Proves HEAL-2: a machine that has just booted is busy and warm.
func TestNothingMeasuredCountsRightAfterABoot(t *testing.T) {
	tr := newTrace(t)
	tr.observe(Observation{Boot: "a", Uptime: 10 * time.Second})
	tr.measured(105*time.Second, map[string]float64{"disk_ratio": 0.99})
	tr.wantAsked()
	tr.measured(10*time.Second, map[string]float64{"disk_ratio": 0.99})
	tr.wantAsked("cleanup")
}

func TestIncidentThatNothingMeasuresAnyMoreEnds(t *testing.T) {
	tr := newTrace(t)
	tr.measured(2*time.Minute, map[string]float64{"heat_celsius": 84})
	tr.wantAsked("cap-clocks")
	tr.done("")
	for range 66 {
		tr.wait(10 * time.Second)
	}
	tr.wantAsked("cap-clocks", "uncap-clocks")
	tr.done("")
	if inc := tr.about("heat"); inc.Open() || !strings.Contains(inc.Detail, "nothing measures it any more") {
		t.Errorf("%s: %s", inc.State, inc.Detail)
	}
}

func TestRuleWithoutALadderIsOnlyReported(t *testing.T) {
	tr := newTrace(t)
	tr.observe(Observation{Kernel: []api.KernelEvent{{Kind: api.KernelFilesystemError}}})
	if inc := tr.about("filesystem-errors"); inc.State != api.IncidentExhausted || inc.Class != api.ClassCritical {
		t.Fatalf("%s, class %s", inc.State, inc.Class)
	}
	tr.wait(24 * time.Hour)
	if inc := tr.about("filesystem-errors"); inc.Open() {
		t.Errorf("a day later: %s", inc.State)
	}
	tr.wantAsked()
}

// Proves HEAL-5: systemd's back-off begins anew after ten healthy minutes, once
// a run.
func TestRestartsAreForgivenAfterHealthyMinutes(t *testing.T) {
	tr := newTrace(t)
	tr.crash(metricsUnit)
	tr.restarted(metricsUnit)
	tr.wait(9*time.Minute + 59*time.Second)
	tr.wantAsked()
	tr.wait(time.Second)
	tr.wantAsked("forget-failures metrics")
	tr.observe(Observation{Result: &Result{}})
	if tr.state.Running != nil {
		t.Fatal("still under way")
	}
	tr.wait(time.Hour)
	tr.wantAsked("forget-failures metrics")
}

// A healer that was away, a reboot and a new policy are no proof that something
// is over: the incident waits for the next readings, and is still the same.
func TestIncidentOutlivesABreakInTheReadings(t *testing.T) {
	full := map[string]float64{"disk_ratio": 0.96}
	for name, breaks := range map[string]func(*trace){
		"healer away": func(tr *trace) { tr.now = tr.now.Add(time.Hour) },
		"reboot":      func(tr *trace) { tr.boot("boot-2") },
		"new policy":  func(tr *trace) { tr.policy.Hash = "another" },
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrace(t)
			tr.observe(Observation{Boot: "boot-1", Uptime: time.Hour})
			for range 20 { // until everything was tried in vain, and some time has passed
				tr.measured(time.Minute, full)
				if tr.state.Running != nil {
					tr.done("")
				}
			}
			before := tr.about("disk-full")
			breaks(tr)
			tr.wait(time.Second)
			tr.measured(time.Minute, full)
			if after := tr.about("disk-full"); after.ID != before.ID || !after.Open() {
				t.Errorf("%s became %s, %q", before.ID, after.ID, after.Detail)
			}
			for range 70 {
				tr.wait(10 * time.Second)
				if tr.state.Running != nil {
					tr.done("")
				}
			}
			if inc := tr.about("disk-full"); inc.Open() {
				t.Errorf("nothing measures it, and it is %s", inc.State)
			}
		})
	}
}

func TestRestartEndsAPause(t *testing.T) {
	tr := newTrace(t)
	tr.measured(3*time.Minute, map[string]float64{"memory_ratio": 0.95})
	tr.done("")
	tr.measured(2*time.Minute, map[string]float64{"memory_ratio": 0.95})
	tr.wantAsked("pause n8n", "restart n8n")
	tr.start("arasul-n8n.service")
	tr.done("")
	tr.measured(5*time.Minute, map[string]float64{"memory_ratio": 0.5})
	tr.wantAsked("pause n8n", "restart n8n")
	if inc := tr.about("memory-overload"); inc.State != api.IncidentResolved {
		t.Errorf("%s, measures %v", inc.State, inc.Measures)
	}
}

// An action that failed is no answer to the events that asked for it: they are
// not over because of it.
func TestFailedActionDoesNotEndARuleThatCounts(t *testing.T) {
	tr := newTrace(t)
	for _, unit := range []string{"arasul-minio.service", "arasul-n8n.service", "arasul-dashboard.service"} {
		tr.fail(unit, "exit-code")
	}
	for range 3 {
		tr.done("job failed")
	}
	tr.wantAsked("restart minio", "restart dashboard", "restart n8n", "hard-restart")
	tr.done("job failed")
	tr.wait(time.Second)
	if inc := tr.about("services-failing"); inc.State != api.IncidentExhausted {
		t.Errorf("%s: %v", inc.State, outcomes(inc))
	}
}

// An operator's stop that does not end with status 0 is still an operator's
// stop: podman's 143, and what ExecStopPost= follows.
func TestOperatorsStopMayEndBadlyOnItsWay(t *testing.T) {
	tr := newTrace(t)
	for _, step := range []struct{ active, sub, result string }{
		{"deactivating", "stop-sigterm", "success"}, {"deactivating", "stop-post", "exit-code"}, {"failed", "failed", "exit-code"},
	} {
		tr.see(n8nUnit, func(u *api.Unit) { u.ActiveState, u.SubState, u.Result = step.active, step.sub, step.result })
	}
	tr.wait(10 * time.Minute)
	tr.wantAsked()
}

// Proves HEAL-2: what was stopped against heat stays stopped, even if it had to
// be killed.
func TestUnitThatHadToBeKilledAgainstHeatStaysStopped(t *testing.T) {
	tr := newTrace(t)
	tr.policy.Rules = slices.DeleteFunc(slices.Clone(tr.policy.Rules), func(r Rule) bool { return r.Name != "heat-critical" })
	hot := map[string]float64{"heat_celsius": 95}
	tr.measured(time.Minute, hot)
	tr.fail(llmUnit, "timeout")
	tr.done("")
	tr.measured(20*time.Minute, hot)
	tr.wantAsked("stop llm")
}

func TestUnitThatAnotherRuleHasRestartedIsNotRestartedAgain(t *testing.T) {
	tr := newTrace(t)
	tr.policy.Rules = slices.DeleteFunc(slices.Clone(tr.policy.Rules), func(r Rule) bool { return r.Name != "heat-high" })
	tr.measured(time.Minute, map[string]float64{"heat_celsius": 87})
	tr.wantAsked("restart llm")
	tr.fail(llmUnit, "timeout") // it hung, and the stop had to kill it
	tr.start(llmUnit)
	tr.done("")
	tr.measured(time.Minute, map[string]float64{"heat_celsius": 50})
	tr.wantAsked("restart llm")
	if tr.state.openIncident(downRule, llmUnit) != nil {
		t.Error("the incident about the unit is still open")
	}
}

func TestOneBrokenServiceRestartsTheOthersOnce(t *testing.T) {
	tr := newTrace(t)
	tr.fail(n8nUnit, "exit-code")
	for range 6 * 60 * 3 { // three hours
		if tr.state.Running != nil {
			tr.done("job failed")
		}
		tr.wait(10 * time.Second)
	}
	n := 0
	for _, c := range tr.asked() {
		if c == ActionHardRestart {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d hard restarts", n)
	}
}

func TestStartThatNeverEndsIsTold(t *testing.T) {
	tr := newTrace(t)
	tr.see(postgresUnit, func(u *api.Unit) { u.ActiveState, u.SubState, u.InvocationID = "activating", "start-pre", "run-x" })
	for range 6 * 20 {
		tr.now = tr.now.Add(10 * time.Second)
		tr.observe(Observation{Units: []api.Unit{tr.units[postgresUnit]}})
	}
	inc := tr.incident()
	if inc.Fault != api.Failed || !strings.Contains(inc.Detail, "activating for more than 15m") {
		t.Errorf("%s: %s", inc.Fault, inc.Detail)
	}
	tr.wantAsked() // a recovery must not be made to begin again
}

func TestOneshotThatFailsAgainAndAgainIsOneIncident(t *testing.T) {
	tr := newTrace(t)
	const db = "arasul-db.service"
	var before State
	revisions := uint64(0)
	for range 6 * 60 * 2 {
		before = tr.state
		tr.crash(db)
		if tr.state.Running != nil {
			tr.done("job failed")
		}
		tr.wait(5 * time.Second)
		tr.see(db, func(u *api.Unit) { u.InvocationID += "x" })
		tr.wait(5 * time.Second)
	}
	_ = before
	for _, inc := range tr.state.Incidents {
		revisions += inc.Revision
	}
	if len(tr.state.Incidents) != 1 || revisions > 400 || len(tr.commands) < 10 {
		t.Errorf("%d incidents, %d revisions, %d commands in two hours", len(tr.state.Incidents), revisions, len(tr.commands))
	}
}

func TestRuleThatMovedToAnotherUnitLetsGoOfTheFirst(t *testing.T) {
	tr := newTrace(t)
	tr.measured(3*time.Minute, map[string]float64{"memory_ratio": 0.95})
	tr.wantAsked("pause n8n")
	tr.done("")
	moved := *tr.policy
	moved.Rules = slices.Clone(moved.Rules)
	moved.Rules[slices.IndexFunc(moved.Rules, func(r Rule) bool { return r.Name == "memory-overload" })].Unit = minioUnit
	tr.policy = &moved
	tr.wait(10 * time.Second)
	tr.wait(10 * time.Second)
	tr.wantAsked("pause n8n", "resume n8n")
}

// A measure waits for hands while there is maintenance, and nothing grows.
func TestWaitingMeasureDoesNotGrow(t *testing.T) {
	tr := newTrace(t)
	tr.measured(3*time.Minute, map[string]float64{"memory_ratio": 0.95})
	tr.done("")
	on := true
	tr.observe(Observation{Maintenance: &on})
	for range 600 {
		tr.wait(10 * time.Second)
	}
	if inc := tr.about("memory-overload"); inc.Revision > 40 || len(inc.Detail) > 500 {
		t.Errorf("%d revisions, %d bytes of detail", inc.Revision, len(inc.Detail))
	}
}

func TestHandsAreOffWhenTheMachineGoesDown(t *testing.T) {
	tr := newReboots(t, true)
	tr.done("")
	tr.fail(metricsUnit, "exit-code")
	if last := tr.commands[len(tr.commands)-1]; last.Action != ActionReboot {
		t.Errorf("%s while the machine goes down", last.Action)
	}
}
