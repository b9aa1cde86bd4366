package postgres_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arasul/arasul/migrations"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/postgres"
	"github.com/arasul/arasul/pkg/postgres/postgrestest"
)

// copied is a server whose database is copied and put back.
type copied struct {
	t   *testing.T
	dir string
}

// ask runs statements in a database and returns the one value that the last gives.
func (c copied) ask(database, sql string) (value string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, "host="+c.dir+" port=5432 user=arasul-postgres dbname="+database)
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close(ctx)
	results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		c.t.Fatalf("%s: %v", sql, err)
	}
	if rows := results[len(results)-1].Rows; len(rows) > 0 {
		value = string(rows[0][0])
	}
	return value
}

// Proves UPD-3, and the prototype's defect P2: a copy is put back as a whole, with the
// rows, the schema and who may connect; tables without a key have no row twice, and
// who is connected does not keep it from that.
func TestCopiesOfTheDatabaseArePutBackAsTheyWere(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be the superuser of the server")
	}
	dir, stop, err := postgrestest.Start([]postgres.Peer{{User: "root", Role: "arasul-postgres"}, {User: "daemon", Role: "arasul-dashboard"}})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	ctx := t.Context()
	if err := postgres.Provision(ctx, postgres.ProvisionOptions{SocketDir: dir, Migrations: migrations.FS}); err != nil {
		t.Fatal(err)
	}
	c := copied{t, dir}
	const state = `SELECT count(*) || ' ' || sum(n) || ' ' || (SELECT count(*) FROM pg_tables WHERE schemaname = 'public') || ' ' ||
		(SELECT pg_get_userbyid(datdba) || datacl::text FROM pg_database WHERE datname = 'arasul') FROM keyless`
	c.ask("arasul", "CREATE TABLE keyless (n integer); INSERT INTO keyless SELECT generate_series(1, 1000)")
	before := c.ask("arasul", state)
	o := postgres.SnapshotOptions{Name: "arasul_pre_1", SocketDir: dir}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(postgres.Snapshot(ctx, o))
	must(postgres.Snapshot(ctx, o)) // after a power cut, again
	other := o
	other.Name = "arasul_pre_0"
	must(postgres.Room(ctx, other))

	c.ask("arasul", "DELETE FROM keyless WHERE n > 10; DROP TABLE token_blacklist; CREATE TABLE newer (n integer); REVOKE ALL ON DATABASE arasul FROM \"arasul-dashboard\"")
	busy, err := pgx.Connect(ctx, "host="+dir+" port=5432 user=arasul-postgres dbname=arasul")
	must(err)
	defer busy.Close(context.WithoutCancel(ctx))
	must(postgres.Restore(ctx, o))
	must(postgres.Restore(ctx, o)) // it was put back: there is nothing to do
	if after := c.ask("arasul", state); after != before {
		t.Errorf("put back:\n%s, want\n%s", after, before)
	}
	if n := c.ask("arasul_failed_1", "SELECT count(*) FROM keyless"); n != "10" {
		t.Errorf("what was there before was not put aside: %s rows", n)
	}

	must(postgres.Snapshot(ctx, other)) // was left by an update before
	o.Keep = []string{other.Name}       // that got stuck
	must(postgres.Snapshot(ctx, o))
	if n := c.ask(other.Name, "SELECT count(*) FROM keyless"); n != "1000" {
		t.Errorf("what somebody may need yet has %s rows", n)
	}
	o.Keep = nil
	must(postgres.Snapshot(ctx, o)) // the next update forgets that, and what was put aside
	must(postgres.DropSnapshot(ctx, o))
	must(postgres.DropSnapshot(ctx, o))
	if left := c.ask("postgres", "SELECT string_agg(datname, ' ') FROM pg_database WHERE datname LIKE 'arasul_%'"); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

func TestWhatIsNotOursIsNotCopied(t *testing.T) {
	t.Parallel()
	err := postgres.Snapshot(t.Context(), postgres.SnapshotOptions{Name: "arasul_pre_1", Database: config.Database{DSN: "postgres://elsewhere/arasul"}})
	if !errors.Is(err, postgres.ErrForeign) {
		t.Error(err)
	}
	for _, name := range []string{"", "arasul", "arasul_pre_", "arasul_pre_1; DROP DATABASE arasul", `arasul_pre_"`} {
		if err := postgres.Restore(t.Context(), postgres.SnapshotOptions{Name: name}); err == nil {
			t.Errorf("%q is a name of a copy", name)
		}
	}
}
