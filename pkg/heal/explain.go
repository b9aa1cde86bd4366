package heal

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
)

// Explain says in words for a person why an incident is what it is: what was
// seen, which rule that is about, what was tried and how it came out, and what
// comes next or keeps it from coming. The state is the one that holds the
// incident, now the time it is told.
func Explain(p *Policy, s State, inc Incident, now time.Time) string {
	s = s.clone()
	e := explanation{reducer: reducer{p: p, s: &s, seen: now, now: now}, inc: &inc}
	words := stateWords[inc.State]
	if ladder, _, _, _ := e.ladder(); inc.State == api.IncidentExhausted && len(ladder) == 0 {
		words = "reported, somebody should look"
	}
	e.line("%s, class %s: %s", strings.TrimSpace("Rule "+inc.Rule+" "+inc.Unit), inc.Class, words)
	e.why()
	e.seenSoFar()
	e.done()
	if inc.Open() {
		e.next()
	} else {
		e.head("How it ended")
		e.line("  %s  over after %s", clockTime(*inc.ClosedAt), roughly(inc.ClosedAt.Sub(inc.FaultAt)))
		if _, then, ok := strings.Cut(inc.Detail, "; then "); ok {
			e.line("  because %s", then)
		}
	}
	return e.text.String()
}

// stateWords say what the states of an incident mean.
var stateWords = map[api.IncidentState]string{
	api.IncidentOpen:       "waiting for the next attempt",
	api.IncidentSuppressed: "waiting for what it needs",
	api.IncidentActing:     "being repaired",
	api.IncidentVerifying:  "watched, whether the repair helped",
	api.IncidentHolding:    "over, and what was done is yet to be taken back",
	api.IncidentResolved:   "over",
	api.IncidentExhausted:  "everything was tried, somebody should look",
}

// explanation is one being written. What it says about the future it asks the
// reducer, which will decide it.
type explanation struct {
	reducer
	inc  *Incident
	text strings.Builder
}

func (e *explanation) line(format string, args ...any) {
	fmt.Fprintf(&e.text, format+"\n", args...)
}

func (e *explanation) head(title string) { e.line("\n%s", title) }

func clockTime(t time.Time) string { return t.Local().Format(time.DateTime) }

func roughly(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return config.Duration(d.Round(time.Second)).String()
}

// why says what the rule is for.
func (e *explanation) why() {
	e.head("Why")
	switch rule := e.p.rule(e.inc.Rule); {
	case e.inc.Rule == requestRule:
		e.line("  somebody asked for it; nothing need be wrong")
	case e.inc.Rule == downRule:
		e.line("  a unit that has to run does not, or does not answer")
	case rule == nil:
		e.line("  the policy no longer has this rule")
	default:
		e.line("  %s", rule.Why)
		for i := range rule.When {
			e.line("  when    %s", &rule.When[i])
		}
		for i := range rule.Unless {
			e.line("  unless  %s", &rule.Unless[i])
		}
	}
	if e.inc.Policy != e.p.Hash {
		e.line("  It began under policy %s; %s is in force now.", e.inc.Policy, e.p.Hash)
	}
}

// seenSoFar lists the evidence, the newest of it.
func (e *explanation) seenSoFar() {
	const most = 5
	list := e.inc.Failures
	e.head("What was seen")
	if more := e.inc.Count - min(len(list), most); more > 0 {
		e.line("  %d earlier failures", more)
	}
	for _, f := range list[max(0, len(list)-most):] {
		e.line("  %s  %s, noticed after %s", clockTime(f.At), f.Detail, roughly(f.DetectedAt.Sub(f.At)))
	}
}

// done lists what was tried, the newest of it. The same again and again, such as
// systemd's own restarts, is one line.
func (e *explanation) done() {
	const most = 12
	e.head("What was done")
	if len(e.inc.Actions) == 0 {
		e.line("  nothing")
	}
	type tried struct {
		text string
		at   time.Time
		n    int
	}
	var list []tried
	for _, a := range e.inc.Actions {
		text := attempt(a)
		if n := len(list); n > 0 && list[n-1].text == text {
			list[n-1].n++
			continue
		}
		list = append(list, tried{text, a.StartedAt, 1})
	}
	if more := len(list) - most; more > 0 {
		e.line("  %d earlier lines", more)
		list = list[more:]
	}
	for _, l := range list {
		times := ""
		if l.n > 1 {
			times = fmt.Sprintf(", %d times", l.n)
		}
		e.line("  %s  %s%s", clockTime(l.at), l.text, times)
	}
}

// attempt says what was tried, and how it came out.
func attempt(a api.Action) string {
	outcome := map[string]string{
		"running": "under way", "helped": "helped", "failed": "did not help", "refused": "not done", "undone": "taken back",
	}[a.Outcome]
	if a.FinishedAt != nil && a.Outcome == "running" {
		outcome = "done"
	}
	if a.FinishedAt != nil && a.Outcome != "refused" && a.Kind != ActionReboot && a.Kind != ActionSystemdRestart {
		outcome += ", took " + roughly(a.FinishedAt.Sub(a.StartedAt))
	}
	if a.Error != "" {
		outcome += ": " + strings.TrimPrefix(a.Error, "it did not help: ")
	}
	return strings.TrimSpace(a.Kind+" "+shortName(a.Unit)) + ": " + outcome
}

// next says what will happen, and what keeps it from happening.
func (e *explanation) next() {
	inc := e.inc
	e.head("What comes next")
	if inc.Rule == requestRule {
		e.requested()
		return
	}
	switch inc.State {
	case api.IncidentSuppressed:
		e.line("  nothing, until %s is well, which %s needs", inc.Cause, inc.Unit)
		return
	case api.IncidentActing:
		e.acting()
	case api.IncidentVerifying:
		e.line("  until %s it is watched; if it is not well then:", clockTime(inc.Deadline))
		e.rungs("  ")
	case api.IncidentExhausted:
		if ladder, _, _, _ := e.ladder(); len(ladder) == 0 {
			e.line("  the rule only reports: it ends when what it watches is well again")
			break
		}
		e.line("  at %s all is tried anew, from the top:", clockTime(inc.Deadline))
		inc.Rung = 0
		e.rungs("  ")
	case api.IncidentHolding:
	default:
		if inc.Deadline.After(e.now) {
			e.line("  until %s systemd may restart it by itself; then:", clockTime(inc.Deadline))
		}
		e.rungs("")
	}
	e.takenBack()
	e.held()
}

// requested says what comes next of what somebody asked for. Only a lease keeps
// the hands off that.
func (e *explanation) requested() {
	switch c := e.s.Running; {
	case e.inc.State == api.IncidentVerifying:
		e.line("  until %s it is watched; if it is not well then, it is an incident of its own", clockTime(e.inc.Deadline))
	case c != nil && c.Incident == e.inc.ID:
		e.line("  %s is under way, for %s at most; then it is watched whether it is well", c.what(), config.Duration(c.Timeout))
	case c != nil:
		e.line("  restart %s: when %s is done, which is under way, until %s at the latest", shortName(e.inc.Unit), c.what(), clockTime(e.inc.Deadline))
	default:
		e.line("  restart %s: at once", shortName(e.inc.Unit))
	}
	if l := e.s.Lease; l != nil && e.now.Before(l.Until) {
		e.line("  But the %s asked for hands off until %s.", l.Holder, clockTime(l.Until))
	}
}

func (e *explanation) acting() {
	switch c := e.s.Running; {
	case c != nil && c.Incident == e.inc.ID:
		e.line("  %s is under way, for %s at most; then it is watched whether that helped", c.what(), config.Duration(c.Timeout))
	case !e.inc.Deadline.IsZero() && e.inc.Rule == downRule:
		e.line("  until %s systemd's own restart is waited for; if that does not help:", clockTime(e.inc.Deadline))
		e.rungs("  ")
	default:
		e.line("  the machine is about to go down")
	}
}

// ladder is what the policy says about the incident.
func (e *explanation) ladder() (ladder []Rung, budget int, window, retry time.Duration) {
	if rule := e.p.rule(e.inc.Rule); rule != nil {
		return rule.Ladder, rule.Budget, rule.Window.Std(), rule.Retry.Std()
	}
	if e.inc.Rule != downRule {
		return nil, 0, 0, 0
	}
	d := &e.p.Down
	return d.Ladder, d.Budget, d.Window.Std(), d.Retry.Std()
}

// rungs says which rungs of the ladder are left, and what is in their way.
func (e *explanation) rungs(indent string) {
	ladder, budget, window, retry := e.ladder()
	spent := e.spent(window, func(s Spent) bool { return s.Rule == e.inc.Rule && s.Unit == e.inc.Unit })
	if spent >= budget && len(ladder) > 0 {
		e.line("%s  nothing: %d of %d actions within %s are spent", indent, spent, budget, config.Duration(window))
		return
	}
	if e.inc.Rung >= len(ladder) {
		e.line("%s  nothing is left to try; all is tried anew after %s", indent, config.Duration(retry))
		return
	}
	for i, rung := range ladder[e.inc.Rung:] {
		c := e.command(e.inc, rung)
		why, wait := e.refuse(e.inc, rung, c)
		switch {
		case e.inc.inForce(c):
			why = "in force already"
		case why != "":
			why = "will not be done: " + why
		case wait > 0:
			why = "not before " + clockTime(e.now.Add(wait)) + ", because it was done not long ago"
		case i == 0 && e.inc.NotBefore.After(e.now):
			why = "not before " + clockTime(e.inc.NotBefore)
		case i == 0:
			why = "as soon as it may be"
		default:
			why = "if that does not help"
		}
		e.line("%s  %s: %s", indent, c.what(), why)
	}
}

// takenBack says which measures end when it is over.
func (e *explanation) takenBack() {
	for _, m := range slices.Backward(e.inc.Measures) {
		what := strings.TrimSpace(m.Undo + " " + shortName(m.Unit))
		switch rule := e.p.rule(e.inc.Rule); {
		case e.inc.State == api.IncidentHolding && e.inc.NotBefore.After(e.now):
			e.line("  %s: tried again at %s", what, clockTime(e.inc.NotBefore))
		case e.inc.State == api.IncidentHolding:
			e.line("  %s: at %s, if it stays well", what, clockTime(e.inc.Deadline))
		case rule != nil:
			e.line("  %s: when it has been well for %s", what, rule.Hold)
		default:
			e.line("  %s: when it is over", what)
		}
	}
}

// held says what keeps the healer's hands off for now.
func (e *explanation) held() {
	if e.s.Maintenance {
		e.line("  But maintenance is on: nothing is done until: arasul heal maintenance off")
	}
	if l := e.s.Lease; l != nil && e.now.Before(l.Until) {
		e.line("  But the %s asked for hands off until %s.", l.Holder, clockTime(l.Until))
	}
	if until := e.s.Breaker.Until; !until.IsZero() && e.inc.State != api.IncidentHolding {
		e.line("  But the breaker is open until %s, because too much was done in too short a time: arasul heal reset-breaker", clockTime(until))
	}
	if c := e.s.Running; c != nil && c.Incident != e.inc.ID && e.inc.State == api.IncidentOpen {
		e.line("  But %s is under way, and only one thing is done at a time.", c.what())
	}
}

// Explain says why an incident is what it is; false when it is not remembered.
func (h *Healer) Explain(id string) (string, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	inc := h.state.incident(id)
	if inc == nil {
		return "", false
	}
	return Explain(h.o.Policy, h.state, *inc, time.Now()), true
}
