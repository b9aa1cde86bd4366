package update

import (
	"slices"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// shares are how much of the time of an update each step takes, about, in
// hundredths. What is slow on one machine is fast on another.
var shares = map[string]int{
	stepPreflight: 2, stepKeep: 8, stepLoad: 30, stepQuiesce: 4, stepSnapshot: 8, stepInstall: 18,
	stepMigrate: 6, stepSwitch: 1, stepStart: 8, stepProbation: 13, CommitStep: 1, stepCleanup: 1,
}

// noCancel are the steps from whose beginning on an update is not cancelled any
// more: services stand still, and going back takes as long as going on.
var noCancel = []string{stepQuiesce, stepSnapshot, stepInstall, stepMigrate, stepSwitch, stepStart, stepProbation, CommitStep, stepCleanup}

// Order is the order that a transaction carries out.
type Order struct {
	ID      string  `json:"id"`
	Kind    string  `json:"kind"` // update or rollback
	From    string  `json:"from"` // version
	Actor   string  `json:"actor"`
	Release Release `json:"release"`
}

// Describe says how far a transaction has come, in the words of the API.
func Describe(o Order, records []Record) api.UpdateRun {
	run := api.UpdateRun{ID: o.ID, Kind: o.Kind, From: o.From, To: o.Release.Version, Bundle: o.Release.Bundle, Actor: o.Actor}
	p := Replay(records, CommitStep)
	run.Outcome, run.Reason, run.Back, run.Step, run.Cuts = string(p.Outcome), p.Reason, p.Reason != "" && !p.Committed, p.Step, p.boots
	if len(records) > 0 {
		run.Started = records[0].Time
	}
	at := map[string]*api.UpdateStep{}
	run.Steps = make([]api.UpdateStep, len(p.Plan))
	for i, name := range p.Plan {
		run.Steps[i] = api.UpdateStep{Name: name, State: "pending"}
		at[name] = &run.Steps[i]
	}
	for _, r := range records {
		if step := at[r.Step]; step != nil {
			change(step, r)
		}
		if r.Phase == Finished {
			run.Ended = r.Time
		}
	}
	run.Percent, run.CanStop = progress(run, p), canStop(p)
	run.Downtime = downtime(records)
	return run
}

func change(step *api.UpdateStep, r Record) {
	states := map[Phase]string{Begun: "running", Done: "done", Undoing: "undoing", Undone: "undone", Failed: "failed", Back: "failed"}
	step.State = states[r.Phase]
	switch r.Phase {
	case Begun:
		if step.Started.IsZero() {
			step.Started = r.Time
		}
	case Done, Undone, Failed, Back:
		step.Ended = r.Time
	}
}

// progress is in hundredths, of the way forward or of the way back.
func progress(run api.UpdateRun, p Position) int {
	if p.Outcome != "" {
		return 100
	}
	all, past := 0, 0
	for _, s := range run.Steps {
		share := shares[s.Name]
		if run.Back && p.begun[s.Name] == 0 {
			continue
		}
		all += share
		if s.State == "undone" || s.State == "done" && !run.Back {
			past += share
		}
	}
	if all == 0 {
		return 0
	}
	return min(99, 100*past/all)
}

func canStop(p Position) bool {
	if p.Outcome != "" || p.Reason != "" || len(p.Plan) == 0 {
		return false
	}
	return !slices.ContainsFunc(noCancel, func(step string) bool { return p.begun[step] > 0 })
}

// downtime is from the stop of services until they were proven well, in seconds;
// 0 while that is not known.
func downtime(records []Record) float64 {
	var down, up time.Time
	for _, r := range records {
		switch {
		case r.Phase == Begun && r.Step == stepQuiesce && down.IsZero():
			down = r.Time
		case r.Phase == Done && r.Step == stepProbation, r.Phase == Undone && r.Step == stepQuiesce:
			up = r.Time
		}
	}
	if down.IsZero() || up.IsZero() {
		return 0
	}
	return up.Sub(down).Seconds()
}
