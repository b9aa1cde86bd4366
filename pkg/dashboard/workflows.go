package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/arasul/arasul/pkg/api"
)

const (
	reconcileEvery = time.Minute
	reconcileBack  = 24 * time.Hour
	maxExecutions  = 100     // in one message of n8n's
	maxHook        = 1 << 20 // bytes of it
)

// WorkflowStore keeps which workflows ran.
type WorkflowStore interface {
	RecordExecutions(ctx context.Context, all []api.Execution) error
	Executions(ctx context.Context, q api.ExecutionQuery) ([]api.Execution, error)
	CountExecutions(ctx context.Context, since time.Time) (map[string]int, error)
}

// WorkflowActivity is one page of the runs of workflows.
type WorkflowActivity struct {
	Executions []api.Execution `json:"executions" doc:"Those that became known last first"`
	Next       int64           `json:"next,omitempty" doc:"Value of before for the next page; absent on the last"`
	Counts     ExecutionCounts `json:"counts" doc:"Of the last 24 hours"`
	Timestamp  time.Time       `json:"timestamp"`
}

// ExecutionCounts is how many runs ended how.
type ExecutionCounts struct {
	Success  int `json:"success"`
	Error    int `json:"error"`
	Crashed  int `json:"crashed"`
	Canceled int `json:"canceled"`
	Running  int `json:"running" doc:"And waiting"`
}

func (d *Dashboard) workflowOperations(a huma.API) {
	get(a, "workflow-activity", "workflows", "/api/workflows/activity", "Which workflows ran, and how", d.workflowActivity, 401, 503)
}

type activityInput struct {
	Status   string `query:"status" enum:"running,waiting,success,error,crashed,canceled" doc:"Only runs in this state"`
	Workflow string `query:"workflow" maxLength:"64" example:"aB3dE5fG7hJ9kL1m" doc:"Only runs of the workflow of this id"`
	Before   int64  `query:"before" minimum:"0" example:"4711" doc:"Only runs before the one of this number; next of the page before asks for the one after it"`
	Limit    int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Runs per page"`
}

func (d *Dashboard) workflowActivity(ctx context.Context, in *activityInput) (*answer[WorkflowActivity], error) {
	if d.opts.Workflows == nil || !d.databaseUp() {
		return nil, huma.Error503ServiceUnavailable("The runs of workflows are in the database, which cannot be reached.")
	}
	out := WorkflowActivity{Executions: []api.Execution{}, Timestamp: time.Now().UTC()}
	var counts map[string]int
	err := d.query(ctx, queryWithin, func(ctx context.Context) error {
		all, err := d.opts.Workflows.Executions(ctx, api.ExecutionQuery{Status: in.Status, Workflow: in.Workflow, Before: in.Before, Limit: in.Limit + 1})
		if err != nil {
			return err
		}
		out.Executions = append(out.Executions, all...)
		counts, err = d.opts.Workflows.CountExecutions(ctx, out.Timestamp.Add(-24*time.Hour))
		return err
	})
	switch {
	case errors.Is(err, errBusy):
		return nil, later()
	case err != nil:
		d.opts.Log.Warn("runs of workflows unread", "err", err)
		return nil, huma.Error503ServiceUnavailable("The runs of workflows could not be read from the database.")
	}
	if len(out.Executions) > in.Limit {
		out.Executions = out.Executions[:in.Limit]
		out.Next = out.Executions[in.Limit-1].Number
	}
	out.Counts = ExecutionCounts{
		Success: counts["success"], Error: counts["error"], Crashed: counts["crashed"], Canceled: counts["canceled"],
		Running: counts["running"] + counts["waiting"],
	}
	return &answer[WorkflowActivity]{out}, nil
}

// Executions takes what n8n tells about its runs, on a socket that only n8n's user
// can reach. 503 means: once more, later.
func (d *Dashboard) Executions(store WorkflowStore) http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("POST /executions", func(w http.ResponseWriter, r *http.Request) {
		var all []api.Execution
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxHook)).Decode(&all); err != nil || len(all) > maxExecutions {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		all = slices.DeleteFunc(all, func(e api.Execution) bool { return e.ID == "" })
		for i := range all {
			tidy(&all[i], "hook")
		}
		if err := store.RecordExecutions(r.Context(), all); err != nil {
			d.opts.Log.Debug("runs of workflows not kept", "err", err)
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return m
}

// tidy makes of what n8n says what the table takes. It has words that only it
// knows, and more of them with each release.
func tidy(e *api.Execution, source string) {
	e.Source = source
	switch e.Status {
	case "running", "waiting", "success", "error", "crashed", "canceled":
	case "new":
		e.Status = "running"
	case "cancelled":
		e.Status = "canceled"
	default:
		e.Status = "error"
	}
	e.ID, e.WorkflowID = harmless(e.ID, 64), harmless(e.WorkflowID, 64)
	e.Workflow, e.Mode = harmless(e.Workflow, 200), harmless(e.Mode, 32)
	e.Error, e.FailedNode = harmless(e.Error, 1000), harmless(e.FailedNode, 200)
}

// ExecutionSource is n8n's own database.
type ExecutionSource interface {
	ReadExecutions(ctx context.Context, since time.Time) ([]api.Execution, error)
}

// WorkflowKeeper is a WorkflowStore that forgets, too.
type WorkflowKeeper interface {
	WorkflowStore
	RetainExecutions(ctx context.Context) error
}

// KeepWorkflows reads from n8n's database, every minute, which runs n8n could not
// tell of: because it died, or we were away. It ends with ctx.
func (d *Dashboard) KeepWorkflows(ctx context.Context, store WorkflowKeeper, source ExecutionSource) error {
	tick := time.NewTicker(reconcileEvery)
	defer tick.Stop()
	said := ""
	for n := 0; ; n++ {
		if d.databaseUp() {
			switch err := d.reconcile(ctx, store, source); {
			case err == nil:
				said = ""
			case ctx.Err() == nil && err.Error() != said: // once
				said = err.Error()
				d.opts.Log.Warn("n8n's own database unread, runs that it could not tell of are missing", "err", err)
			}
			if n%60 == 0 {
				if err := store.RetainExecutions(ctx); err != nil && ctx.Err() == nil {
					d.opts.Log.Warn("old runs of workflows kept", "err", err)
				}
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (d *Dashboard) reconcile(ctx context.Context, store WorkflowStore, source ExecutionSource) error {
	all, err := source.ReadExecutions(ctx, time.Now().Add(-reconcileBack))
	if err != nil {
		return err
	}
	for i := range all {
		tidy(&all[i], "reconciled")
	}
	for part := range slices.Chunk(all, 500) {
		if err := store.RecordExecutions(ctx, part); err != nil {
			return err
		}
	}
	return nil
}
