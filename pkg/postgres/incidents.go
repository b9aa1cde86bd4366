package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arasul/arasul/pkg/api"
)

// failuresShown bounds how many failures come with an incident.
const failuresShown = 50

// RetainIncidents forgets incidents that are over, oldest first: those that
// ended longer than keep ago and those beyond the newest most. Days on which it
// was not called do not count, so it should be called at least daily; a clock
// that is wrong for a while then costs no history. Reboots, and what happened
// in incidents that are still open, go at the same age.
func (db *DB) RetainIncidents(ctx context.Context, keep time.Duration, most int) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := db.pool.Exec(ctx, `SELECT arasul_retain_incidents($1, $2, $3)`, time.Now(), keep, most); err != nil {
		return fmt.Errorf("forgetting old incidents: %w", err)
	}
	return nil
}

// Incidents returns the incidents that q asks for, newest first, each with its
// actions and its newest fifty failures, oldest first. The FaultAt of the last
// one, given as Before, asks for the next page. It ends with all of the same
// instant, which may be more than q.Limit by as many.
func (db *DB) Incidents(ctx context.Context, q api.IncidentQuery) ([]api.Incident, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var incidents []api.Incident
	snapshot := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, db.pool, snapshot, func(tx pgx.Tx) (err error) {
		incidents, err = readIncidents(ctx, tx, q)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading incidents: %w", err)
	}
	return incidents, nil
}

const selectIncidents = `
SELECT * FROM (SELECT id, rule, class, policy, unit, fault, detail, state, cause, failure_count,
	fault_at, detected_at, acted_at, recovered_at, verified_at, closed_at
FROM self_healing_events
WHERE fault_at < coalesce($1, 'infinity'::timestamptz) AND fault_at >= coalesce($2, '-infinity'::timestamptz)
	AND ($3 = '' OR rule = $3) AND ($4 = '' OR class = $4) AND ($5 = '' OR unit = $5) AND ($6 = '' OR state = $6)
	AND (NOT $7 OR closed_at IS NULL)
ORDER BY fault_at DESC FETCH FIRST $8 ROWS WITH TIES) AS page ORDER BY fault_at DESC, id DESC`

// readIncidents asks three questions, however many incidents there are.
func readIncidents(ctx context.Context, tx pgx.Tx, q api.IncidentQuery) ([]api.Incident, error) {
	rows, _ := tx.Query(ctx, selectIncidents, ifSet(q.Before), ifSet(q.Since),
		clean(q.Rule), clean(q.Class), clean(q.Unit), clean(q.State), q.Open, q.Limit)
	incidents, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (api.Incident, error) {
		i := api.Incident{Failures: []api.Failure{}, Actions: []api.Action{}} // [] in JSON, not null
		err := row.Scan(&i.ID, &i.Rule, &i.Class, &i.Policy, &i.Unit, &i.Fault, &i.Detail, &i.State, &i.Cause, &i.Count,
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
SELECT incident, attempt, action, coalesce(a.unit, e.unit), reason, started_at, finished_at, outcome, error
FROM recovery_actions AS a JOIN self_healing_events AS e ON e.id = incident
WHERE incident = ANY($1) ORDER BY incident, attempt`, ids)
	_, err = pgx.ForEachRow(rows, []any{&id, &a.Attempt, &a.Kind, &a.Unit, &a.Reason, &a.StartedAt, &a.FinishedAt, &a.Outcome, &a.Error}, func() error {
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

// ifSet is nil for the zero time.
func ifSet(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// Reboots returns the newest reboots that the healer asked for, newest first.
func (db *DB) Reboots(ctx context.Context, limit int) ([]api.Reboot, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	rows, _ := db.pool.Query(ctx, `
SELECT boot_id, rule, incident, reason, requested_at, booted_at, validated_at, helped
FROM reboot_events ORDER BY requested_at DESC, boot_id LIMIT $1`, limit)
	reboots, err := pgx.CollectRows(rows, pgx.RowToStructByPos[api.Reboot])
	if err != nil {
		return nil, fmt.Errorf("reading reboots: %w", err)
	}
	return reboots, nil
}

// HealingStatistics says how the faults since then were dealt with, the most
// frequent first. Detect is over all incidents; Repair over those that were
// resolved because the trouble went, which Resolved counts, and zero without
// any. A clock that was set back in between counts as no time.
func (db *DB) HealingStatistics(ctx context.Context, since time.Time) ([]api.FaultStatistics, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	rows, _ := db.pool.Query(ctx, `
WITH told AS (
	SELECT rule, fault,
		greatest(0, extract(epoch FROM detected_at - fault_at))::float8 AS detect,
		CASE WHEN state = 'resolved' AND recovered_at IS NOT NULL THEN greatest(0, extract(epoch FROM recovered_at - fault_at))::float8 END AS repair
	FROM self_healing_events WHERE fault_at >= $1)
SELECT rule, fault, count(*), count(repair),
	percentile_cont('{0.5, 0.95, 0.99}'::float8[]) WITHIN GROUP (ORDER BY detect),
	percentile_cont('{0.5, 0.95, 0.99}'::float8[]) WITHIN GROUP (ORDER BY repair)
FROM told GROUP BY rule, fault ORDER BY count(*) DESC, rule, fault`, since)
	stats, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (api.FaultStatistics, error) {
		var s api.FaultStatistics
		var detect, repair []float64
		err := row.Scan(&s.Rule, &s.Fault, &s.Count, &s.Resolved, &detect, &repair)
		s.Detect, s.Repair = percentile(detect), percentile(repair)
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading statistics of healing: %w", err)
	}
	return stats, nil
}

func percentile(p []float64) api.Percentile {
	if len(p) != 3 {
		return api.Percentile{}
	}
	return api.Percentile{P50: p[0], P95: p[1], P99: p[2]}
}
