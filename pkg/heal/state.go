package heal

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

const (
	keepClosed   = 200  // closed incidents remembered; PostgreSQL keeps the rest
	keepFailures = 50   // per incident, the newest
	keepActions  = 50   // per incident, the newest
	keepSpent    = 1000 // actions in the ledger, the newest
	keepEvents   = 100  // per metric, the newest
	keepReboots  = 20   // the newest
)

// State is everything the healer knows between two observations. It is plain
// data: what is in it is what the file in /var/lib/arasul/healer holds.
type State struct {
	Seq         uint64                  `json:"seq"`    // incidents ever opened
	Boot        string                  `json:"boot"`   // the kernel's boot id at the last look
	Booted      time.Time               `json:"booted"` // when that was
	Policy      string                  `json:"policy"` // whose trends these are
	Looked      time.Time               `json:"looked"` // the last time that Reduce was called
	Awake       time.Time               `json:"awake"`  // since then it was, again and again, on one boot and with one policy
	Units       map[string]Memory       `json:"units"`
	Trends      map[string]Trend        `json:"trends"`    // by detector, see trendKey
	Events      map[string][]Occurrence `json:"events"`    // by metric, oldest first
	Since       map[string]time.Time    `json:"since"`     // by rule: events before that are settled
	Incidents   []Incident              `json:"incidents"` // oldest first; closed ones are dropped beyond keepClosed
	Running     *Command                `json:"running,omitempty"`
	Ledger      []Spent                 `json:"ledger"`  // our actions, oldest first
	Reboots     []api.Reboot            `json:"reboots"` // oldest first
	Maintenance bool                    `json:"maintenance,omitempty"`
	Lease       *api.Lease              `json:"lease,omitempty"`
	Breaker     Trip                    `json:"breaker,omitzero"`
}

// Memory is what is remembered of a unit's last look.
type Memory struct {
	Invocation  string    `json:"invocation"`
	Restarts    uint32    `json:"restarts"`
	Up          bool      `json:"up"`
	Since       time.Time `json:"since,omitzero"`   // up since then
	Moving      bool      `json:"moving,omitempty"` // systemd was starting or stopping it
	MovingSince time.Time `json:"moving_since,omitzero"`
	Stopping    bool      `json:"stopping,omitempty"` // in good order, because somebody asked for it
	Stopped     bool      `json:"stopped,omitempty"`  // and nobody is about to start it
	Counted     string    `json:"counted,omitempty"`  // the run whose end is already counted as a failure

	Misses   int       `json:"misses,omitempty"`   // of its probe, in a row
	MissedAt time.Time `json:"missed_at,omitzero"` // the first of them
	Answered time.Time `json:"answered,omitzero"`  // when its probe last succeeded
	Forgiven string    `json:"forgiven,omitempty"` // the run after which systemd's counters were cleared
}

// Occurrence is one event of a metric that counts.
type Occurrence struct {
	At time.Time `json:"at"`
	Of string    `json:"of,omitempty"`
}

// Spent is one action in the ledger: what budgets, cooldowns, the breaker and
// strike-off look at.
type Spent struct {
	At       time.Time `json:"at"`
	Rule     string    `json:"rule"`
	Unit     string    `json:"unit,omitempty"` // of the incident
	Action   string    `json:"action"`
	Target   string    `json:"target,omitempty"` // what it was done to
	Helped   time.Time `json:"helped,omitzero"`  // when that was proven
	Relapsed bool      `json:"relapsed,omitempty"`
}

// Trip is the state of the breaker.
type Trip struct {
	Until time.Time `json:"until,omitzero"` // open until then
	From  time.Time `json:"from,omitzero"`  // actions before that count no more
	Quiet time.Time `json:"quiet,omitzero"` // no open incident since then
}

// Incident is an api.Incident with what the healer needs to go on with it.
type Incident struct {
	api.Incident
	Rung      int       `json:"rung"`                // next rung of the ladder
	Climbs    int       `json:"climbs,omitempty"`    // how often there was none left
	Deadline  time.Time `json:"deadline,omitzero"`   // when the present state is judged
	Revision  uint64    `json:"revision"`            // grows with every change
	NotBefore time.Time `json:"not_before,omitzero"` // no action earlier than this
	Came      time.Time `json:"came,omitzero"`       // when the healer saw the unit up again; RecoveredAt is systemd's time
	Judged    time.Time `json:"judged,omitzero"`     // events before that are answered
	Measures  []Measure `json:"measures,omitempty"`  // what is yet to be taken back, oldest first
}

// Measure is something that was done and has to be taken back.
type Measure struct {
	Undo    string        `json:"undo"` // the action that takes it back
	Unit    string        `json:"unit,omitempty"`
	Timeout time.Duration `json:"timeout"`
	Tries   int           `json:"tries,omitempty"`
	InForce bool          `json:"in_force,omitempty"` // it was carried out
	Level   string        `json:"level,omitempty"`    // of cap-clocks
}

// Seq is the incident's place among all that there ever were.
func (i *Incident) Seq() uint64 {
	_, number, _ := strings.Cut(i.ID, "-")
	n, _ := strconv.ParseUint(number, 10, 64)
	return n
}

// Open reports whether the incident still asks for something.
func (i *Incident) Open() bool { return i.ClosedAt == nil }

// Command is one thing to do.
type Command struct {
	Incident string        `json:"incident,omitempty"` // none: forget-failures
	Action   string        `json:"action"`
	Unit     string        `json:"unit,omitempty"`
	Units    []string      `json:"units,omitempty"` // of hard-restart and reset-gpu, in start order
	Level    string        `json:"level,omitempty"` // of cap-clocks
	Attempt  int           `json:"attempt,omitempty"`
	Timeout  time.Duration `json:"timeout"`
	Reason   string        `json:"reason"`
}

// touches reports whether the command moves the unit.
func (c *Command) touches(unit string) bool {
	return c != nil && unit != "" && (c.Unit == unit || slices.Contains(c.Units, unit))
}

// Result is how a command ended. Error is empty when it did what it should.
type Result struct {
	Incident string `json:"incident,omitempty"`
	Attempt  int    `json:"attempt,omitempty"`
	Error    string `json:"error,omitempty"`
}

// Observation is what came in at one moment.
type Observation struct {
	At       time.Time         `json:"at"`                 // when it had been read
	Boot     string            `json:"boot,omitempty"`     // the kernel's boot id
	Uptime   time.Duration     `json:"uptime,omitempty"`   // since it started
	Units    []api.Unit        `json:"units,omitempty"`    // units that were looked at
	Readings []api.Reading     `json:"readings,omitempty"` // numbers
	Probes   []api.ProbeResult `json:"probes,omitempty"`   // probes that looked
	Kernel   []api.KernelEvent `json:"kernel,omitempty"`   // lines of the kernel's log

	Result       *Result    `json:"result,omitempty"`        // a command ended
	Request      *Request   `json:"request,omitempty"`       // an operator asked for a restart
	Maintenance  *bool      `json:"maintenance,omitempty"`   // an operator asked for hands off, or back on
	Lease        *api.Lease `json:"lease,omitempty"`         // somebody asked for hands off until then, or, if that is past, back on
	ResetBreaker bool       `json:"reset_breaker,omitempty"` // an operator has looked at it

	looked bool          // it comes from the eyes, even if they saw nothing
	taken  chan struct{} // closed when it was taken in; nil when nobody waits
	answer *answered     // filled before that; nil unless something was requested
}

// clone copies s so deeply that what Reduce does to the copy leaves s alone.
// Closed incidents share their lists: nothing changes those any more. Times
// behind pointers are shared too: they are replaced, never set.
func (s State) clone() State {
	s.Incidents = slices.Clone(s.Incidents)
	for i := range s.Incidents {
		if inc := &s.Incidents[i]; inc.Open() {
			inc.Failures = slices.Clone(inc.Failures)
			inc.Actions = slices.Clone(inc.Actions)
			inc.Measures = slices.Clone(inc.Measures)
		}
	}
	s.Units = cloned(s.Units)
	s.Trends = cloned(s.Trends)
	s.Since = cloned(s.Since)
	s.Events = cloned(s.Events) // the lists are replaced, never changed; so is the ledger
	s.Reboots = slices.Clone(s.Reboots)
	return s
}

func cloned[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return maps.Clone(m)
}

// check finds what Reduce relies on and no healer ever wrote otherwise.
func (s *State) check() error {
	for i := range s.Incidents {
		inc := &s.Incidents[i]
		if inc.ID == "" || inc.Rule == "" || len(inc.Failures) == 0 || (inc.Rule == downRule && inc.Unit == "") {
			return fmt.Errorf("incident %d has no name, no rule, no unit or no failure", i)
		}
	}
	return nil
}

// distrustFuture brings times of a state that was saved under a clock which ran
// ahead back to now. Longest is the longest that anything is waited for.
func (s *State) distrustFuture(now time.Time, longest time.Duration) {
	limit := now.Add(longest)
	cap := func(t *time.Time) {
		if t.After(limit) {
			*t = limit
		}
	}
	future := func(t time.Time) bool { return t.After(now) }
	past := func(t *time.Time) {
		if t.After(now) {
			*t = now
		}
	}
	for i := range s.Incidents {
		inc := &s.Incidents[i]
		cap(&inc.Deadline)
		cap(&inc.NotBefore)
		past(&inc.Came)
		past(&inc.Judged)
	}
	for name, m := range s.Units {
		past(&m.Since)
		past(&m.MovingSince)
		past(&m.Answered)
		s.Units[name] = m
	}
	past(&s.Breaker.From)
	past(&s.Breaker.Quiet)
	cap(&s.Breaker.Until)
	if s.Lease != nil {
		s.Lease.Until = earlier(s.Lease.Until, now.Add(longestLease))
	}
	s.Ledger = slices.DeleteFunc(slices.Clone(s.Ledger), func(e Spent) bool { return future(e.At) })
	for metric, list := range s.Events {
		s.Events[metric] = slices.DeleteFunc(slices.Clone(list), func(o Occurrence) bool { return future(o.At) })
	}
	maps.DeleteFunc(s.Since, func(_ string, t time.Time) bool { return future(t) })
	maps.DeleteFunc(s.Trends, func(_ string, t Trend) bool { return future(t.At) })
}

// Wake returns the moment after now at which Reduce should be called even if
// nothing is seen; zero when there is nothing to wait for.
func (s *State) Wake(now time.Time) time.Time {
	var at time.Time
	for i := range s.Incidents {
		inc := &s.Incidents[i]
		if !inc.Open() {
			continue
		}
		for _, t := range []time.Time{inc.Deadline, inc.NotBefore} {
			if t.After(now) && (at.IsZero() || t.Before(at)) {
				at = t
			}
		}
	}
	return at
}

// openIncident returns the open incident of a rule and a unit, or nil.
func (s *State) openIncident(rule, unit string) *Incident {
	for i := range s.Incidents {
		if inc := &s.Incidents[i]; inc.Rule == rule && inc.Unit == unit && inc.Open() {
			return inc
		}
	}
	return nil
}

func (s *State) incident(id string) *Incident {
	for i := range s.Incidents {
		if s.Incidents[i].ID == id {
			return &s.Incidents[i]
		}
	}
	return nil
}

// forget drops the oldest of what is only kept for a while.
func (s *State) forget() {
	closed := 0
	for i := range s.Incidents {
		if !s.Incidents[i].Open() {
			closed++
		}
	}
	s.Incidents = slices.DeleteFunc(s.Incidents, func(i Incident) bool {
		if i.Open() || closed <= keepClosed {
			return false
		}
		closed--
		return true
	})
	s.Ledger = newest(s.Ledger, keepSpent)
	s.Reboots = newest(s.Reboots, keepReboots)
}

// newest drops all but the last n.
func newest[T any](list []T, n int) []T { return list[max(0, len(list)-n):] }
