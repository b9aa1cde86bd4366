package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/stable"
)

// ErrForeign says that the database is on another server, which is not ours to
// copy.
var ErrForeign = errors.New("the database is on another server, which keeps its own copies")

// ErrNoRoom says that the server's disk is too full for a copy.
var ErrNoRoom = errors.New("there is no room on the disk")

// roomToWork is what a server needs beside its data, in bytes.
const roomToWork = 64 << 20

// What the names of copies begin with, and of databases that a rollback has put aside.
const (
	copyPrefix   = "arasul_pre_"
	failedPrefix = "arasul_failed_"
)

var snapshotName = regexp.MustCompile(`^` + copyPrefix + `[A-Za-z0-9_]{1,40}$`)

// SnapshotOptions says which copies of databases are meant.
type SnapshotOptions struct {
	Database  config.Database
	Name      string   // arasul_pre_…
	Workflows bool     // n8n's database too
	Keep      []string // names of older copies that somebody may need yet
	SocketDir string   // of the machine's own server; empty: [SocketDir]
}

// pairs are the databases and the names of their copies.
func (o SnapshotOptions) pairs() [][2]string {
	p := [][2]string{{database, o.Name}}
	if o.Workflows {
		p = append(p, [2]string{Workflows, o.Name + "_" + Workflows})
	}
	return p
}

// Room says why the server's disk cannot take the copies, nil if it can: each database
// is there twice then, and once more in what the server writes ahead.
func Room(ctx context.Context, o SnapshotOptions) error {
	return o.with(ctx, func(conn *pgx.Conn) error {
		var names []string
		for _, p := range o.pairs() {
			names = append(names, p[0])
		}
		var bytes int64
		var dir string
		err := conn.QueryRow(ctx, `SELECT coalesce(sum(pg_database_size(datname)), 0)::bigint, current_setting('data_directory')
			FROM pg_database WHERE datname = ANY($1)`, names).Scan(&bytes, &dir)
		if err != nil {
			return fmt.Errorf("measuring the database: %w", err)
		}
		free, err := stable.Free(dir)
		if err != nil {
			return err
		}
		if need := 2*bytes + roomToWork; free < need {
			return fmt.Errorf("%w: the copy of the database needs %d MB, and %d are free", ErrNoRoom, need>>20, free>>20)
		}
		return nil
	})
}

// Snapshot copies the databases as they are, in place of all copies that there are, but
// for those to keep. Who is connected is disconnected. The copies are durable when it
// returns.
func Snapshot(ctx context.Context, o SnapshotOptions) error {
	return o.with(ctx, func(conn *pgx.Conn) error {
		if err := o.dropLeft(ctx, conn); err != nil {
			return err
		}
		for _, p := range o.pairs() {
			if err := alone(ctx, conn, p[:1], "CREATE DATABASE "+quote(p[1])+" TEMPLATE "+quote(p[0])); err != nil {
				return fmt.Errorf("copying the database %s: %w", p[0], err)
			}
			if err := carryOver(ctx, conn, p[0], p[1]); err != nil {
				return err
			}
		}
		return nil
	})
}

// Restore puts the copies in the place of the databases, all of them or none,
// and what was there aside, for whoever wants to look. Copies that are not there
// were put back before.
func Restore(ctx context.Context, o SnapshotOptions) error {
	return o.with(ctx, func(conn *pgx.Conn) error {
		var busy, rename []string
		for _, p := range o.pairs() {
			there, err := exists(ctx, conn, p[1])
			if err != nil {
				return err
			}
			if !there {
				continue
			}
			aside := failedPrefix + strings.TrimPrefix(p[1], copyPrefix)
			if err := dropDatabase(ctx, conn, aside); err != nil {
				return err
			}
			busy = append(busy, p[0], p[1])
			if there, err = exists(ctx, conn, p[0]); err != nil {
				return err
			} else if there {
				rename = append(rename, "ALTER DATABASE "+quote(p[0])+" RENAME TO "+quote(aside))
			}
			rename = append(rename, "ALTER DATABASE "+quote(p[1])+" RENAME TO "+quote(p[0]))
		}
		if len(rename) == 0 {
			return nil
		}
		// Several statements in one string are one transaction.
		if err := alone(ctx, conn, busy, strings.Join(rename, "; ")); err != nil {
			return fmt.Errorf("putting the copies in place: %w", err)
		}
		return nil
	})
}

// DropSnapshot removes the copies. That there are none is no error.
func DropSnapshot(ctx context.Context, o SnapshotOptions) error {
	return o.with(ctx, func(conn *pgx.Conn) error {
		for _, p := range o.pairs() {
			if err := dropDatabase(ctx, conn, p[1]); err != nil {
				return err
			}
		}
		return nil
	})
}

// with connects as the superuser, to the database that is never copied.
func (o SnapshotOptions) with(ctx context.Context, do func(*pgx.Conn) error) error {
	if !snapshotName.MatchString(o.Name) {
		return fmt.Errorf("%q is no name of a copy: arasul_pre_ and up to 40 letters, digits and underscores", o.Name)
	}
	if o.Database.DSN != "" {
		return ErrForeign
	}
	conf, err := connConfig(o.Database, superuser, o.SocketDir)
	if err != nil {
		return err
	}
	conf.Database = "postgres"
	return exclusively(ctx, conf, func(_ context.Context, conn *pgx.Conn) error { return do(conn) })
}

// alone runs a statement that nobody else may be connected for. Who is, is
// disconnected; who comes back meanwhile, again.
func alone(ctx context.Context, conn *pgx.Conn, databases []string, statement string) error {
	const tries = 50
	for i := 0; ; i++ {
		if _, err := conn.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY($1) AND pid <> pg_backend_pid()`, databases); err != nil {
			return fmt.Errorf("disconnecting others: %w", err)
		}
		_, err := conn.Exec(ctx, statement)
		var answer *pgconn.PgError
		if !errors.As(err, &answer) || answer.Code != "55006" || i == tries { // object_in_use
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// carryOver gives a copy what CREATE DATABASE does not copy: who may connect,
// whom it belongs to, and its settings.
func carryOver(ctx context.Context, conn *pgx.Conn, from, to string) error {
	var owner string
	if err := conn.QueryRow(ctx, `SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = $1`, from).Scan(&owner); err != nil {
		return fmt.Errorf("looking at the database %s: %w", from, err)
	}
	if _, err := conn.Exec(ctx, "ALTER DATABASE "+quote(to)+" OWNER TO "+quote(owner)+"; REVOKE ALL ON DATABASE "+quote(to)+" FROM PUBLIC"); err != nil {
		return fmt.Errorf("securing the copy: %w", err)
	}
	rows, _ := conn.Query(ctx, `SELECT pg_get_userbyid(a.grantee), a.privilege_type
		FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = $1 AND a.grantee <> 0`, from)
	type grant struct{ Role, Privilege string }
	grants, err := pgx.CollectRows(rows, pgx.RowToStructByPos[grant])
	if err != nil {
		return fmt.Errorf("reading who may connect: %w", err)
	}
	for _, g := range grants {
		if _, err := conn.Exec(ctx, "GRANT "+g.Privilege+" ON DATABASE "+quote(to)+" TO "+quote(g.Role)); err != nil {
			return fmt.Errorf("letting %s into the copy: %w", g.Role, err)
		}
	}
	return nil
}

// dropLeft removes what transactions before have left: copies, and what was put aside.
func (o SnapshotOptions) dropLeft(ctx context.Context, conn *pgx.Conn) error {
	rows, _ := conn.Query(ctx, `SELECT datname FROM pg_database WHERE starts_with(datname, $1) OR starts_with(datname, $2)`, copyPrefix, failedPrefix)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("looking for databases that were left: %w", err)
	}
	for _, name := range names {
		if slices.Contains(o.Keep, strings.TrimSuffix(name, "_"+Workflows)) {
			continue
		}
		if err := dropDatabase(ctx, conn, name); err != nil {
			return err
		}
	}
	return nil
}

func dropDatabase(ctx context.Context, conn *pgx.Conn, name string) error {
	if _, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+quote(name)+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("removing the database %s: %w", name, err)
	}
	return nil
}

func exists(ctx context.Context, conn *pgx.Conn, name string) (there bool, err error) {
	err = conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, name).Scan(&there)
	return there, err
}
