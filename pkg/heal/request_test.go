package heal

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
)

// ask has an operator ask for a restart, and returns why it was refused.
func (tr *trace) ask(unit string) string {
	tr.t.Helper()
	q := Request{Unit: unit, Actor: "admin"}
	err := tr.state.Refuse(tr.policy, q, tr.now)
	before := tr.state.Seq
	tr.observe(Observation{Request: &q})
	if taken := tr.state.openIncident(requestRule, unit); err == nil && (taken == nil || taken.Seq() <= before) || err != nil && taken != nil && taken.Seq() > before {
		tr.t.Fatalf("the answer was %v, and then there was %+v", err, taken)
	}
	if err == nil {
		return ""
	}
	var r *api.Refusal
	if !errors.As(err, &r) {
		tr.t.Fatal(err)
	}
	return string(r.Code) + ": " + r.Reason
}

// Proves HEAL-7 for what an operator asks for: who, when, what came of it.
func TestRestartThatWasAskedForIsCarriedOutAndRecorded(t *testing.T) {
	tr := newTrace(t)
	if why := tr.ask(metricsUnit); why != "" {
		t.Fatal(why)
	}
	tr.want(api.IncidentOpen) // not before the answer has left
	tr.wait(500 * time.Millisecond)
	tr.want(api.IncidentActing, ActionRestart)
	tr.now = tr.now.Add(time.Second)
	tr.see(metricsUnit, func(u *api.Unit) { u.ActiveState, u.SubState = "deactivating", "stop-sigterm" })
	tr.start(metricsUnit)
	tr.done("")
	tr.want(api.IncidentVerifying, ActionRestart)
	tr.wait(5 * time.Second)
	inc := tr.incident()
	want := api.Incident{
		ID: "20261123T120000-1", Rule: "request", Class: api.ClassService, Policy: tr.policy.Hash, Unit: metricsUnit,
		Fault: api.Requested, Detail: "admin asked for a restart", State: api.IncidentResolved, Count: 1,
		FaultAt: epoch, DetectedAt: epoch, ActedAt: at(500 * time.Millisecond),
		RecoveredAt: at(1500 * time.Millisecond), VerifiedAt: at(6500 * time.Millisecond), ClosedAt: at(6500 * time.Millisecond),
		Failures: []api.Failure{{Fault: api.Requested, Detail: "admin asked for a restart", At: epoch, DetectedAt: epoch}},
		Actions: []api.Action{{
			Attempt: 1, Kind: ActionRestart, Unit: metricsUnit, Reason: "admin asked for a restart",
			StartedAt: *at(500 * time.Millisecond), FinishedAt: at(1500 * time.Millisecond), Outcome: "helped",
		}},
	}
	if diff := cmp.Diff(want, inc.Incident); diff != "" {
		t.Errorf("incident (-want +got):\n%s", diff)
	}
	text := Explain(tr.policy, tr.state, inc, tr.now)
	for _, s := range []string{"Rule request " + metricsUnit, "somebody asked for it", "admin asked for a restart", "restart metrics: helped"} {
		if !strings.Contains(text, s) {
			t.Errorf("no %q in:\n%s", s, text)
		}
	}
}

// Proves HEAL-5 for what an operator asks for: one thing at a time, and nothing
// in the middle of another.
func TestRestartIsRefusedWhereItWouldInterfere(t *testing.T) {
	const llm = "arasul-llm.service"
	for name, tt := range map[string]struct {
		unit    string
		before  func(tr *trace)
		refused string
	}{
		"a unit that is not ours":         {"ssh.service", func(*trace) {}, "unknown: ssh.service is no service that the healer looks after"},
		"no unit at all":                  {"", func(*trace) {}, "unknown:  is no service that the healer looks after"},
		"the healer itself":               {"arasul-healer.service", func(*trace) {}, "unknown: arasul-healer.service is no service that the healer looks after"},
		"a unit that is not installed":    {llm, func(tr *trace) { tr.see(llm, func(u *api.Unit) { u.LoadState = "not-found" }) }, "unknown: arasul-llm.service is no service that the healer looks after"},
		"a unit that systemd is starting": {llm, func(tr *trace) { tr.see(llm, func(u *api.Unit) { u.ActiveState = "activating" }) }, "busy: systemd is starting or stopping arasul-llm.service"},
		"a unit that is to be started":    {llm, func(tr *trace) { tr.see(llm, func(u *api.Unit) { u.ActiveState, u.Job = "inactive", 7 }) }, "busy: systemd is starting or stopping arasul-llm.service"},
		"while an update is at work": {llm, func(tr *trace) {
			tr.observe(Observation{Lease: &api.Lease{Holder: "updater", Until: tr.now.Add(time.Minute)}})
		}, "busy: the updater is at work and asked for hands off"},
		"a unit that is being repaired": {llm, func(tr *trace) { tr.fail(llm, "exit-code") }, "busy: arasul-llm.service is being repaired"},
		"twice at once":                 {llm, func(tr *trace) { tr.ask(llm) }, "soon: arasul-llm.service is being restarted already"},
		"again within ten seconds": {llm, func(tr *trace) {
			tr.ask(llm)
			tr.wait(time.Second)
			tr.done("")
			tr.wait(6 * time.Second)
		}, "soon: arasul-llm.service was restarted less than 10s ago"},
		"again after ten seconds": {llm, func(tr *trace) {
			tr.ask(llm)
			tr.wait(time.Second)
			tr.done("")
			tr.wait(10 * time.Second)
		}, ""},
		"a unit that an operator stopped": {llm, func(tr *trace) {
			tr.see(llm, func(u *api.Unit) { u.ActiveState, u.SubState = "inactive", "dead" })
		}, ""},
		"during maintenance": {llm, func(tr *trace) { on := true; tr.observe(Observation{Maintenance: &on}) }, ""},
		"a unit that failed and for which nothing is left to try": {metricsUnit, func(tr *trace) {
			tr.fail(metricsUnit, "exit-code")
			for tr.state.Incidents[0].State != api.IncidentExhausted {
				if tr.state.Running != nil {
					tr.done("no")
				}
				tr.wait(10 * time.Second)
			}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrace(t)
			tt.before(tr)
			if got := tr.ask(tt.unit); got != tt.refused {
				t.Errorf("refused %q, want %q", got, tt.refused)
			}
			if tt.refused != "" {
				return
			}
			before := len(tr.commands)
			tr.wait(time.Second)
			if len(tr.commands) != before+1 || tr.commands[before].Action != ActionRestart {
				t.Errorf("commands %v", tr.commands)
			}
		})
	}
}

func TestUnitThatTheHealerStoppedIsNotStartedByARestart(t *testing.T) {
	tr := newTrace(t)
	tr.state.Incidents = append(tr.state.Incidents, Incident{Incident: api.Incident{
		ID: "x-1", Rule: "heat-critical", State: api.IncidentHolding, Failures: []api.Failure{{}},
	}, Deadline: tr.now.Add(time.Hour), Measures: []Measure{{Undo: ActionStart, Unit: "arasul-llm.service", InForce: true}}})
	if got := tr.ask("arasul-llm.service"); got != "busy: arasul-llm.service is held back by the healer until the trouble is over" {
		t.Errorf("got %q", got)
	}
}

func TestRestartWaitsForWhatIsUnderWayButNotForEver(t *testing.T) {
	tr := newTrace(t)
	tr.fail("arasul-minio.service", "exit-code")
	if tr.state.Running == nil {
		t.Fatal("nothing is under way")
	}
	if why := tr.ask(metricsUnit); why != "" {
		t.Fatal(why)
	}
	tr.wait(30 * time.Second)
	if len(tr.commands) != 1 {
		t.Fatalf("two things at once: %v", tr.commands)
	}
	tr.done("")
	if c := tr.state.Running; c == nil || c.Unit != metricsUnit {
		t.Fatalf("it is not its turn: %+v", c)
	}
	tr.done("")

	tr = newTrace(t)
	tr.fail("arasul-minio.service", "exit-code")
	tr.ask(metricsUnit)
	tr.wait(time.Minute)
	inc := tr.state.Incidents[1]
	if inc.State != api.IncidentResolved || inc.Actions[0].Outcome != "refused" || inc.Actions[0].Error != "something else was under way for 1m0s" {
		t.Errorf("%+v", inc)
	}
	tr.wait(time.Minute)
	tr.done("")
	if c := tr.state.Running; c != nil && c.Unit == metricsUnit {
		t.Errorf("it was carried out nevertheless")
	}
}

// What does not come up again is trouble like any other, and none that the
// operator's wish hides.
func TestRestartThatDoesNotHelpIsTheHealersBusiness(t *testing.T) {
	tr := newTrace(t)
	tr.ask(metricsUnit)
	tr.wait(time.Second)
	tr.fail(metricsUnit, "exit-code")
	tr.done("job failed")
	if inc := tr.state.Incidents[0]; inc.State != api.IncidentResolved || inc.Actions[0].Outcome != "failed" || inc.Actions[0].Error != "job failed" {
		t.Errorf("request: %+v", inc)
	}
	tr.wait(time.Second)
	if c := tr.state.Running; c == nil || tr.state.incident(c.Incident).Rule != downRule {
		t.Errorf("not repaired: %+v", c)
	}
}

func TestRestartsCostTheHealerNothing(t *testing.T) {
	tr := newTrace(t)
	for range 2 * tr.policy.Breaker.Actions {
		if why := tr.ask(metricsUnit); why != "" {
			t.Fatal(why)
		}
		tr.wait(time.Second)
		tr.start(metricsUnit)
		tr.done("")
		tr.wait(10 * time.Second)
	}
	if !tr.state.Breaker.Until.IsZero() {
		t.Error("the breaker opened")
	}
	tr.fail(metricsUnit, "exit-code")
	tr.wait(time.Minute)
	if c := tr.state.Running; c == nil || tr.state.incident(c.Incident).Rule != downRule {
		t.Errorf("a failure after that is not repaired: %+v", c)
	}
}

func TestRestartIsForgottenWhenTheUnitIsStopped(t *testing.T) {
	tr := newTrace(t)
	tr.ask(metricsUnit)
	tr.see(metricsUnit, func(u *api.Unit) { u.ActiveState, u.SubState = "inactive", "dead" })
	tr.wait(time.Minute)
	tr.want(api.IncidentResolved)
}

func TestRestartDoesNotOutliveTheMachine(t *testing.T) {
	tr := newTrace(t)
	tr.observe(Observation{Boot: "a", Uptime: time.Hour})
	tr.start(metricsUnit)
	tr.ask(metricsUnit)
	tr.observe(Observation{Boot: "b", Uptime: time.Second})
	if inc := tr.incident(); inc.State != api.IncidentResolved || !strings.HasSuffix(inc.Detail, "; then the machine was restarted") {
		t.Errorf("%+v", inc)
	}
}

func TestHealerAnswersAndThenRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		b.up(metricsUnit)
		if _, err := b.healer.Restart(t.Context(), "ssh.service", "admin"); err == nil {
			t.Error("a unit that is not ours is restarted")
		}
		for _, actor := range []string{"", "a\nb", strings.Repeat("a", 65), " admin", "<script>"} {
			if _, err := b.healer.Restart(t.Context(), metricsUnit, actor); err == nil {
				t.Errorf("actor %q was taken", actor)
			}
		}
		id, err := b.healer.Restart(t.Context(), metricsUnit, "admin")
		if err != nil || id == "" {
			t.Fatalf("%q, %v", id, err)
		}
		b.wantAsked() // nothing before the answer could leave
		b.wait(time.Second)
		b.wantAsked("restart " + metricsUnit)
		if text, known := b.healer.Explain(id); !known || !strings.Contains(text, "admin asked for a restart") {
			t.Errorf("explained as %q", text)
		}
		b.stop()
	})
}

func TestShadowModeRefusesRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.o.Mode = config.ModeShadow
		b.start()
		b.up(metricsUnit)
		_, err := b.healer.Restart(t.Context(), metricsUnit, "admin")
		var r *api.Refusal
		if !errors.As(err, &r) || r.Code != api.RefusedBusy {
			t.Errorf("got %v", err)
		}
		b.stop()
	})
}
