package heal

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// requestRule is the name under which incidents are kept that somebody asked
// for: nothing is broken, and yet a unit goes down and has to be seen to come
// up again.
const requestRule = "request"

// What an operator's restart comes to. It does not wait for budgets, cooldowns or
// the breaker, nor for maintenance, during which he is at work himself; and it
// costs none of the healer's own actions.
const (
	requestPause   = 500 * time.Millisecond // the answer has to leave before what carries it goes down
	requestPerUnit = 10 * time.Second       // no sooner again
	requestWaits   = time.Minute            // for the one thing that is under way
	requestTimeout = 2 * time.Minute        // for systemd to stop and to start the unit
	maxRequests    = 8                      // that wait
)

// Request is a restart that somebody asked for.
type Request struct {
	Unit  string `json:"unit"`
	Actor string `json:"actor"` // who, for people
}

// Refuse says why a restart is not taken on now, nil when it is. What it looks
// at is what Reduce looks at: the answer given is what then happens.
func (s *State) Refuse(p *Policy, q Request, now time.Time) error {
	r := reducer{p: p, s: s, now: now}
	m, there := s.Units[q.Unit]
	refuse := func(code api.RefusalCode, format string, args ...any) error {
		return &api.Refusal{Code: code, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case p.order(q.Unit) < 0 || !there:
		return refuse(api.RefusedUnknown, "%s is no service that the healer looks after", q.Unit)
	case s.Lease != nil && now.Before(s.Lease.Until):
		return refuse(api.RefusedBusy, "the %s is at work and asked for hands off", s.Lease.Holder)
	case r.goingDown():
		return refuse(api.RefusedBusy, "the machine is about to restart")
	case s.openIncident(requestRule, q.Unit) != nil:
		return refuse(api.RefusedSoon, "%s is being restarted already", q.Unit)
	case r.spent(requestPerUnit, func(e Spent) bool { return e.Rule == requestRule && e.Unit == q.Unit }) > 0:
		return refuse(api.RefusedSoon, "%s was restarted less than %s ago", q.Unit, requestPerUnit)
	case m.Moving:
		return refuse(api.RefusedBusy, "systemd is starting or stopping %s", q.Unit)
	case r.commanding(q.Unit):
		return refuse(api.RefusedBusy, "%s is being repaired", q.Unit)
	case r.measured(q.Unit):
		return refuse(api.RefusedBusy, "%s is held back by the healer until the trouble is over", q.Unit)
	case r.requests() >= maxRequests:
		return refuse(api.RefusedSoon, "%d restarts are waiting already", maxRequests)
	}
	return nil
}

// requests counts those that are not over.
func (r *reducer) requests() (n int) {
	for i := range r.s.Incidents {
		if inc := &r.s.Incidents[i]; inc.Open() && inc.Rule == requestRule {
			n++
		}
	}
	return n
}

// request takes one on, if it may be.
func (r *reducer) request(q Request) {
	if r.s.Refuse(r.p, q, r.now) != nil {
		return
	}
	inc := r.begins(requestRule, api.ClassService, q.Unit, api.Failure{
		Fault: api.Requested, Detail: q.Actor + " asked for a restart", At: r.seen, DetectedAt: r.seen,
	})
	inc.NotBefore = r.now.Add(requestPause)
	inc.Deadline = r.now.Add(requestWaits)
}

// carryOut returns the command for the oldest request that waits.
func (r *reducer) carryOut() *Command {
	for i := range r.s.Incidents {
		inc := &r.s.Incidents[i]
		if !inc.Open() || inc.Rule != requestRule || inc.State != api.IncidentOpen ||
			r.now.Before(inc.NotBefore) || r.s.Units[inc.Unit].Moving {
			continue
		}
		return r.issue(inc, &Command{Action: ActionRestart, Unit: inc.Unit, Timeout: requestTimeout, Reason: inc.Detail})
	}
	return nil
}

// finishRequest takes in the end of the restart.
func (r *reducer) finishRequest(inc *Incident, problem string) {
	if problem != "" && !r.s.Units[inc.Unit].Moving {
		r.settle(inc, "failed", problem)
		r.close(inc)
		return
	}
	r.came(inc)
}

// passRequests ends requests whose time has come. A unit that did not come up is
// from then on an incident of its own, and the healer's business.
func (r *reducer) passRequests() {
	for i := range r.s.Incidents {
		inc := &r.s.Incidents[i]
		if !inc.Open() || inc.Rule != requestRule || inc.Deadline.IsZero() || r.now.Before(inc.Deadline) {
			continue
		}
		switch {
		case inc.State == api.IncidentOpen:
			r.begin(inc, ActionRestart, inc.Unit, inc.Detail)
			r.settle(inc, "refused", "something else was under way for "+requestWaits.String())
		case r.s.Units[inc.Unit].Moving:
			inc.Deadline = r.now.Add(r.p.Down.Grace.Std())
			continue
		case r.well(inc.Unit):
			r.settle(inc, "helped", "")
			inc.VerifiedAt = &r.now
		default:
			r.settle(inc, "failed", "the unit is not up")
		}
		r.close(inc)
	}
}

// pointless says why a request is of no use any more, empty when it is.
func (r *reducer) pointless(inc *Incident) string {
	if r.p.order(inc.Unit) < 0 {
		return "the policy no longer names the unit"
	}
	if _, there := r.s.Units[inc.Unit]; !there {
		return "the unit is gone"
	}
	return ""
}

// validActor reports whether a request may carry this name.
func validActor(name string) bool {
	const characters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.@ "
	return name != "" && len(name) <= 64 && strings.Trim(name, characters) == "" && !slices.Contains([]byte{name[0], name[len(name)-1]}, ' ')
}
