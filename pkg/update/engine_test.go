package update

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/arasul/arasul/pkg/stable"
)

// script is an engine over steps a, commit and z that do what a test wants, and
// note that they were called.
type script struct {
	calls  []string
	do     map[string]func(context.Context) error
	undo   map[string]func(context.Context) error
	engine *Engine
	path   string
}

func newScript(t *testing.T) *script {
	t.Helper()
	s := &script{do: map[string]func(context.Context) error{}, undo: map[string]func(context.Context) error{}, path: t.TempDir() + journalPath}
	s.boot(t, "1")
	if err := s.engine.Start(); err != nil {
		t.Fatal(err)
	}
	return s
}

// boot starts the updater anew.
func (s *script) boot(t *testing.T, id string) {
	t.Helper()
	j, err := OpenJournal(stable.OS{}, s.path)
	if err != nil {
		t.Fatal(err)
	}
	s.engine = &Engine{Commit: "commit", Journal: j, Boot: id, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	for _, name := range []string{"a", "b", "commit", "z"} {
		s.engine.Steps = append(s.engine.Steps, Step{
			Name: name, Limit: time.Minute,
			Do:   func(ctx context.Context, _ *Tx) (any, error) { return nil, s.call(ctx, "do "+name, s.do[name]) },
			Undo: func(ctx context.Context, _ *Tx) error { return s.call(ctx, "undo "+name, s.undo[name]) },
		})
	}
}

func (s *script) call(ctx context.Context, what string, f func(context.Context) error) error {
	s.calls = append(s.calls, what)
	if f == nil {
		return nil
	}
	return f(ctx)
}

func fail(context.Context) error { return errors.New("no") }

func (s *script) want(t *testing.T, outcome Outcome, calls ...string) {
	t.Helper()
	got, err := s.engine.Run(context.Background())
	if err != nil || got != outcome {
		t.Errorf("%s, %v, want %s", got, err, outcome)
	}
	if !slices.Equal(s.calls, calls) {
		t.Errorf("called %q, want %q", s.calls, calls)
	}
}

func TestStepsAreTakenInOrder(t *testing.T) {
	s := newScript(t)
	s.want(t, Committed, "do a", "do b", "do commit", "do z")
}

// A copy of the database that cannot be removed is no reason to stay between two
// releases: the next one removes it.
func TestACopyThatStaysIsLeft(t *testing.T) {
	p := Replay([]Record{
		{Phase: Started, Plan: []string{stepQuiesce, stepSnapshot, stepInstall}},
		{Phase: Begun, Step: stepQuiesce}, {Phase: Begun, Step: stepSnapshot}, {Phase: Back, Reason: "no room"},
		{Phase: Failed, Step: stepSnapshot}, {Phase: Failed, Step: stepSnapshot}, {Phase: Failed, Step: stepSnapshot},
	}, CommitStep)
	if next := p.Next(); next.Kind != UndoStep || next.Step != stepQuiesce {
		t.Errorf("next is %+v", next)
	}
}

// Proves UPD-3: the way back has what it needs before each of its steps.
func TestEachUndoIsPreparedFor(t *testing.T) {
	s := newScript(t)
	s.do["b"] = fail
	s.engine.Prepare = func(ctx context.Context) { _ = s.call(ctx, "prepare", nil) }
	s.want(t, RolledBack, "do a", "do b", "prepare", "undo b", "prepare", "undo a")
}

// Proves UPD-3: on failure all of it is rolled back.
func TestAFailureUndoesWhatWasBegunNewestFirst(t *testing.T) {
	s := newScript(t)
	s.do["b"] = fail
	s.want(t, RolledBack, "do a", "do b", "undo b", "undo a")
}

// A report that cannot be written does not take a committed update back.
func TestAFailureAfterTheCommitChangesNothing(t *testing.T) {
	s := newScript(t)
	s.do["z"] = fail
	s.want(t, Committed, "do a", "do b", "do commit", "do z")
}

func TestAnUndoIsTriedThreeTimes(t *testing.T) {
	s := newScript(t)
	s.do["b"], s.undo["b"] = fail, fail
	s.want(t, Stuck, "do a", "do b", "undo b", "undo b", "undo b")
}

func TestWhatIsOverStaysOver(t *testing.T) {
	s := newScript(t)
	s.want(t, Committed, "do a", "do b", "do commit", "do z")
	s.boot(t, "2")
	s.want(t, Committed, "do a", "do b", "do commit", "do z")
	if done, err := s.engine.Cancel("late"); done || err != nil {
		t.Errorf("cancelled what is committed: %v, %v", done, err)
	}
}

func TestCancelTurnsBack(t *testing.T) {
	s := newScript(t)
	stopped, stop := context.WithCancel(context.Background())
	s.do["b"] = func(ctx context.Context) error {
		stop()
		<-ctx.Done()
		return ctx.Err()
	}
	if _, err := s.engine.Run(stopped); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
	if done, err := s.engine.Cancel("the admin wants no update"); !done || err != nil {
		t.Fatalf("%v, %v", done, err)
	}
	s.want(t, RolledBack, "do a", "do b", "undo b", "undo a")
}

// A step in which the machine dies each time is not tried for ever.
func TestAStepThatNeverEndsTurnsBack(t *testing.T) {
	s := newScript(t)
	s.do["b"] = func(context.Context) error { panic("power cut") }
	for n := range 3 {
		func() {
			defer func() { _ = recover() }()
			_, _ = s.engine.Run(context.Background())
		}()
		s.boot(t, fmt.Sprint(n+2))
	}
	s.want(t, RolledBack, "do a", "do b", "do b", "do b", "undo b", "undo a")
}

// However often the power fails on the way back, it goes on.
func TestPowerCutsDoNotEndTheWayBack(t *testing.T) {
	s := newScript(t)
	s.do["b"] = fail
	s.undo["a"] = func(context.Context) error { panic("power cut") }
	for n := range 20 {
		func() {
			defer func() { _ = recover() }()
			_, _ = s.engine.Run(context.Background())
		}()
		s.boot(t, fmt.Sprint(n+2))
	}
	s.undo["a"], s.calls = nil, nil
	s.want(t, RolledBack, "undo a")
}

func TestAStepHasALimit(t *testing.T) {
	s := newScript(t)
	s.do["a"] = func(ctx context.Context) error {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("there is none")
		}
		return nil
	}
	s.want(t, Committed, "do a", "do b", "do commit", "do z")
}

func TestAJournalOfAnotherProgramIsLeftAlone(t *testing.T) {
	s := newScript(t)
	s.engine.Steps = s.engine.Steps[:2]
	if _, err := s.engine.Run(context.Background()); !errors.Is(err, errSteps) {
		t.Errorf("%v", err)
	}
	if len(s.calls) > 0 {
		t.Errorf("called %q", s.calls)
	}
}
