package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/arasul/arasul/pkg/api"
)

const (
	upsertIncident = `
INSERT INTO self_healing_events (id, rule, class, policy, unit, fault, detail, state, cause, failure_count,
	fault_at, detected_at, acted_at, recovered_at, verified_at, closed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
ON CONFLICT (id) DO UPDATE SET
	rule = excluded.rule, class = excluded.class, policy = excluded.policy, unit = excluded.unit,
	fault = excluded.fault, detail = excluded.detail, state = excluded.state, cause = excluded.cause,
	failure_count = excluded.failure_count, fault_at = excluded.fault_at, detected_at = excluded.detected_at,
	acted_at = excluded.acted_at, recovered_at = excluded.recovered_at, verified_at = excluded.verified_at, closed_at = excluded.closed_at, updated_at = now()`

	upsertAction = `
INSERT INTO recovery_actions (incident, attempt, action, unit, reason, started_at, finished_at, outcome, error)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (incident, attempt) DO UPDATE SET
	action = excluded.action, unit = excluded.unit, reason = excluded.reason, started_at = excluded.started_at,
	finished_at = excluded.finished_at, outcome = excluded.outcome, error = excluded.error`

	upsertFailure = `
INSERT INTO service_failures (incident, fault, detail, at, detected_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (incident, at) DO UPDATE SET fault = excluded.fault, detail = excluded.detail, detected_at = excluded.detected_at`

	upsertReboot = `
INSERT INTO reboot_events (boot_id, rule, incident, reason, requested_at, booted_at, validated_at, helped)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (boot_id) DO UPDATE SET
	rule = excluded.rule, incident = excluded.incident, reason = excluded.reason, requested_at = excluded.requested_at,
	booted_at = excluded.booted_at, validated_at = excluded.validated_at, helped = excluded.helped`
)

// RefusedError says that some of what was to be mirrored will never be taken,
// whenever it is sent again, and that all the rest is stored.
type RefusedError struct {
	ids []string
	err error // of the first
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("refused for good: %s: %v", strings.Join(e.ids, ", "), e.err)
}

func (e *RefusedError) Unwrap() error { return e.err }

// Refused names what was refused: incidents by ID, reboots by boot ID.
func (e *RefusedError) Refused() []string { return e.ids }

// record is something to be mirrored, by the statements that store it.
type record struct {
	id    string
	err   error // why no database could hold it; nil when one can
	queue func(*pgx.Batch)
}

// MirrorIncidents brings the tables to what these snapshots say, in their
// order. A snapshot needs to hold only the actions and failures that are new or
// have changed; others stay. The same snapshots may be sent again; one that is
// older than the stored one takes its place, so the caller keeps the order.
//
// It stores all or nothing, but for what no database could hold, which must not
// keep the others waiting: a [*RefusedError] names those, and the rest is stored.
func (db *DB) MirrorIncidents(ctx context.Context, incidents []api.Incident) error {
	records := make([]record, len(incidents))
	for n, i := range incidents {
		records[n] = record{i.ID, storableIncident(i), func(b *pgx.Batch) { queueIncident(b, i) }}
	}
	if err := db.mirror(ctx, records); err != nil {
		return fmt.Errorf("mirroring incidents: %w", err)
	}
	return nil
}

// MirrorReboots is MirrorIncidents for reboots.
func (db *DB) MirrorReboots(ctx context.Context, reboots []api.Reboot) error {
	records := make([]record, len(reboots))
	for n, r := range reboots {
		records[n] = record{r.BootID, storableTimes(&r.RequestedAt, r.BootedAt, r.ValidatedAt), func(b *pgx.Batch) {
			b.Queue(upsertReboot, clean(r.BootID), clean(r.Rule), clean(r.Incident), clean(r.Reason),
				r.RequestedAt, r.BootedAt, r.ValidatedAt, r.Helped)
		}}
	}
	if err := db.mirror(ctx, records); err != nil {
		return fmt.Errorf("mirroring reboots: %w", err)
	}
	return nil
}

func queueIncident(b *pgx.Batch, i api.Incident) {
	id := clean(i.ID)
	b.Queue(upsertIncident, id, clean(i.Rule), clean(i.Class), clean(i.Policy), clean(i.Unit), clean(i.Fault), clean(i.Detail),
		clean(i.State), clean(i.Cause), i.Count, i.FaultAt, i.DetectedAt, i.ActedAt, i.RecoveredAt, i.VerifiedAt, i.ClosedAt)
	for _, a := range i.Actions {
		b.Queue(upsertAction, id, a.Attempt, clean(a.Kind), clean(a.Unit), clean(a.Reason), a.StartedAt, a.FinishedAt, clean(a.Outcome), clean(a.Error))
	}
	for _, f := range i.Failures {
		b.Queue(upsertFailure, id, clean(f.Fault), clean(f.Detail), f.At, f.DetectedAt)
	}
}

// mirror stores all records at once or, when one of them is refused, each by itself.
func (db *DB) mirror(ctx context.Context, records []record) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var refused RefusedError
	var good []record
	for _, r := range records {
		if r.err != nil {
			refused.add(r.id, r.err)
			continue
		}
		good = append(good, r)
	}
	err := db.storeRecords(ctx, good)
	if rowsFault(err) {
		for _, r := range good {
			err = db.storeRecords(ctx, []record{r})
			switch {
			case rowsFault(err):
				refused.add(r.id, err)
			case err != nil:
				return err
			}
		}
		err = nil
	}
	if err == nil && len(refused.ids) > 0 {
		return &refused
	}
	return err
}

func (e *RefusedError) add(id string, err error) {
	e.ids = append(e.ids, id)
	if e.err == nil {
		e.err = err
	}
}

func (db *DB) storeRecords(ctx context.Context, records []record) error {
	if len(records) == 0 {
		return nil
	}
	var batch pgx.Batch
	for _, r := range records {
		r.queue(&batch)
	}
	return pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		return tx.SendBatch(ctx, &batch).Close()
	})
}

// rowsFault says whether the server refused what it was sent, and would again.
func rowsFault(err error) bool {
	var answer *pgconn.PgError
	if !errors.As(err, &answer) {
		return false
	}
	switch answer.Code[:2] {
	case "22", "23", "54": // data exception, constraint, too long for its index
		return true
	}
	return false
}

// storableIncident says what keeps an incident out of its columns.
func storableIncident(i api.Incident) error {
	numbers := []int{i.Count}
	times := []*time.Time{&i.FaultAt, &i.DetectedAt, i.ActedAt, i.RecoveredAt, i.VerifiedAt, i.ClosedAt}
	for _, a := range i.Actions {
		numbers = append(numbers, a.Attempt)
		times = append(times, &a.StartedAt, a.FinishedAt)
	}
	for _, f := range i.Failures {
		times = append(times, &f.At, &f.DetectedAt)
	}
	for _, n := range numbers {
		if n < 0 || n > math.MaxInt32 {
			return fmt.Errorf("it counts to %d", n)
		}
	}
	return storableTimes(times...)
}

// storableTimes wants years that people can live in.
func storableTimes(times ...*time.Time) error {
	for _, t := range times {
		if t != nil && (t.Year() < 1970 || t.Year() > 2200) {
			return fmt.Errorf("it speaks of %s", t.Format(time.RFC3339))
		}
	}
	return nil
}

// clean makes text that PostgreSQL takes: one odd byte in what a unit printed
// must not keep an incident out of the database.
func clean[S ~string](s S) string {
	return strings.ReplaceAll(strings.ToValidUTF8(string(s), "\uFFFD"), "\x00", "")
}
