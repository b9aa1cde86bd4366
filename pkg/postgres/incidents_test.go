package postgres_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/arasul/arasul/migrations"
	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/postgres"
	"github.com/arasul/arasul/pkg/postgres/postgrestest"
)

var sameTime = cmpopts.EquateApproxTime(0) // in any location

// incident is one of a unit that crashed, and what became of it.
func incident(id string, fault time.Time) api.Incident {
	return api.Incident{
		ID: id, Unit: "arasul-metrics.service", Fault: api.Crashed, Detail: "killed by SIGKILL", State: api.IncidentOpen,
		FaultAt: fault, DetectedAt: fault.Add(3 * time.Millisecond), Count: 1,
		Failures: []api.Failure{{Fault: api.Crashed, Detail: "killed by SIGKILL", At: fault, DetectedAt: fault.Add(3 * time.Millisecond)}},
		Actions:  []api.Action{},
	}
}

func resolved(i api.Incident) api.Incident {
	begun, done := i.FaultAt.Add(time.Second), i.FaultAt.Add(2*time.Second)
	i.State, i.ActedAt, i.RecoveredAt, i.VerifiedAt, i.ClosedAt = api.IncidentResolved, &begun, &done, &done, &done
	i.Actions = []api.Action{
		{Attempt: 1, Kind: "systemd-restart", Reason: "first fault", StartedAt: begun, FinishedAt: &done, Outcome: "failed", Error: "start limit"},
		{Attempt: 2, Kind: "restart", Reason: "still down", StartedAt: begun, FinishedAt: &done, Outcome: "helped"},
	}
	i.Count = 2
	i.Failures = append(i.Failures, api.Failure{Fault: api.StartLimit, Detail: "gave up", At: begun, DetectedAt: begun})
	return i
}

func mirror(t testing.TB, db *postgres.DB, incidents ...api.Incident) {
	t.Helper()
	if err := db.MirrorIncidents(context.Background(), incidents); err != nil {
		t.Fatal(err)
	}
}

func incidents(t testing.TB, db *postgres.DB, limit int, before time.Time) []api.Incident {
	t.Helper()
	got, err := db.Incidents(context.Background(), before, limit)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// Proves HEAL-6 and HEAL-7: what the healer kept arrives, whole, and once.
func TestAnIncidentComesBackAsItWasMirrored(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	healer, dashboard := d.Open(t, "arasul-healer"), d.Open(t, "arasul-dashboard")
	i := incident("a", at("2026-03-01 10:00:00"))

	mirror(t, healer, i)
	if diff := cmp.Diff([]api.Incident{i}, incidents(t, dashboard, 10, time.Time{}), sameTime); diff != "" {
		t.Errorf("after the first snapshot: %s", diff)
	}
	i2 := resolved(i)
	mirror(t, healer, i, i2) // the newest counts
	mirror(t, healer, i2)    // again, as after a crash of the healer
	if diff := cmp.Diff([]api.Incident{i2}, incidents(t, dashboard, 10, time.Time{}), sameTime); diff != "" {
		t.Errorf("after all snapshots: %s", diff)
	}
}

func TestIncidentsComeNewestFirstAndByThePage(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	healer, dashboard := d.Open(t, "arasul-healer"), d.Open(t, "arasul-dashboard")
	if got := incidents(t, dashboard, 10, time.Time{}); len(got) != 0 {
		t.Fatalf("an empty table gave %v", got)
	}
	start := at("2026-03-01 10:00:00")
	for n := range 5 {
		mirror(t, healer, incident(fmt.Sprint(n), start.Add(time.Duration(n)*time.Minute)))
	}
	var pages []string
	var before time.Time
	for range 4 {
		page := "page:"
		for _, i := range incidents(t, dashboard, 2, before) {
			page += " " + i.ID
			before = i.FaultAt
		}
		pages = append(pages, page)
	}
	if diff := cmp.Diff([]string{"page: 4 3", "page: 2 1", "page: 0", "page:"}, pages); diff != "" {
		t.Error(diff)
	}
}

func TestAnIncidentShowsItsNewestFailures(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	healer := d.Open(t, "arasul-healer")
	start := at("2026-03-01 10:00:00")
	i := incident("a", start)
	for n := 1; n < 60; n++ { // snapshots carry only the newest, one after the other
		i.Failures = []api.Failure{{Fault: api.Exited, Detail: "1", At: start.Add(time.Duration(n) * time.Second), DetectedAt: start}}
		mirror(t, healer, i)
	}
	got := incidents(t, d.Open(t, "arasul-dashboard"), 1, time.Time{})[0].Failures
	if len(got) != 50 || !got[0].At.Equal(start.Add(10*time.Second)) || !got[49].At.Equal(start.Add(59*time.Second)) {
		t.Errorf("%d failures from %v to %v", len(got), got[0].At, got[len(got)-1].At)
	}
	if all := ask(t, d, `SELECT count(*) FROM service_failures`); all[0] != "59" {
		t.Errorf("%s failures kept, want all 59", all[0])
	}
}

func TestOneImpossibleIncidentChangesNothing(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	healer := d.Open(t, "arasul-healer")
	bad := incident("bad", at("2026-03-01 10:00:00"))
	bad.Count = 1 << 40
	if err := healer.MirrorIncidents(context.Background(), []api.Incident{incident("good", at("2026-03-01 09:00:00")), bad}); err == nil {
		t.Error("accepted")
	}
	if got := incidents(t, d.Open(t, "arasul-dashboard"), 10, time.Time{}); len(got) != 0 {
		t.Errorf("half a batch was stored: %v", got)
	}
}

func TestOddBytesInWhatAUnitSaidDoNotKeepAnIncidentOut(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	i := incident("a", at("2026-03-01 10:00:00"))
	i.Detail = "exit\x00ed \xff"
	mirror(t, d.Open(t, "arasul-healer"), i)
	if got := incidents(t, d.Open(t, "arasul-dashboard"), 1, time.Time{})[0].Detail; got != "exited \uFFFD" {
		t.Errorf("detail %q", got)
	}
}
