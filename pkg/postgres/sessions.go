package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arasul/arasul/pkg/auth"
)

// A token is ended by two tables, of which each alone would do: a session that
// comes back with a restored row stays ended.
const selectSessions = `
SELECT jti, username, bearer, address, user_agent, created_at, last_used_at, expires_at FROM active_sessions AS s
WHERE expires_at > $2 AND NOT EXISTS (SELECT FROM token_blacklist AS b WHERE b.jti = s.jti) AND `

func scanSession(row pgx.CollectableRow) (s auth.Session, err error) {
	err = row.Scan(&s.ID, &s.User, &s.Bearer, &s.Address, &s.Agent, &s.CreatedAt, &s.LastUsedAt, &s.ExpiresAt)
	return s, err
}

// OpenSession implements auth.Sessions.
func (db *DB) OpenSession(ctx context.Context, s auth.Session, most int) (ended int, err error) {
	err = db.in(ctx, "opening session", func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO active_sessions (jti, username, bearer, address, user_agent, created_at, last_used_at, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			s.ID, s.User, s.Bearer, clean(s.Address), clean(s.Agent), s.CreatedAt, s.LastUsedAt, s.ExpiresAt)
		if err != nil {
			return err
		}
		ended, err = end(ctx, tx, `jti IN (
			SELECT jti FROM active_sessions WHERE username = $1 ORDER BY jti = $2 DESC, last_used_at DESC, created_at DESC OFFSET $3)`, s.User, s.ID, most)
		return err
	})
	return ended, err
}

// Session implements auth.Sessions.
func (db *DB) Session(ctx context.Context, id string, now time.Time) (s auth.Session, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	rows, _ := db.pool.Query(ctx, selectSessions+`jti = $1`, clean(id), now)
	s, err = pgx.CollectExactlyOneRow(rows, scanSession)
	return s, access("reading session", err)
}

// Sessions implements auth.Sessions.
func (db *DB) Sessions(ctx context.Context, user string, now time.Time) (all []auth.Session, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	rows, _ := db.pool.Query(ctx, selectSessions+`username = $1 ORDER BY last_used_at DESC, jti LIMIT 200`, clean(user), now)
	all, err = pgx.CollectRows(rows, scanSession)
	return all, access("reading sessions", err)
}

// TouchSession implements auth.Endings.
func (db *DB) TouchSession(ctx context.Context, id string, at time.Time, address string) error {
	_, err := db.exec(ctx, "touching session", `UPDATE active_sessions SET last_used_at = $2, address = $3 WHERE jti = $1`, id, at, clean(address))
	return err
}

// EndSession implements auth.Endings.
func (db *DB) EndSession(ctx context.Context, user, id string) error {
	return db.in(ctx, "ending session", func(ctx context.Context, tx pgx.Tx) error {
		n, err := end(ctx, tx, `username = $1 AND jti = $2`, clean(user), clean(id))
		if err == nil && n == 0 {
			err = pgx.ErrNoRows
		}
		return err
	})
}

// EndSessions implements auth.Endings.
func (db *DB) EndSessions(ctx context.Context, user, keep string) (ended int, err error) {
	err = db.in(ctx, "ending sessions", func(ctx context.Context, tx pgx.Tx) error {
		ended, err = endSessions(ctx, tx, user, keep)
		return err
	})
	return ended, err
}

func endSessions(ctx context.Context, tx pgx.Tx, user, keep string) (int, error) {
	return end(ctx, tx, `username = $1 AND jti <> $2`, user, keep)
}

// end moves sessions to the blacklist. Where is a constant of this file.
func end(ctx context.Context, tx pgx.Tx, where string, args ...any) (int, error) {
	tag, err := tx.Exec(ctx, `WITH gone AS (DELETE FROM active_sessions WHERE `+where+` RETURNING jti, expires_at)
		INSERT INTO token_blacklist (jti, expires_at) SELECT jti, expires_at FROM gone ON CONFLICT DO NOTHING`, args...)
	return int(tag.RowsAffected()), err
}
