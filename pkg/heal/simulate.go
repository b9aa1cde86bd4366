package heal

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
)

// Simulation is what came of a story.
type Simulation struct {
	Title     string         `json:"title"`
	Policy    string         `json:"policy" doc:"First 12 digits of the SHA-256 of the policy"`
	Timeline  []Moment       `json:"timeline"`
	Actions   []Issued       `json:"actions"`   // because of incidents
	Began     []string       `json:"began"`     // incidents in the order of their beginnings: "heat", "down llm"
	Incidents []api.Incident `json:"incidents"` // those still remembered at the end, oldest first
	Changes   int            `json:"changes"`   // of incidents: events that the database would have got
	Problems  []string       `json:"problems"`  // where it is not what was expected

	State State `json:"-"` // at the end
}

// Moment is one line of a story's timeline.
type Moment struct {
	At      time.Duration `json:"-"` // since the beginning
	Seconds float64       `json:"at_seconds"`
	Kind    string        `json:"kind"` // seen, decided, done
	Text    string        `json:"text"`
}

// Issued is one command and when it was given.
type Issued struct {
	At      time.Duration `json:"-"` // since the beginning
	Seconds float64       `json:"at_seconds"`
	What    string        `json:"what"` // as expectations call it: "restart llm"
	Reason  string        `json:"reason"`
	Command Command       `json:"-"`
}

func (c *Command) what() string {
	return strings.TrimSpace(c.Action + " " + cmp.Or(c.Level, shortName(c.Unit)))
}

// Simulate plays a story to a policy and says what comes of it. The same story
// always comes out the same.
func Simulate(p *Policy, s *Scenario) *Simulation {
	q := *p
	q.AllowReboot = s.Reboot
	return simulate(&q, s, nil)
}

func simulate(p *Policy, s *Scenario, recorder Recorder) *Simulation {
	w := newWorld(p, s, recorder)
	for w.next() {
	}
	w.out.Actions = slices.DeleteFunc(w.out.Actions, func(i Issued) bool { return i.Command.Incident == "" })
	w.out.State = w.state
	for i := range w.state.Incidents {
		w.out.Incidents = append(w.out.Incidents, w.state.Incidents[i].Incident)
	}
	w.out.Problems = s.Expect.differ(w.out)
	return w.out
}

const (
	readingsEvery = 5 * time.Second
	unitsEvery    = 10 * time.Second
	startTakes    = time.Second      // from being asked for until a unit is up
	startLimit    = 5                // starts that systemd makes
	startWindow   = 5 * time.Minute  // within so long
	bootTakes     = 40 * time.Second // from the end of one kernel until the healer looks again
	bootUptime    = 10 * time.Second // of the next kernel, then
)

var storyBegins = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// world is the machine of a story, with a systemd that does what it must.
type world struct {
	p        *Policy
	s        *Scenario
	recorder Recorder      // nil: nothing is kept
	atRest   []api.Reading // what is measured when no step says otherwise
	state    State
	out      *Simulation

	at     time.Duration // since the beginning
	clock  time.Duration // how far the clock was set forward
	events []occasion    // what will happen
	made   int           // occasions so far
	boot   int
	booted time.Duration
	off    bool // the machine is

	units map[string]*part
	ended map[*Step]bool // an action has put an end to it
	begun map[string]int // actions so far, by name
	look  map[string]time.Duration
	seq   int // runs of units so far
}

// part is a unit of the world.
type part struct {
	api.Unit
	fate   *Step           // what the story says of it
	starts []time.Duration // by systemd itself
	paused bool
	turn   int // grows with every change, so that what was to happen later is forgotten
}

// occasion is something that will happen.
type occasion struct {
	at   time.Duration
	made int
	boot int // -1: the story's, which no reboot prevents
	do   func()
}

func newWorld(p *Policy, s *Scenario, recorder Recorder) *world {
	w := &world{
		p: p, s: s, recorder: recorder, atRest: sensors(p, s),
		out:   &Simulation{Title: s.Title, Policy: p.Hash, Timeline: []Moment{}, Actions: []Issued{}, Began: []string{}, Incidents: []api.Incident{}},
		units: map[string]*part{}, ended: map[*Step]bool{}, begun: map[string]int{}, look: map[string]time.Duration{},
		booted: -time.Hour,
	}
	for _, name := range p.UnitNames() {
		w.units[name] = &part{Unit: api.Unit{Name: name, LoadState: "loaded"}}
		w.up(w.units[name], w.now().Add(-time.Hour))
	}
	for i := range s.Steps {
		if step := &s.Steps[i]; step.Unit != "" && step.Is == isAbsent && step.At == 0 {
			w.units[step.Unit].Unit = api.Unit{Name: step.Unit, LoadState: "not-found"}
		}
	}
	w.observe(w.everything())
	for i := range s.Steps {
		step := &s.Steps[i]
		w.later(step.At.Std(), -1, func() { w.happen(step) })
		if step.Until.At > 0 {
			w.later(step.Until.At, -1, func() { w.end(step) })
		}
	}
	w.later(0, -1, w.measure)
	w.later(unitsEvery, -1, w.pass)
	return w
}

// now is what the clock shows.
func (w *world) now() time.Time { return storyBegins.Add(w.at + w.clock) }

// later has something happen at a time, or never if the machine is rebooted
// before.
func (w *world) later(at time.Duration, boot int, do func()) {
	w.made++
	w.events = append(w.events, occasion{at, w.made, boot, do})
}

// after has something happen to a unit, unless something else does before.
func (w *world) after(d time.Duration, u *part, do func()) {
	turn := u.turn
	w.later(w.at+d, w.boot, func() {
		if u.turn == turn {
			do()
		}
	})
}

// next lets the next thing happen, and reports whether there was one.
func (w *world) next() bool {
	first := -1
	for i, e := range w.events {
		if first < 0 || e.at < w.events[first].at || e.at == w.events[first].at && e.made < w.events[first].made {
			first = i
		}
	}
	e := w.events[first] // measuring never ends
	if wake := w.state.Wake(w.now()); !w.off && !wake.IsZero() && wake.Sub(w.now()) < e.at-w.at {
		if w.at += wake.Sub(w.now()); w.at > w.s.For.Std() {
			return false
		}
		w.observe(Observation{})
		return true
	}
	if e.at > w.s.For.Std() {
		return false
	}
	w.events = slices.Delete(w.events, first, first+1)
	w.at = e.at
	if e.boot < 0 || e.boot == w.boot && !w.off {
		e.do()
	}
	return true
}

// say adds a line to the timeline.
func (w *world) say(kind, format string, args ...any) {
	w.out.Timeline = append(w.out.Timeline, Moment{w.at, w.at.Seconds(), kind, fmt.Sprintf(format, args...)})
}

// observe lets the healer look, and carries out what it decides.
func (w *world) observe(o Observation) {
	if w.off {
		return
	}
	o.At, o.Boot, o.Uptime = w.now(), fmt.Sprintf("boot-%d", w.boot), w.at-w.booted
	before := w.state
	if w.recorder != nil {
		w.recorder.Record(w.p, before, o, w.now())
	}
	var commands []Command
	w.state, commands = Reduce(w.p, before, o, w.now())
	w.decided(before)
	for _, c := range commands {
		w.carry(c)
	}
}

// decided writes down what has become of the incidents.
func (w *world) decided(before State) {
	for i := range w.state.Incidents {
		inc := &w.state.Incidents[i]
		was := before.incident(inc.ID)
		if was == nil {
			w.out.Began = append(w.out.Began, about(inc.Rule, inc.Unit))
		}
		if was == nil || was.Revision != inc.Revision {
			w.out.Changes++
		}
		for _, text := range becomes(was, inc) {
			w.say("decided", "%s: %s", about(inc.Rule, inc.Unit), text)
		}
	}
	switch until := w.state.Breaker.Until; {
	case until.Equal(before.Breaker.Until):
	case until.IsZero():
		w.say("decided", "the breaker is closed: repairing again")
	default:
		w.say("decided", "the breaker is open: too much was done in too short a time, nothing more for %s", config.Duration(until.Sub(w.now())))
	}
}

// becomes says in words what has changed about an incident.
func becomes(was, inc *Incident) (lines []string) {
	old := map[int]api.Action{}
	if was == nil {
		lines = append(lines, "begins: "+inc.Detail)
	} else {
		for _, a := range was.Actions {
			old[a.Attempt] = a
		}
	}
	for _, a := range inc.Actions {
		if b, there := old[a.Attempt]; there && b == a || a.Outcome == "running" && a.Kind != ActionSystemdRestart {
			continue // a command is told of when it is given
		}
		name := strings.TrimSpace(a.Kind + " " + shortName(a.Unit))
		switch a.Outcome {
		case "running":
			lines = append(lines, a.Reason)
		case "helped":
			lines = append(lines, name+" helped")
		case "undone":
			lines = append(lines, name+": taken back")
		case "refused":
			lines = append(lines, "not done: "+name+": "+a.Error)
		default:
			if a.Error != "" {
				lines = append(lines, name+" did not help: "+strings.TrimPrefix(a.Error, "it did not help: "))
			}
		}
	}
	if was != nil && was.State == inc.State {
		return lines
	}
	switch inc.State {
	case api.IncidentSuppressed:
		lines = append(lines, "waits for "+shortName(inc.Cause)+", which it needs")
	case api.IncidentVerifying:
		lines = append(lines, "watching whether that was it")
	case api.IncidentHolding:
		lines = append(lines, "over; what was done is taken back when it stays so")
	case api.IncidentResolved:
		lines = append(lines, "resolved after "+config.Duration(inc.ClosedAt.Sub(inc.FaultAt).Round(time.Second)).String())
	case api.IncidentExhausted:
		lines = append(lines, "nothing left to try for now")
	default: // open, and acting: the command is told of
	}
	return lines
}

// differ says where a story came out otherwise than expected.
func (e *Expect) differ(out *Simulation) (problems []string) {
	problems = []string{}
	if e.Actions != nil {
		problems = append(problems, differActions(*e.Actions, out.Actions)...)
	}
	list := func(name string, want *[]string, got []string) {
		if want == nil {
			return
		}
		var short []string
		for _, text := range *want {
			rule, unit, _ := strings.Cut(text, " ")
			short = append(short, strings.TrimSpace(rule+" "+shortName(unit)))
		}
		if !slices.Equal(short, got) {
			problems = append(problems, fmt.Sprintf("%s: expected %s, got %s", name, listed(short), listed(got)))
		}
	}
	list("incidents", e.Incidents, out.Began)
	var open []string
	for i := range out.State.Incidents {
		if inc := &out.State.Incidents[i]; inc.Open() {
			open = append(open, about(inc.Rule, inc.Unit))
		}
	}
	list("open at the end", e.Open, open)
	return problems
}

func listed(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

func differActions(want []string, got []Issued) (problems []string) {
	for i := range max(len(want), len(got)) {
		switch {
		case i >= len(got):
			problems = append(problems, fmt.Sprintf("action %d: expected %s, and nothing was done", i+1, want[i]))
		case i >= len(want):
			problems = append(problems, fmt.Sprintf("action %d: %s at %s was not expected", i+1, got[i].What, config.Duration(got[i].At)))
		default:
			e, err := parseExpected(want[i])
			off := got[i].At - e.at
			if err != nil || e.what != got[i].What && e.what != got[i].Command.Action || e.timed && off.Abs() > within {
				problems = append(problems, fmt.Sprintf("action %d: expected %s, got %s at %s", i+1, want[i], got[i].What, config.Duration(got[i].At)))
			}
		}
	}
	return problems
}

// measure takes all readings that are due, and looks at all units whose probe
// is due.
func (w *world) measure() {
	now, due := w.now(), w.at%readingsEvery == 0
	next := w.at - w.at%readingsEvery + readingsEvery
	var o Observation
	if due && !w.off {
		o.Readings = w.readings(now)
	}
	for i := range w.p.Units {
		u := &w.p.Units[i]
		if u.Deadline == 0 || w.units[u.Name].ActiveState != "active" || w.off {
			delete(w.look, u.Name)
			continue
		}
		if at, planned := w.look[u.Name]; !planned || at <= w.at {
			result := w.probe(u.Name, now)
			o.Probes = append(o.Probes, result)
			w.look[u.Name] = w.at + w.p.Down.Every.Std()
			if result.Status == api.Down {
				w.look[u.Name] = w.at + afterMiss
			}
		}
		next = min(next, w.look[u.Name])
	}
	if o.Readings != nil || o.Probes != nil {
		w.observe(o)
	}
	w.later(next, -1, w.measure)
}

// holds reports whether a step holds now.
func (w *world) holds(s *Step) bool {
	return s.At.Std() <= w.at && (s.Until.At == 0 || w.at < s.Until.At) && !w.ended[s]
}

// readings are what the sensors say: what the story says, or what is well.
func (w *world) readings(now time.Time) []api.Reading {
	out := slices.Clone(w.atRest)
	for i := range w.s.Steps {
		if s := &w.s.Steps[i]; s.Metric != "" && w.holds(s) {
			j := slices.IndexFunc(out, func(r api.Reading) bool { return r.Metric == s.Metric && r.Of == s.Of })
			out[j].Value = math.NaN()
			if s.Value != nil {
				out[j].Value = *s.Value
			}
		}
	}
	for i := range out {
		out[i].Time = now
	}
	return slices.DeleteFunc(out, func(r api.Reading) bool { return math.IsNaN(r.Value) })
}

// sensors are the metrics that a rule looks at, or a story has, at rest.
func sensors(p *Policy, s *Scenario) (out []api.Reading) {
	add := func(metric, of string) {
		if metric == "" || metrics[metric].event || slices.Contains(derived, metric) ||
			slices.ContainsFunc(out, func(r api.Reading) bool { return r.Metric == metric && r.Of == of }) {
			return
		}
		out = append(out, api.Reading{Metric: metric, Of: of, Value: p.rest(metric, of)})
	}
	for i := range p.Rules {
		for _, d := range slices.Concat(p.Rules[i].When, p.Rules[i].Unless) {
			add(d.Metric, d.Of)
		}
	}
	for i := range s.Steps {
		add(s.Steps[i].Metric, s.Steps[i].Of)
	}
	return out
}

// rest is a value of a metric at which every detector that looks at it is well.
func (p *Policy) rest(metric, of string) float64 {
	var least, most *float64 // of what is well
	for i := range p.Rules {
		for _, d := range slices.Concat(p.Rules[i].When, p.Rules[i].Unless) {
			switch {
			case d.Metric != metric || d.Of != of || d.Clear == nil:
			case d.Above != nil && (most == nil || *d.Clear < *most):
				most = d.Clear
			case d.Below != nil && (least == nil || *d.Clear > *least):
				least = d.Clear
			}
		}
	}
	switch {
	case most != nil:
		return *most
	case least != nil:
		return *least
	default:
		return 0
	}
}

// probe looks at one unit.
func (w *world) probe(unit string, now time.Time) api.ProbeResult {
	result := api.ProbeResult{Unit: unit, Status: api.Up, Time: now}
	for i := range w.s.Steps {
		if s := &w.s.Steps[i]; s.Probe == unit && w.holds(s) {
			result.Status = api.Status(s.Is)
		}
	}
	if w.units[unit].paused {
		result.Status = api.Down
	}
	if result.Status != api.Up {
		result.Detail = map[api.Status]string{api.Down: "no answer", api.Degraded: "answers, and cannot do its work", api.Unknown: "cannot be looked at"}[result.Status]
	}
	return result
}

// pass looks at all units, every 10 s.
func (w *world) pass() {
	w.observe(w.everything())
	w.later(w.at+unitsEvery, -1, w.pass)
}

func (w *world) everything() (o Observation) {
	for _, name := range w.p.UnitNames() {
		o.Units = append(o.Units, w.units[name].Unit)
	}
	return o
}
