package heal

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// Comparison is what two policies make of the same past.
type Comparison struct {
	From         time.Time `json:"from"`
	Until        time.Time `json:"until"`
	Observations int       `json:"observations"`
	Lost         int       `json:"lost"`   // observations that are missing: the disk was full, or too slow
	Breaks       int       `json:"breaks"` // times at which the healer was not there

	Recorded []Act    `json:"recorded"` // what was really commanded
	Was      Course   `json:"was"`      // what the policies make of it that were in force
	Would    Course   `json:"would"`    // what the other policy makes of it
	Changes  []Change `json:"changes"`  // the acts of both, in the order of time
}

// Course is what comes of the past under one policy.
type Course struct {
	Policy    string         `json:"policy" doc:"First 12 digits of the SHA-256 of the last policy"`
	Acts      []Act          `json:"acts"`
	Incidents []api.Incident `json:"incidents"` // oldest first
}

// Act is one command because of an incident.
type Act struct {
	At      time.Time `json:"at"`
	What    string    `json:"what"`  // "restart llm"
	About   string    `json:"about"` // the incident: "heat", "down llm"
	Reason  string    `json:"reason"`
	Error   string    `json:"error,omitempty"`   // why it did not work
	Assumed bool      `json:"assumed,omitempty"` // it was not done then: it is assumed to have worked
}

// Change is an act of both courses, or of one.
type Change struct {
	Of string `json:"of" enum:"both,was,would"`
	Act
}

// alike is how far apart two commands may be that are taken for the same.
const alike = 30 * time.Second

// Replay runs what a recorder has kept in a folder through the policies that
// were in force, and through another one; nil stands for the same. What began
// before since is left out.
//
// What was observed is what the machine did under the commands that were really
// given. A command that was really given within half a minute, too, ends as it
// ended then. Any other is assumed to have worked after a second, and what was
// observed later judges it: a unit that another policy would have restarted
// earlier stays down until it came up in reality. So a replay shows what a
// policy would have begun, and not how that would have ended.
//
// The same recording always gives the same answer.
func Replay(dir string, since time.Time, other *Policy) (*Comparison, error) {
	past, err := openPast(dir, since)
	if err != nil {
		return nil, err
	}
	c := &Comparison{From: since, Recorded: []Act{}}
	was, would := newRerun(past.given), newRerun(past.given)
	units := newKnown()
	err = past.play(func(s *segment) error {
		first := was.policy == nil
		if !first && !s.follows {
			c.Breaks++
		}
		if !first {
			c.Lost += s.Lost
		}
		if begun := s.time(s.Begun); first && begun.After(since) {
			c.From = begun
		}
		units.sets = nil // each segment names its own
		was.enter(s, s.policy, first || !s.follows)
		would.enter(s, cmpOr(other, s.policy), first)
		return nil
	}, func(_ *segment, l *line, now time.Time) {
		was.advance(now, units)
		would.advance(now, units)
		o := units.decode(l, now)
		ended := past.endedAt(l.Result, now)
		if !now.Before(since) {
			c.Observations++
			c.Until = now
		}
		for _, r := range []*rerun{was, would} {
			o.Result = r.ended(ended)
			r.reduce(o, now)
		}
	})
	if err != nil {
		return nil, err
	}
	for i := range past.given {
		if g := &past.given[i]; g.Incident != "" {
			c.Recorded = append(c.Recorded, Act{At: g.begun, What: g.what(), About: about(g.Rule, g.About), Reason: g.Reason, Error: g.problem})
		}
	}
	c.Recorded = later(c.Recorded, since)
	c.Was, c.Would = was.course(since), would.course(since)
	c.Changes = compare(c.Was.Acts, c.Would.Acts)
	return c, nil
}

// Exact reports whether the policies that were in force, run again, command
// what was really commanded.
func (c *Comparison) Exact() bool {
	for _, ch := range compare(c.Recorded, c.Was.Acts) {
		if ch.Of != "both" {
			return false
		}
	}
	return true
}

func cmpOr(a, b *Policy) *Policy {
	if a != nil {
		return a
	}
	return b
}

// rerun is the past under one policy.
type rerun struct {
	policy *Policy
	state  State
	seg    *segment
	now    time.Time // of the last call of Reduce
	passed time.Time // of the last look at all units

	given []given
	taken []bool // which of given were ours, too

	claimed int       // which of given the command under way is taken for; -1: none
	due     time.Time // when it ends, if it is none of those
	result  Result    // how
	act     int       // which of acts it is, -1: none

	reboots   int       // assumed
	rebooted  time.Time // the last of them
	acts      []Act
	incidents map[string]api.Incident
}

func newRerun(g []given) *rerun {
	return &rerun{given: g, taken: make([]bool, len(g)), claimed: -1, act: -1, incidents: map[string]api.Incident{}}
}

// enter begins a segment. Where the recording has a gap, the state in the
// header is the truth; a policy that was not in force goes on from its own.
func (r *rerun) enter(s *segment, p *Policy, truth bool) {
	begun := s.time(s.Begun)
	if !s.follows { // the time between is nobody's
		r.now, r.passed = begun, begun
	}
	r.seg, r.policy = s, p
	switch c := r.state.Running; {
	case truth:
		if r.state = s.State; r.state.Running != nil {
			r.resume(r.state.Running, begun)
		}
	case !s.follows && c != nil && r.state.Boot == r.boot():
		r.result.Error = "the healer was restarted meanwhile"
		r.reduce(Observation{At: begun, Result: r.end()}, begun)
	}
}

// boot is the kernel's boot id, as far as this run knows.
func (r *rerun) boot() string {
	if r.reboots == 0 {
		return r.seg.Boot
	}
	return fmt.Sprintf("%s+%d", r.seg.Boot, r.reboots)
}

// advance lets time pass in which nothing was recorded: deadlines come, our
// commands end, and all units are looked at every ten seconds. What is due at
// the same moment as the next observation comes first: that may be its effect.
func (r *rerun) advance(to time.Time, units known) {
	for {
		at, o := to.Add(1), Observation{}
		if wake := r.state.Wake(r.now); !wake.IsZero() && wake.Before(at) {
			at = wake
		}
		if pass := r.passed.Add(unitsEvery); pass.Before(at) {
			at, r.passed = pass, pass
			o.Units = units.everything()
		}
		if !r.due.IsZero() && !r.due.After(at) {
			at = r.due
			o.Result = r.end()
		}
		if at.After(to) {
			return
		}
		o.At = at
		r.reduce(o, at)
	}
}

func (r *rerun) reduce(o Observation, now time.Time) {
	o.Boot, o.Uptime = r.boot(), now.Sub(r.seg.time(r.seg.Booted))
	if r.reboots > 0 {
		o.Uptime = now.Sub(r.rebooted)
	}
	var commands []Command
	r.state, commands = Reduce(r.policy, r.state, o, now)
	r.now = now
	for i := range r.state.Incidents {
		if inc := &r.state.Incidents[i]; inc.Open() || r.incidents[inc.ID].ClosedAt == nil {
			r.incidents[inc.ID] = inc.Incident
		}
	}
	for _, c := range commands {
		if inc := r.state.incident(c.Incident); inc != nil {
			r.acts = append(r.acts, Act{At: now, What: c.what(), About: about(inc.Rule, inc.Unit), Reason: c.Reason})
			r.act = len(r.acts) - 1
		}
		r.begin(c, now)
	}
}

// begin decides how a command will end.
func (r *rerun) begin(c Command, now time.Time) {
	r.claimed, r.due = -1, now.Add(time.Second)
	r.result = Result{Incident: c.Incident, Attempt: c.Attempt}
	for i := range r.given {
		g := &r.given[i]
		if r.taken[i] || g.what() != c.what() || g.begun.Sub(now).Abs() > alike {
			continue
		}
		r.taken[i] = true
		r.result.Error = g.problem
		if g.ended.IsZero() || g.ended.After(now) { // or it never did: the machine went down
			r.claimed, r.due = i, time.Time{}
		} else {
			r.due = now
		}
		return
	}
	if r.act >= 0 {
		r.acts[r.act].Assumed = true
	}
}

// resume finds out how a command ends that was under way when the recording, or
// a part of it, began. Nobody knows if the healer was killed meanwhile.
func (r *rerun) resume(c *Command, now time.Time) {
	r.claimed, r.due, r.act = -1, time.Time{}, -1
	r.result = Result{Incident: c.Incident, Attempt: c.Attempt}
	for i := range r.given {
		if g := &r.given[i]; g.Incident == c.Incident && g.Attempt == c.Attempt && g.ended.After(now) {
			r.taken[i], r.claimed, r.result.Error = true, i, g.problem
			return
		}
	}
}

// ended is the end of the command under way, if it is the one of given that
// ended now.
func (r *rerun) ended(which int) *Result {
	if which < 0 || r.claimed != which {
		return nil
	}
	return r.end()
}

// end is the end of the command under way.
func (r *rerun) end() *Result {
	if r.act >= 0 {
		a := &r.acts[r.act]
		a.Error = r.result.Error
		if c := r.state.Running; a.Assumed && c != nil && c.Action == ActionReboot {
			r.reboots++
			r.rebooted = r.due
		}
	}
	r.claimed, r.due, r.act = -1, time.Time{}, -1
	res := r.result
	return &res
}

// course is what came of it since a time.
func (r *rerun) course(since time.Time) Course {
	c := Course{Policy: r.policy.Hash, Acts: later(r.acts, since), Incidents: []api.Incident{}}
	for _, id := range slices.Sorted(maps.Keys(r.incidents)) {
		if inc := r.incidents[id]; inc.ClosedAt == nil || !inc.ClosedAt.Before(since) {
			c.Incidents = append(c.Incidents, inc)
		}
	}
	slices.SortStableFunc(c.Incidents, func(a, b api.Incident) int { return a.DetectedAt.Compare(b.DetectedAt) })
	return c
}

// later are the acts since a time.
func later(acts []Act, since time.Time) []Act {
	out := []Act{}
	for _, a := range acts {
		if !a.At.Before(since) {
			out = append(out, a)
		}
	}
	return out
}

// compare puts the acts of two courses side by side.
func compare(was, would []Act) []Change {
	out := []Change{}
	taken := make([]bool, len(would))
	for _, a := range was {
		i := slices.IndexFunc(would, func(b Act) bool {
			return a.What == b.What && a.About == b.About && a.At.Sub(b.At).Abs() <= alike
		})
		for i >= 0 && i < len(would) && taken[i] { // the same again, soon after
			j := slices.IndexFunc(would[i+1:], func(b Act) bool {
				return a.What == b.What && a.About == b.About && a.At.Sub(b.At).Abs() <= alike
			})
			if j < 0 {
				i = -1
				break
			}
			i += 1 + j
		}
		if i < 0 {
			out = append(out, Change{"was", a})
			continue
		}
		taken[i] = true
		out = append(out, Change{"both", would[i]})
	}
	for i, b := range would {
		if !taken[i] {
			out = append(out, Change{"would", b})
		}
	}
	slices.SortStableFunc(out, func(a, b Change) int { return a.At.Compare(b.At) })
	return out
}
