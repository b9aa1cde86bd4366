package auth

import (
	"bytes"
	"context"
	"slices"
	"time"
)

// memory is a store for one test, which ends with it. It counts on the test to
// ask for one thing at a time.
type memory struct {
	account  *Account
	history  []string
	sessions []Session
	attempts []Attempt
	code     []byte
	expires  time.Time
	broken   error
}

func (m *memory) Account(_ context.Context, user string) (Account, error) {
	if m.broken != nil {
		return Account{}, m.broken
	}
	if m.account == nil || m.account.User != user {
		return Account{}, ErrNotFound
	}
	return *m.account, nil
}

func (m *memory) CreateAccount(_ context.Context, a Account) error {
	if m.account != nil {
		return ErrExists
	}
	m.account, m.history, m.code = &a, []string{a.PasswordHash}, nil
	return nil
}

func (m *memory) SetPassword(ctx context.Context, user, hash string, at time.Time, keep string) (int, error) {
	m.account.PasswordHash, m.account.PasswordChangedAt = hash, at
	m.history = append([]string{hash}, m.history...)
	return m.EndSessions(ctx, user, keep)
}

func (m *memory) PasswordHistory(context.Context, string) ([]string, error) {
	return m.history[:min(len(m.history), Remember)], nil
}

func (m *memory) SetFactor(_ context.Context, _ string, f Factor) error {
	m.account.Factor = f
	return nil
}

func (m *memory) UseStep(_ context.Context, _ string, step int64) (bool, error) {
	if step <= m.account.Factor.Step {
		return false, nil
	}
	m.account.Factor.Step = step
	return true, nil
}

func (m *memory) UseRecovery(_ context.Context, _ string, hash []byte) (bool, error) {
	before := len(m.account.Factor.Recovery)
	m.account.Factor.Recovery = slices.DeleteFunc(m.account.Factor.Recovery, func(h []byte) bool { return bytes.Equal(h, hash) })
	return len(m.account.Factor.Recovery) < before, nil
}

func (m *memory) OpenSession(_ context.Context, s Session, most int) (int, error) {
	m.sessions = append(m.sessions, s)
	ended := max(0, len(m.sessions)-most)
	m.sessions = m.sessions[ended:]
	return ended, nil
}

func (m *memory) Session(_ context.Context, id string, now time.Time) (Session, error) {
	if m.broken != nil {
		return Session{}, m.broken
	}
	for _, s := range m.sessions {
		if s.ID == id && s.ExpiresAt.After(now) {
			return s, nil
		}
	}
	return Session{}, ErrNotFound
}

func (m *memory) Sessions(context.Context, string, time.Time) ([]Session, error) {
	return m.sessions, nil
}

func (m *memory) TouchSession(_ context.Context, id string, at time.Time, _ string) error {
	for n := range m.sessions {
		if m.sessions[n].ID == id {
			m.sessions[n].LastUsedAt = at
		}
	}
	return nil
}

func (m *memory) EndSession(_ context.Context, _, id string) error {
	before := len(m.sessions)
	m.sessions = slices.DeleteFunc(m.sessions, func(s Session) bool { return s.ID == id })
	if len(m.sessions) == before {
		return ErrNotFound
	}
	return nil
}

func (m *memory) EndSessions(_ context.Context, _, keep string) (int, error) {
	before := len(m.sessions)
	m.sessions = slices.DeleteFunc(m.sessions, func(s Session) bool { return s.ID != keep })
	return before - len(m.sessions), nil
}

func (m *memory) Attempts(_ context.Context, since time.Time) (past []Attempt, _ error) {
	for _, a := range m.attempts {
		if !a.At.Before(since) {
			past = append(past, a)
		}
	}
	return past, nil
}

func (m *memory) AddAttempt(_ context.Context, a Attempt) (int64, error) {
	m.attempts = append(m.attempts, a)
	return int64(len(m.attempts) - 1), nil
}

func (m *memory) SettleAttempt(_ context.Context, id int64, r AttemptResult) error {
	m.attempts[id].Result = r
	return nil
}

func (m *memory) ForgetAttempts(context.Context) error {
	m.attempts = nil
	return nil
}

func (m *memory) SetSetupCode(_ context.Context, hash []byte, expires time.Time) error {
	m.code, m.expires = hash, expires
	return nil
}

func (m *memory) SetupCode(_ context.Context, now time.Time) ([]byte, error) {
	if m.code == nil || !m.expires.After(now) {
		return nil, ErrNotFound
	}
	return m.code, nil
}
