package bootstrap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// The modes of a run.
const (
	ModeBootstrap = "bootstrap"
	ModeDoctor    = "doctor" // looks, and changes nothing
)

// The states of a report.
const (
	StateRunning = "running"
	StateOK      = "ok"
	StateWarning = "warning"
	StateFailed  = "failed"
)

// The states of a step, beside those above.
const (
	statePending = "pending"
	stateChanged = "changed"
	stateSkipped = "skipped"
)

const (
	progressEvery = 200 * time.Millisecond // a report for progress alone
	beatEvery     = 5 * time.Second        // a report for nothing: somebody is at work
)

// Options say how a plan is run.
type Options struct {
	Mode     string
	Version  string // of this program
	Machine  string // what it is, in words
	Attempts int    // runs on this machine, this one included

	// Tell is given the report as it grows: at the start and end of each step, on
	// progress five times a second at most, and every 5 s in any case. Calls come
	// one after the other. The steps of the report are its own.
	Tell func(api.Report)
}

// Run takes the steps and returns the report, whose state is not running any
// more. When ctx ends, so does the step at work, and the rest stays pending.
func (p *Plan) Run(ctx context.Context, o Options) api.Report {
	if o.Tell == nil {
		o.Tell = func(api.Report) {}
	}
	r := &run{plan: p, opts: o, began: time.Now(), well: map[string]bool{}}
	r.report = api.Report{
		Mode: o.Mode, State: StateRunning, Version: o.Version, Machine: o.Machine, Attempts: o.Attempts, Started: r.began.UTC(),
	}
	for _, s := range p.steps {
		r.report.Steps = append(r.report.Steps, api.Step{ID: s.ID, Title: s.Title, Needs: s.Needs, State: statePending})
	}
	r.tell()
	stop := r.beat()
	for i := range p.steps {
		if ctx.Err() != nil {
			break
		}
		r.step(ctx, i)
	}
	stop()
	ended := time.Now().UTC()
	r.mu.Lock()
	r.report.Ended = &ended
	r.report.State = overall(r.report.Steps)
	r.mu.Unlock()
	r.tell()
	return r.report
}

// run is one walk through a plan.
type run struct {
	plan  *Plan
	opts  Options
	began time.Time
	well  map[string]bool // steps that others may build on

	mu     sync.Mutex // guards what follows, and the order of what is told
	report api.Report
	told   time.Time
}

// beat reports every 5 s until the function that it returns is called.
func (r *run) beat() (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(beatEvery)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				r.tell()
			}
		}
	}()
	return func() { close(done); <-ended }
}

func (r *run) tell() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.telling()
}

// telling is tell for who holds the lock.
func (r *run) telling() {
	r.told = time.Now()
	r.report.Seconds = time.Since(r.began).Seconds()
	copied := r.report
	copied.Steps = slices.Clone(r.report.Steps)
	r.opts.Tell(copied)
}

// set changes a step of the report and tells so.
func (r *run) set(i int, change func(*api.Step)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.report.Steps[i])
	r.telling()
}

func (r *run) step(ctx context.Context, i int) {
	s, began := r.plan.steps[i], time.Now()
	if missing := r.missing(s.Needs); missing != "" {
		r.set(i, func(step *api.Step) { step.State, step.Detail = stateSkipped, "waits for: "+missing })
		return
	}
	r.set(i, func(step *api.Step) { step.State = StateRunning })
	found, changed := r.try(ctx, s, i)
	if ctx.Err() != nil && found.Outcome == Wrong {
		found = Bad("interrupted", "arasul bootstrap goes on from here when it is run again.")
	}
	state := map[Outcome]string{Well: StateOK, Warn: StateWarning, Wrong: StateFailed, Absent: stateSkipped, Declined: StateWarning}[found.Outcome]
	if changed && found.Outcome == Well {
		state = stateChanged
	}
	r.well[s.ID] = found.Outcome == Well || found.Outcome == Warn || found.Outcome == Absent
	r.set(i, func(step *api.Step) {
		step.State, step.Detail, step.Error, step.Suggestion = state, found.Detail, found.Error, found.Suggestion
		step.Done, step.Total, step.Seconds = 0, 0, time.Since(began).Seconds()
	})
}

// missing names the steps that are needed and are not well.
func (r *run) missing(needs []string) string {
	var titles []string
	for _, need := range needs {
		if r.well[need] {
			continue
		}
		at := slices.IndexFunc(r.plan.steps, func(s Step) bool { return s.ID == need })
		titles = append(titles, r.plan.steps[at].Title)
	}
	return strings.Join(titles, ", ")
}

// try checks a step and, where that is asked for and helps, mends it.
func (r *run) try(ctx context.Context, s Step, i int) (found Finding, changed bool) {
	defer func() {
		if err := recover(); err != nil {
			found, changed = Bad(fmt.Sprintf("a mistake in this program: %v", err), "Please report it, with what arasul support-bundle makes."), false
		}
	}()
	found = check(ctx, s)
	if found.Outcome != Wrong || s.Fix == nil || ctx.Err() != nil {
		return found, false
	}
	if r.opts.Mode != ModeBootstrap {
		found.Suggestion = cmp.Or(found.Suggestion, "arasul bootstrap")
		return found, false
	}
	fixing, cancel := context.WithTimeout(ctx, cmp.Or(s.FixWithin, fixWithin))
	defer cancel()
	err := s.Fix(fixing, func(detail string, done, total int64) { r.progress(i, detail, done, total) })
	switch {
	case err != nil && errors.Is(fixing.Err(), context.DeadlineExceeded) && ctx.Err() == nil:
		return Bad(fmt.Sprintf("not done within %s: %v", cmp.Or(s.FixWithin, fixWithin), err), suggested(err, found.Suggestion)), false
	case err != nil:
		return Bad(err.Error(), suggested(err, found.Suggestion)), false
	}
	return check(ctx, s), true
}

func check(ctx context.Context, s Step) Finding {
	limit := cmp.Or(s.CheckWithin, checkWithin)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	found := s.Check(ctx)
	if found.Outcome == Wrong && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		found.Error = fmt.Sprintf("no answer within %s: %s", limit, found.Error)
	}
	return found
}

// progress notes how far a fix has come.
func (r *run) progress(i int, detail string, done, total int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	step := &r.report.Steps[i]
	step.Detail, step.Done, step.Total = detail, done, total
	if time.Since(r.told) >= progressEvery {
		r.telling()
	}
}

// overall is the worst that a step came to. What was not tried has failed.
func overall(steps []api.Step) string {
	state := StateOK
	for _, s := range steps {
		switch s.State {
		case StateFailed, statePending, StateRunning:
			return StateFailed
		case StateWarning:
			state = StateWarning
		}
	}
	return state
}
