package update

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// Step is one part of an update. Do and Undo are called with a context that the
// engine gives Limit; both may find their work begun, or done, before.
type Step struct {
	Name  string
	Limit time.Duration

	// Do does it. The data it returns, if any, is kept in the journal and handed
	// to Undo and to the steps after it. An error turns the transaction back,
	// unless it is committed.
	Do func(context.Context, *Tx) (data any, err error)

	// Undo takes back whatever Do may have done so far. Nil: there is nothing to
	// take back.
	Undo func(context.Context, *Tx) error
}

// Engine carries out a transaction.
type Engine struct {
	Steps   []Step
	Commit  string // the name of the step whose end is the point of no return
	Journal *Journal
	Boot    string // the kernel's id of this run
	Log     *slog.Logger

	// Pause is how long it waits before it calls an Undo again that has failed.
	Pause time.Duration

	// Prepare, if set, is called before each Undo: the way back has to have what it
	// needs, room on the disk above all.
	Prepare func(context.Context)

	// Changed, if set, is called after each record, with the position it led to.
	Changed func(Position)
}

// Tx is what a step may know of its transaction.
type Tx struct{ journal *Journal }

// Data reads what a step kept, into v. It reports whether there was something.
func (t *Tx) Data(step string, v any) (bool, error) {
	for _, r := range slices.Backward(t.journal.Records()) {
		if r.Phase == Done && r.Step == step && r.Data != nil {
			return true, json.Unmarshal(r.Data, v)
		}
	}
	return false, nil
}

// begunBefore says whether the step was begun before this time, and did not end:
// what it left may be half done.
func (t *Tx) begunBefore(step string) bool {
	n := 0
	for _, r := range t.journal.Records() {
		if r.Phase == Begun && r.Step == step {
			n++
		}
	}
	return n > 1
}

// began is when the transaction was started.
func (t *Tx) began() time.Time {
	if records := t.journal.Records(); len(records) > 0 {
		return records[0].Time
	}
	return time.Time{}
}

// errSteps is a journal of another program, or an older one.
var errSteps = errors.New("the journal names steps that this program does not have")

// Start begins a transaction whose journal is empty.
func (e *Engine) Start() error {
	if len(e.Journal.Records()) > 0 {
		return errors.New("there is a transaction in this journal already")
	}
	names := make([]string, len(e.Steps))
	for i, s := range e.Steps {
		names[i] = s.Name
	}
	return e.record(Record{Phase: Started, Plan: names})
}

// Cancel turns the transaction back, unless it is committed, and reports whether
// it did. It must not run beside Run.
func (e *Engine) Cancel(reason string) (bool, error) {
	p := e.position()
	if p.Committed || p.Reason != "" || p.Outcome != "" || len(p.Plan) == 0 {
		return false, nil
	}
	return true, e.record(Record{Phase: Back, Reason: reason})
}

// Run takes the transaction as far as it goes, from wherever it is, and returns
// how it ended. An error means that the journal could not be written, or that ctx
// ended: it goes on where it was when Run is called again.
func (e *Engine) Run(ctx context.Context) (Outcome, error) {
	if err := e.arrive(); err != nil {
		return "", err
	}
	for {
		p := e.position()
		move := p.Next()
		if len(e.Journal.Records()) >= MaxRecords && move.Kind != Finish && move.Kind != Nothing {
			move = Move{Kind: Finish, Outcome: Stuck} // the bound leaves room for this record
			if p.Committed {
				move.Outcome = Committed
			}
		}
		var err error
		switch move.Kind {
		case Nothing:
			return p.Outcome, nil
		case Finish:
			err = e.record(Record{Phase: Finished, Outcome: move.Outcome})
		case TurnBack:
			err = e.record(Record{Phase: Back, Reason: move.Reason})
		case DoStep:
			err = e.do(ctx, move.Step, p.Committed)
		case UndoStep:
			err = e.undo(ctx, move.Step)
		}
		if err != nil {
			return "", err
		}
	}
}

// arrive notes that the machine was booted since, and checks that this is the
// program whose journal it is.
func (e *Engine) arrive() error {
	records := e.Journal.Records()
	if len(records) == 0 {
		return nil
	}
	for _, name := range e.position().Plan {
		if e.step(name) == nil {
			return fmt.Errorf("%w: %s", errSteps, name)
		}
	}
	last := records[len(records)-1]
	if last.Boot == e.Boot || last.Phase == Finished || len(records) >= MaxRecords {
		return nil
	}
	return e.record(Record{Phase: Booted})
}

func (e *Engine) do(ctx context.Context, name string, committed bool) error {
	step := e.step(name)
	if err := e.record(Record{Phase: Begun, Step: name}); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, step.Limit)
	data, err := step.Do(limited, e.tx())
	cancel()
	if err == nil {
		var text json.RawMessage
		if text, err = encodeData(data); err == nil {
			return e.record(Record{Phase: Done, Step: name, Data: text})
		}
	}
	switch {
	case ctx.Err() != nil: // we are stopped; it goes on with the next Run
		return ctx.Err()
	case committed:
		e.Log.Warn("step after commit not done", "action", name, "err", err)
		return e.record(Record{Phase: Failed, Step: name, Reason: short(err)})
	}
	e.Log.Error("step failed, going back", "action", name, "err", err)
	return e.record(Record{Phase: Back, Step: name, Reason: name + ": " + short(err)})
}

func encodeData(data any) (json.RawMessage, error) {
	if data == nil {
		return nil, nil
	}
	text, err := json.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("keeping data: %w", err)
	}
	return text, nil
}

func (e *Engine) undo(ctx context.Context, name string) error {
	step := e.step(name)
	if err := e.record(Record{Phase: Undoing, Step: name}); err != nil {
		return err
	}
	if step.Undo != nil {
		if e.Prepare != nil {
			e.Prepare(ctx)
		}
		limited, cancel := context.WithTimeout(ctx, step.Limit)
		err := step.Undo(limited, e.tx())
		cancel()
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			e.Log.Error("step not undone", "action", name, "err", err)
			if err := e.record(Record{Phase: Failed, Step: name, Reason: short(err)}); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(e.Pause):
				return nil
			}
		}
	}
	return e.record(Record{Phase: Undone, Step: name})
}

func (e *Engine) tx() *Tx { return &Tx{e.Journal} }

func (e *Engine) position() Position { return Replay(e.Journal.Records(), e.Commit) }

func (e *Engine) step(name string) *Step {
	for i := range e.Steps {
		if e.Steps[i].Name == name {
			return &e.Steps[i]
		}
	}
	return nil
}

func (e *Engine) record(r Record) error {
	r.Time, r.Boot = time.Now().UTC(), e.Boot
	if err := e.Journal.Append(r); err != nil {
		return err
	}
	if e.Changed != nil {
		e.Changed(e.position())
	}
	return nil
}

// short bounds what an error may put into the journal.
func short(err error) string {
	const most = 1000
	text := err.Error()
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}
