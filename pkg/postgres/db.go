package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
)

const (
	pingTimeout = time.Second
	callTimeout = 10 * time.Second
)

// DB is a daemon's way to the database. It is safe for concurrent use.
type DB struct{ pool *pgxpool.Pool }

// Open prepares at most two connections as this role, which is also the name
// shown in pg_stat_activity. With cfg.DSN it is the DSN that says who logs in.
// It connects when a call needs it: a server that is away is no error here,
// only a DSN that cannot be read is. The caller closes the DB.
func Open(cfg config.Database, role string) (*DB, error) {
	conn, err := connConfig(cfg, role, "")
	if err != nil {
		return nil, err
	}
	return open(conn)
}

// OpenWorkflows is Open for n8n's own database, on the same server.
func OpenWorkflows(cfg config.Database, role string) (*DB, error) {
	conn, err := connConfig(cfg, role, "")
	if err != nil {
		return nil, err
	}
	conn.Database = Workflows
	return open(conn)
}

func open(conn *pgx.ConnConfig) (*DB, error) {
	conn.RuntimeParams["statement_timeout"] = "5s"
	conf, err := pgxpool.ParseConfig("")
	if err != nil {
		return nil, fmt.Errorf("preparing pool: %w", err)
	}
	conf.ConnConfig = conn
	conf.MaxConns = 2
	conf.PingTimeout = pingTimeout // a server that hangs must not hang Acquire
	pool, err := pgxpool.NewWithConfig(context.Background(), conf)
	if err != nil {
		return nil, fmt.Errorf("opening pool: %w", err)
	}
	return &DB{pool}, nil
}

// Close ends all connections, and returns when calls under way have returned.
func (db *DB) Close() { db.pool.Close() }

// Ping asks the server for an answer, for at most one second.
func (db *DB) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if err := db.pool.Ping(ctx); err != nil {
		return fmt.Errorf("asking database: %w", err)
	}
	return nil
}

// connConfig says how to reach the database as this role.
func connConfig(cfg config.Database, role, socketDir string) (*pgx.ConnConfig, error) {
	dsn := cfg.DSN
	if dsn == "" {
		if socketDir == "" {
			socketDir = SocketDir
		}
		dsn = fmt.Sprintf("host=%s port=5432 dbname=%s user=%s", socketDir, database, role)
	}
	conf, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, errors.New("reading [database] dsn: " + cfg.Explain(err)) // err has the password
	}
	conf.ConnectTimeout = 3 * time.Second
	conf.RuntimeParams["application_name"] = role
	conf.RuntimeParams["search_path"] = "public"
	conf.RuntimeParams["timezone"] = "UTC"
	return conf, nil
}

// Probe looks whether the server takes a new connection and answers on it. A
// connection of the pool would not tell: its process may live while the one
// that makes new ones hangs. It ends with the context.
func (db *DB) Probe(ctx context.Context) api.ProbeResult {
	start := time.Now()
	r := api.ProbeResult{Status: api.Up, Time: start}
	conn, err := pgx.ConnectConfig(ctx, db.pool.Config().ConnConfig)
	if err == nil {
		var one int
		err = conn.QueryRow(ctx, "SELECT 1").Scan(&one)
		_ = conn.Close(ctx) // it has answered, or is of no use
	}
	r.Duration = time.Since(start).Seconds()
	switch {
	case err == nil:
	case errors.Is(ctx.Err(), context.Canceled):
		r.Status, r.Detail = api.Unknown, "looking was interrupted"
	case ctx.Err() != nil:
		r.Status, r.Detail = api.Down, "the database does not answer within "+time.Since(start).Round(time.Millisecond).String()
	default:
		r.Status, r.Detail = api.Down, "the database refuses: "+err.Error()
	}
	return r
}
