package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// part is a thing of a machine that a step looks after.
type part struct {
	id, needs string
	found     []Finding // by check, the last one again and again
	fix       error     // what the fix comes to
	noFix     bool
	looks     int
	fixes     int
}

func (p *part) step() Step {
	s := Step{ID: p.id, Title: strings.ToUpper(p.id), Needs: strings.Fields(p.needs), Check: func(context.Context) Finding {
		f := p.found[min(p.looks, len(p.found)-1)]
		p.looks++
		return f
	}}
	if !p.noFix {
		s.Fix = func(context.Context, Progress) error { p.fixes++; return p.fix }
	}
	return s
}

func plan(t *testing.T, parts ...*part) *Plan {
	t.Helper()
	var steps []Step
	for _, p := range parts {
		steps = append(steps, p.step())
	}
	made, err := NewPlan(steps...)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func states(r api.Report) string {
	var all []string
	for _, s := range r.Steps {
		all = append(all, s.ID+":"+s.State)
	}
	return r.State + " " + strings.Join(all, " ")
}

// Proves BOOT-1: each row is a machine, what bootstrap and what doctor say of it.
func TestStepsComeToWhatTheirChecksAndFixesDo(t *testing.T) {
	bad, ok := Bad("broken", "mend it"), OK("fine")
	for name, tt := range map[string]struct {
		parts             func() []*part
		bootstrap, doctor string
	}{
		"all is well":              {func() []*part { return []*part{{id: "a", found: []Finding{ok}}, {id: "b", found: []Finding{ok}}} }, "ok a:ok b:ok", "ok a:ok b:ok"},
		"mended":                   {func() []*part { return []*part{{id: "a", found: []Finding{bad, ok}}} }, "ok a:changed", "failed a:failed"},
		"mending did not help":     {func() []*part { return []*part{{id: "a", found: []Finding{bad}}} }, "failed a:failed", "failed a:failed"},
		"mending failed":           {func() []*part { return []*part{{id: "a", found: []Finding{bad, ok}, fix: errors.New("no room")}} }, "failed a:failed", "failed a:failed"},
		"nobody but a person can":  {func() []*part { return []*part{{id: "a", found: []Finding{bad}, noFix: true}} }, "failed a:failed", "failed a:failed"},
		"worth knowing":            {func() []*part { return []*part{{id: "a", found: []Finding{Warning("old", "renew")}}} }, "warning a:warning", "warning a:warning"},
		"mended but worth knowing": {func() []*part { return []*part{{id: "a", found: []Finding{bad, Warning("old", "renew")}}} }, "warning a:warning", "failed a:failed"},
		"what waits is not blamed": {func() []*part {
			return []*part{{id: "a", found: []Finding{bad}, noFix: true}, {id: "b", needs: "a", found: []Finding{ok}}, {id: "c", needs: "b", found: []Finding{ok}}, {id: "d", found: []Finding{ok}}}
		}, "failed a:failed b:skipped c:skipped d:ok", "failed a:failed b:skipped c:skipped d:ok"},
		"what does not apply is built on": {func() []*part {
			return []*part{{id: "a", found: []Finding{NotHere("no GPU")}}, {id: "b", needs: "a", found: []Finding{ok}}}
		}, "ok a:skipped b:ok", "ok a:skipped b:ok"},
		"what the owner declined is not built on": {func() []*part {
			return []*part{{id: "a", found: []Finding{{Outcome: Declined, Detail: "no licence"}}}, {id: "b", needs: "a", found: []Finding{ok}}}
		}, "warning a:warning b:skipped", "warning a:warning b:skipped"},
	} {
		t.Run(name, func(t *testing.T) {
			for mode, want := range map[string]string{ModeBootstrap: tt.bootstrap, ModeDoctor: tt.doctor} {
				parts := tt.parts()
				if got := states(plan(t, parts...).Run(t.Context(), Options{Mode: mode})); got != want {
					t.Errorf("%s: %s, want %s", mode, got, want)
				}
				for _, p := range parts {
					if mode == ModeDoctor && p.fixes > 0 {
						t.Errorf("doctor has mended %s", p.id)
					}
				}
			}
		})
	}
}

// Proves BOOT-1: the second run finds all well and mends nothing.
func TestSecondRunChangesNothing(t *testing.T) {
	parts := []*part{{id: "a", found: []Finding{Bad("x", ""), OK("fine")}}, {id: "b", needs: "a", found: []Finding{Bad("y", ""), OK("fine")}}}
	p := plan(t, parts...)
	if got := states(p.Run(t.Context(), Options{Mode: ModeBootstrap})); got != "ok a:changed b:changed" {
		t.Fatal(got)
	}
	if got := states(p.Run(t.Context(), Options{Mode: ModeBootstrap})); got != "ok a:ok b:ok" {
		t.Error(got)
	}
	if parts[0].fixes != 1 || parts[1].fixes != 1 {
		t.Errorf("mended %d and %d times", parts[0].fixes, parts[1].fixes)
	}
}

// Proves BOOT-1: a run that is interrupted says so, and the next one goes on.
func TestInterruptedRunIsGoneOnWith(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	first, last := &part{id: "a", found: []Finding{Bad("x", ""), OK("fine")}}, &part{id: "c", needs: "b", found: []Finding{OK("fine")}}
	there := false
	middle := Step{
		ID: "b", Title: "B", Check: func(context.Context) Finding {
			if there {
				return OK("there")
			}
			return Bad("not there", "")
		},
		Fix: func(ctx context.Context, _ Progress) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		},
	}
	p, err := NewPlan(first.step(), middle, last.step())
	if err != nil {
		t.Fatal(err)
	}
	r := p.Run(ctx, Options{Mode: ModeBootstrap})
	if got := states(r); got != "failed a:changed b:failed c:pending" || r.Steps[1].Error != "interrupted" || r.Ended == nil {
		t.Fatalf("%s, %+v", got, r.Steps[1])
	}
	there = true
	if got := states(p.Run(t.Context(), Options{Mode: ModeBootstrap})); got != "ok a:ok b:ok c:ok" {
		t.Error(got)
	}
}

// Proves BOOT-1: a step that failed says error and recovery; that of the error
// is nearer than that of the check.
func TestFailureSaysWhatToDo(t *testing.T) {
	for name, tt := range map[string]struct {
		part       part
		mode       string
		error, say string
	}{
		"of the check":     {part{found: []Finding{Bad("broken", "mend it")}, noFix: true}, ModeBootstrap, "broken", "mend it"},
		"of the fix":       {part{found: []Finding{Bad("broken", "mend it")}, fix: fmt.Errorf("pulling: %w", Advise(errors.New("no room"), "arasul disk clean"))}, ModeBootstrap, "pulling: no room", "arasul disk clean"},
		"of a plain fix":   {part{found: []Finding{Bad("broken", "mend it")}, fix: errors.New("no room")}, ModeBootstrap, "no room", "mend it"},
		"of doctor":        {part{found: []Finding{Bad("broken", "")}}, ModeDoctor, "broken", "arasul bootstrap"},
		"of a blind check": {part{found: []Finding{Failed(Advise(errors.New("away"), "start it"), "look")}, noFix: true}, ModeDoctor, "away", "start it"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.part.id = "a"
			s := plan(t, &tt.part).Run(t.Context(), Options{Mode: tt.mode}).Steps[0]
			if s.Error != tt.error || s.Suggestion != tt.say {
				t.Errorf("%q, %q", s.Error, s.Suggestion)
			}
		})
	}
}

func TestStepThatHangsIsEndedAndOthersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := func(ctx context.Context) Finding { <-ctx.Done(); return Failed(ctx.Err(), "look") }
		p, err := NewPlan(Step{ID: "a", Title: "A", Check: hang, CheckWithin: time.Second},
			Step{ID: "b", Title: "B", Check: func(context.Context) Finding { return Bad("x", "") }, FixWithin: time.Minute,
				Fix: func(ctx context.Context, _ Progress) error { <-ctx.Done(); return ctx.Err() }},
			Step{ID: "c", Title: "C", Check: func(context.Context) Finding { return OK("") }})
		if err != nil {
			t.Fatal(err)
		}
		r := p.Run(t.Context(), Options{Mode: ModeBootstrap})
		if got := states(r); got != "failed a:failed b:failed c:ok" {
			t.Error(got)
		}
		if !strings.HasPrefix(r.Steps[0].Error, "no answer within 1s") || !strings.HasPrefix(r.Steps[1].Error, "not done within 1m0s") {
			t.Errorf("%q, %q", r.Steps[0].Error, r.Steps[1].Error)
		}
		if r.Seconds != 61 {
			t.Errorf("it took %v s", r.Seconds)
		}
	})
}

func TestMistakeOfOneStepDoesNotEndTheRun(t *testing.T) {
	p, err := NewPlan(Step{ID: "a", Title: "A", Check: func(context.Context) Finding { panic("oops") }}, (&part{id: "b", found: []Finding{OK("")}}).step())
	if err != nil {
		t.Fatal(err)
	}
	if r := p.Run(t.Context(), Options{Mode: ModeDoctor}); states(r) != "failed a:failed b:ok" || !strings.Contains(r.Steps[0].Error, "oops") {
		t.Errorf("%s: %+v", states(r), r.Steps[0])
	}
}

// Proves BOOT-1: progress is shown, and not more often than somebody can see.
func TestProgressIsToldFiveTimesASecondAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := false
		p, err := NewPlan(Step{
			ID: "a", Title: "A", Check: func(context.Context) Finding {
				if done {
					return OK("there")
				}
				return Bad("missing", "")
			},
			Fix: func(_ context.Context, progress Progress) error {
				for n := range int64(1000) { // 10 s
					progress("fetching", n, 1000)
					time.Sleep(10 * time.Millisecond)
				}
				done = true
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		var told []api.Report
		p.Run(t.Context(), Options{Mode: ModeBootstrap, Tell: func(r api.Report) { told = append(told, r) }})
		if len(told) < 40 || len(told) > 60 {
			t.Errorf("told %d times in 10 s", len(told))
		}
		last := int64(-1)
		for _, r := range told {
			s := r.Steps[0]
			if s.State == StateRunning && (s.Done < last || s.Total != 1000 && s.Detail != "") {
				t.Errorf("%+v after %d", s, last)
			}
			last = s.Done
		}
		if end := told[len(told)-1]; end.State != StateOK || end.Steps[0].State != stateChanged || end.Ended == nil {
			t.Errorf("the last word is %+v", end)
		}
	})
}

func TestQuietStepStillShowsThatSomebodyIsAtWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := NewPlan(Step{ID: "a", Title: "A", CheckWithin: time.Minute, Check: func(context.Context) Finding { time.Sleep(21 * time.Second); return OK("") }})
		if err != nil {
			t.Fatal(err)
		}
		var told []float64
		p.Run(t.Context(), Options{Mode: ModeDoctor, Tell: func(r api.Report) { told = append(told, r.Seconds) }})
		if fmt.Sprint(told) != "[0 0 5 10 15 20 21 21]" {
			t.Errorf("told at %v", told)
		}
	})
}

func TestPlansThatCannotBeAreRefused(t *testing.T) {
	look := func(context.Context) Finding { return OK("") }
	for name, steps := range map[string][]Step{
		"twice":        {{ID: "a", Title: "A", Check: look}, {ID: "a", Title: "A", Check: look}},
		"unknown need": {{ID: "a", Title: "A", Check: look, Needs: []string{"b"}}},
		"later need":   {{ID: "a", Title: "A", Check: look, Needs: []string{"b"}}, {ID: "b", Title: "B", Check: look}},
		"no check":     {{ID: "a", Title: "A"}},
	} {
		if _, err := NewPlan(steps...); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestOnlyTakesWhatIsNeededAlong(t *testing.T) {
	all := plan(t, &part{id: "a", found: []Finding{OK("")}}, &part{id: "b", needs: "a", found: []Finding{OK("")}},
		&part{id: "c", found: []Finding{OK("")}}, &part{id: "d", needs: "b", found: []Finding{OK("")}})
	part, err := all.Only("d")
	if err != nil || strings.Join(part.IDs(), " ") != "a b d" {
		t.Errorf("%v, %v", part.IDs(), err)
	}
	if _, err := all.Only("x"); err == nil {
		t.Error("a step that there is not was accepted")
	}
}
