package heal

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

const (
	keepClosed   = 200 // closed incidents remembered; PostgreSQL keeps the rest
	keepFailures = 50  // per incident, the newest
	keepActions  = 50  // per incident, the newest
)

// State is everything the healer knows between two observations. It is plain
// data: what is in it is what the file in /var/lib/arasul/healer holds.
type State struct {
	Seq         uint64                 `json:"seq"` // incidents ever opened
	Units       map[string]Memory      `json:"units"`
	Incidents   []Incident             `json:"incidents"` // oldest first; closed ones are dropped beyond keepClosed
	Running     *Command               `json:"running,omitempty"`
	Spent       map[string][]time.Time `json:"spent"` // when actions on a unit began, within the budget's window
	Maintenance bool                   `json:"maintenance,omitempty"`
}

// Memory is what is remembered of a unit's last look.
type Memory struct {
	Invocation string `json:"invocation"`
	Restarts   uint32 `json:"restarts"`
	Up         bool   `json:"up"`
	Moving     bool   `json:"moving,omitempty"`   // systemd was starting or stopping it
	Stopping   bool   `json:"stopping,omitempty"` // in good order, because somebody asked for it
	Counted    string `json:"counted,omitempty"`  // the run whose end is already counted as a failure
}

// Incident is an api.Incident with what the healer needs to go on with it.
type Incident struct {
	api.Incident
	Rung      int       `json:"rung"`                // next rung of the ladder
	Deadline  time.Time `json:"deadline,omitzero"`   // when the present state is judged
	Revision  uint64    `json:"revision"`            // grows with every change
	Mirrored  uint64    `json:"mirrored"`            // the revision that PostgreSQL has
	NotBefore time.Time `json:"not_before,omitzero"` // no action earlier than this
}

// Open reports whether the incident still asks for something.
func (i *Incident) Open() bool { return i.ClosedAt == nil }

// Command is one thing to do.
type Command struct {
	Incident string        `json:"incident"`
	Unit     string        `json:"unit"`
	Action   string        `json:"action"`
	Attempt  int           `json:"attempt"`
	Timeout  time.Duration `json:"timeout"`
	Reason   string        `json:"reason"`
}

// Result is how a command ended. Error is empty when it did what it should.
type Result struct {
	Incident string `json:"incident"`
	Attempt  int    `json:"attempt"`
	Error    string `json:"error,omitempty"`
}

// Observation is what came in at one moment.
type Observation struct {
	At          time.Time  `json:"at"`                    // when the units had been read
	Units       []api.Unit `json:"units,omitempty"`       // units that were looked at
	Result      *Result    `json:"result,omitempty"`      // a command ended
	Maintenance *bool      `json:"maintenance,omitempty"` // an operator asked for hands off, or back on

	Mirrored map[string]uint64 `json:"mirrored,omitempty"` // PostgreSQL has these revisions of incidents

	looked bool          // it comes from the eyes, even if they saw nothing
	taken  chan struct{} // closed when it was taken in; nil when nobody waits
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
		}
	}
	s.Units = maps.Clone(s.Units)
	if s.Units == nil {
		s.Units = map[string]Memory{}
	}
	spent := make(map[string][]time.Time, len(s.Spent))
	for unit, times := range s.Spent {
		spent[unit] = slices.Clone(times)
	}
	s.Spent = spent
	return s
}

// check finds what Reduce relies on and no healer ever wrote otherwise.
func (s *State) check() error {
	for i := range s.Incidents {
		inc := &s.Incidents[i]
		if inc.ID == "" || inc.Unit == "" || len(inc.Failures) == 0 {
			return fmt.Errorf("incident %d has no name, no unit or no failure", i)
		}
	}
	return nil
}

// distrustFuture brings times of a state that was saved under a clock which ran
// ahead back to now. Longest is the longest that anything is waited for.
func (s *State) distrustFuture(now time.Time, longest time.Duration) {
	for i := range s.Incidents {
		inc := &s.Incidents[i]
		for _, t := range []*time.Time{&inc.Deadline, &inc.NotBefore} {
			if limit := now.Add(longest); t.After(limit) {
				*t = limit
			}
		}
	}
	for unit, times := range s.Spent {
		s.Spent[unit] = slices.DeleteFunc(times, func(t time.Time) bool { return t.After(now) })
	}
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

// openIncident returns the open incident of a unit, or nil.
func (s *State) openIncident(unit string) *Incident {
	for i := range s.Incidents {
		if s.Incidents[i].Unit == unit && s.Incidents[i].Open() {
			return &s.Incidents[i]
		}
	}
	return nil
}

// forget drops the oldest closed incidents beyond keepClosed. Those that
// PostgreSQL has not got yet stay up to twice that number.
func (s *State) forget() {
	closed := 0
	for i := range s.Incidents {
		if !s.Incidents[i].Open() {
			closed++
		}
	}
	s.Incidents = slices.DeleteFunc(s.Incidents, func(i Incident) bool {
		if i.Open() || closed <= keepClosed || (i.Mirrored < i.Revision && closed <= 2*keepClosed) {
			return false
		}
		closed--
		return true
	})
}
