package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arasul/arasul/migrations"
	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/postgres"
	"github.com/arasul/arasul/pkg/postgres/postgrestest"
)

// vacuumed finds one table in the report.
func vacuumed(t *testing.T, v api.Vacuum, table string) api.VacuumedTable {
	t.Helper()
	for _, row := range v.Tables {
		if row.Table == table {
			return row
		}
	}
	t.Fatalf("%s was not vacuumed: %+v", table, v)
	return api.VacuumedTable{}
}

// Proves HEAL-3: what deleted rows have left goes, in every table.
func TestVacuumGivesDeadRowsBack(t *testing.T) {
	d := postgrestest.New(t, migrations.FS)
	d.Exec(t, "arasul-postgres", `INSERT INTO service_units (unit) SELECT 'u' || i FROM generate_series(1, 20000) AS i`)
	d.Exec(t, "arasul-postgres", `DELETE FROM service_units`)
	store(t, d.Open(t, "arasul-metrics"), sample(at("2026-11-23 12:00:00"), 0.5))
	d.Exec(t, "arasul-postgres", `SELECT pg_stat_force_next_flush()`)
	v, err := postgres.Vacuum(t.Context(), postgres.VacuumOptions{Database: d.Config("arasul-postgres")})
	if err != nil {
		t.Fatal(err)
	}
	row := vacuumed(t, v, "service_units")
	if row.BeforeBytes < 500_000 || row.AfterBytes > row.BeforeBytes*2/3 || row.DeadAfter != 0 || row.Duration <= 0 {
		t.Errorf("%+v", row)
	}
	for _, table := range []string{"samples_20261123", "service_samples_20261123", "samples_minute", "self_healing_events", "recovery_actions", "goose_db_version"} {
		vacuumed(t, v, table)
	}
	if v.Dropped != 0 || v.KeptDays != 0 {
		t.Errorf("dropped %d, kept %d: there was room enough", v.Dropped, v.KeptDays)
	}
	want := []string{fmt.Sprint(len(v.Tables))}
	if diff := cmp.Diff(want, ask(t, d, `SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'`)); diff != "" {
		t.Errorf("tables (-want +got):\n%s", diff)
	}
	if got := ask(t, d, `SELECT count(*) FROM pg_stat_user_tables WHERE vacuum_count = 1 AND analyze_count = 1`); got[0] != want[0] {
		t.Errorf("the server has vacuumed and analysed %s tables of %s", got, want)
	}
}

// The sixth bug of the field: a VACUUM that did nothing was a success. The
// server only warns when it leaves out a table.
func TestVacuumThatLeavesATableOutIsAnError(t *testing.T) {
	d := postgrestest.New(t, migrations.FS)
	v, err := postgres.Vacuum(t.Context(), postgres.VacuumOptions{Database: d.Config("arasul-dashboard")})
	if err == nil || !strings.Contains(err.Error(), "vacuuming samples_minute: ") {
		t.Errorf("got %v", err)
	}
	if row := vacuumed(t, v, "samples_minute"); row.Error == "" {
		t.Errorf("%+v", row)
	}
}

func TestVacuumReportsATableThatIsInUseAndGoesOn(t *testing.T) {
	d := postgrestest.New(t, migrations.FS)
	conn := d.Connect(t, "arasul-postgres")
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	if _, err := tx.Exec(t.Context(), `LOCK TABLE recovery_actions IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	v, err := postgres.Vacuum(t.Context(), postgres.VacuumOptions{Database: d.Config("arasul-postgres")})
	if err == nil || !strings.Contains(err.Error(), "vacuuming recovery_actions: ") || !strings.Contains(err.Error(), "lock timeout") {
		t.Errorf("got %v", err)
	}
	if row := vacuumed(t, v, "service_failures"); row.Error != "" {
		t.Errorf("%+v: a table after that one", row)
	}
	if d := time.Since(begin); d > 15*time.Second {
		t.Errorf("it took %s", d)
	}
}

// Proves HEAL-3: old days of samples go while the disk is full, one at a time,
// and the last day never.
func TestVacuumDropsDaysWhileTheDiskIsFull(t *testing.T) {
	for name, test := range map[string]struct {
		fullFor int // days that must go
		kept    int
		left    string // days of samples, of eight, today's being the last
	}{
		"room enough":      {0, 0, "8"},
		"two days help":    {2, 5, "6"},
		"nothing will do":  {99, 1, "2"}, // the last 24 hours lie in two days
		"the oldest helps": {1, 6, "7"},
	} {
		t.Run(name, func(t *testing.T) {
			d := postgrestest.New(t, migrations.FS)
			d.Exec(t, "arasul-postgres", `
				SELECT arasul_ensure_partitions(ARRAY(SELECT generate_series(current_date - 7, current_date, '1 day')::date));
				INSERT INTO samples_minute (ts, cpu_ratio, cpu_cores, load1, uptime_seconds,
						memory_total_bytes, memory_used_bytes, swap_total_bytes, swap_used_bytes, disk_total_bytes, disk_used_bytes,
						disk_read_bytes_per_second, disk_write_bytes_per_second, network_receive_bytes_per_second, network_transmit_bytes_per_second, n)
					SELECT m, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12
					FROM generate_series(now() - interval '7 days', now(), '1 minute') AS m`)
			asked := 0
			v, err := postgres.Vacuum(t.Context(), postgres.VacuumOptions{
				Database: d.Config("arasul-postgres"),
				Full:     func() (bool, error) { asked++; return asked <= test.fullFor, nil },
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := ask(t, d, `SELECT count(*) FROM pg_inherits WHERE inhparent = 'samples'::regclass`); got[0] != test.left || v.KeptDays != test.kept {
				t.Errorf("%s days of samples are left, want %s: %+v", got[0], test.left, v)
			}
			if dropped := ask(t, d, fmt.Sprintf(`SELECT 2 * (8 - %s)`, test.left)); fmt.Sprint(v.Dropped) != dropped[0] {
				t.Errorf("%d partitions were dropped, want %s", v.Dropped, dropped[0])
			}
		})
	}
}

func TestVacuumGoesOnWhenNobodyKnowsHowFullTheDiskIs(t *testing.T) {
	d := postgrestest.New(t, migrations.FS)
	v, err := postgres.Vacuum(t.Context(), postgres.VacuumOptions{
		Database: d.Config("arasul-postgres"),
		Full:     func() (bool, error) { return false, errors.New("no such disk") },
	})
	if err == nil || err.Error() != "dropping samples: no such disk" {
		t.Errorf("got %v", err)
	}
	vacuumed(t, v, "samples_minute")
}

func TestVacuumEndsWithItsContext(t *testing.T) {
	d := postgrestest.New(t, migrations.FS)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := postgres.Vacuum(ctx, postgres.VacuumOptions{Database: d.Config("arasul-postgres")}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
