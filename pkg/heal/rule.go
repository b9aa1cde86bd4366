package heal

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// trendKey names what is remembered of a rule's detector.
func trendKey(rule *Rule, list string, i int) string {
	return rule.Name + "/" + list + "." + strconv.Itoa(i)
}

// measure hands readings to the detectors that wait for them, and what follows
// from the state of the units.
func (r *reducer) measure(readings []api.Reading) {
	for i := range r.p.Rules {
		rule := &r.p.Rules[i]
		r.feed(rule, "when", rule.When, readings)
		r.feed(rule, "unless", rule.Unless, readings)
	}
}

func (r *reducer) feed(rule *Rule, list string, detectors []Detector, readings []api.Reading) {
	for i := range detectors {
		d, key := &detectors[i], trendKey(rule, list, i)
		if d.Metric == "unit_down" {
			if r.s.Units[d.Of].Moving {
				continue // systemd is at it, and nobody knows yet
			}
			r.s.Trends[key] = r.s.Trends[key].take(d, r.downness(d.Of), r.now)
			continue
		}
		for _, reading := range readings {
			if reading.Metric == d.Metric && reading.Of == d.Of {
				r.s.Trends[key] = r.s.Trends[key].take(d, reading.Value, reading.Time)
			}
		}
	}
}

// downness is the metric unit_down: 1 while there is an open incident about the
// unit and it is not well. A unit that an operator stopped is not down.
func (r *reducer) downness(unit string) float64 {
	if r.s.openIncident(downRule, unit) != nil && !r.well(unit) {
		return 1
	}
	return 0
}

// probeReadings is what probes measured.
func probeReadings(results []api.ProbeResult) []api.Reading {
	var out []api.Reading
	for _, p := range results {
		if p.Status == api.Unknown {
			continue
		}
		up, degraded := 0.0, 0.0
		if p.Status != api.Down {
			up = 1
		}
		if p.Status == api.Degraded {
			degraded = 1
		}
		out = append(out,
			api.Reading{Metric: "probe_up", Of: p.Unit, Value: up, Time: p.Time},
			api.Reading{Metric: "probe_degraded", Of: p.Unit, Value: degraded, Time: p.Time})
	}
	return out
}

// signal says whether a rule's condition holds. Events up to answered count no
// more. What is not known is not acted upon.
func (r *reducer) signal(rule *Rule, answered time.Time) signal {
	all := firing
	for i := range rule.When {
		switch r.detect(rule, "when", rule.When, i, answered) {
		case quiet:
			return quiet
		case unknown:
			all = unknown
		default:
		}
	}
	for i := range rule.Unless {
		switch r.detect(rule, "unless", rule.Unless, i, answered) {
		case firing:
			return quiet
		case unknown:
			all = unknown
		default:
		}
	}
	return all
}

func (r *reducer) detect(rule *Rule, list string, detectors []Detector, i int, answered time.Time) signal {
	d := &detectors[i]
	if !metrics[d.Metric].event {
		return r.s.Trends[trendKey(rule, list, i)].signal(d, r.now)
	}
	if float64(len(r.occurred(d, rule, answered))) > *d.Above {
		return firing
	}
	return quiet
}

// occurred are the events that a detector counts, oldest first.
func (r *reducer) occurred(d *Detector, rule *Rule, answered time.Time) (out []Occurrence) {
	for _, o := range r.s.Events[d.Metric] {
		if o.At.After(r.now.Add(-d.Within.Std())) && o.At.After(r.s.Since[rule.Name]) && o.At.After(answered) && (d.Of == "" || d.Of == o.Of) {
			out = append(out, o)
		}
	}
	return out
}

// counts reports whether a rule counts events: those are not over at once, so
// that only time can tell whether something helped.
func (rule *Rule) counts() bool {
	for i := range rule.When {
		if metrics[rule.When[i].Metric].event {
			return true
		}
	}
	return false
}

func (rule *Rule) watches(metric string) bool {
	return slices.ContainsFunc(rule.When, func(d Detector) bool { return d.Metric == metric })
}

// passRules begins incidents, ends them, and lets time do its part.
func (r *reducer) passRules() {
	for i := range r.p.Rules {
		rule := &r.p.Rules[i]
		if inc := r.s.openIncident(rule.Name, rule.Unit); inc != nil {
			r.passRule(rule, inc)
		} else {
			r.watch(rule)
		}
	}
	for i := range r.s.Incidents { // of rules that are no more
		if inc := &r.s.Incidents[i]; inc.Open() && inc.Rule != downRule && r.orphan(inc) && len(inc.Measures) == 0 {
			r.close(inc)
		}
	}
}

// watch begins an incident when the rule's condition holds.
func (r *reducer) watch(rule *Rule) {
	if r.now.Before(r.s.Booted.Add(r.p.Boot.Grace.Std())) || r.signal(rule, time.Time{}) != firing {
		return
	}
	if m, there := r.s.Units[rule.Unit]; rule.Unit != "" && (!there || m.Stopped) {
		return // the machine does not have it, or an operator stopped it
	}
	f := api.Failure{Fault: api.Measured, Detail: r.evidence(rule), At: r.began(rule), DetectedAt: r.seen}
	r.begins(rule.Name, rule.Class, rule.Unit, f)
	if rule.Class == api.ClassCritical && len(rule.Ladder) > 0 && !rule.watches("critical_incidents") {
		r.count("critical_incidents", rule.Name, r.now)
	}
}

// began is when the last of the rule's conditions began to hold.
func (r *reducer) began(rule *Rule) time.Time {
	var at time.Time
	for i := range rule.When {
		since := r.s.Trends[trendKey(rule, "when", i)].Since
		if metrics[rule.When[i].Metric].event {
			if list := r.occurred(&rule.When[i], rule, time.Time{}); len(list) > 0 {
				since = list[len(list)-1].At
			}
		}
		if since.After(at) {
			at = since
		}
	}
	if at.IsZero() {
		return r.seen
	}
	return at
}

// evidence says in words what was measured.
func (r *reducer) evidence(rule *Rule) string {
	var parts []string
	for i := range rule.When {
		d := &rule.When[i]
		value := r.s.Trends[trendKey(rule, "when", i)].Value
		if metrics[d.Metric].event {
			value = float64(len(r.occurred(d, rule, time.Time{})))
		}
		parts = append(parts, fmt.Sprintf("%s: %.4g", d, value))
	}
	return strings.Join(parts, "; ")
}

// passRule takes an open incident of a rule on.
func (r *reducer) passRule(rule *Rule, inc *Incident) {
	now := r.signal(rule, inc.Judged)
	due := !inc.Deadline.IsZero() && !r.now.Before(inc.Deadline)
	if now == unknown && r.now.Sub(r.lastReading(rule, inc)) > blind && r.s.Running == nil && inc.State != api.IncidentHolding {
		r.drop(inc, "nothing measures it any more")
		return
	}
	switch inc.State {
	case api.IncidentOpen, api.IncidentSuppressed:
		if now == quiet {
			r.over(rule, inc)
		}
	case api.IncidentActing:
		if due && r.s.Running == nil { // a reboot that nobody carried out
			r.unboot(inc)
			r.settle(inc, "failed", "the machine did not go down")
			r.open(inc)
		}
	case api.IncidentVerifying:
		switch {
		case now == quiet && (due || !rule.counts() && !r.rebooted(inc)):
			r.over(rule, inc)
		case due && now == firing:
			r.validated(inc, false)
			r.settle(inc, "failed", "it did not help: "+r.evidence(rule))
			r.open(inc)
		default:
		}
	case api.IncidentHolding:
		if now == firing && len(inc.Measures) > 0 && !r.undoing(inc) {
			inc.RecoveredAt, inc.VerifiedAt = nil, nil
			r.failed(inc, api.Failure{Fault: api.Measured, Detail: "again: " + r.evidence(rule), At: r.began(rule), DetectedAt: r.seen})
			r.open(inc)
		}
	case api.IncidentExhausted:
		switch {
		case now == quiet:
			r.over(rule, inc)
		case due:
			inc.Rung = 0
			r.open(inc)
		default:
		}
	default:
	}
}

// lastReading is when the rule was last measured, or when its incident began, or
// when nothing could have been measured.
func (r *reducer) lastReading(rule *Rule, inc *Incident) time.Time {
	at := r.s.Awake
	for _, t := range []time.Time{inc.DetectedAt, inc.Judged} {
		if t.After(at) {
			at = t
		}
	}
	for i := range rule.When {
		if t := r.s.Trends[trendKey(rule, "when", i)].At; t.After(at) {
			at = t
		}
	}
	return at
}

// over: the readings are well again. What was done is taken back when that has
// lasted.
func (r *reducer) over(rule *Rule, inc *Incident) {
	r.validated(inc, true)
	r.settle(inc, "helped", "")
	inc.RecoveredAt, inc.VerifiedAt = &r.now, &r.now
	if len(inc.Measures) > 0 {
		r.enter(inc, api.IncidentHolding, max(rule.Hold.Std(), time.Second))
		return
	}
	r.close(inc)
}

// finishRule takes in the end of a rung of a rule's ladder.
func (r *reducer) finishRule(inc *Incident, c *Command, problem string) {
	rule := r.p.rule(inc.Rule)
	switch {
	case problem != "":
		if c.Action == ActionReboot {
			r.unboot(inc)
		}
		r.settle(inc, "failed", problem)
		r.open(inc)
	case c.Action == ActionReboot:
		r.enter(inc, api.IncidentActing, rebootTakes)
	default:
		if a := last(inc); a != nil {
			a.FinishedAt = &r.now
		}
		if m := inc.measure(c); m != nil {
			m.InForce, m.Level = true, c.Level
		}
		verify := time.Minute
		if rule != nil && inc.Rung > 0 && inc.Rung <= len(rule.Ladder) {
			verify = rule.Ladder[inc.Rung-1].Verify.Std()
		}
		r.enter(inc, api.IncidentVerifying, verify)
	}
}

// undoing reports whether a measure of the incident is being taken back.
func (r *reducer) undoing(inc *Incident) bool {
	return r.s.Running != nil && r.s.Running.Incident == inc.ID
}

// How often an undo is tried: a minute apart, then ten. What was paused or
// stopped is never forgotten; clocks are, because who cannot be asked any more to
// let them go has no hold on them.
const undoTries = 10

// tookBack takes in the end of an undo.
func (r *reducer) tookBack(inc *Incident, c *Command, problem string) {
	i := slices.IndexFunc(inc.Measures, func(m Measure) bool { return m.Undo == c.Action && m.Unit == c.Unit })
	switch {
	case problem == "":
		r.settle(inc, "undone", "")
	case i >= 0 && (inc.Measures[i].Tries < undoTries || c.Action != ActionUncap):
		r.settle(inc, "failed", problem)
		pause := time.Minute
		if inc.Measures[i].Tries >= undoTries {
			pause = 10 * time.Minute
		}
		inc.NotBefore = r.now.Add(pause)
		i = -1
	default:
		r.settle(inc, "failed", problem)
		inc.Detail += "; " + c.Action + " did not succeed: " + problem
	}
	if i >= 0 {
		inc.Measures = slices.Delete(inc.Measures, i, i+1)
	}
	if len(inc.Measures) == 0 {
		r.close(inc)
		return
	}
	inc.Revision++
}

// startedByOthers: whoever started a unit that we had stopped wants it to run,
// and a new run is not paused.
func (r *reducer) startedByOthers(unit string) {
	for i := range r.s.Incidents {
		inc := &r.s.Incidents[i]
		for j := len(inc.Measures) - 1; j >= 0 && inc.Open(); j-- {
			if m := inc.Measures[j]; m.Unit == unit && (m.Undo == ActionResume || m.Undo == ActionStart && !r.commanding(unit)) {
				inc.Measures = append(inc.Measures[:j:j], inc.Measures[j+1:]...)
				inc.Revision++
			}
		}
	}
}
