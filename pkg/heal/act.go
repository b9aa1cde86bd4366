package heal

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// strikeWindow is how soon trouble must be back for a repair not to have helped
// after all; twice, and the action is struck off.
const (
	strikeWindow = 30 * time.Minute
	strikes      = 2
)

// The limits of reboots, spec HEAL-4.
const (
	rebootsPerHour = 1
	rebootsPerDay  = 2
	rebootsInVain  = 2 // in a row, for the same rule
)

// isUndo reports whether the action takes another one back.
func isUndo(name string) bool {
	return name == ActionStart || name == ActionResume || name == ActionUncap
}

// act picks the next command, if there is anything to do and it may be done.
func (r *reducer) act() []Command {
	r.tendBreaker()
	if r.s.Running != nil || r.s.Lease != nil || r.goingDown() {
		return nil
	}
	if c := r.carryOut(); c != nil {
		r.s.Running = c
		return []Command{*c}
	}
	if r.s.Maintenance {
		return nil
	}
	c := r.takeBack()
	if c == nil && r.s.Breaker.Until.IsZero() {
		c = r.climb()
	}
	if c == nil {
		c = r.forgive()
	}
	if c == nil {
		return nil
	}
	r.s.Running = c
	return []Command{*c}
}

// climb picks the next rung of the incident that comes first: what is critical,
// then units in start order, because what others need has to stand first, then
// the rest in the order of the policy.
func (r *reducer) climb() *Command {
	var ready []*Incident
	for i := range r.s.Incidents {
		if inc := &r.s.Incidents[i]; r.ready(inc) {
			ready = append(ready, inc)
		}
	}
	slices.SortStableFunc(ready, func(a, b *Incident) int { return cmp.Compare(r.rank(a), r.rank(b)) })
	for _, inc := range ready {
		if inc.Rule == downRule && r.well(inc.Unit) { // by something that was done for another reason
			r.up(inc, r.now)
			continue
		}
		if r.suppress(inc) {
			continue
		}
		if c := r.rung(inc); c != nil {
			return c
		}
	}
	return nil
}

// ready reports whether an incident waits for its next rung.
func (r *reducer) ready(inc *Incident) bool {
	switch {
	case !inc.Open() || inc.Rule == requestRule || r.now.Before(inc.NotBefore) || r.s.Units[inc.Unit].Moving:
		return false
	case inc.State == api.IncidentSuppressed:
		return true
	case inc.State != api.IncidentOpen || !inc.Deadline.IsZero():
		return false
	default: // what is not known is not acted upon
		rule := r.p.rule(inc.Rule)
		return rule == nil || r.signal(rule, inc.Judged) != unknown
	}
}

func (r *reducer) rank(inc *Incident) int {
	const many = 1 << 16
	if inc.Rule == downRule {
		return many + r.p.order(inc.Unit)
	}
	place := slices.IndexFunc(r.p.Rules, func(rule Rule) bool { return rule.Name == inc.Rule })
	if inc.Class == api.ClassCritical {
		return place
	}
	return 2*many + place
}

// suppress keeps the hands off a unit as long as one that it needs is in
// trouble: repairing it would be in vain, or hide the cause. When that one is
// well again, this one gets a moment to recover by itself.
func (r *reducer) suppress(inc *Incident) bool {
	cause := r.cause(inc.Unit)
	switch {
	case inc.Rule != downRule:
		return false
	case cause != "" && inc.Cause == cause:
		return true
	case cause != "":
		r.enter(inc, api.IncidentSuppressed, 0)
		inc.Cause = cause
		return true
	case inc.State == api.IncidentSuppressed:
		r.enter(inc, api.IncidentOpen, r.p.Down.Verify.Std())
		return true
	default:
		return false
	}
}

// cause is the unit that keeps another from being well: the deepest of those it
// needs that is not well itself.
func (r *reducer) cause(unit string) string {
	u := r.p.unit(unit)
	if u == nil {
		return ""
	}
	for _, need := range u.Needs {
		if _, there := r.s.Units[need]; !there || r.well(need) {
			continue
		}
		if deeper := r.cause(need); deeper != "" {
			return deeper
		}
		return need
	}
	return ""
}

// rung takes the next rung of an incident's ladder. It returns nil when there
// is none left, or none may be taken now.
func (r *reducer) rung(inc *Incident) *Command {
	ladder, budget, window, retry := r.p.Down.Ladder, r.p.Down.Budget, r.p.Down.Window, r.p.Down.Retry
	if rule := r.p.rule(inc.Rule); rule != nil {
		ladder, budget, window, retry = rule.Ladder, rule.Budget, rule.Window, rule.Retry
	}
	for ; inc.Rung < len(ladder); inc.Rung++ {
		rung := ladder[inc.Rung]
		c := r.command(inc, rung)
		if inc.inForce(c) {
			continue
		}
		switch why, wait := r.refuse(inc, rung, c); {
		case why != "":
			r.begin(inc, rung.Action, c.Unit, why)
			r.settle(inc, "refused", why)
			continue
		case wait > 0:
			inc.NotBefore = r.now.Add(wait)
			return nil
		}
		if r.spent(window.Std(), func(e Spent) bool { return e.Rule == inc.Rule && e.Unit == inc.Unit }) >= budget {
			break
		}
		inc.Rung++
		r.serviceFailed(inc)
		c.Reason = fmt.Sprintf("%s; rung %d of %d", inc.Failures[len(inc.Failures)-1].Detail, inc.Rung, len(ladder))
		return r.issue(inc, c)
	}
	r.serviceFailed(inc)
	inc.Climbs++
	r.enter(inc, api.IncidentExhausted, retry.Std())
	return nil
}

// capLevels are the levels of cap-clocks, the deepest last.
var capLevels = []string{string(api.CapLight), string(api.CapDeep), string(api.CapLowest)}

// inForce reports whether what a command would do has been done, or more, and
// was not taken back: to cap the clocks lightly now could only raise them.
func (i *Incident) inForce(c *Command) bool {
	m := i.measure(c)
	return m != nil && m.InForce && slices.Index(capLevels, c.Level) <= slices.Index(capLevels, m.Level)
}

// measure returns what is yet to be taken back of what a command does, or nil.
func (i *Incident) measure(c *Command) *Measure {
	undo := actions[c.Action].undo
	at := slices.IndexFunc(i.Measures, func(m Measure) bool { return undo != "" && m.Undo == undo && m.Unit == c.Unit })
	if at < 0 {
		return nil
	}
	return &i.Measures[at]
}

// serviceFailed counts that an application service is down and systemd does
// not help it: three of these within minutes are more than a restart can mend.
// A ladder that is climbed again tells nothing new.
func (r *reducer) serviceFailed(inc *Incident) {
	if u := r.p.unit(inc.Unit); inc.Rule == downRule && u.Application && inc.Climbs == 0 {
		r.count("service_failures", inc.Unit, r.now)
	}
}

// command is what a rung comes to for an incident.
func (r *reducer) command(inc *Incident, rung Rung) *Command {
	c := &Command{Action: rung.Action, Level: rung.Level, Timeout: rung.Timeout.Std()}
	if actions[rung.Action].unit {
		c.Unit = cmp.Or(rung.Unit, inc.Unit)
	}
	switch rung.Action {
	case ActionHardRestart:
		c.Units = r.running(func(u *UnitPolicy) bool { return u.Application })
	case ActionResetGPU:
		c.Units = r.running(func(u *UnitPolicy) bool { return u.GPU })
	default:
	}
	return c
}

// running are the units that nobody has stopped, in start order.
func (r *reducer) running(which func(*UnitPolicy) bool) (names []string) {
	for i := range r.p.Units {
		u := &r.p.Units[i]
		if m, there := r.s.Units[u.Name]; there && which(u) && !m.Stopped && !r.stopped(u.Name) {
			names = append(names, u.Name)
		}
	}
	return names
}

// refuse says why a rung is not taken at all, or how long it has to wait.
func (r *reducer) refuse(inc *Incident, rung Rung, c *Command) (why string, wait time.Duration) {
	m, there := r.s.Units[c.Unit]
	switch {
	case c.Unit != "" && !there:
		return "there is no " + c.Unit + " on this machine", 0
	case m.Stopped, r.stopped(c.Unit):
		return c.Unit + " was stopped, and stays so", 0
	case rung.Action == ActionHardRestart && len(c.Units) == 0:
		return "there is no application service to restart", 0
	case r.struckOff(inc, c):
		return fmt.Sprintf("struck off: %s helped %d times, and the trouble was back within %s", c.Action, strikes, strikeWindow), 0
	case rung.Action == ActionReboot:
		return r.refuseReboot(inc), 0
	}
	for _, e := range r.s.Ledger {
		left := e.At.Add(rung.Cooldown.Std()).Sub(r.now)
		switch {
		case e.Action != c.Action || e.Target != c.Unit || rung.Cooldown == 0 || left <= 0:
		case e.Rule != inc.Rule: // it would only be done once more
			return fmt.Sprintf("done %s ago, because of %s", r.now.Sub(e.At).Round(time.Second), e.Rule), 0
		default:
			wait = max(wait, left)
		}
	}
	return "", wait
}

// issue makes the command the one under way.
func (r *reducer) issue(inc *Incident, c *Command) *Command {
	r.begin(inc, c.Action, c.Unit, c.Reason)
	r.enter(inc, api.IncidentActing, 0)
	inc.NotBefore = time.Time{}
	c.Incident, c.Attempt = inc.ID, last(inc).Attempt
	r.s.Ledger = append(slices.Clip(r.s.Ledger), Spent{At: r.now, Rule: inc.Rule, Unit: inc.Unit, Action: c.Action, Target: c.Unit})
	if undo := actions[c.Action].undo; undo != "" && inc.measure(c) == nil {
		inc.Measures = append(inc.Measures, Measure{Undo: undo, Unit: c.Unit, Timeout: c.Timeout})
	}
	if c.Action == ActionReboot {
		r.s.Reboots = append(r.s.Reboots, api.Reboot{
			BootID: r.s.Boot, Rule: inc.Rule, Incident: inc.ID, Reason: c.Reason, RequestedAt: r.now,
		})
	}
	return c
}

// takeBack returns the command that takes back the newest measure of an
// incident that has been over for long enough.
func (r *reducer) takeBack() *Command {
	for i := range r.s.Incidents {
		inc := &r.s.Incidents[i]
		if !inc.Open() || inc.State != api.IncidentHolding || r.now.Before(inc.Deadline) || r.now.Before(inc.NotBefore) {
			continue
		}
		if len(inc.Measures) == 0 { // somebody else took it back
			r.close(inc)
			continue
		}
		m := &inc.Measures[len(inc.Measures)-1]
		m.Tries++
		reason := "it is over, and has been for long enough"
		r.begin(inc, m.Undo, m.Unit, reason)
		inc.Revision++
		return &Command{Incident: inc.ID, Action: m.Undo, Unit: m.Unit, Attempt: last(inc).Attempt, Timeout: m.Timeout, Reason: reason}
	}
	return nil
}

// spent counts actions in the ledger that are not older than the window.
func (r *reducer) spent(window time.Duration, which func(Spent) bool) (n int) {
	for _, e := range r.s.Ledger {
		if e.At.After(r.now.Add(-window)) && which(e) {
			n++
		}
	}
	return n
}

// tendBreaker opens the breaker when too much was done, and closes it when it
// was open for long enough or all has been well.
func (r *reducer) tendBreaker() {
	b := &r.s.Breaker
	if slices.ContainsFunc(r.s.Incidents, func(i Incident) bool { return i.Open() }) {
		b.Quiet = time.Time{}
	} else if b.Quiet.IsZero() {
		b.Quiet = r.now
	}
	switch {
	case b.Until.IsZero():
		done := r.spent(r.p.Breaker.Window.Std(), func(e Spent) bool { return !e.At.Before(b.From) && e.Rule != requestRule })
		if done >= r.p.Breaker.Actions {
			b.Until = r.now.Add(r.p.Breaker.Hold.Std())
		}
	case !r.now.Before(b.Until), !b.Quiet.IsZero() && r.now.Sub(b.Quiet) >= r.p.Breaker.Healthy.Std():
		r.closeBreaker()
	}
}

func (r *reducer) closeBreaker() {
	if !r.s.Breaker.Until.IsZero() {
		r.s.Breaker = Trip{From: r.now, Quiet: r.s.Breaker.Quiet}
	}
}

// helped notes in the ledger that an action of ours was proven to help.
func (r *reducer) helped(inc *Incident, a *api.Action) {
	r.amend(func(e *Spent) bool {
		if e.Rule != inc.Rule || e.Unit != inc.Unit || e.Action != a.Kind || !e.Helped.IsZero() {
			return false
		}
		e.Helped = r.now
		return true
	})
}

// relapse: the same trouble is back. What helped last did not help for long.
func (r *reducer) relapse(inc *Incident) {
	r.amend(func(e *Spent) bool {
		if e.Rule != inc.Rule || e.Unit != inc.Unit || e.Helped.IsZero() {
			return false
		}
		e.Relapsed = e.Relapsed || r.now.Sub(e.Helped) <= strikeWindow
		return true
	})
}

// amend changes the newest entry of the ledger for which change reports that it
// did. Older states share the ledger, so it is copied.
func (r *reducer) amend(change func(*Spent) bool) {
	for i := len(r.s.Ledger) - 1; i >= 0; i-- {
		e := r.s.Ledger[i]
		if change(&e) {
			r.s.Ledger = slices.Clone(r.s.Ledger)
			r.s.Ledger[i] = e
			return
		}
	}
}

// struckOff reports whether an action has been shown not to last.
func (r *reducer) struckOff(inc *Incident, c *Command) bool {
	return r.spent(strikes*strikeWindow, func(e Spent) bool {
		return e.Rule == inc.Rule && e.Unit == inc.Unit && e.Action == c.Action && e.Target == c.Unit && e.Relapsed
	}) >= strikes
}

// refuseReboot says why the machine is not rebooted, if it is not.
func (r *reducer) refuseReboot(inc *Incident) string {
	if !r.p.AllowReboot {
		return "the configuration does not allow a reboot ([healer] reboot)"
	}
	if r.s.Boot == "" {
		return "the kernel's boot id is not known, so that nobody could tell afterwards"
	}
	hour, day, vain := 0, 0, 0
	for _, b := range r.s.Reboots {
		if b.RequestedAt.After(r.now.Add(-time.Hour)) {
			hour++
		}
		if b.RequestedAt.After(r.now.Add(-24 * time.Hour)) {
			day++
		}
		if b.Rule == inc.Rule {
			vain++
			if b.Helped != nil && *b.Helped && b.RequestedAt.Before(r.now.Add(-24*time.Hour)) {
				vain = 0
			}
		}
	}
	switch {
	case vain >= rebootsInVain:
		return fmt.Sprintf("%d reboots in a row did not rid the machine of it: somebody has to look", vain)
	case hour >= rebootsPerHour:
		return "the machine was rebooted within the last hour"
	case day >= rebootsPerDay:
		return fmt.Sprintf("the machine was rebooted %d times within a day", day)
	default:
		return ""
	}
}

// goingDown reports whether the machine was asked to reboot, and is about to.
func (r *reducer) goingDown() bool {
	n := len(r.s.Reboots)
	return n > 0 && r.s.Reboots[n-1].BootedAt == nil
}

// rebooted reports whether the incident waits to be judged after a reboot.
func (r *reducer) rebooted(inc *Incident) bool {
	b := r.reboot(inc)
	return b != nil && b.BootedAt != nil && b.ValidatedAt == nil
}

// reboot is the newest reboot that was asked for because of the incident.
func (r *reducer) reboot(inc *Incident) *api.Reboot {
	for i := len(r.s.Reboots) - 1; i >= 0; i-- {
		if r.s.Reboots[i].Incident == inc.ID {
			return &r.s.Reboots[i]
		}
	}
	return nil
}

// validated writes down whether a reboot helped.
func (r *reducer) validated(inc *Incident, helped bool) {
	if r.rebooted(inc) {
		b := r.reboot(inc)
		b.ValidatedAt, b.Helped = &r.now, &helped
	}
}

// unboot forgets a reboot that did not happen.
func (r *reducer) unboot(inc *Incident) {
	r.s.Reboots = slices.DeleteFunc(r.s.Reboots, func(b api.Reboot) bool { return b.Incident == inc.ID && b.BootedAt == nil })
}
