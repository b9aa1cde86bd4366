package postgres_test

import (
	"context"
	"fmt"
	"io/fs"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/arasul/arasul/migrations"
	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/postgres"
	"github.com/arasul/arasul/pkg/postgres/postgrestest"
)

// schema is the schema after this many steps.
func schema(t *testing.T, steps int) fs.FS {
	t.Helper()
	names, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil || len(names) < steps {
		t.Fatalf("steps: %v, %v", names, err)
	}
	few := fstest.MapFS{}
	for _, name := range names[:steps] {
		text, err := migrations.FS.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		few[name] = &fstest.MapFile{Data: text}
	}
	return few
}

// What version 0.1.0 says to keep an incident (of the healer) and to show it
// (of the dashboard).
const (
	oldUpsertIncident = `
INSERT INTO self_healing_events (id, unit, fault, detail, state, failure_count, fault_at, detected_at, acted_at, recovered_at, verified_at, closed_at)
VALUES ($1, $2, 'crashed', '', 'open', 1, $3, $3, NULL, NULL, NULL, NULL)
ON CONFLICT (id) DO UPDATE SET
	unit = excluded.unit, fault = excluded.fault, detail = excluded.detail, state = excluded.state,
	failure_count = excluded.failure_count, fault_at = excluded.fault_at, detected_at = excluded.detected_at,
	acted_at = excluded.acted_at, recovered_at = excluded.recovered_at, verified_at = excluded.verified_at, closed_at = excluded.closed_at, updated_at = now()`
	oldUpsertAction = `
INSERT INTO recovery_actions (incident, attempt, action, reason, started_at, finished_at, outcome, error)
VALUES ($1, 1, 'restart', '', $2, NULL, 'running', '')
ON CONFLICT (incident, attempt) DO UPDATE SET
	action = excluded.action, reason = excluded.reason, started_at = excluded.started_at,
	finished_at = excluded.finished_at, outcome = excluded.outcome, error = excluded.error`
	oldUpsertFailure = `
INSERT INTO service_failures (incident, unit, fault, detail, at, detected_at)
VALUES ($1, $2, 'crashed', '', $3, $3)
ON CONFLICT (unit, at) DO UPDATE SET
	incident = excluded.incident, fault = excluded.fault, detail = excluded.detail, detected_at = excluded.detected_at`
)

// Proves DB-1: version 0.1.0 goes on writing and reading incidents on this
// schema, also those that this program wrote before it was taken back; and this
// program reads what that version wrote on either schema.
func TestTheVersionBeforeRunsOnThisSchema(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	d.Exec(t, "arasul-postgres", `DROP SCHEMA public CASCADE; CREATE SCHEMA public`)
	o := postgres.ProvisionOptions{Database: d.Config("arasul-postgres"), Migrations: schema(t, 3)}
	if err := postgres.Provision(context.Background(), o); err == nil { // it grants what is not there yet
		t.Fatal("three steps are the whole schema")
	}
	d.Exec(t, "arasul-postgres", `GRANT USAGE ON SCHEMA public TO "arasul-healer"; GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO "arasul-healer"`)
	const unit = "arasul-metrics.service"
	start := at("2026-03-01 10:00:00")
	healer := d.Connect(t, "arasul-healer")
	mirrorAsBefore := func(id, unit string, failures ...time.Time) {
		t.Helper()
		run := func(sql string, args ...any) {
			t.Helper()
			if _, err := healer.Exec(context.Background(), sql, args...); err != nil {
				t.Fatal(err)
			}
		}
		run(oldUpsertIncident, id, unit, failures[0])
		run(oldUpsertAction, id, failures[0])
		for _, f := range failures {
			run(oldUpsertFailure, id, unit, f)
		}
	}
	want := func(id, unit string, failures ...time.Time) api.Incident {
		i := api.Incident{ID: id, Rule: "down", Class: api.ClassService, Unit: unit, Fault: api.Crashed, State: api.IncidentOpen, Count: 1,
			FaultAt: failures[0], DetectedAt: failures[0],
			Actions: []api.Action{{Attempt: 1, Kind: "restart", Unit: unit, StartedAt: failures[0], Outcome: "running"}}}
		for _, f := range failures {
			i.Failures = append(i.Failures, api.Failure{Fault: api.Crashed, At: f, DetectedAt: f})
		}
		return i
	}
	mirrorAsBefore("1", unit, start, start.Add(time.Second))
	mirrorAsBefore("2", unit, start.Add(2*time.Second))
	provision(t, d, migrations.FS)

	mirrorAsBefore("2", unit, start.Add(2*time.Second), start.Add(3*time.Second)) // again, and more
	mirrorAsBefore("3", unit, start.Add(4*time.Second))
	heat, load := machineWide("4", "heat", start.Add(5*time.Second)), machineWide("5", "cpu-overload", start.Add(5*time.Second))
	mirror(t, d.Open(t, "arasul-healer"), heat, load)
	mirrorAsBefore("4", "", start.Add(5*time.Second)) // it finds them in its file
	mirrorAsBefore("5", "", start.Add(5*time.Second))

	got := incidents(t, d.Open(t, "arasul-dashboard"), 10, time.Time{})
	expected := []api.Incident{
		want("5", "", start.Add(5*time.Second)), want("4", "", start.Add(5*time.Second)),
		want("3", unit, start.Add(4*time.Second)),
		want("2", unit, start.Add(2*time.Second), start.Add(3*time.Second)),
		want("1", unit, start, start.Add(time.Second)),
	}
	for n, i := range []api.Incident{load, heat} {
		expected[n].Rule, expected[n].Class, expected[n].Policy = i.Rule, i.Class, i.Policy // it does not touch what it does not know
	}
	if diff := cmp.Diff(expected, got, sameTime); diff != "" {
		t.Error(diff)
	}
	var units []string
	rows, err := d.Connect(t, "arasul-dashboard").Query(context.Background(), `SELECT unit FROM self_healing_events`) // into a string: NULL is an error
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var unit string
		if err := rows.Scan(&unit); err != nil {
			t.Error(err)
		}
		units = append(units, unit)
	}
	if len(units) != 5 {
		t.Errorf("the version before reads %v, %v", units, rows.Err())
	}
}

// retain calls arasul_retain_incidents at this time.
func retain(t *testing.T, healer *pgx.Conn, clock time.Time, keepDays, most int) (forgotten int) {
	t.Helper()
	err := healer.QueryRow(context.Background(), `SELECT arasul_retain_incidents($1, $2, $3)`,
		clock, time.Duration(keepDays)*24*time.Hour, most).Scan(&forgotten)
	if err != nil {
		t.Fatal(err)
	}
	return forgotten
}

func closedAt(i api.Incident, end time.Time) api.Incident {
	i.State, i.ClosedAt = api.IncidentResolved, &end
	return i
}

func TestOldIncidentsAreForgottenWithAllThatHangsOnThem(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	healer, conn := d.Open(t, "arasul-healer"), d.Connect(t, "arasul-healer")
	first := at("2026-03-01 12:00:00")
	old := resolved(incident("old", first))
	endless := incident("endless", first)
	endless.Actions = []api.Action{{Attempt: 1, Kind: "restart", StartedAt: first, Outcome: "failed"}}
	mirror(t, healer, old, endless)
	if err := healer.MirrorReboots(context.Background(), []api.Reboot{{BootID: "old", RequestedAt: first}}); err != nil {
		t.Fatal(err)
	}
	for day := range 12 { // ten are kept
		if day < 11 {
			now := first.AddDate(0, 0, day)
			mirror(t, healer, closedAt(incident(fmt.Sprint("day ", day), now), now))
		}
		for range 3 { // several times a day counts once
			retain(t, conn, first.AddDate(0, 0, day).Add(time.Hour), 10, 1000)
		}
	}
	got := ask(t, d, `SELECT id FROM self_healing_events ORDER BY fault_at, id`)
	want := []string{"endless", "day 1", "day 2", "day 3", "day 4", "day 5", "day 6", "day 7", "day 8", "day 9", "day 10"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	left := ask(t, d, `SELECT (SELECT count(*) FROM reboot_events), (SELECT count(*) FROM recovery_actions),
		(SELECT count(*) FROM service_failures WHERE incident IN ('old', 'endless')), (SELECT count(*) FROM healing_days)`)
	if left[0] != "0 0 0 11" {
		t.Errorf("old reboots, actions, failures, and days kept: %s", left[0])
	}
}

// As retention of samples does, it distrusts the clock: each row is one that is wrong.
func TestAWrongClockForgetsNoIncidents(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	healer, conn := d.Open(t, "arasul-healer"), d.Connect(t, "arasul-healer")
	start := at("2026-03-01 12:00:00")
	for day := range 20 {
		now := start.AddDate(0, 0, day)
		mirror(t, healer, closedAt(incident(fmt.Sprint(day), now), now))
		retain(t, conn, now, 100, 1000)
	}
	now := start.AddDate(0, 0, 20)
	for _, tt := range []struct {
		name  string
		clock time.Time
	}{
		{"ten years ahead", now.AddDate(10, 0, 0)},
		{"ten years ahead, for a while", now.AddDate(10, 0, 1)},
		{"the epoch", time.Unix(0, 0)},
		{"right again", now},
		{"off for a year", now.AddDate(1, 0, 0)},
	} {
		if n := retain(t, conn, tt.clock, 100, 1000); n != 0 {
			t.Errorf("%s: %d incidents forgotten", tt.name, n)
		}
	}
}

func TestNoMoreIncidentsAreKeptThanAsked(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	healer := d.Open(t, "arasul-healer")
	start := at("2026-03-01 12:00:00")
	mirror(t, healer, incident("open", start))
	for n := range 10 {
		now := start.Add(time.Duration(n+1) * time.Minute)
		mirror(t, healer, closedAt(incident(fmt.Sprint(n), now), now))
	}
	if err := healer.RetainIncidents(context.Background(), 365*24*time.Hour, 4); err != nil {
		t.Fatal(err)
	}
	got := ask(t, d, `SELECT id FROM self_healing_events ORDER BY fault_at`)
	if diff := cmp.Diff([]string{"open", "6", "7", "8", "9"}, got); diff != "" {
		t.Error(diff)
	}
}
