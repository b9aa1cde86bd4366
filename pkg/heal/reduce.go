package heal

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// Reduce takes in one observation. It returns the next state and the commands
// to run, at most one: only one mutating action is ever under way. The given
// state is not changed. The same arguments always give the same answer.
func Reduce(p *Policy, s State, o Observation, now time.Time) (State, []Command) {
	s = s.clone()
	r := reducer{p: p, s: &s, seen: o.At, now: now}
	if o.Maintenance != nil {
		s.Maintenance = *o.Maintenance
	}
	for i := range s.Incidents {
		inc := &s.Incidents[i]
		inc.Mirrored = max(inc.Mirrored, o.Mirrored[inc.ID])
	}
	if o.Result != nil {
		r.finish(*o.Result)
	}
	for i := range s.Incidents {
		if inc := &s.Incidents[i]; inc.Open() && !slices.Contains(p.Units, inc.Unit) {
			r.drop(inc, "the policy no longer names the unit")
		}
	}
	for _, u := range o.Units {
		switch {
		case !slices.Contains(p.Units, u.Name):
		case u.LoadState == "loaded":
			r.look(u)
		default: // masked, or gone
			if inc := s.openIncident(u.Name); inc != nil {
				r.drop(inc, "the unit is "+u.LoadState)
			}
		}
	}
	r.pass()
	cmds := r.act()
	s.forget()
	return s, cmds
}

type reducer struct {
	p    *Policy
	s    *State
	seen time.Time // when the observation was made
	now  time.Time
}

// look takes in one unit: is there a new fault, and what does its present
// state mean for the incident that is open?
func (r *reducer) look(u api.Unit) {
	before, known := r.s.Units[u.Name]
	status, _ := Judge(u)
	after := Memory{
		Invocation: u.InvocationID,
		Restarts:   u.Restarts,
		Up:         status == api.Up,
		Moving:     moving(u),
		Stopping:   u.ActiveState == "deactivating" && u.Result == "success" && !r.commanding(u.Name),
		Counted:    before.Counted,
	}
	inc := r.s.openIncident(u.Name)
	f, run, ok := newFailure(u, before, known)
	if run != "" {
		after.Counted = run
	}
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
	r.s.Units[u.Name] = after
	if inc == nil || r.commanding(u.Name) {
		return // all is well, or the end of our own command will tell
	}
	switch {
	case after.Up:
		r.up(inc, u)
	case after.Moving: // let systemd finish
	case autoRestart(u):
		r.systemdActs(inc)
	case u.ActiveState == "failed" && !before.Stopping:
		r.failed(inc)
	default: // inactive with nobody about to start it, or it failed to stop in good order
		r.drop(inc, "an operator stopped the unit")
	}
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
	case u.ActiveState == "failed" && before.Stopping: // a stop that somebody asked for went wrong
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

// fault counts a failure, in the open incident or in a new one.
func (r *reducer) fault(unit string, f api.Failure, inc *Incident) *Incident {
	if inc == nil {
		r.s.Seq++
		r.s.Incidents = append(r.s.Incidents, Incident{Incident: api.Incident{
			ID:         fmt.Sprintf("%s-%d", r.seen.UTC().Format("20060102T150405"), r.s.Seq),
			Unit:       unit,
			Fault:      f.Fault,
			Detail:     f.Detail,
			State:      api.IncidentOpen,
			FaultAt:    f.At,
			DetectedAt: f.DetectedAt,
			Failures:   []api.Failure{},
			Actions:    []api.Action{},
		}})
		inc = &r.s.Incidents[len(r.s.Incidents)-1]
	}
	inc.Count++
	inc.Failures = append(inc.Failures, f)
	inc.Failures = inc.Failures[max(0, len(inc.Failures)-keepFailures):]
	inc.Revision++
	if r.commanding(unit) {
		return inc // the command's end will tell
	}
	r.settle(inc, "failed", f.Detail)
	deadline := inc.Deadline // of a unit that fails again and again without ever coming up
	came := inc.State == api.IncidentVerifying
	inc.RecoveredAt = nil
	r.enter(inc, api.IncidentOpen, r.p.Down.Grace.Std())
	if !came && !deadline.IsZero() && deadline.Before(inc.Deadline) {
		inc.Deadline = deadline
	}
	return inc
}

// up: the unit runs. That is the beginning of the proof, not the proof.
func (r *reducer) up(inc *Incident, u api.Unit) {
	if inc.State == api.IncidentVerifying {
		return
	}
	inc.RecoveredAt = &u.StateChange
	r.enter(inc, api.IncidentVerifying, r.p.Down.Verify.Std())
}

// systemdActs: the unit's own Restart= is under way. After a rung of ours it
// is not waited for: the rung did not help. It reports whether an attempt began.
func (r *reducer) systemdActs(inc *Incident) bool {
	if inc.State != api.IncidentOpen || inc.Rung > 0 {
		return false
	}
	deadline := inc.Deadline // runs since the fault
	r.begin(inc, ActionSystemdRestart, "the unit's own Restart= comes first")
	r.enter(inc, api.IncidentActing, 0)
	inc.Deadline = deadline
	return true
}

// failed: systemd has given up, so it is our turn.
func (r *reducer) failed(inc *Incident) {
	if inc.State == api.IncidentExhausted || (inc.State == api.IncidentOpen && inc.Deadline.IsZero()) {
		return
	}
	r.settle(inc, "failed", "")
	r.open(inc)
}

// drop ends an incident that is not the healer's business any more.
func (r *reducer) drop(inc *Incident, why string) {
	r.settle(inc, "refused", why)
	inc.Detail += "; then " + why
	r.close(inc)
}

// finish takes in the end of our own command.
func (r *reducer) finish(res Result) {
	if r.s.Running == nil || r.s.Running.Incident != res.Incident || r.s.Running.Attempt != res.Attempt {
		return // of a run of the healer before this one, and already settled
	}
	r.s.Running = nil
	i := slices.IndexFunc(r.s.Incidents, func(i Incident) bool { return i.ID == res.Incident && i.Open() })
	if i < 0 {
		return
	}
	inc := &r.s.Incidents[i]
	if res.Error != "" && r.s.Units[inc.Unit].Moving {
		// Our patience was shorter than the start takes: a database that
		// recovers must not be made to begin again.
		r.enter(inc, api.IncidentActing, r.p.Down.Grace.Std())
		return
	}
	if res.Error != "" {
		r.settle(inc, "failed", res.Error)
		r.open(inc)
		inc.NotBefore = r.now.Add(r.p.Down.Verify.Std())
		return
	}
	if a := last(inc); a != nil {
		a.FinishedAt = &r.now
	}
	inc.RecoveredAt = &r.now
	r.enter(inc, api.IncidentVerifying, r.p.Down.Verify.Std())
}

// pass lets time do its part: proofs that are complete, patience that is over.
func (r *reducer) pass() {
	for i := range r.s.Incidents {
		inc := &r.s.Incidents[i]
		if !inc.Open() || inc.Deadline.IsZero() || r.now.Before(inc.Deadline) {
			continue
		}
		if r.s.Units[inc.Unit].Moving && inc.State != api.IncidentExhausted {
			inc.Deadline = r.now.Add(r.p.Down.Grace.Std()) // systemd is at it
			continue
		}
		switch inc.State {
		case api.IncidentVerifying:
			if r.s.Units[inc.Unit].Up {
				r.settle(inc, "helped", "")
				inc.VerifiedAt = &r.now
				r.close(inc)
				continue
			}
			r.settle(inc, "failed", "the unit is not up")
			r.open(inc)
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

// act picks the next command: for the open incident whose unit is earliest in
// start order.
func (r *reducer) act() []Command {
	if r.s.Running != nil || r.s.Maintenance {
		return nil
	}
	var ready []*Incident
	for i := range r.s.Incidents {
		inc := &r.s.Incidents[i]
		if inc.Open() && inc.State == api.IncidentOpen && inc.Deadline.IsZero() && !r.now.Before(inc.NotBefore) && !r.s.Units[inc.Unit].Moving {
			ready = append(ready, inc)
		}
	}
	slices.SortStableFunc(ready, func(a, b *Incident) int {
		return cmp.Compare(slices.Index(r.p.Units, a.Unit), slices.Index(r.p.Units, b.Unit))
	})
	for _, inc := range ready {
		if inc.Rung >= len(r.p.Down.Ladder) || r.overBudget(inc.Unit) {
			r.enter(inc, api.IncidentExhausted, r.p.Down.Retry.Std())
			continue
		}
		rung := r.p.Down.Ladder[inc.Rung]
		inc.Rung++
		reason := fmt.Sprintf("%s; rung %d of %d", inc.Failures[len(inc.Failures)-1].Detail, inc.Rung, len(r.p.Down.Ladder))
		r.begin(inc, rung.Action, reason)
		r.enter(inc, api.IncidentActing, 0)
		inc.NotBefore = time.Time{}
		r.s.Spent[inc.Unit] = append(r.s.Spent[inc.Unit], r.now)
		r.s.Running = &Command{
			Incident: inc.ID,
			Unit:     inc.Unit,
			Action:   rung.Action,
			Attempt:  last(inc).Attempt,
			Timeout:  rung.Timeout.Std(),
			Reason:   reason,
		}
		return []Command{*r.s.Running}
	}
	return nil
}

// overBudget also forgets what lies before the window.
func (r *reducer) overBudget(unit string) bool {
	begin := r.now.Add(-r.p.Down.Window.Std())
	spent := slices.DeleteFunc(r.s.Spent[unit], func(t time.Time) bool { return t.Before(begin) })
	r.s.Spent[unit] = spent
	return len(spent) >= r.p.Down.Budget
}

func (r *reducer) commanding(unit string) bool { return r.s.Running != nil && r.s.Running.Unit == unit }

// enter changes the incident's state; within says how long until it is judged,
// 0 for never.
func (r *reducer) enter(inc *Incident, state api.IncidentState, within time.Duration) {
	inc.State = state
	inc.Deadline = time.Time{}
	if within > 0 {
		inc.Deadline = r.now.Add(within)
	}
	inc.Revision++
}

// open makes the incident wait for the next rung.
func (r *reducer) open(inc *Incident) { r.enter(inc, api.IncidentOpen, 0) }

func (r *reducer) close(inc *Incident) {
	inc.ClosedAt = &r.now
	inc.NotBefore = time.Time{}
	r.enter(inc, api.IncidentResolved, 0)
}

// begin notes that an attempt was started.
func (r *reducer) begin(inc *Incident, action, reason string) {
	attempt := 1
	if a := last(inc); a != nil {
		attempt = a.Attempt + 1
	}
	inc.Actions = append(inc.Actions, api.Action{Attempt: attempt, Kind: action, Reason: reason, StartedAt: r.now, Outcome: "running"})
	inc.Actions = inc.Actions[max(0, len(inc.Actions)-keepActions):]
	if inc.ActedAt == nil {
		inc.ActedAt = &r.now
	}
}

// settle writes down how the attempt under way came out, if there is one.
func (r *reducer) settle(inc *Incident, outcome, problem string) {
	a := last(inc)
	if a == nil || a.Outcome != "running" {
		return
	}
	a.Outcome = outcome
	a.Error = strings.TrimSpace(problem)
	if a.FinishedAt == nil {
		a.FinishedAt = &r.now
	}
}

func last(inc *Incident) *api.Action {
	if len(inc.Actions) == 0 {
		return nil
	}
	return &inc.Actions[len(inc.Actions)-1]
}
