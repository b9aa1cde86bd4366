package update

import (
	"fmt"
	"slices"
)

// Limits of one transaction. They end what goes round in circles; no update that
// goes well comes near.
const (
	maxBegun = 3 // times that a step's Do is called: what always dies in it will the next time
	maxUndo  = 3 // times that a step's Undo fails
	maxBoots = 5 // of the machine, until it turns back
)

// Kind says what is to be done next.
type Kind string

// The kinds of moves.
const (
	DoStep   Kind = "do"
	UndoStep Kind = "undo"
	TurnBack Kind = "turn-back"
	Finish   Kind = "finish"
	Nothing  Kind = "nothing" // it is over, or was never started
)

// Move is what is to be done next.
type Move struct {
	Kind    Kind
	Step    string  // of do and undo
	Reason  string  // of turn-back
	Outcome Outcome // of finish
}

// Position is how far a transaction has come, as its journal says.
type Position struct {
	Plan      []string       // its steps, in order; empty: not started
	Done      map[string]int // steps that are done: the number of the record
	Committed bool
	Reason    string // why it turned back; empty while it goes forward
	Outcome   Outcome
	Step      string // the newest one that was begun or is being undone

	begun  map[string]int // how often
	undone map[string]bool
	failed map[string]int // Undos that failed
	boots  int
}

// Replay reads how far the transaction has come. Commit is the step whose end is
// the point of no return.
func Replay(records []Record, commit string) Position {
	p := Position{Done: map[string]int{}, begun: map[string]int{}, undone: map[string]bool{}, failed: map[string]int{}}
	for _, r := range records {
		switch r.Phase {
		case Started:
			p.Plan = r.Plan
		case Booted:
			p.boots++
		case Begun:
			p.begun[r.Step]++
			p.Step = r.Step
		case Done:
			p.Done[r.Step] = r.Seq
			p.Committed = p.Committed || r.Step == commit
		case Back:
			p.Reason = r.Reason
		case Undoing:
			p.Step = r.Step
		case Undone:
			p.undone[r.Step] = true
		case Failed:
			p.failed[r.Step]++
		case Finished:
			p.Outcome = r.Outcome
		}
	}
	return p
}

// Next says what is to be done at this position.
func (p Position) Next() Move {
	switch {
	case p.Outcome != "" || len(p.Plan) == 0:
		return Move{Kind: Nothing}
	case p.Reason != "" && !p.Committed:
		return p.nextBack()
	}
	return p.nextForward()
}

func (p Position) nextForward() Move {
	for _, step := range p.Plan {
		_, done := p.Done[step]
		switch {
		case done:
		case p.Committed && p.failed[step] > 0: // after the commit: what could not be cleaned up stays
		case p.Committed && p.begun[step] >= maxBegun:
		case p.begun[step] >= maxBegun:
			return Move{Kind: TurnBack, Reason: fmt.Sprintf("the step %s was begun %d times and never ended", step, p.begun[step])}
		case !p.Committed && p.boots >= maxBoots:
			return Move{Kind: TurnBack, Reason: fmt.Sprintf("the machine was booted %d times meanwhile", p.boots)}
		default:
			return Move{Kind: DoStep, Step: step}
		}
	}
	return Move{Kind: Finish, Outcome: Committed}
}

func (p Position) nextBack() Move {
	for _, step := range slices.Backward(p.Plan) {
		switch {
		case p.begun[step] == 0 || p.undone[step]:
		case p.failed[step] >= maxUndo && step == stepSnapshot: // a copy is left, which the next one removes
		case p.failed[step] >= maxUndo:
			return Move{Kind: Finish, Outcome: Stuck}
		default:
			return Move{Kind: UndoStep, Step: step}
		}
	}
	return Move{Kind: Finish, Outcome: RolledBack}
}

// Quiet says whether daemons that write to the database must not start now: the
// transaction has stopped them and has not come to where it starts them again.
func Quiet(records []Record) bool {
	quiet := false
	for _, r := range records {
		switch {
		case r.Phase == Begun && r.Step == stepQuiesce, r.Phase == Undoing && r.Step == stepStart:
			quiet = true
		case r.Phase == Begun && r.Step == stepStart, r.Phase == Undoing && r.Step == stepQuiesce, r.Phase == Finished:
			quiet = false
		}
	}
	return quiet
}
