package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/arasul/arasul/migrations"
	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/postgres/postgrestest"
)

// told sends what n8n's hook would.
func told(t *testing.T, h http.Handler, body string) int {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/executions", strings.NewReader(body))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code
}

type n8nDatabase struct {
	all []api.Execution
	err error
}

func (n n8nDatabase) ReadExecutions(context.Context, time.Time) ([]api.Execution, error) {
	return n.all, n.err
}

// Proves N8N-2: every run is known, whether n8n told it or its database, each once,
// and what was told late does not undo what is known.
func TestRunsOfWorkflowsAreKept(t *testing.T) {
	t.Parallel()
	db := postgrestest.New(t, migrations.FS).Open(t, "arasul-dashboard")
	d := newDashboard(t, Options{Workflows: db})
	d.OnDatabase(nil)
	hook := d.Executions(db)
	began, ended := time.Now().Add(-time.Minute).UTC(), time.Now().UTC()
	if code := told(t, hook, `[{"id": "1", "workflow": "a\u0000b", "status": "error", "mode": "webhook", "started_at": "`+began.Format(time.RFC3339)+`", "ended_at": "`+ended.Format(time.RFC3339)+`", "error": "`+strings.Repeat("x", 5000)+`"}, {"id": ""}, {"id": "9", "status": "brand-new-word"}]`); code != http.StatusNoContent {
		t.Fatalf("status %d", code)
	}
	n8n := n8nDatabase{all: []api.Execution{
		{ID: "1", Status: "running"}, // read a moment too late
		{ID: "2", Workflow: "c", Status: "new", Started: &began},
	}}
	if err := d.reconcile(t.Context(), db, n8n); err != nil {
		t.Fatal(err)
	}
	n8n.all[1].Status, n8n.all[1].Ended = "crashed", &ended
	if err := d.reconcile(t.Context(), db, n8n); err != nil {
		t.Fatal(err)
	}
	page, err := d.workflowActivity(t.Context(), &activityInput{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]api.Execution{}
	for _, e := range page.Body.Executions {
		got[e.ID] = e
	}
	if e := got["1"]; e.Status != "error" || e.Source != "hook" || len(e.Error) != 1000 || e.DurationSeconds == nil || strings.Contains(e.Workflow, "\x00") {
		t.Errorf("got %+v", e)
	}
	if e := got["2"]; e.Status != "crashed" || e.Source != "reconciled" {
		t.Errorf("got %+v", e)
	}
	if len(got) != 3 || page.Body.Counts.Error != 2 || page.Body.Counts.Crashed != 1 {
		t.Errorf("%d runs, %+v", len(got), page.Body.Counts)
	}
	first, err := d.workflowActivity(t.Context(), &activityInput{Limit: 2})
	if err != nil || len(first.Body.Executions) != 2 || first.Body.Next == 0 {
		t.Fatalf("%+v, %v", first, err)
	}
	rest, err := d.workflowActivity(t.Context(), &activityInput{Limit: 2, Before: first.Body.Next})
	if err != nil || len(rest.Body.Executions) != 1 || rest.Body.Next != 0 {
		t.Errorf("%+v, %v", rest, err)
	}
}

func TestNonsenseOfAHookIsRefusedForGood(t *testing.T) {
	d := newDashboard(t, Options{})
	many, err := json.Marshal(make([]api.Execution, maxExecutions+1))
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"", "{", `{"id": 1}`, string(many), `[{"error": "` + strings.Repeat("x", maxHook) + `"}]`} {
		if code := told(t, d.Executions(nil), body); code != http.StatusBadRequest {
			t.Errorf("%.40s: status %d", body, code)
		}
	}
}

// brokenStore is a database that is away.
type brokenStore struct{ WorkflowStore }

func (brokenStore) RecordExecutions(context.Context, []api.Execution) error {
	return errors.New("away")
}

func TestAHookIsAskedToComeAgainWhileTheDatabaseIsAway(t *testing.T) {
	d := newDashboard(t, Options{})
	if code := told(t, d.Executions(brokenStore{}), `[{"id": "1"}]`); code != http.StatusServiceUnavailable {
		t.Errorf("status %d", code)
	}
}
