package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/arasul/arasul/migrations"
	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/postgres"
	"github.com/arasul/arasul/pkg/postgres/postgrestest"
)

func TestPartitionsCannotBeMadeWithoutEnd(t *testing.T) {
	t.Parallel()
	conn := postgrestest.New(t, migrations.FS).Connect(t, "arasul-metrics")
	ensure := func(days int) error {
		_, err := conn.Exec(context.Background(),
			`SELECT arasul_ensure_partitions(array_agg(date '2026-01-01' + n)) FROM generate_series(1, $1) AS n`, days)
		return err
	}
	if err := ensure(3); err != nil {
		t.Error(err)
	}
	var answer *pgconn.PgError
	if err := ensure(401); !errors.As(err, &answer) || answer.Code != "54000" { // program_limit_exceeded
		t.Errorf("401 days: %v", err)
	}
}

// Proves PKG-2 as far as the database goes: each row is what a daemon in
// wrong hands might try.
func TestRolesCannotDoWhatTheyShouldNot(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	metrics, healer, dashboard := "arasul-metrics", "arasul-healer", "arasul-dashboard"
	store(t, d.Open(t, metrics), sample(at("2026-03-01 10:00:00"), 0.5))
	mirror(t, d.Open(t, healer), incident("a", at("2026-03-01 10:00:00")))

	conns := map[string]*pgx.Conn{}
	for _, role := range []string{metrics, healer, dashboard} {
		conns[role] = d.Connect(t, role)
	}
	refused := func(role, sql string) {
		t.Helper()
		_, err := conns[role].Exec(context.Background(), sql)
		var answer *pgconn.PgError
		if !errors.As(err, &answer) || answer.Code != "42501" { // insufficient_privilege
			t.Errorf("%s may %q: %v", role, sql, err)
		}
	}
	for _, attack := range []struct{ role, sql string }{
		{metrics, `SELECT * FROM samples`},
		{metrics, `UPDATE samples SET cpu_ratio = 0`},
		{metrics, `DELETE FROM samples`},
		{metrics, `TRUNCATE samples`},
		{metrics, `DROP TABLE samples`},
		{metrics, `DROP TABLE samples_20260301`},
		{metrics, `SELECT * FROM samples_20260301`},
		{metrics, `INSERT INTO samples_minute SELECT`},
		{metrics, `SELECT * FROM self_healing_events`},
		{metrics, `DELETE FROM goose_db_version`},
		{healer, `INSERT INTO samples (ts) VALUES (now())`},
		{healer, `SELECT * FROM samples`},
		{healer, `DELETE FROM self_healing_events`},
		{healer, `DELETE FROM recovery_actions`},
		{healer, `TRUNCATE service_failures`},
		{healer, `DELETE FROM reboot_events`},
		{healer, `DELETE FROM healing_days`},
		{healer, `SELECT arasul_drop_partitions('2100-01-01')`},
		{healer, `SELECT arasul_ensure_partitions('{2026-01-01}')`},
		{dashboard, `INSERT INTO samples (ts) VALUES (now())`},
		{dashboard, `UPDATE self_healing_events SET state = 'resolved'`},
		{dashboard, `DELETE FROM recovery_actions`},
		{dashboard, `SELECT arasul_drop_partitions('2100-01-01')`},
		{dashboard, `SELECT arasul_roll_up('{}')`},
		{dashboard, `SELECT arasul_retain_incidents(now(), '0', 0)`},
		{metrics, `SELECT arasul_retain_incidents(now(), '0', 0)`},
		{dashboard, `SELECT * FROM samples FOR UPDATE`},
		{dashboard, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)`},
	} {
		refused(attack.role, attack.sql)
	}
	for role := range conns {
		for _, sql := range []string{
			`CREATE TABLE mine ()`,
			`CREATE TEMPORARY TABLE samples ()`, // would stand before the real one
			`CREATE SCHEMA mine`,
			`CREATE FUNCTION now() RETURNS timestamptz LANGUAGE sql AS 'SELECT null'`,
			`CREATE ROLE mine`,
			`CREATE DATABASE mine`,
			`SET ROLE arasul_owner`,
			`SET ROLE "arasul-postgres"`,
			`ALTER TABLE samples OWNER TO CURRENT_USER`,
			`ALTER SYSTEM SET jit = on`,
			`COPY (SELECT 1) TO PROGRAM 'true'`,
			`SELECT pg_read_file('pg_hba.conf')`,
			`SELECT * FROM pg_authid`,
		} {
			refused(role, sql)
		}
	}
}

// Proves DB-1.
func TestMigratingTwiceIsHarmless(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	store(t, d.Open(t, "arasul-metrics"), sample(at("2026-03-01 10:00:00"), 0.5))
	const ledger = `SELECT version_id, tstamp::text FROM goose_db_version ORDER BY id`
	before := ask(t, d, ledger)
	if steps, err := fs.Glob(migrations.FS, "*.sql"); err != nil || len(before) != len(steps)+1 { // goose begins with version 0
		t.Fatalf("ledger: %v, %v", before, err)
	}
	provision(t, d, migrations.FS)
	if diff := cmp.Diff(before, ask(t, d, ledger)); diff != "" {
		t.Error(diff)
	}
	if got := ask(t, d, `SELECT count(*) FROM samples`); got[0] != "1" {
		t.Errorf("%s samples left", got[0])
	}
}

// Proves DB-1: a step that fails leaves nothing, and the next run goes on there.
func TestAMigrationThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	steps := fstest.MapFS{}
	if err := fs.WalkDir(migrations.FS, ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := migrations.FS.ReadFile(path)
		steps[path] = &fstest.MapFile{Data: text}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	version := ask(t, d, `SELECT max(version_id) FROM goose_db_version`)[0]
	steps["90000_next.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\nCREATE TABLE next (a int);\nSELECT 1/0;\n")}
	o := postgres.ProvisionOptions{Database: d.Config("arasul-postgres"), Migrations: steps}
	if err := postgres.Provision(context.Background(), o); err == nil {
		t.Fatal("division by zero went unnoticed")
	}
	if got := ask(t, d, `SELECT to_regclass('next') IS NULL, max(version_id) FROM goose_db_version`); got[0] != "true "+version {
		t.Errorf("no table, version: %v", got)
	}
	steps["90000_next.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\nCREATE TABLE next (a int);\n")}
	provision(t, d, steps)
	provision(t, d, migrations.FS) // the release before runs on this schema, too
	store(t, d.Open(t, "arasul-metrics"), sample(at("2026-03-01 10:00:00"), 0.5))
}

// Proves DB-1: an upgrade keeps the history, and goes on with it.
func TestHistoryOfTheFirstReleaseIsKept(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	d.Exec(t, "arasul-postgres", `DROP SCHEMA public CASCADE; CREATE SCHEMA public`)
	db := stdlib.OpenDB(*d.Connect(t, "arasul-postgres").Config())
	defer db.Close()
	first, err := goose.NewProvider(goose.DialectPostgres, db, migrations.FS)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.UpTo(context.Background(), 3); err != nil {
		t.Fatal(err)
	}
	d.Exec(t, "arasul-postgres", `
		SELECT arasul_ensure_partitions(ARRAY[date '2026-03-01']);
		INSERT INTO samples SELECT t, 0.5, 12, 0, 0, 64::bigint << 30, 1000, 0, 0, 0, 0, 0, 0, 0, 0
		FROM generate_series(timestamptz '2026-03-01 10:00+00', timestamptz '2026-03-01 10:00:25+00', '5 s') AS t;
		INSERT INTO service_units (unit) VALUES ('arasul-proxy.service');
		INSERT INTO service_samples (ts, cpu_ratio, memory_bytes, unit) VALUES (timestamptz '2026-03-01 10:00+00', 0.25, 7, 1);
		SELECT arasul_roll_up(ARRAY[timestamptz '2026-03-01 10:00+00'])`)
	provision(t, d, migrations.FS)

	later := sample(at("2026-03-01 10:00:30"), 0.5)
	later.GPUPowerWatts, later.Services = new(15.0), []api.ServiceSample{{Unit: "arasul-proxy.service", CPURatio: 0.75}}
	store(t, d.Open(t, "arasul-metrics"), later)
	got := ask(t, d, `SELECT m.n, m.cpu_ratio, m.gpu_power_watts, s.n, s.cpu_ratio, s.memory_bytes
		FROM samples_minute AS m JOIN service_minutes AS s USING (ts)`)
	if want := []string{"7 0.5 15 2 0.5 7"}; !slices.Equal(got, want) {
		t.Errorf("minute with samples of both releases: %v, want %v", got, want)
	}
}

func provision(t *testing.T, d postgrestest.Database, steps fs.FS) {
	t.Helper()
	o := postgres.ProvisionOptions{Database: d.Config("arasul-postgres"), Migrations: steps}
	if err := postgres.Provision(context.Background(), o); err != nil {
		t.Fatal(err)
	}
}

// A server of somebody else's: one user, who owns a database and nothing more.
//
// Proves DB-2.
func TestProvisioningAForeignServer(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	d.Exec(t, "arasul-postgres", `DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION "arasul-dashboard"`)
	cfg := d.Config("arasul-dashboard") // stands for the user of the DSN
	for range 2 {
		if err := postgres.Provision(context.Background(), postgres.ProvisionOptions{Database: cfg, Migrations: migrations.FS}); err != nil {
			t.Fatal(err)
		}
	}
	db, err := postgres.Open(cfg, "arasul-metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	store(t, db, sample(at("2026-03-01 10:00:00"), 0.5))
	mirror(t, db, incident("a", at("2026-03-01 10:00:00")))
	if err := db.Retain(context.Background(), week); err != nil {
		t.Error(err)
	}
}

// The server as the package runs it: peer authentication decides who is whom.
// The users of the package are played by users that every Debian has.
//
// Proves DB-1 and PKG-2.
func TestTheServerAsksTheKernelWhoIsThere(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be several users")
	}
	dir, stop, err := postgrestest.Start([]postgres.Peer{
		{User: "root", Role: "arasul-postgres"}, // this test provisions
		{User: "root", Role: "arasul-healer"},
		{User: "daemon", Role: "arasul-metrics"},
		{User: "nobody", Role: "arasul-dashboard"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()

	// Two provisioners at once, on a server that is still starting.
	o := postgres.ProvisionOptions{SocketDir: dir, Migrations: migrations.FS}
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			if err := postgres.Provision(context.Background(), o); err != nil {
				t.Errorf("provisioning: %v", err)
			}
		})
	}
	both.Wait()
	start := time.Now()
	if err := postgres.Provision(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	t.Logf("provisioning with nothing to do: %v", time.Since(start))

	for _, c := range []struct {
		uid  uint32
		role string
		in   bool
	}{
		{0, "arasul-postgres", true}, {0, "arasul-healer", true}, {0, "arasul-metrics", false}, {0, "postgres", false},
		{1, "arasul-metrics", true}, {1, "arasul-healer", false}, {1, "arasul-postgres", false}, {1, "arasul_owner", false},
		{65534, "arasul-dashboard", true}, {65534, "arasul-metrics", false}, {65534, "arasul-postgres", false},
		{2, "arasul-dashboard", false}, {2, "bin", false},
	} {
		out, err := psql(c.uid, dir, "arasul", c.role, "SELECT current_user")
		switch {
		case c.in && (err != nil || strings.TrimSpace(out) != c.role):
			t.Errorf("uid %d as %s: %v: %s", c.uid, c.role, err, out)
		case !c.in && (err == nil || !strings.Contains(out, "Peer authentication failed")):
			t.Errorf("uid %d came in as %s: %s", c.uid, c.role, out)
		}
	}
	for _, other := range []string{"postgres", "template1"} {
		if out, err := psql(1, dir, other, "arasul-metrics", "SELECT 1"); err == nil {
			t.Errorf("a daemon may connect to database %s: %s", other, out)
		}
	}
	got, err := psql(0, dir, "arasul", "arasul-postgres", `SELECT current_setting('data_checksums'), current_setting('listen_addresses') = '',
		current_setting('jit'), (SELECT datcollate FROM pg_database WHERE datname = 'arasul'), inet_server_addr() IS NULL`)
	if want := "on|t|off|C.UTF-8|t"; err != nil || strings.TrimSpace(got) != want {
		t.Errorf("settings %s (%v), want %s", got, err, want)
	}
}

func psql(uid uint32, dir, db, role, sql string) (string, error) {
	cmd := exec.Command("psql", "-XAtq", "-h", dir, "-d", db, "-U", role, "-c", sql)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "PGCONNECT_TIMEOUT=5"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestProvisioningGivesUpWhenNobodyAnswers(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := postgres.Provision(ctx, postgres.ProvisionOptions{SocketDir: t.TempDir(), Migrations: migrations.FS}); err == nil {
		t.Error("provisioned nothing")
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("gave up after %v", took)
	}
}

func TestProvisioningDoesNotWaitForAServerThatSaysNo(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	conf, err := pgx.ParseConfig(d.Config("arasul-metrics").DSN)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	err = postgres.Provision(context.Background(), postgres.ProvisionOptions{
		Database:   config.Database{DSN: fmt.Sprintf("host=%s port=5432 dbname=missing user=arasul-metrics", conf.Host)},
		Migrations: migrations.FS,
	})
	if err == nil || time.Since(start) > 5*time.Second {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
}

// fake makes the files by which Init finds programs and data.
func fake(t *testing.T, files map[string]string) postgres.ServerOptions {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return postgres.ServerOptions{DataDir: filepath.Join(dir, "data"), BinDir: filepath.Join(dir, "bin"), SocketDir: dir}
}

// initdb stands for PostgreSQL's: it makes the directory after -D.
const initdb = "#!/bin/sh\nmkdir \"$2\" && basename $(dirname $(dirname \"$0\")) >\"$2/PG_VERSION\"\n"

func TestInitChoosesTheVersion(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		want  string // a file that exists afterwards, or a part of the error
	}{
		"nothing installed": {nil, "install the package postgresql"},
		"too old":           {map[string]string{"bin/13/bin/postgres": ""}, "of version 14 or newer"},
		"newest when there are no data": {map[string]string{
			"bin/9/bin/postgres": "", "bin/15/bin/postgres": "", "bin/17/bin/postgres": "", "bin/17/bin/initdb": initdb}, "data/17/pg_hba.conf"},
		"that of the data": {map[string]string{
			"bin/15/bin/postgres": "", "bin/17/bin/postgres": "", "data/15/PG_VERSION": "15\n"}, "data/15/pg_hba.conf"},
		"program of the data gone": {map[string]string{
			"bin/17/bin/postgres": "", "data/15/PG_VERSION": "15\n"}, "install the package postgresql-15"},
		"data newer than installed": {map[string]string{
			"bin/15/bin/postgres": "", "data/17/PG_VERSION": "17\n"}, "need PostgreSQL 17, but installed is [15]"},
		"data in the wrong place": {map[string]string{
			"bin/15/bin/postgres": "", "data/15/PG_VERSION": "14\n"}, `holds data of PostgreSQL "14"`},
		"power failed during initdb": {map[string]string{
			"bin/15/bin/postgres": "", "bin/15/bin/initdb": initdb, "data/initdb.tmp/PG_VERSION": "15\n"}, "data/15/pg_ident.conf"},
		"initdb fails": {map[string]string{
			"bin/15/bin/postgres": "", "bin/15/bin/initdb": "#!/bin/sh\necho no space left; exit 1\n"}, "no space left"},
	} {
		t.Run(name, func(t *testing.T) {
			o := fake(t, c.files)
			err := postgres.Init(context.Background(), o)
			if err != nil {
				if !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %q, want %q", err, c.want)
				}
				return
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(o.DataDir), c.want)); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(filepath.Join(o.DataDir, "initdb.tmp")); err == nil {
				t.Error("half a cluster was left behind")
			}
		})
	}
}
