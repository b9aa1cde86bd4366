package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// How long a check and a fix may take unless the step says otherwise.
const (
	checkWithin = 30 * time.Second
	fixWithin   = 5 * time.Minute
)

// Step is one thing that has to be true of a machine that is ready.
type Step struct {
	ID    string // a to z, 0 to 9, hyphen: what --only takes
	Title string
	Needs []string // IDs of steps before it

	Check       func(context.Context) Finding // changes nothing
	CheckWithin time.Duration                 // 30 s unless given

	// Fix makes true what Check found wrong; nil where only a person can. An
	// error with a method Suggestion says what to do about it.
	Fix       func(context.Context, Progress) error
	FixWithin time.Duration // 5 min unless given
}

// Progress tells how far a fix has come: in words, and in bytes where they are
// known. It may be called from any goroutine until the fix has returned.
type Progress func(detail string, done, total int64)

// Outcome is what a check came to.
type Outcome int

// The outcomes.
const (
	Wrong    Outcome = iota // the machine cannot do its work like this
	Well                    // as it should be
	Warn                    // works, and the owner should know
	Absent                  // does not apply to this machine
	Declined                // works without, because the owner has not chosen it
)

// Finding is what a check saw.
type Finding struct {
	Outcome    Outcome
	Detail     string // what was found
	Error      string // why that is wrong
	Suggestion string // what to do, with a command that works
}

// OK is a finding of a thing that is as it should be.
func OK(detail string, args ...any) Finding {
	return Finding{Outcome: Well, Detail: fmt.Sprintf(detail, args...)}
}

// Warning is a finding that the owner should know.
func Warning(detail, suggestion string) Finding {
	return Finding{Outcome: Warn, Detail: detail, Suggestion: suggestion}
}

// Bad is a finding that keeps the machine from its work.
func Bad(problem, suggestion string) Finding {
	return Finding{Outcome: Wrong, Error: problem, Suggestion: suggestion}
}

// NotHere is a finding of a thing that this machine does not have to have.
func NotHere(why string) Finding { return Finding{Outcome: Absent, Detail: why} }

// Failed is the finding of a check that could not look; an error with a method
// Suggestion brings its own.
func Failed(err error, suggestion string) Finding {
	return Bad(err.Error(), suggested(err, suggestion))
}

// suggested is what an error advises, or otherwise.
func suggested(err error, otherwise string) string {
	var advice interface{ Suggestion() string }
	if errors.As(err, &advice) && advice.Suggestion() != "" {
		return advice.Suggestion()
	}
	return otherwise
}

// advised is an error with a suggestion.
type advised struct {
	error
	suggestion string
}

func (a advised) Suggestion() string { return a.suggestion }
func (a advised) Unwrap() error      { return a.error }

// Advise adds to an error what a person can do about it.
func Advise(err error, suggestion string) error {
	if err == nil {
		return nil
	}
	return advised{err, suggestion}
}

// Plan is a list of steps that fit together.
type Plan struct{ steps []Step }

// NewPlan makes a plan, or says why the steps are none: an ID twice, a need that
// is not before the step, a step without a check.
func NewPlan(steps ...Step) (*Plan, error) {
	seen := map[string]bool{}
	for _, s := range steps {
		switch {
		case s.ID == "" || s.Title == "" || s.Check == nil:
			return nil, fmt.Errorf("step %q has no ID, no title or no check", s.ID)
		case seen[s.ID]:
			return nil, fmt.Errorf("step %s is there twice", s.ID)
		}
		for _, need := range s.Needs {
			if !seen[need] {
				return nil, fmt.Errorf("step %s needs %s, which does not stand before it", s.ID, need)
			}
		}
		seen[s.ID] = true
	}
	return &Plan{steps}, nil
}

// IDs are those of the steps, in order.
func (p *Plan) IDs() (ids []string) {
	for _, s := range p.steps {
		ids = append(ids, s.ID)
	}
	return ids
}

// Only is the part of the plan that these steps are, with those that they need.
func (p *Plan) Only(ids ...string) (*Plan, error) {
	wanted := map[string]bool{}
	for _, id := range ids {
		if !slices.Contains(p.IDs(), id) {
			return nil, fmt.Errorf("there is no step %q", id)
		}
		wanted[id] = true
	}
	var part []Step
	for _, s := range slices.Backward(p.steps) { // needs stand before
		if !wanted[s.ID] {
			continue
		}
		for _, need := range s.Needs {
			wanted[need] = true
		}
		part = append(part, s)
	}
	slices.Reverse(part)
	return &Plan{part}, nil
}
