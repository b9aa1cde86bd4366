package postgres_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/arasul/arasul/migrations"
	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/postgres/postgrestest"
)

// Proves UPD-5: every step of an update is in the database, also when it is told
// again, further on than before; and LOG-2: its end is in the audit, once.
func TestUpdatesAreRecorded(t *testing.T) {
	d := postgrestest.New(t, migrations.FS)
	db := d.Open(t, "arasul-dashboard")
	at := time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC)
	steps := func(states ...string) (all []api.UpdateStep) {
		for i, name := range []string{"preflight", "keep", "load", "quiesce", "snapshot"} {
			s := api.UpdateStep{Name: name, State: states[i]}
			if s.State != "pending" {
				s.Started = at.Add(time.Duration(i) * time.Second)
			}
			if s.State == "done" || s.State == "undone" {
				s.Ended = s.Started.Add(time.Second / 2)
			}
			all = append(all, s)
		}
		return all
	}
	record := func(runs ...api.UpdateRun) {
		t.Helper()
		if err := db.RecordUpdates(context.Background(), runs); err != nil {
			t.Fatal(err)
		}
	}
	first := api.UpdateRun{ID: "a", Kind: "update", From: "1.0.0", To: "1.1.0", Bundle: strings.Repeat("a", 64), Actor: "usb", Started: at, Steps: steps("done", "running", "pending", "pending", "pending")}
	record(first)
	first.Outcome, first.Back, first.Reason, first.Ended = "rolled-back", true, "no\x00 luck", at.Add(time.Minute)
	first.Steps = steps("done", "done", "done", "undone", "undone")
	again := first
	again.ID, again.Started, again.Outcome, again.Back, again.Reason, again.Downtime = "b", at.Add(time.Hour), "committed", false, "", 19.5
	again.Ended = again.Started.Add(time.Minute)
	back := api.UpdateRun{ID: "c", Kind: "rollback", From: "1.1.0", To: "1.0.0", Actor: "admin", Outcome: "committed", Started: at.Add(2 * time.Hour), Steps: steps("done", "done", "done", "done", "done")}
	for range 2 {
		record(back, again, first)
	}

	conn := d.Connect(t, "arasul-dashboard")
	for question, want := range map[string]string{
		`SELECT string_agg(step || ' ' || state, ', ' ORDER BY number) FROM update_events WHERE transaction = 'a'`:                                     "preflight done, keep done, load done, quiesce undone, snapshot undone",
		`SELECT string_agg(transaction || ' ' || outcome, ', ' ORDER BY started_at) FROM component_updates`:                                            "a rolled-back, b committed, c committed",
		`SELECT string_agg(actor || ' ' || subject || ' ' || result || ' ' || detail, ', ' ORDER BY id) FROM audit_events WHERE action = 'update.end'`: "usb 1.1.0 failed update rolled-back: no luck, usb 1.1.0 success update committed",
		`SELECT string_agg(transaction || ' ' || automatic || ' ' || reason, ', ' ORDER BY transaction) FROM update_rollbacks`:                         "a true no luck, c false ",
		`SELECT string_agg(transaction || ' ' || what, ', ' ORDER BY transaction, what DESC) FROM update_backups`:                                      "a package, a database, b package, b database, c package, c database",
		`SELECT string_agg(left(bundle, 1) || ' ' || version || ' ' || outcome || ' ' || (last_at - first_at), ', ') FROM update_files`:                "a 1.1.0 committed 01:00:00",
		`SELECT string_agg(transaction || ' ' || downtime_seconds, ', ' ORDER BY transaction) FROM component_updates WHERE bundle <> ''`:               "a 0, b 19.5",
	} {
		var got string
		if err := conn.QueryRow(context.Background(), question).Scan(&got); err != nil || got != want {
			t.Errorf("%s: %q, want %q: %v", question, got, want, err)
		}
	}
}
