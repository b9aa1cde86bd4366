package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/arasul/arasul/pkg/auth"
)

const (
	uniqueViolation = "23505"
	mostAttempts    = 5000 // read at once; the lockout keeps them far below
)

// DB is what a gate remembers.
var _ auth.Store = (*DB)(nil)

// in runs do in a transaction, for at most callTimeout.
func (db *DB) in(ctx context.Context, what string, do func(context.Context, pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error { return do(ctx, tx) })
	return access(what, err)
}

// exec runs one statement and says how many rows it was about.
func (db *DB) exec(ctx context.Context, what, sql string, args ...any) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	tag, err := db.pool.Exec(ctx, sql, args...)
	return int(tag.RowsAffected()), access(what, err)
}

// access adds what was done to an error. What the server says besides its code
// and message is dropped: its detail quotes rows.
func access(what string, err error) error {
	var answer *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pgx.ErrNoRows):
		return fmt.Errorf("%s: %w", what, auth.ErrNotFound)
	case errors.As(err, &answer) && answer.Code == uniqueViolation:
		return fmt.Errorf("%s: %w", what, auth.ErrExists)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// Account implements auth.Accounts.
func (db *DB) Account(ctx context.Context, user string) (a auth.Account, err error) {
	err = db.in(ctx, "reading account", func(ctx context.Context, tx pgx.Tx) error {
		f := &a.Factor
		return tx.QueryRow(ctx, `
			SELECT username, password_hash, password_changed_at, totp_secret, totp_pending, totp_step, recovery_codes
			FROM admin_users WHERE username = $1`, clean(user)).
			Scan(&a.User, &a.PasswordHash, &a.PasswordChangedAt, &f.Secret, &f.Pending, &f.Step, &f.Recovery)
	})
	return a, err
}

// CreateAccount implements auth.Accounts.
func (db *DB) CreateAccount(ctx context.Context, a auth.Account) error {
	return db.in(ctx, "creating account", func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO admin_users (username, password_hash, password_changed_at) VALUES ($1, $2, $3)`,
			a.User, a.PasswordHash, a.PasswordChangedAt)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM setup_codes`); err != nil {
			return err
		}
		return remember(ctx, tx, a.User, a.PasswordHash, a.PasswordChangedAt)
	})
}

// SetPassword implements auth.Accounts.
func (db *DB) SetPassword(ctx context.Context, user, hash string, at time.Time, keep string) (ended int, err error) {
	err = db.in(ctx, "setting password", func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE admin_users SET password_hash = $2, password_changed_at = $3 WHERE username = $1`, user, hash, at)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return pgx.ErrNoRows
		}
		if err := remember(ctx, tx, user, hash, at); err != nil {
			return err
		}
		ended, err = endSessions(ctx, tx, user, keep)
		return err
	})
	return ended, err
}

// remember adds a password to the history, and drops the oldest from it.
func remember(ctx context.Context, tx pgx.Tx, user, hash string, at time.Time) error {
	_, err := tx.Exec(ctx, `INSERT INTO password_history (username, password_hash, set_at) VALUES ($1, $2, $3)`, user, hash, at)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `DELETE FROM password_history WHERE username = $1 AND id NOT IN (
		SELECT id FROM password_history WHERE username = $1 ORDER BY id DESC LIMIT $2)`, user, auth.Remember)
	return err
}

// PasswordHistory implements auth.Passwords.
func (db *DB) PasswordHistory(ctx context.Context, user string) (hashes []string, err error) {
	err = db.in(ctx, "reading password history", func(ctx context.Context, tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, `SELECT password_hash FROM password_history WHERE username = $1 ORDER BY id DESC LIMIT $2`, user, auth.Remember)
		hashes, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	return hashes, err
}

// SetFactor implements auth.Factors.
func (db *DB) SetFactor(ctx context.Context, user string, f auth.Factor) error {
	if f.Recovery == nil {
		f.Recovery = [][]byte{}
	}
	n, err := db.exec(ctx, "setting second factor", `
		UPDATE admin_users SET totp_secret = $2, totp_pending = $3, totp_step = $4, recovery_codes = $5 WHERE username = $1`,
		user, f.Secret, f.Pending, f.Step, f.Recovery)
	if err == nil && n == 0 {
		return access("setting second factor", pgx.ErrNoRows)
	}
	return err
}

// UseStep implements auth.Factors.
func (db *DB) UseStep(ctx context.Context, user string, step int64) (bool, error) {
	n, err := db.exec(ctx, "using code", `UPDATE admin_users SET totp_step = $2 WHERE username = $1 AND totp_step < $2`, user, step)
	return n == 1, err
}

// UseRecovery implements auth.Factors.
func (db *DB) UseRecovery(ctx context.Context, user string, hash []byte) (bool, error) {
	n, err := db.exec(ctx, "using recovery code", `
		UPDATE admin_users SET recovery_codes = array_remove(recovery_codes, $2::bytea) WHERE username = $1 AND $2::bytea = ANY(recovery_codes)`,
		user, hash)
	return n == 1, err
}

// Attempts implements auth.Attempts.
func (db *DB) Attempts(ctx context.Context, since time.Time) (past []auth.Attempt, err error) {
	err = db.in(ctx, "reading attempts", func(ctx context.Context, tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, `SELECT at, network, device, result FROM login_attempts WHERE at >= $1 ORDER BY at DESC LIMIT $2`, since, mostAttempts)
		var a auth.Attempt
		var network string
		_, err := pgx.ForEachRow(rows, []any{&a.At, &network, &a.Device, &a.Result}, func() error {
			a.Network, _ = netip.ParsePrefix(network) // none: the machine itself
			past = append(past, a)
			return nil
		})
		return err
	})
	return past, err
}

// AddAttempt implements auth.Attempts.
func (db *DB) AddAttempt(ctx context.Context, a auth.Attempt) (id int64, err error) {
	network := ""
	if a.Network.IsValid() {
		network = a.Network.String()
	}
	err = db.in(ctx, "adding attempt", func(ctx context.Context, tx pgx.Tx) error {
		return tx.QueryRow(ctx, `INSERT INTO login_attempts (at, network, device, result) VALUES ($1, $2, $3, $4) RETURNING id`,
			a.At, network, a.Device, a.Result).Scan(&id)
	})
	return id, err
}

// SettleAttempt implements auth.Attempts.
func (db *DB) SettleAttempt(ctx context.Context, id int64, r auth.AttemptResult) error {
	_, err := db.exec(ctx, "settling attempt", `UPDATE login_attempts SET result = $2 WHERE id = $1`, id, r)
	return err
}

// ForgetAttempts implements auth.Pardons.
func (db *DB) ForgetAttempts(ctx context.Context) error {
	_, err := db.exec(ctx, "forgetting attempts", `DELETE FROM login_attempts`)
	return err
}

// SetSetupCode implements auth.SetupCodes.
func (db *DB) SetSetupCode(ctx context.Context, hash []byte, expires time.Time) error {
	_, err := db.exec(ctx, "setting setup code", `
		INSERT INTO setup_codes (hash, expires_at) VALUES ($1, $2)
		ON CONFLICT (one) DO UPDATE SET hash = excluded.hash, expires_at = excluded.expires_at`, hash, expires)
	return err
}

// SetupCode implements auth.SetupCodes.
func (db *DB) SetupCode(ctx context.Context, now time.Time) (hash []byte, err error) {
	err = db.in(ctx, "reading setup code", func(ctx context.Context, tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT hash FROM setup_codes WHERE expires_at > $1`, now).Scan(&hash)
	})
	return hash, err
}

// RetainAccess forgets what is over: sessions, tokens, attempts, and audit
// events of more than 400 days. Call it at least daily.
func (db *DB) RetainAccess(ctx context.Context) error {
	_, err := db.exec(ctx, "forgetting old sessions and audit events", `SELECT arasul_retain_access()`)
	return err
}
