package postgres

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/arasul/arasul/pkg/api"
)

// Record adds an event to the audit, at the time of the server.
func (db *DB) Record(ctx context.Context, e api.AuditEvent) error {
	_, err := db.exec(ctx, "recording audit event", `
		INSERT INTO audit_events (actor, action, subject, address, user_agent, result, detail) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		clean(e.Actor), clean(e.Action), clean(e.Subject), clean(e.Address), clean(e.UserAgent), e.Result, clean(e.Detail))
	return err
}

// Events returns the audit events that q asks for, newest first.
func (db *DB) Events(ctx context.Context, q api.AuditQuery) (events []api.AuditEvent, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	below := strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(clean(q.Action)) + ".%"
	rows, _ := db.pool.Query(ctx, `
		SELECT id, at, actor, action, subject, address, user_agent, result, detail FROM audit_events
		WHERE ($1 = '' OR action = $1 OR action LIKE $2) AND ($3 = '' OR result = $3)
			AND at >= coalesce($4, '-infinity'::timestamptz) AND ($5::bigint = 0 OR id < $5)
		ORDER BY id DESC LIMIT $6`, clean(q.Action), below, q.Result, ifSet(q.Since), q.Before, q.Limit)
	events, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (e api.AuditEvent, err error) {
		err = row.Scan(&e.ID, &e.At, &e.Actor, &e.Action, &e.Subject, &e.Address, &e.UserAgent, &e.Result, &e.Detail)
		return e, err
	})
	return events, access("reading audit", err)
}
