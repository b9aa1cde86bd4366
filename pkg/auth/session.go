package auth

import (
	"context"
	"errors"
	"time"
)

// Session says whose token this is, if the session still runs. ErrCredentials
// says no; any other error says that we could not look, and nobody gets in.
func (g *Gate) Session(ctx context.Context, token, address string) (Session, error) {
	user, id, _, err := g.sessions.read(token)
	if err != nil {
		return Session{}, ErrCredentials
	}
	now := time.Now()
	s, err := g.store.Session(ctx, id, now)
	if errors.Is(err, ErrNotFound) || err == nil && (s.User != user || !s.ExpiresAt.After(now)) {
		return Session{}, ErrCredentials
	}
	if err != nil {
		return Session{}, err
	}
	if since := now.Sub(s.LastUsedAt); since >= touchEvery || since < 0 {
		_ = g.store.TouchSession(ctx, id, now, address) // it is a note, not a condition
	}
	return s, nil
}

// Sessions are those of this user that run, the one used last first.
func (g *Gate) Sessions(ctx context.Context, user string) ([]Session, error) {
	return g.store.Sessions(ctx, user, time.Now())
}

// End ends one session of this user. ErrNotFound when he has none of this id.
func (g *Gate) End(ctx context.Context, user, id string) error {
	return g.store.EndSession(ctx, user, id)
}

// EndAll ends all sessions of this user.
func (g *Gate) EndAll(ctx context.Context, user string) (int, error) {
	return g.store.EndSessions(ctx, user, "")
}

// EndOthers ends all sessions of this user but one.
func (g *Gate) EndOthers(ctx context.Context, user, keep string) (int, error) {
	return g.store.EndSessions(ctx, user, keep)
}

// reprove asks somebody who is logged in for his password again. His session
// has a count of its own: strangers cannot use it up.
func (g *Gate) reprove(ctx context.Context, s Session, from Client, try func(Account) error) error {
	a, err := g.store.Account(ctx, s.User)
	if err != nil {
		return err
	}
	return g.attempt(ctx, loginLockout, from, "session "+s.ID, func() error { return try(a) })
}

// ChangePassword sets a new password, ends all other sessions and returns the
// token of the device for the time after it. Errors: as of Login, *WeakError.
func (g *Gate) ChangePassword(ctx context.Context, s Session, current, next string, from Client) (device string, ended int, err error) {
	err = g.reprove(ctx, s, from, func(a Account) error {
		right, err := g.hasher.is(ctx, a.PasswordHash, current)
		if err == nil && !right {
			err = ErrCredentials
		}
		return err
	})
	if err != nil {
		return "", 0, err
	}
	if current == next {
		return "", 0, &WeakError{[]Weakness{Reused}}
	}
	ended, at, err := g.setPassword(ctx, s.User, next, s.ID, 1)
	if err != nil {
		return "", 0, err
	}
	device, err = g.newDevice(s.User, at)
	return device, ended, err
}

// setPassword sets a password that is good enough and not one of the last, of
// which the newest known need no look any more.
func (g *Gate) setPassword(ctx context.Context, user, password, keep string, known int) (ended int, at time.Time, err error) {
	if weak := Weaknesses(password, g.words...); weak != nil {
		return 0, at, &WeakError{weak}
	}
	before, err := g.store.PasswordHistory(ctx, user)
	if err != nil {
		return 0, at, err
	}
	for _, hash := range before[min(len(before), known):min(len(before), Remember)] {
		same, err := g.hasher.is(ctx, hash, password)
		if err != nil {
			return 0, at, err
		}
		if same {
			return 0, at, &WeakError{[]Weakness{Reused}}
		}
	}
	hash, err := g.hasher.hash(ctx, password)
	if err != nil {
		return 0, at, err
	}
	at = time.Now().UTC()
	ended, err = g.store.SetPassword(ctx, user, hash, at, keep)
	return ended, at, err
}
