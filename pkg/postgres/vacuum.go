package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
)

const (
	// Samples are given up a day at a time, from a week down to the last day.
	mostDays, fewestDays = 6, 1

	vacuumStatement = 5 * time.Minute // for one table
	vacuumLock      = 5 * time.Second // a table that is in use for longer is left
)

// VacuumOptions says which database to vacuum.
type VacuumOptions struct {
	Database config.Database
	// Full says whether the server's disk is so full that days of samples have to
	// go. It is asked again after each. Nil: none has to.
	Full      func() (bool, error)
	SocketDir string // of the machine's own server; empty: [SocketDir]
}

// Vacuum gives room back: the oldest days of samples while the disk is full,
// but never what was seen in the last day; then what deleted rows have left in
// every table of ours. It locks out nobody. It waits up to 30 s for a server
// that does not answer yet; the caller's context limits the rest.
//
// The error names each table that was not vacuumed; the others are.
func Vacuum(ctx context.Context, o VacuumOptions) (v api.Vacuum, err error) {
	conf, err := connConfig(o.Database, superuser, o.SocketDir)
	if err != nil {
		return v, err
	}
	conf.RuntimeParams["statement_timeout"] = milliseconds(vacuumStatement)
	conf.RuntimeParams["lock_timeout"] = milliseconds(vacuumLock)
	var warnings []string
	conf.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if n.SeverityUnlocalized == "WARNING" {
			warnings = append(warnings, n.Message)
		}
	}
	conn, err := connect(ctx, conf)
	if err != nil {
		return v, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var errs []error
	if o.Full != nil {
		if err := dropDays(ctx, conn, o.Full, &v); err != nil {
			errs = append(errs, fmt.Errorf("dropping samples: %w", err))
		}
	}
	tables, err := ourTables(ctx, conn)
	if err != nil {
		return v, errors.Join(append(errs, err)...)
	}
	for _, table := range tables {
		warnings = nil
		t, err := vacuumTable(ctx, conn, table)
		if err == nil && len(warnings) > 0 {
			// The server only warns that it left a table out.
			err = errors.New(strings.Join(warnings, "; "))
		}
		if err != nil {
			t.Error = err.Error()
			errs = append(errs, fmt.Errorf("vacuuming %s: %w", table, err))
		}
		v.Tables = append(v.Tables, t)
	}
	v.Time = time.Now().UTC()
	return v, errors.Join(errs...)
}

// dropDays gives up one day after the other while the disk is full.
func dropDays(ctx context.Context, conn *pgx.Conn, full func() (bool, error), v *api.Vacuum) error {
	for days := mostDays; days >= fewestDays; days-- {
		if yes, err := full(); err != nil || !yes {
			return err
		}
		var dropped int
		err := conn.QueryRow(ctx, `SELECT arasul_retain(now(), make_interval(days => $1))`, days).Scan(&dropped)
		if err != nil {
			return err
		}
		v.Dropped += dropped
		v.KeptDays = days
	}
	return nil
}

// ourTables are all that hold rows, partitions one by one.
func ourTables(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	rows, _ := conn.Query(ctx, `SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY relname`)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("listing tables: %w", err)
	}
	if len(tables) == 0 {
		return nil, errors.New("listing tables: there are none")
	}
	return tables, nil
}

// vacuumTable vacuums one table, in a statement of its own and in no
// transaction: within one the server would refuse.
func vacuumTable(ctx context.Context, conn *pgx.Conn, table string) (t api.VacuumedTable, err error) {
	t.Table = table
	if t.BeforeBytes, t.DeadBefore, err = sizeOf(ctx, conn, table); err != nil {
		return t, err
	}
	begin := time.Now()
	if _, err := conn.Exec(ctx, `VACUUM (ANALYZE) public.`+quote(table)); err != nil {
		return t, err
	}
	t.Duration = time.Since(begin).Seconds()
	t.AfterBytes, t.DeadAfter, err = sizeOf(ctx, conn, table)
	return t, err
}

func sizeOf(ctx context.Context, conn *pgx.Conn, table string) (bytes, dead int64, err error) {
	const query = `SELECT pg_total_relation_size(c.oid), pg_stat_get_dead_tuples(c.oid)
		FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relname = $1`
	err = conn.QueryRow(ctx, query, table).Scan(&bytes, &dead)
	return bytes, dead, err
}

func milliseconds(d time.Duration) string { return fmt.Sprint(d.Milliseconds()) }
