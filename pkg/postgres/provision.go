package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/arasul/arasul/pkg/config"
)

const (
	database = "arasul"

	// Workflows is n8n's own database on the machine's own server: n8n migrates it
	// by itself, so it is apart from ours.
	Workflows      = "n8n"
	workflowsOwner = "arasul-n8n"

	// Authors is a database for what workflows themselves keep.
	Authors = "workflows"

	owner = "arasul_owner"

	// serverWait bounds how long Provision waits for a server that is starting.
	serverWait = 30 * time.Second
)

// grants are what each role may do, beyond connecting. They are repeated after
// every migration, so a migration need not know the roles.
var grants = []struct{ role, to string }{
	{"arasul-metrics", "INSERT, SELECT (ts) ON samples"},
	{"arasul-metrics", "INSERT ON service_samples"},
	{"arasul-metrics", "INSERT, SELECT ON service_units"},
	{"arasul-metrics", "EXECUTE ON FUNCTION arasul_ensure_partitions(date[]), arasul_drop_partitions(date), arasul_retain(timestamptz, interval), arasul_roll_up(timestamptz[])"},
	{"arasul-healer", "SELECT, INSERT, UPDATE ON self_healing_events, recovery_actions, service_failures, reboot_events"},
	{"arasul-healer", "EXECUTE ON FUNCTION arasul_retain_incidents(timestamptz, interval, integer)"},
	{"arasul-dashboard", "SELECT ON samples, samples_minute, service_units, service_samples, service_minutes"},
	{"arasul-dashboard", "SELECT ON self_healing_events, recovery_actions, service_failures, reboot_events"},
	{"arasul-dashboard", "SELECT ON goose_db_version"},
	{"arasul-dashboard", "SELECT, INSERT, UPDATE ON admin_users"},
	{"arasul-dashboard", "SELECT, INSERT, DELETE ON password_history"},
	{"arasul-dashboard", "SELECT, INSERT, UPDATE, DELETE ON active_sessions, login_attempts, setup_codes"},
	{"arasul-dashboard", "SELECT, INSERT ON token_blacklist"},
	{"arasul-dashboard", "SELECT, INSERT (actor, action, subject, address, user_agent, result, detail) ON audit_events"},
	{"arasul-dashboard", "EXECUTE ON FUNCTION arasul_retain_access()"},
	{"arasul-dashboard", "SELECT, INSERT, UPDATE ON workflow_activity"},
	{"arasul-dashboard", "EXECUTE ON FUNCTION arasul_retain_workflows()"},
	{"arasul-dashboard", "SELECT, INSERT, UPDATE ON update_events, component_updates, update_rollbacks, update_backups, update_files"},
}

// ProvisionOptions says which database to provision, and with what.
type ProvisionOptions struct {
	Database   config.Database
	Migrations fs.FS  // goose's format
	SocketDir  string // of the machine's own server; empty: [SocketDir]
}

// Provision makes the database ready for the daemons. It may run at any time,
// any number of times and several times at once; 20 ms when nothing is to do.
// It waits up to 30 s for a server that does not answer yet.
//
// On the machine's own server it creates roles and database first. On another
// server (Database.DSN) the database must exist and let the DSN's user create
// tables; roles are not created there, only granted to if they exist.
func Provision(ctx context.Context, o ProvisionOptions) error {
	conf, err := connConfig(o.Database, superuser, o.SocketDir)
	if err != nil {
		return err
	}
	own := o.Database.DSN == ""
	if own {
		admin := conf.Copy()
		admin.Database = "postgres"
		if err := exclusively(ctx, admin, createDatabase); err != nil {
			return fmt.Errorf("creating database: %w", err)
		}
		workflows := conf.Copy()
		workflows.Database = Workflows
		if err := exclusively(ctx, workflows, prepareWorkflows); err != nil {
			return fmt.Errorf("preparing n8n's database: %w", err)
		}
	}
	return exclusively(ctx, conf, func(ctx context.Context, conn *pgx.Conn) error {
		if own {
			// Up to PostgreSQL 14 the schema belongs to the superuser and
			// everybody may create in it.
			_, err := conn.Exec(ctx, `ALTER SCHEMA public OWNER TO `+owner+`; REVOKE ALL ON SCHEMA public FROM PUBLIC; SET ROLE `+owner)
			if err != nil {
				return fmt.Errorf("securing schema: %w", err)
			}
		}
		if err := migrate(ctx, conf, own, o.Migrations); err != nil {
			return fmt.Errorf("migrating: %w", err)
		}
		if err := grant(ctx, conn); err != nil {
			return fmt.Errorf("granting: %w", err)
		}
		return nil
	})
}

// exclusively calls do with a connection that holds the lock of provisioning,
// which is one per database and ends with the connection.
func exclusively(ctx context.Context, conf *pgx.ConnConfig, do func(context.Context, *pgx.Conn) error) error {
	conn, err := connect(ctx, conf)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock(hashtext('arasul provision'))`); err != nil {
		return fmt.Errorf("waiting for lock: %w", err)
	}
	return do(ctx, conn)
}

// connect waits for a server that is starting, not for one that says no.
func connect(ctx context.Context, conf *pgx.ConnConfig) (*pgx.Conn, error) {
	wait, cancel := context.WithTimeout(ctx, serverWait)
	defer cancel()
	for {
		conn, err := pgx.ConnectConfig(wait, conf)
		if err == nil {
			return conn, nil
		}
		var answer *pgconn.PgError
		if errors.As(err, &answer) && answer.Code != "57P03" { // cannot_connect_now: starting up
			return nil, err
		}
		select {
		case <-wait.Done():
			return nil, fmt.Errorf("waiting for server: %w", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// createDatabase creates the roles and the database and shuts out everybody else.
func createDatabase(ctx context.Context, conn *pgx.Conn) error {
	rows, _ := conn.Query(ctx, `SELECT rolname FROM pg_roles WHERE rolname LIKE 'arasul%'`)
	roles, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	var todo []string
	if !slices.Contains(roles, owner) {
		todo = append(todo, `CREATE ROLE `+owner+` NOLOGIN`)
	}
	for _, role := range daemons() {
		if !slices.Contains(roles, role) {
			todo = append(todo, `CREATE ROLE `+quote(role)+` LOGIN`)
		}
		todo = append(todo, fmt.Sprintf(`ALTER ROLE %s CONNECTION LIMIT %d`, quote(role), connections(role)))
	}
	rows, _ = conn.Query(ctx, `SELECT datname FROM pg_database`)
	databases, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	if !slices.Contains(databases, database) {
		todo = append(todo, `CREATE DATABASE `+database+` OWNER `+owner)
	}
	if !slices.Contains(roles, workflowsOwner) {
		todo = append(todo, `CREATE ROLE `+quote(workflowsOwner)+` LOGIN`)
	}
	todo = append(todo, `ALTER ROLE `+quote(workflowsOwner)+` CONNECTION LIMIT 12`)
	for _, name := range []string{Workflows, Authors} {
		if !slices.Contains(databases, name) {
			todo = append(todo, `CREATE DATABASE `+name+` OWNER `+quote(workflowsOwner))
		}
	}
	todo = append(todo, `REVOKE ALL ON DATABASE `+database+`, `+Workflows+`, `+Authors+`, postgres, template1 FROM PUBLIC`)
	for _, role := range daemons() {
		todo = append(todo, `GRANT CONNECT ON DATABASE `+database+` TO `+quote(role))
	}
	todo = append(todo, `GRANT CONNECT ON DATABASE `+Workflows+` TO "arasul-dashboard"`) // to see which runs there were
	for _, sql := range todo {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// connections is how many a role may have: two per pool, and as many again
// while a daemon is replaced. The dashboard has a second pool for who may come
// in, so that no question about the past keeps anybody out.
func connections(role string) int {
	if role == "arasul-dashboard" {
		return 9
	}
	return 5
}

// migrate applies what the ledger does not list yet, each in a transaction.
func migrate(ctx context.Context, conf *pgx.ConnConfig, own bool, fsys fs.FS) error {
	db := stdlib.OpenDB(*conf, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		if !own {
			return nil
		}
		_, err := conn.Exec(ctx, `SET ROLE `+owner)
		return err
	}))
	defer db.Close()
	provider, err := goose.NewProvider(goose.DialectPostgres, db, fsys)
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	return err
}

// grant gives the roles that exist here their rights.
func grant(ctx context.Context, conn *pgx.Conn) error {
	rows, _ := conn.Query(ctx, `SELECT rolname FROM pg_roles WHERE rolname = ANY($1)`, daemons())
	roles, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	var todo []string
	for _, role := range roles {
		todo = append(todo, `GRANT USAGE ON SCHEMA public TO `+quote(role))
	}
	for _, g := range grants {
		if slices.Contains(roles, g.role) {
			todo = append(todo, `GRANT `+g.to+` TO `+quote(g.role))
		}
	}
	_, err = conn.Exec(ctx, strings.Join(todo, "; "))
	return err
}

// daemons are the roles of the daemons, each once.
func daemons() []string {
	var roles []string
	for _, g := range grants {
		if !slices.Contains(roles, g.role) {
			roles = append(roles, g.role)
		}
	}
	return roles
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
