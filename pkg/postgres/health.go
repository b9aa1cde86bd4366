package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

const (
	slowAnswer  = 150 * time.Millisecond // spec API: what a database access may take
	almostSpent = 0.9                    // of the connections
)

// Health looks at the database from where we stand: how fast it answers, how
// large it is, how full.
func (db *DB) Health(ctx context.Context) (api.DatabaseHealth, error) {
	h := api.DatabaseHealth{Status: api.Up}
	conn, err := db.pool.Acquire(ctx) // to connect is not its answer
	if err != nil {
		return h, fmt.Errorf("asking database: %w", err)
	}
	defer conn.Release()
	start := time.Now()
	var one int
	if err := conn.QueryRow(ctx, "SELECT 1").Scan(&one); err != nil {
		return h, fmt.Errorf("asking database: %w", err)
	}
	latency := time.Since(start)
	err = conn.QueryRow(ctx, `
		SELECT current_setting('server_version'), pg_database_size(current_database()),
			(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), current_setting('max_connections')::int,
			(SELECT max(version_id) FROM goose_db_version WHERE is_applied),
			(SELECT date_trunc('day', min(ts), 'UTC') FROM samples)`,
	).Scan(&h.Version, &h.SizeBytes, &h.ConnectionsUsed, &h.ConnectionsMax, &h.MigrationVersion, &h.OldestSampleDay)
	if err != nil {
		return h, fmt.Errorf("reading the database's health: %w", err)
	}
	h.Latency, h.Time = latency.Seconds(), time.Now().UTC()
	switch {
	case latency > slowAnswer:
		h.Status, h.Reason = api.Degraded, fmt.Sprintf("slow: it took %s to answer", latency.Round(time.Millisecond))
	case float64(h.ConnectionsUsed) > almostSpent*float64(h.ConnectionsMax):
		h.Status, h.Reason = api.Degraded, fmt.Sprintf("%d of %d connections are in use", h.ConnectionsUsed, h.ConnectionsMax)
	}
	return h, nil
}
