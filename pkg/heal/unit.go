package heal

import (
	"fmt"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// unit takes in one look at a unit.
func (r *reducer) unit(u api.Unit) {
	switch {
	case r.p.order(u.Name) < 0:
	case u.LoadState == "loaded":
		r.look(u)
	default: // masked, or gone
		delete(r.s.Units, u.Name)
		if inc := r.s.openIncident(downRule, u.Name); inc != nil && !r.commanding(u.Name) {
			r.drop(inc, "the unit is "+u.LoadState)
		}
	}
}

// look takes in a unit that is there: is there a new fault, and what does its
// present state mean for the incident that is open?
func (r *reducer) look(u api.Unit) {
	before, known := r.s.Units[u.Name]
	inc := r.s.openIncident(downRule, u.Name)
	f, run, ok := newFailure(u, before, known)
	ok = ok && !r.stopped(u.Name) // by us, and it did not go willingly
	after := r.remember(u, before)
	if run != "" {
		after.Counted = run
	}
	r.s.Units[u.Name] = after
	if ok {
		f.DetectedAt = r.seen
		inc = r.fault(u.Name, f, inc)
		if after.Up && r.systemdActs(inc) { // before we looked
			last(inc).StartedAt = f.At
			if len(inc.Actions) == 1 {
				inc.ActedAt = &f.At
			}
		}
	}
	if inc == nil && after.Moving && r.now.Sub(after.MovingSince) > longMove {
		inc = r.fault(u.Name, api.Failure{
			Fault: api.Failed, At: after.MovingSince, DetectedAt: r.seen,
			Detail: fmt.Sprintf("%s for more than %s, and systemd waits for it", u.ActiveState, longMove),
		}, nil)
	}
	if after.Up && after.Invocation != before.Invocation {
		r.startedByOthers(u.Name)
	}
	if q := r.s.openIncident(requestRule, u.Name); q != nil && q.State == api.IncidentOpen && after.Stopped && !before.Stopped {
		r.drop(q, "an operator stopped the unit")
	}
	if inc == nil || r.commanding(u.Name) {
		return // all is well, or the end of our own command will tell
	}
	switch {
	case r.well(u.Name):
		r.up(inc, u.StateChange)
	case after.Up: // runs and does not answer
	case after.Moving: // let systemd finish
	case autoRestart(u):
		r.systemdActs(inc)
	case u.ActiveState == "failed" && !before.Stopping:
		r.gaveUp(inc)
	case r.measured(u.Name): // stopped by us
	default: // inactive with nobody about to start it, or it failed to stop in good order
		r.drop(inc, "an operator stopped the unit")
	}
}

// remember is what the next look has to know of this one.
func (r *reducer) remember(u api.Unit, before Memory) Memory {
	status, _ := Judge(u)
	m := before
	m.Invocation, m.Restarts = u.InvocationID, u.Restarts
	m.Up = status == api.Up
	m.Moving = moving(u)
	m.Stopping = u.ActiveState == "deactivating" && (u.Result == "success" || before.Stopping) && !r.commanding(u.Name)
	m.Stopped = u.ActiveState == "inactive" && u.Job == 0 && !m.Up
	switch {
	case !m.Moving:
		m.MovingSince = time.Time{}
	case m.MovingSince.IsZero():
		m.MovingSince = r.seen
	}
	switch {
	case !m.Up:
		m.Since = time.Time{}
	case m.Since.IsZero() || m.Invocation != before.Invocation:
		m.Since = r.seen
	}
	if m.Invocation != before.Invocation || !m.Up {
		m.Misses, m.MissedAt = 0, time.Time{}
	}
	return m
}

// newFailure tells whether u shows the end of a run that is not counted yet. It
// names a run whose end needs no more counting, whether it was a failure or not:
// each run ends once, however often it is looked at.
func newFailure(u api.Unit, before Memory, known bool) (f api.Failure, run string, ok bool) {
	run = u.InvocationID
	if run == "" {
		run = u.StateChange.String() // it could not even be started
	}
	switch {
	case (u.ActiveState == "failed" || u.ActiveState == "deactivating") && before.Stopping: // a stop that somebody asked for, and that ends badly
		return api.Failure{}, run, false
	case failing(u) && run != before.Counted:
		at := u.Exited
		if at.IsZero() || u.ActiveState == "deactivating" {
			at = u.StateChange // a hung process has not exited yet
		}
		return api.Failure{Fault: faultOf(u), Detail: sentence(u), At: at}, run, true
	case known && u.Restarts > before.Restarts && u.InvocationID != before.Invocation && before.Counted != before.Invocation:
		// It ended and was restarted between two looks: systemd's counter is
		// all that is left of it.
		at := u.ActiveExit
		if at.IsZero() {
			at = u.Started
		}
		return api.Failure{Fault: api.Crashed, Detail: "ended and was restarted by systemd", At: at}, before.Invocation, true
	default:
		return api.Failure{}, "", false
	}
}

// probe takes in one look of a unit's probe. A unit that does not run, has just
// been started, or is kept from working by us has nothing to answer.
func (r *reducer) probe(result api.ProbeResult) {
	u, m := r.p.unit(result.Unit), r.s.Units[result.Unit]
	if u == nil || !m.Up || r.commanding(result.Unit) || r.measured(result.Unit) {
		return
	}
	switch {
	case result.Status == api.Up || result.Status == api.Degraded:
		m.Misses, m.MissedAt, m.Answered = 0, time.Time{}, result.Time
	case result.Status == api.Unknown:
		return
	case m.Answered.Before(m.Since) && result.Time.Before(m.Since.Add(u.Starting.Std())):
		return // it has not answered since it was started, and may still take its time
	default:
		m.Misses++
		if m.Misses == 1 {
			m.MissedAt = result.Time
		}
	}
	r.s.Units[result.Unit] = m
	inc := r.s.openIncident(downRule, result.Unit)
	switch {
	case m.Misses == r.p.Down.Misses:
		f := api.Failure{
			Fault: api.Unresponsive, At: m.MissedAt, DetectedAt: r.seen,
			Detail: fmt.Sprintf("%s, %d times in a row", result.Detail, m.Misses),
		}
		r.open(r.fault(result.Unit, f, inc)) // systemd does nothing about it
	case m.Misses == 0 && inc != nil:
		r.up(inc, result.Time)
		if !r.now.Before(inc.Came.Add(r.p.Down.Verify.Std())) {
			r.judgeUnit(inc)
		}
	}
}

// fault counts a failure, in the open incident or in a new one.
func (r *reducer) fault(unit string, f api.Failure, inc *Incident) *Incident {
	switch {
	case inc == nil:
		inc = r.begins(downRule, api.ClassService, unit, f)
	case inc.State == api.IncidentExhausted || inc.State == api.IncidentSuppressed:
		inc.Count++ // nobody wants to read each of them, and it changes nothing
		return inc
	default:
		r.failed(inc, f)
	}
	if r.commanding(unit) {
		return inc // the command's end will tell
	}
	r.settle(inc, "failed", f.Detail)
	deadline := inc.Deadline // of a unit that fails again and again without ever coming up
	came := inc.State == api.IncidentVerifying || inc.State == api.IncidentSuppressed
	inc.RecoveredAt = nil
	r.enter(inc, api.IncidentOpen, r.p.Down.Grace.Std())
	if !came && !deadline.IsZero() && deadline.Before(inc.Deadline) {
		inc.Deadline = deadline
	}
	return inc
}

// up: the unit runs. That is the beginning of the proof, not the proof.
func (r *reducer) up(inc *Incident, since time.Time) {
	if inc.State == api.IncidentVerifying {
		return
	}
	inc.RecoveredAt, inc.Came = &since, r.now
	r.enter(inc, api.IncidentVerifying, r.p.Down.Verify.Std())
}

// systemdActs: the unit's own Restart= is under way. After a rung of ours it
// is not waited for: the rung did not help. It reports whether an attempt began.
func (r *reducer) systemdActs(inc *Incident) bool {
	if inc.State != api.IncidentOpen || inc.Rung > 0 {
		return false
	}
	deadline := inc.Deadline // runs since the fault
	r.begin(inc, ActionSystemdRestart, inc.Unit, "the unit's own Restart= comes first")
	r.enter(inc, api.IncidentActing, 0)
	inc.Deadline = deadline
	return true
}

// gaveUp: systemd has given up, so it is our turn.
func (r *reducer) gaveUp(inc *Incident) {
	if inc.State == api.IncidentExhausted || inc.State == api.IncidentSuppressed || (inc.State == api.IncidentOpen && inc.Deadline.IsZero()) {
		return
	}
	r.settle(inc, "failed", "")
	r.open(inc)
}

// finishUnit takes in the end of a rung of the ladder for units.
func (r *reducer) finishUnit(inc *Incident, problem string) {
	switch {
	case problem != "" && r.s.Units[inc.Unit].Moving:
		// Our patience was shorter than the start takes: a database that
		// recovers must not be made to begin again.
		r.enter(inc, api.IncidentActing, r.p.Down.Grace.Std())
	case problem != "" && r.well(inc.Unit): // it came up nevertheless, and its probe begins anew
		r.settle(inc, "failed", problem)
		r.up(inc, r.now)
	case problem != "":
		r.settle(inc, "failed", problem)
		r.open(inc)
		inc.NotBefore = r.now.Add(r.p.Down.Verify.Std())
	default:
		r.came(inc)
	}
}

// came begins the proof that a unit which was brought up stays so.
func (r *reducer) came(inc *Incident) {
	if a := last(inc); a != nil {
		a.FinishedAt = &r.now
	}
	inc.RecoveredAt, inc.Came = &r.now, r.now
	r.enter(inc, api.IncidentVerifying, r.p.Down.Verify.Std())
}

// passUnits lets time do its part: proofs that are complete, patience that is
// over.
func (r *reducer) passUnits() {
	for i := range r.s.Incidents {
		inc := &r.s.Incidents[i]
		if !inc.Open() || inc.Rule != downRule || inc.Deadline.IsZero() || r.now.Before(inc.Deadline) {
			continue
		}
		if r.s.Units[inc.Unit].Moving && inc.State != api.IncidentExhausted {
			inc.Deadline = r.now.Add(r.p.Down.Grace.Std()) // systemd is at it
			continue
		}
		switch inc.State {
		case api.IncidentVerifying:
			r.judgeUnit(inc)
		case api.IncidentActing:
			if r.commanding(inc.Unit) {
				inc.Deadline = time.Time{} // our command has its own limit
				continue
			}
			r.settle(inc, "failed", "took longer than "+r.p.Down.Grace.String())
			r.open(inc)
		case api.IncidentExhausted:
			inc.Rung = 0
			r.open(inc)
		default: // open: systemd did nothing about it in time
			r.open(inc)
		}
	}
}

// judgeUnit: did the unit stay up, and does it answer?
func (r *reducer) judgeUnit(inc *Incident) {
	u, m := r.p.unit(inc.Unit), r.s.Units[inc.Unit]
	switch {
	case !r.well(inc.Unit):
		r.settle(inc, "failed", "the unit is not up")
		r.open(inc)
	case u.Deadline > 0 && !m.Answered.IsZero() && m.Answered.Before(inc.Came) && r.now.Before(r.silence(u, inc.Came)):
		inc.Deadline = r.silence(u, inc.Came) // until its probe succeeds, or has missed too often
	default:
		r.settle(inc, "helped", "")
		inc.VerifiedAt = &r.now
		r.close(inc)
	}
}

// silence is when the probe of a unit that was started has either succeeded or
// missed too often, unless nobody looks.
func (r *reducer) silence(u *UnitPolicy, started time.Time) time.Time {
	looks := time.Duration(r.p.Down.Misses+1) * (r.p.Down.Every.Std() + u.Deadline.Std())
	return started.Add(u.Starting.Std() + looks)
}

// forgive returns the command that makes systemd's back-off and start limit of
// a unit begin anew after it was up for long enough. systemd itself never does
// (systemd #43813).
func (r *reducer) forgive() *Command {
	for i := range r.p.Units {
		name := r.p.Units[i].Name
		m := r.s.Units[name]
		if m.Restarts > 0 && r.well(name) && m.Forgiven != m.Invocation && !m.Since.IsZero() && r.now.Sub(m.Since) >= r.p.Down.Healthy.Std() {
			m.Forgiven = m.Invocation
			r.s.Units[name] = m
			return &Command{
				Action: ActionForget, Unit: name, Timeout: 10 * time.Second,
				Reason: fmt.Sprintf("up for %s after %d restarts", r.p.Down.Healthy, m.Restarts),
			}
		}
	}
	return nil
}
