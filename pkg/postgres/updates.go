package postgres

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arasul/arasul/pkg/api"
)

// backups are what the steps of an update put aside.
var backups = map[string]string{"keep": "package", "snapshot": "database"}

// RecordUpdates keeps what the updater says of its transactions, in one transaction
// of the database. What is there of them already is replaced; what was ordered and has
// not begun is not there yet.
func (db *DB) RecordUpdates(ctx context.Context, runs []api.UpdateRun) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var batch pgx.Batch
	for i := len(runs) - 1; i >= 0; i-- { // the oldest first, for what is said of a file last
		if !runs[i].Started.IsZero() {
			recordUpdate(&batch, runs[i])
		}
	}
	return access("recording updates", db.pool.SendBatch(ctx, &batch).Close())
}

func recordUpdate(batch *pgx.Batch, r api.UpdateRun) {
	result := api.ResultSuccess
	if r.Outcome != "committed" {
		result = api.ResultFailed
	}
	// Once it is over the audit has it, too, whoever began it: a stick asks nobody.
	batch.Queue(`
		WITH before AS (SELECT FROM component_updates WHERE transaction = $1 AND ended_at IS NOT NULL), kept AS (
			INSERT INTO component_updates (transaction, kind, component, from_version, to_version, bundle, actor, outcome, interruptions, downtime_seconds, started_at, ended_at)
			VALUES ($1, $2, 'arasul', $3, $4, $5, $6, $7, $8, $9, $10, $11)
			ON CONFLICT (transaction) DO UPDATE SET outcome = excluded.outcome, interruptions = excluded.interruptions,
				downtime_seconds = excluded.downtime_seconds, ended_at = excluded.ended_at)
		INSERT INTO audit_events (actor, action, subject, address, user_agent, result, detail)
		SELECT $6, 'update.end', $4, '', '', $12, $13 WHERE $11::timestamptz IS NOT NULL AND NOT EXISTS (SELECT FROM before)`,
		r.ID, r.Kind, clean(r.From), clean(r.To), clean(r.Bundle), clean(r.Actor), r.Outcome, r.Cuts, r.Downtime, r.Started, when(r.Ended),
		result, strings.TrimSuffix(clean(r.Kind+" "+r.Outcome+": "+r.Reason), ": "))
	for i, s := range r.Steps {
		batch.Queue(`
			INSERT INTO update_events (transaction, number, step, state, started_at, ended_at) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (transaction, number) DO UPDATE SET state = excluded.state, started_at = excluded.started_at, ended_at = excluded.ended_at`,
			r.ID, i+1, s.Name, s.State, when(s.Started), when(s.Ended))
		if what := backups[s.Name]; what != "" && s.State != "pending" && s.State != "running" && !s.Started.IsZero() {
			batch.Queue(`INSERT INTO update_backups (transaction, what, taken_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
				r.ID, what, cmp.Or(s.Ended, s.Started))
		}
	}
	if r.Kind == "rollback" || r.Back {
		batch.Queue(`
			INSERT INTO update_rollbacks (transaction, from_version, to_version, automatic, reason, ended_at) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (transaction) DO UPDATE SET automatic = excluded.automatic, reason = excluded.reason, ended_at = excluded.ended_at`,
			r.ID, clean(r.From), clean(r.To), r.Back, clean(r.Reason), when(r.Ended))
	}
	if r.Kind == "update" && r.Bundle != "" {
		batch.Queue(`
			INSERT INTO update_files AS f (bundle, version, first_at, last_at, outcome) VALUES ($1, $2, $3, $3, $4)
			ON CONFLICT (bundle) DO UPDATE SET first_at = least(f.first_at, excluded.first_at), last_at = excluded.last_at, outcome = excluded.outcome`,
			clean(r.Bundle), clean(r.To), r.Started, r.Outcome)
	}
}

// when is a time, or NULL.
func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
