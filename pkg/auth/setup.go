package auth

import (
	"context"
	"crypto/subtle"
	"errors"
	"time"
)

// Setup makes the admin, for who knows the setup code, and lets him in. Errors:
// ErrExists, *LockedError, ErrCredentials, *WeakError, ErrBusy, or the store's.
func (g *Gate) Setup(ctx context.Context, code, password string, from Client) (Entry, error) {
	if ready, err := g.Ready(ctx); err != nil || ready {
		if err == nil {
			err = ErrExists
		}
		return Entry{}, err
	}
	err := g.attempt(ctx, setupLockout, from, "", func() error {
		want, err := g.store.SetupCode(ctx, time.Now())
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		if err != nil || subtle.ConstantTimeCompare(want, seal(g.setupKey, code)) != 1 {
			return ErrCredentials
		}
		return nil
	})
	if err != nil {
		return Entry{}, err
	}
	a, err := g.create(ctx, password)
	if err != nil {
		return Entry{}, err
	}
	return g.enter(ctx, a, from)
}

// create makes the admin.
func (g *Gate) create(ctx context.Context, password string) (Account, error) {
	if weak := Weaknesses(password, g.words...); weak != nil {
		return Account{}, &WeakError{weak}
	}
	hash, err := g.hasher.hash(ctx, password)
	if err != nil {
		return Account{}, err
	}
	a := Account{User: Admin, PasswordHash: hash, PasswordChangedAt: time.Now().UTC()}
	return a, g.store.CreateAccount(ctx, a)
}

// NewSetupCode returns a new setup code, which takes the place of the one
// before. ErrExists when there is an admin already. It is for the console.
func (g *Gate) NewSetupCode(ctx context.Context) (code string, expires time.Time, err error) {
	if ready, err := g.Ready(ctx); err != nil || ready {
		if err == nil {
			err = ErrExists
		}
		return "", time.Time{}, err
	}
	code, expires = newCode(setupCodeLength), time.Now().UTC().Add(setupCodeLife).Truncate(time.Second)
	return code, expires, g.store.SetSetupCode(ctx, seal(g.setupKey, code), expires)
}

// Reset sets the password without asking for the one before, makes the admin
// if there is none, and ends all sessions. It is for the console.
func (g *Gate) Reset(ctx context.Context, password string) error {
	ready, err := g.Ready(ctx)
	if err != nil {
		return err
	}
	if !ready {
		_, err = g.create(ctx, password)
		return err
	}
	_, _, err = g.setPassword(ctx, Admin, password, "", 0)
	return err
}

// Unlock forgets all attempts. It is for the console.
func (g *Gate) Unlock(ctx context.Context) error { return g.store.ForgetAttempts(ctx) }
