package auth

import (
	"context"
	"errors"
	"time"
)

// ErrNoFactor says that there is no second factor to confirm or to end.
var ErrNoFactor = errors.New("there is no second factor")

// useCode lets a code of the authenticator app or a recovery code count once.
func (g *Gate) useCode(ctx context.Context, a Account, code string) error {
	used := false
	if d := digits(code); d != "" {
		secret, err := g.factors.open(a.User, a.Factor.Secret)
		if err != nil {
			return err
		}
		if at, ok := step(secret, d, time.Now()); ok {
			if used, err = g.store.UseStep(ctx, a.User, at); err != nil {
				return err
			}
		}
	} else {
		var err error
		if used, err = g.store.UseRecovery(ctx, a.User, seal(g.codeKey, code)); err != nil {
			return err
		}
	}
	if !used {
		return ErrCredentials
	}
	return nil
}

// Enroll begins to set up TOTP. It returns the secret for the authenticator app,
// as text and as what a QR code says; nothing changes until Confirm. ErrExists
// when TOTP is on already; other errors are those of Login.
func (g *Gate) Enroll(ctx context.Context, s Session, password string, from Client) (secret, uri string, err error) {
	var f Factor
	err = g.reprove(ctx, s, from, func(a Account) error {
		if a.Factor.Secret != nil {
			return ErrExists
		}
		return g.prove(ctx, a, password, "")
	})
	if err != nil {
		return "", "", err
	}
	fresh := newTOTPSecret()
	f.Pending = g.factors.shut(s.User, fresh)
	if err := g.store.SetFactor(ctx, s.User, f); err != nil {
		return "", "", err
	}
	return secretText(fresh), totpURI(fresh, s.User, g.machine), nil
}

// Confirm turns TOTP on, for who has a code of the secret that Enroll gave, and
// ends all other sessions: they came in with less. It returns recovery codes,
// each for one login without the app. Errors: ErrNoFactor, ErrCredentials,
// *LockedError, or the store's.
func (g *Gate) Confirm(ctx context.Context, s Session, code string, from Client) (recovery []string, ended int, err error) {
	var f Factor
	err = g.reprove(ctx, s, from, func(a Account) error {
		if a.Factor.Pending == nil || a.Factor.Secret != nil {
			return ErrNoFactor
		}
		secret, err := g.factors.open(a.User, a.Factor.Pending)
		if err != nil {
			return err
		}
		at, ok := step(secret, digits(code), time.Now())
		if !ok {
			return ErrCredentials
		}
		f = Factor{Secret: a.Factor.Pending, Step: at}
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	for range recoveryCodes {
		c := newCode(recoveryCodeLength)
		recovery = append(recovery, c)
		f.Recovery = append(f.Recovery, seal(g.codeKey, c))
	}
	if err := g.store.SetFactor(ctx, s.User, f); err != nil {
		return nil, 0, err
	}
	ended, err = g.store.EndSessions(ctx, s.User, s.ID)
	return recovery, ended, err
}

// Disable turns TOTP off, for who has both factors. Errors are those of Confirm
// and Login.
func (g *Gate) Disable(ctx context.Context, s Session, password, code string, from Client) error {
	err := g.reprove(ctx, s, from, func(a Account) error {
		if a.Factor.Secret == nil {
			return ErrNoFactor
		}
		return g.prove(ctx, a, password, code)
	})
	if err != nil {
		return err
	}
	return g.store.SetFactor(ctx, s.User, Factor{})
}

// DropFactor turns TOTP off without asking for anything. It is for the console.
func (g *Gate) DropFactor(ctx context.Context) error {
	return g.store.SetFactor(ctx, Admin, Factor{})
}
