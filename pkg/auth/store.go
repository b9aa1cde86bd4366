package auth

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrNotFound is a store's answer for what it does not have, or not any more.
	ErrNotFound = errors.New("not found")
	// ErrExists is a store's answer for what there can be only one of.
	ErrExists = errors.New("exists already")
)

// Account is the admin's.
type Account struct {
	User              string
	PasswordHash      string
	PasswordChangedAt time.Time
	Factor            Factor
}

// Factor is the second one, TOTP. Secrets are sealed, codes are hashed.
type Factor struct {
	Secret   []byte   // in use; nil: no second factor
	Pending  []byte   // shown, but not confirmed with a code yet
	Step     int64    // of the last code that was used: that one and those before it are worthless
	Recovery [][]byte // codes that are left
}

// Session is one login that still runs.
type Session struct {
	ID         string
	User       string
	Bearer     bool // its token is not in a cookie
	Address    string
	Agent      string
	CreatedAt  time.Time
	LastUsedAt time.Time // to the minute
	ExpiresAt  time.Time
}

// Accounts keeps the admin.
type Accounts interface {
	Account(ctx context.Context, user string) (Account, error) // ErrNotFound
	// CreateAccount also forgets the setup code. ErrExists when there is an admin.
	CreateAccount(ctx context.Context, a Account) error
	// SetPassword also forgets all but the last [Remember] passwords and ends all
	// sessions but that of the id keep. It says how many it ended.
	SetPassword(ctx context.Context, user, hash string, at time.Time, keep string) (ended int, err error)
}

// Passwords knows the last ones.
type Passwords interface {
	// PasswordHistory returns the last [Remember] hashes, the present one first.
	PasswordHistory(ctx context.Context, user string) ([]string, error)
}

// Factors keeps the second factor. The two Use methods say whether the code was
// still worth something, and that it is not any more, in one step.
type Factors interface {
	SetFactor(ctx context.Context, user string, f Factor) error
	UseStep(ctx context.Context, user string, step int64) (bool, error)
	UseRecovery(ctx context.Context, user string, hash []byte) (bool, error)
}

// Sessions keeps who is logged in.
type Sessions interface {
	// OpenSession ends the sessions of the user that were used longest ago, so
	// that there are at most most. It says how many it ended.
	OpenSession(ctx context.Context, s Session, most int) (ended int, err error)
	// Session is ErrNotFound when it was ended or is over.
	Session(ctx context.Context, id string, now time.Time) (Session, error)
	Sessions(ctx context.Context, user string, now time.Time) ([]Session, error)
}

// Endings ends sessions, for good: their ids never count again.
type Endings interface {
	TouchSession(ctx context.Context, id string, at time.Time, address string) error
	EndSession(ctx context.Context, user, id string) error // ErrNotFound
	EndSessions(ctx context.Context, user, keep string) (ended int, err error)
}

// Attempts remembers who tried.
type Attempts interface {
	Attempts(ctx context.Context, since time.Time) ([]Attempt, error)
	AddAttempt(ctx context.Context, a Attempt) (id int64, err error)
	SettleAttempt(ctx context.Context, id int64, r AttemptResult) error
}

// Pardons forgets who tried.
type Pardons interface {
	ForgetAttempts(ctx context.Context) error
}

// SetupCodes keeps the one that is valid.
type SetupCodes interface {
	SetSetupCode(ctx context.Context, hash []byte, expires time.Time) error
	SetupCode(ctx context.Context, now time.Time) ([]byte, error) // ErrNotFound
}

// Store is all that a Gate remembers. What it does is done when it returns.
type Store interface {
	Accounts
	Passwords
	Factors
	Sessions
	Endings
	Attempts
	Pardons
	SetupCodes
}
