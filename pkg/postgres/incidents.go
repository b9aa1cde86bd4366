package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arasul/arasul/pkg/api"
)

// failuresShown bounds how many failures come with an incident.
const failuresShown = 50

const (
	upsertIncident = `
INSERT INTO self_healing_events (id, unit, fault, detail, state, failure_count, fault_at, detected_at, acted_at, recovered_at, verified_at, closed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (id) DO UPDATE SET
	unit = excluded.unit, fault = excluded.fault, detail = excluded.detail, state = excluded.state,
	failure_count = excluded.failure_count, fault_at = excluded.fault_at, detected_at = excluded.detected_at,
	acted_at = excluded.acted_at, recovered_at = excluded.recovered_at, verified_at = excluded.verified_at, closed_at = excluded.closed_at, updated_at = now()`

	upsertAction = `
INSERT INTO recovery_actions (incident, attempt, action, reason, started_at, finished_at, outcome, error)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (incident, attempt) DO UPDATE SET
	action = excluded.action, reason = excluded.reason, started_at = excluded.started_at,
	finished_at = excluded.finished_at, outcome = excluded.outcome, error = excluded.error`

	upsertFailure = `
INSERT INTO service_failures (incident, unit, fault, detail, at, detected_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (unit, at) DO UPDATE SET
	incident = excluded.incident, fault = excluded.fault, detail = excluded.detail, detected_at = excluded.detected_at`
)

// MirrorIncidents brings the tables to what these snapshots say, in their
// order, all or nothing. The same snapshots may be sent again; a snapshot that
// is older than the stored one takes its place, so the caller keeps the order.
// Actions and failures that a snapshot no longer lists stay.
func (db *DB) MirrorIncidents(ctx context.Context, incidents []api.Incident) error {
	if len(incidents) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var batch pgx.Batch
	for _, i := range incidents {
		id := clean(i.ID)
		batch.Queue(upsertIncident, id, clean(i.Unit), clean(i.Fault), clean(i.Detail), clean(i.State), i.Count,
			i.FaultAt, i.DetectedAt, i.ActedAt, i.RecoveredAt, i.VerifiedAt, i.ClosedAt)
		for _, a := range i.Actions {
			batch.Queue(upsertAction, id, a.Attempt, clean(a.Kind), clean(a.Reason), a.StartedAt, a.FinishedAt, clean(a.Outcome), clean(a.Error))
		}
		for _, f := range i.Failures {
			batch.Queue(upsertFailure, id, clean(i.Unit), clean(f.Fault), clean(f.Detail), f.At, f.DetectedAt)
		}
	}
	err := pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		return tx.SendBatch(ctx, &batch).Close()
	})
	if err != nil {
		return fmt.Errorf("mirroring incidents: %w", err)
	}
	return nil
}

// clean makes text that PostgreSQL takes: one odd byte in what a unit printed
// must not keep an incident, and all after it, out of the database.
func clean[S ~string](s S) string {
	return strings.ReplaceAll(strings.ToValidUTF8(string(s), "\uFFFD"), "\x00", "")
}

// Incidents returns at most limit incidents, newest first, whose fault
// happened before this time, or of all times when it is zero; each with its
// actions and its newest fifty failures, oldest first. The time of the last
// one, given as before, asks for the next page.
func (db *DB) Incidents(ctx context.Context, before time.Time, limit int) ([]api.Incident, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var incidents []api.Incident
	snapshot := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, db.pool, snapshot, func(tx pgx.Tx) (err error) {
		incidents, err = readIncidents(ctx, tx, limit, before)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading incidents: %w", err)
	}
	return incidents, nil
}

// readIncidents asks three questions, however many incidents there are.
func readIncidents(ctx context.Context, tx pgx.Tx, limit int, before time.Time) ([]api.Incident, error) {
	var bound *time.Time
	if !before.IsZero() {
		bound = &before
	}
	rows, _ := tx.Query(ctx, `
SELECT id, unit, fault, detail, state, failure_count, fault_at, detected_at, acted_at, recovered_at, verified_at, closed_at
FROM self_healing_events WHERE fault_at < coalesce($1, 'infinity'::timestamptz) ORDER BY fault_at DESC, id DESC LIMIT $2`, bound, limit)
	incidents, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (api.Incident, error) {
		i := api.Incident{Failures: []api.Failure{}, Actions: []api.Action{}} // [] in JSON, not null
		err := row.Scan(&i.ID, &i.Unit, &i.Fault, &i.Detail, &i.State, &i.Count,
			&i.FaultAt, &i.DetectedAt, &i.ActedAt, &i.RecoveredAt, &i.VerifiedAt, &i.ClosedAt)
		return i, err
	})
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(incidents))
	byID := make(map[string]*api.Incident, len(incidents))
	for n := range incidents {
		ids[n] = incidents[n].ID
		byID[ids[n]] = &incidents[n]
	}

	var id string
	var a api.Action
	rows, _ = tx.Query(ctx, `
SELECT incident, attempt, action, reason, started_at, finished_at, outcome, error
FROM recovery_actions WHERE incident = ANY($1) ORDER BY incident, attempt`, ids)
	_, err = pgx.ForEachRow(rows, []any{&id, &a.Attempt, &a.Kind, &a.Reason, &a.StartedAt, &a.FinishedAt, &a.Outcome, &a.Error}, func() error {
		byID[id].Actions = append(byID[id].Actions, a)
		return nil
	})
	if err != nil {
		return nil, err
	}

	var f api.Failure
	rows, _ = tx.Query(ctx, `
SELECT incident, f.fault, f.detail, f.at, f.detected_at
FROM unnest($1::text[]) AS id CROSS JOIN LATERAL (
	SELECT * FROM service_failures WHERE incident = id ORDER BY at DESC LIMIT $2) AS f
ORDER BY incident, f.at`, ids, failuresShown)
	_, err = pgx.ForEachRow(rows, []any{&id, &f.Fault, &f.Detail, &f.At, &f.DetectedAt}, func() error {
		byID[id].Failures = append(byID[id].Failures, f)
		return nil
	})
	return incidents, err
}
