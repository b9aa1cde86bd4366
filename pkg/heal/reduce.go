package heal

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// downRule is the name of the rule for units that are not up.
const downRule = "down"

const (
	longestLease = time.Hour        // a holder that needs more asks again
	rebootTakes  = 5 * time.Minute  // from asking for a reboot until the machine must have gone down
	longMove     = 15 * time.Minute // a start or a stop that takes longer is told of
	blind        = 10 * time.Minute // an incident that nothing measures any more ends after so long
	dozed        = time.Minute      // without a call of Reduce: the healer was not there, and nothing was measured
)

// Reduce takes in one observation. It returns the next state and the commands
// to run, at most one: only one mutating action is ever under way. The given
// state is not changed. The same arguments always give the same answer.
func Reduce(p *Policy, s State, o Observation, now time.Time) (State, []Command) {
	s = s.clone()
	r := reducer{p: p, s: &s, seen: o.At, now: now}
	if now.Sub(s.Looked) > dozed || now.Before(s.Looked) {
		s.Awake = now
	}
	s.Looked = now
	r.told(o)
	if o.Boot != "" {
		s.Booted = o.At.Add(-o.Uptime) // each time: the clock may have been set since
		if o.Boot != s.Boot {
			r.booted(o)
		}
	}
	if s.Policy != p.Hash { // its detectors may mean something else
		s.Policy = p.Hash
		r.forgetTrends()
	}
	if o.Result != nil {
		r.finish(*o.Result)
	}
	r.dropUnknown()
	for _, u := range o.Units {
		r.unit(u)
	}
	if o.Request != nil {
		r.request(*o.Request)
	}
	for _, result := range o.Probes {
		r.probe(result)
	}
	for _, e := range o.Kernel {
		r.count(kernelMetrics[e.Kind], "", o.At)
	}
	r.measure(slices.Concat(o.Readings, probeReadings(o.Probes)))
	r.passUnits()
	r.passRules()
	r.passRequests()
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

// told takes in what somebody asked for.
func (r *reducer) told(o Observation) {
	if o.Maintenance != nil {
		r.s.Maintenance = *o.Maintenance
	}
	if o.Lease != nil {
		lease := *o.Lease
		lease.Until = earlier(lease.Until, r.now.Add(longestLease))
		r.s.Lease = &lease
	}
	if r.s.Lease != nil && !r.now.Before(r.s.Lease.Until) {
		r.s.Lease = nil
	}
	if o.ResetBreaker { // somebody has looked at the machine
		r.closeBreaker()
		r.s.Reboots = nil
	}
}

// booted: the kernel is another one than at the last look. What was measured
// before proves nothing any more, and a reboot that we asked for has happened.
func (r *reducer) booted(o Observation) {
	before := r.s.Boot
	r.s.Boot = o.Boot
	r.forgetTrends()
	for name := range r.s.Units {
		r.s.Units[name] = Memory{Moving: true} // systemd starts what there is, and nobody has looked yet
	}
	for i := range r.s.Incidents {
		switch inc := &r.s.Incidents[i]; {
		case !inc.Open() || inc.Rule == downRule:
		case inc.Rule == requestRule && inc.State == api.IncidentOpen:
			r.drop(inc, "the machine was restarted")
		default: // nor goes on with one
			inc.NotBefore = r.s.Booted.Add(r.p.Boot.Grace.Std())
		}
	}
	if before == "" {
		return
	}
	for i := range r.s.Incidents {
		if inc := &r.s.Incidents[i]; inc.Open() {
			inc.Measures = nil // none of them outlives a boot
		}
	}
	if c := r.s.Running; c != nil && c.Action != ActionReboot {
		r.finish(Result{Incident: c.Incident, Attempt: c.Attempt, Error: "the machine went down meanwhile"})
	}
	if len(r.s.Reboots) == 0 {
		return
	}
	last := &r.s.Reboots[len(r.s.Reboots)-1]
	if last.BootID != before || last.BootedAt != nil {
		return
	}
	last.BootedAt = &r.now
	r.s.Running = nil
	inc := r.s.incident(last.Incident)
	if inc == nil || !inc.Open() {
		return
	}
	inc.Judged = r.now
	verify := time.Minute
	if rule := r.p.rule(inc.Rule); rule != nil {
		verify = rebootVerify(rule)
	}
	r.enter(inc, api.IncidentVerifying, r.p.Boot.Grace.Std()+verify)
}

// forgetTrends begins to measure anew. What was trouble stays trouble until it
// is seen to be well.
func (r *reducer) forgetTrends() {
	old := r.s.Trends
	r.s.Trends, r.s.Awake = map[string]Trend{}, r.now
	for i := range r.p.Rules {
		rule := &r.p.Rules[i]
		if r.s.openIncident(rule.Name, rule.Unit) == nil {
			continue
		}
		for j := range rule.When {
			if key := trendKey(rule, "when", j); old[key].Firing {
				r.s.Trends[key] = Trend{Firing: true}
			}
		}
	}
}

// rebootVerify is how long it takes until a rule's detectors could fire again.
func rebootVerify(rule *Rule) time.Duration {
	var d time.Duration
	for _, rung := range rule.Ladder {
		if rung.Action == ActionReboot {
			d = rung.Verify.Std()
		}
	}
	for i := range rule.When {
		d = max(d, rule.When[i].For.Std()+rule.When[i].stale())
	}
	return d
}

// dropUnknown ends incidents about what the policy does not name any more.
func (r *reducer) dropUnknown() {
	for i := range r.s.Incidents {
		inc := &r.s.Incidents[i]
		switch {
		case !inc.Open() || r.s.Running != nil && r.s.Running.Incident == inc.ID:
		case inc.Rule == requestRule:
			if why := r.pointless(inc); why != "" {
				r.drop(inc, why)
			}
		case inc.Rule == downRule && r.p.order(inc.Unit) < 0:
			r.drop(inc, "the policy no longer names the unit")
		case inc.Rule != downRule && r.orphan(inc) && inc.State != api.IncidentHolding:
			r.drop(inc, "the policy no longer has the rule")
		}
	}
}

// orphan reports whether the policy has the incident's rule no more, or for
// another unit.
func (r *reducer) orphan(inc *Incident) bool {
	if inc.Rule == requestRule {
		return false // it has none
	}
	rule := r.p.rule(inc.Rule)
	return rule == nil || rule.Unit != inc.Unit
}

// finish takes in the end of our own command.
func (r *reducer) finish(res Result) {
	c := r.s.Running
	if c == nil || c.Incident != res.Incident || c.Attempt != res.Attempt {
		return // of a run of the healer before this one, and already settled
	}
	r.s.Running = nil
	for _, unit := range slices.Concat(c.Units, []string{c.Unit}) {
		if m, ok := r.s.Units[unit]; ok { // its probe begins anew
			m.Misses, m.MissedAt = 0, time.Time{}
			r.s.Units[unit] = m
		}
	}
	inc := r.s.incident(c.Incident)
	if inc == nil || !inc.Open() {
		return
	}
	if c.Action != ActionReboot && res.Error == "" {
		inc.Judged = r.now
	}
	switch {
	case isUndo(c.Action):
		r.tookBack(inc, c, res.Error)
	case inc.Rule == downRule:
		r.finishUnit(inc, res.Error)
	case inc.Rule == requestRule:
		r.finishRequest(inc, res.Error)
	default:
		r.finishRule(inc, c, res.Error)
	}
}

// drop ends an incident that is not the healer's business any more. What was
// done because of it is still taken back.
func (r *reducer) drop(inc *Incident, why string) {
	r.settle(inc, "refused", why)
	inc.Detail = shortened(inc.Detail + "; then " + why)
	if len(inc.Measures) > 0 {
		r.enter(inc, api.IncidentHolding, 0)
		return
	}
	r.close(inc)
}

// begins opens an incident.
func (r *reducer) begins(rule string, class api.Class, unit string, f api.Failure) *Incident {
	r.s.Seq++
	r.s.Incidents = append(r.s.Incidents, Incident{Incident: api.Incident{
		ID:         fmt.Sprintf("%s-%d", r.seen.UTC().Format("20060102T150405"), r.s.Seq),
		Rule:       rule,
		Class:      class,
		Policy:     r.p.Hash,
		Unit:       unit,
		Fault:      f.Fault,
		Detail:     f.Detail,
		State:      api.IncidentOpen,
		FaultAt:    f.At,
		DetectedAt: f.DetectedAt,
		Failures:   []api.Failure{},
		Actions:    []api.Action{},
	}})
	inc := &r.s.Incidents[len(r.s.Incidents)-1]
	r.failed(inc, f)
	r.relapse(inc)
	return inc
}

// failed notes a failure in an incident.
func (r *reducer) failed(inc *Incident, f api.Failure) {
	inc.Count++
	inc.Failures = newest(append(inc.Failures, f), keepFailures)
	inc.Revision++
}

// enter changes the incident's state; within says how long until it is judged,
// 0 for never.
func (r *reducer) enter(inc *Incident, state api.IncidentState, within time.Duration) {
	inc.State = state
	inc.Deadline = time.Time{}
	if within > 0 {
		inc.Deadline = r.now.Add(within)
	}
	if state != api.IncidentSuppressed {
		inc.Cause = ""
	}
	inc.Revision++
}

// open makes the incident wait for the next rung.
func (r *reducer) open(inc *Incident) { r.enter(inc, api.IncidentOpen, 0) }

func (r *reducer) close(inc *Incident) {
	inc.ClosedAt = &r.now
	inc.NotBefore = time.Time{}
	r.enter(inc, api.IncidentResolved, 0)
	if inc.Rule != downRule {
		r.s.Since[inc.Rule] = r.now
	}
}

// begin notes that an attempt was started.
func (r *reducer) begin(inc *Incident, action, unit, reason string) {
	attempt := 1
	if a := last(inc); a != nil {
		attempt = a.Attempt + 1
	}
	inc.Actions = newest(append(inc.Actions, api.Action{
		Attempt: attempt, Kind: action, Unit: unit, Reason: reason, StartedAt: r.now, Outcome: "running",
	}), keepActions)
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
	a.Error = shortened(strings.TrimSpace(problem))
	if a.FinishedAt == nil {
		a.FinishedAt = &r.now
	}
	inc.Revision++
	if outcome == "helped" {
		r.helped(inc, a)
	}
}

// shortened bounds what others said.
func shortened(text string) string {
	const most = 1000
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + " …"
}

func last(inc *Incident) *api.Action {
	if len(inc.Actions) == 0 {
		return nil
	}
	return &inc.Actions[len(inc.Actions)-1]
}

// count notes an event of a metric that counts.
func (r *reducer) count(metric, of string, at time.Time) {
	r.s.Events[metric] = newest(append(slices.Clip(r.s.Events[metric]), Occurrence{at, of}), keepEvents)
}

// commanding reports whether our own command is moving the unit.
func (r *reducer) commanding(unit string) bool { return r.s.Running.touches(unit) }

// well reports whether a unit is up and answers.
func (r *reducer) well(unit string) bool {
	m := r.s.Units[unit]
	return m.Up && m.Misses < r.p.Down.Misses
}

// measured reports whether a measure of ours keeps the unit from working.
func (r *reducer) measured(unit string) bool {
	for i := range r.s.Incidents {
		inc := &r.s.Incidents[i]
		if inc.Open() && slices.ContainsFunc(inc.Measures, func(m Measure) bool { return m.Unit == unit }) {
			return true
		}
	}
	return false
}

// stopped reports whether a measure of ours has stopped the unit.
func (r *reducer) stopped(unit string) bool {
	for i := range r.s.Incidents {
		inc := &r.s.Incidents[i]
		if inc.Open() && slices.ContainsFunc(inc.Measures, func(m Measure) bool { return m.Undo == ActionStart && m.Unit == unit }) {
			return true
		}
	}
	return false
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
