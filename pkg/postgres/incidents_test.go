package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/arasul/arasul/migrations"
	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/postgres"
	"github.com/arasul/arasul/pkg/postgres/postgrestest"
)

var sameTime = cmpopts.EquateApproxTime(0) // in any location

// incident is one of a unit that crashed, and what became of it.
func incident(id string, fault time.Time) api.Incident {
	return api.Incident{
		ID: id, Rule: "down", Class: api.ClassService, Policy: "0123456789ab", Unit: "arasul-metrics.service", Fault: api.Crashed, Detail: "killed by SIGKILL", State: api.IncidentOpen,
		FaultAt: fault, DetectedAt: fault.Add(3 * time.Millisecond), Count: 1,
		Failures: []api.Failure{{Fault: api.Crashed, Detail: "killed by SIGKILL", At: fault, DetectedAt: fault.Add(3 * time.Millisecond)}},
		Actions:  []api.Action{},
	}
}

func resolved(i api.Incident) api.Incident {
	begun, done := i.FaultAt.Add(time.Second), i.FaultAt.Add(2*time.Second)
	i.State, i.ActedAt, i.RecoveredAt, i.VerifiedAt, i.ClosedAt = api.IncidentResolved, &begun, &done, &done, &done
	i.Actions = []api.Action{
		{Attempt: 1, Kind: "systemd-restart", Reason: "first fault", StartedAt: begun, FinishedAt: &done, Outcome: "failed", Error: "start limit", Unit: i.Unit},
		{Attempt: 2, Kind: "restart", Unit: i.Unit, Reason: "still down", StartedAt: begun, FinishedAt: &done, Outcome: "helped"},
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

// machineWide is one of the whole machine.
func machineWide(id, rule string, fault time.Time) api.Incident {
	i := incident(id, fault)
	i.Rule, i.Class, i.Unit, i.Fault, i.Detail = rule, api.ClassOverload, "", api.Measured, "cpu_ratio 0.95 for 5m"
	return i
}

func incidents(t testing.TB, db *postgres.DB, limit int, before time.Time) []api.Incident {
	t.Helper()
	return list(t, db, api.IncidentQuery{Before: before, Limit: limit})
}

func list(t testing.TB, db *postgres.DB, q api.IncidentQuery) []api.Incident {
	t.Helper()
	got, err := db.Incidents(context.Background(), q)
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

// Proves HEAL-7: everything that is said of an incident of the machine itself.
func TestAnIncidentOfTheMachineComesBackAsItWasMirrored(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	now := at("2026-03-01 10:00:00")
	i := machineWide("a", "heat", now)
	i.State, i.Cause = api.IncidentSuppressed, "arasul-postgres.service"
	i.Actions = []api.Action{
		{Attempt: 1, Kind: "cap-clocks", Reason: "90 °C", StartedAt: now, Outcome: "undone"},
		{Attempt: 2, Kind: "restart", Unit: "arasul-llm.service", Reason: "91 °C", StartedAt: now, Outcome: "running"},
	}
	j := machineWide("b", "cpu-overload", now) // the same reading
	mirror(t, d.Open(t, "arasul-healer"), i, j)
	if diff := cmp.Diff([]api.Incident{j, i}, incidents(t, d.Open(t, "arasul-dashboard"), 10, time.Time{}), sameTime); diff != "" {
		t.Error(diff)
	}
}

// The healer sends what is new, not everything again.
func TestASnapshotNeedsToHoldOnlyWhatIsNew(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	healer := d.Open(t, "arasul-healer")
	all := resolved(incident("a", at("2026-03-01 10:00:00")))
	part := func(failures []api.Failure, actions []api.Action) api.Incident {
		i := all
		i.Failures, i.Actions = failures, actions
		return i
	}
	mirror(t, healer, part(all.Failures[:1], nil), part(nil, all.Actions[:1]), part(all.Failures[1:], all.Actions[1:]), part(nil, nil))
	if diff := cmp.Diff([]api.Incident{all}, incidents(t, d.Open(t, "arasul-dashboard"), 10, time.Time{}), sameTime); diff != "" {
		t.Error(diff)
	}
}

func TestIncidentsAreFoundByWhatTheyAreAbout(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	start := at("2026-03-01 10:00:00")
	crash := resolved(incident("crash", start))
	heat := machineWide("heat", "heat", start.Add(time.Hour))
	disk := machineWide("disk", "disk-full", start.Add(2*time.Hour))
	disk.Class, disk.State = api.ClassCritical, api.IncidentExhausted
	other := incident("other", start.Add(3*time.Hour))
	other.Unit = "arasul-proxy.service"
	mirror(t, d.Open(t, "arasul-healer"), crash, heat, disk, other)
	dashboard := d.Open(t, "arasul-dashboard")
	for _, tt := range []struct {
		q    api.IncidentQuery
		want string
	}{
		{api.IncidentQuery{}, "other disk heat crash"},
		{api.IncidentQuery{Rule: "heat"}, "heat"},
		{api.IncidentQuery{Rule: "down"}, "other crash"},
		{api.IncidentQuery{Class: api.ClassCritical}, "disk"},
		{api.IncidentQuery{Unit: "arasul-proxy.service"}, "other"},
		{api.IncidentQuery{State: api.IncidentOpen}, "other heat"},
		{api.IncidentQuery{Open: true}, "other disk heat"},
		{api.IncidentQuery{Since: start.Add(time.Hour), Before: start.Add(3 * time.Hour)}, "disk heat"},
		{api.IncidentQuery{Rule: "down", Open: true, Before: start.Add(3 * time.Hour)}, ""},
		{api.IncidentQuery{Rule: "' OR true --\x00\xff"}, ""},
	} {
		tt.q.Limit = 10
		var got []string
		for _, i := range list(t, dashboard, tt.q) {
			got = append(got, i.ID)
		}
		if got := strings.Join(got, " "); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.q, got, tt.want)
		}
	}
}

// Several rules may be broken by one reading, and no page may end between them.
func TestAPageEndsWithAllOfTheSameInstant(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	now := at("2026-03-01 10:00:00")
	mirror(t, d.Open(t, "arasul-healer"), machineWide("a", "heat", now), machineWide("b", "gpu-overload", now), machineWide("c", "cpu-overload", now),
		incident("older", now.Add(-time.Second)))
	dashboard := d.Open(t, "arasul-dashboard")
	if got := incidents(t, dashboard, 1, time.Time{}); len(got) != 3 {
		t.Errorf("a page of one holds %d, want the three of the same instant", len(got))
	}
	if got := incidents(t, dashboard, 1, now); len(got) != 1 || got[0].ID != "older" {
		t.Errorf("the page after it: %v", got)
	}
}

// Proves HEAL-6: each row is an incident that no database takes, between two
// that it does. It must not keep others waiting, now and whenever it is sent again.
func TestAnImpossibleIncidentIsNamedAndTheRestIsStored(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*api.Incident){
		"a count that is too high":        func(i *api.Incident) { i.Count = 1 << 40 },
		"an attempt that is too high":     func(i *api.Incident) { i.Actions = []api.Action{{Attempt: 1 << 40, StartedAt: i.FaultAt}} },
		"no time":                         func(i *api.Incident) { i.FaultAt = time.Time{} },
		"an action out of time":           func(i *api.Incident) { i.Actions = []api.Action{{StartedAt: i.FaultAt.AddDate(300000, 0, 0)}} },
		"an ID too long for the index":    func(i *api.Incident) { i.ID = noise(20_000) },
		"a failure before there was time": func(i *api.Incident) { i.Failures[0].At = time.Time{} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := postgrestest.New(t, migrations.FS)
			healer := d.Open(t, "arasul-healer")
			start := at("2026-03-01 10:00:00")
			bad := incident("bad", start.Add(time.Second))
			change(&bad)
			batch := []api.Incident{incident("one", start), bad, incident("two", start.Add(2*time.Second))}
			for range 2 {
				err := healer.MirrorIncidents(context.Background(), batch)
				var refused interface{ Refused() []string }
				if !errors.As(err, &refused) || !slices.Equal(refused.Refused(), []string{bad.ID}) {
					t.Fatalf("error %.200v", err)
				}
			}
			if got := incidents(t, d.Open(t, "arasul-dashboard"), 10, time.Time{}); len(got) != 2 || got[0].ID != "two" || got[1].ID != "one" {
				t.Errorf("stored %v", got)
			}
		})
	}
}

// noise cannot be compressed into an index.
func noise(n int) string {
	var b strings.Builder
	r := rand.New(rand.NewPCG(1, 2))
	for range n {
		b.WriteByte(byte('a' + r.IntN(26)))
	}
	return b.String()
}

// A server that is away is no reason to skip anything.
func TestAServerThatIsAwayRefusesNothing(t *testing.T) {
	t.Parallel()
	db, err := postgres.Open(config.Database{DSN: "host=" + t.TempDir() + " user=nobody"}, "arasul-healer")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.MirrorIncidents(context.Background(), []api.Incident{incident("a", at("2026-03-01 10:00:00"))})
	var refused *postgres.RefusedError
	if err == nil || errors.As(err, &refused) {
		t.Errorf("error %v", err)
	}
}

func TestOddBytesInWhatAUnitSaidDoNotKeepAnIncidentOut(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	i := incident("a\x00", at("2026-03-01 10:00:00"))
	i.Detail = "exit\x00ed \xff"
	mirror(t, d.Open(t, "arasul-healer"), i)
	if got := incidents(t, d.Open(t, "arasul-dashboard"), 1, time.Time{})[0].Detail; got != "exited \uFFFD" {
		t.Errorf("detail %q", got)
	}
}

// Proves HEAL-7 for reboots.
func TestARebootComesBackAsItWasMirrored(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	healer, dashboard := d.Open(t, "arasul-healer"), d.Open(t, "arasul-dashboard")
	now, helped := at("2026-03-01 10:00:00"), true
	asked := api.Reboot{BootID: "b1", Rule: "gpu-lost", Incident: "i", Reason: "GPU is gone\x00", RequestedAt: now}
	done := asked
	done.Reason, done.BootedAt, done.ValidatedAt, done.Helped = "GPU is gone", new(now.Add(time.Minute)), new(now.Add(2*time.Minute)), &helped
	later := api.Reboot{BootID: "b2", Rule: "disk-full", Incident: "j", Reason: "no room", RequestedAt: now.Add(time.Hour)}
	for range 2 {
		if err := healer.MirrorReboots(context.Background(), []api.Reboot{asked, later, done}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := dashboard.Reboots(context.Background(), 10)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]api.Reboot{later, done}, got, sameTime); diff != "" {
		t.Error(diff)
	}
	err = healer.MirrorReboots(context.Background(), []api.Reboot{{BootID: "never"}})
	var refused *postgres.RefusedError
	if !errors.As(err, &refused) || !slices.Equal(refused.Refused(), []string{"never"}) {
		t.Errorf("a reboot at no time: %v", err)
	}
}

func TestStatisticsSayHowFastFaultsWereNoticedAndRepaired(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	healer, dashboard := d.Open(t, "arasul-healer"), d.Open(t, "arasul-dashboard")
	start := at("2026-03-01 10:00:00")
	if got, err := dashboard.HealingStatistics(context.Background(), start); err != nil || len(got) != 0 {
		t.Fatalf("without incidents: %v, %v", got, err)
	}
	for n := range 101 { // noticed after 0 to 100 ms, well after 0 to 1,000
		i := incident(fmt.Sprint(n), start.Add(time.Duration(n)*time.Minute))
		i.State = api.IncidentResolved
		i.DetectedAt = i.FaultAt.Add(time.Duration(n) * time.Millisecond)
		i.RecoveredAt = new(i.FaultAt.Add(time.Duration(n) * 10 * time.Millisecond))
		mirror(t, healer, i)
	}
	stopped := incident("stopped by hand", start) // over, but never well
	stopped.State, stopped.Fault = api.IncidentResolved, api.Hung
	back := machineWide("clock set back", "heat", start)
	back.DetectedAt = start.Add(-time.Hour)
	mirror(t, healer, stopped, back, incident("too old", start.Add(-time.Second)))

	got, err := dashboard.HealingStatistics(context.Background(), start)
	if err != nil {
		t.Fatal(err)
	}
	noticed := api.Percentile{P50: 0.003, P95: 0.003, P99: 0.003}
	want := []api.FaultStatistics{
		{Rule: "down", Fault: api.Crashed, Count: 101, Resolved: 101,
			Detect: api.Percentile{P50: 0.05, P95: 0.095, P99: 0.099}, Repair: api.Percentile{P50: 0.5, P95: 0.95, P99: 0.99}},
		{Rule: "down", Fault: api.Hung, Count: 1, Detect: noticed},
		{Rule: "heat", Fault: api.Measured, Count: 1},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateApprox(0, 1e-9)); diff != "" {
		t.Error(diff)
	}
}
