package auth

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Admin is the name of the one account.
const Admin = "admin"

const (
	mostSessions   = 50
	touchEvery     = time.Minute
	setupCodeLife  = 24 * time.Hour
	attemptLock    = 5 * time.Second // waited for, while others are written down
	settleWithin   = 5 * time.Second
	keyBytes       = 32
	mostAgentBytes = 200
)

var (
	// ErrCredentials says no, and not why.
	ErrCredentials = errors.New("wrong name, password or code")
	// ErrCodeRequired says that the password was right and a code is missing.
	ErrCodeRequired = errors.New("the code of the second factor is missing")
)

// LockedError says that there were too many failures.
type LockedError struct{ Until time.Time }

func (e *LockedError) Error() string { return "too many failed attempts" }

// Options are what a Gate needs. Words and Cost may be empty.
type Options struct {
	Store      Store
	SessionKey []byte   // 32 bytes or more; a new one ends all sessions
	FactorKey  []byte   // 32 bytes or more; a new one ends all second factors
	Machine    string   // its name, for authenticator apps
	Words      []string // no password is made of
	Cost       int      // of bcrypt; 0 is 12, and only tests take less
}

// Gate decides who may come in. It may be used by several goroutines.
type Gate struct {
	store    Store
	hasher   *hasher
	sessions tokens
	devices  tokens
	setupKey []byte
	codeKey  []byte
	factors  box
	machine  string
	words    []string
	counting chan struct{} // one at a time looks at the attempts and adds his own
}

// New returns a Gate. Its error never quotes a key.
func New(o Options) (*Gate, error) {
	if o.Cost == 0 {
		o.Cost = bcryptCost
	}
	g := &Gate{
		store: o.Store, hasher: newHasher(o.Cost), machine: o.Machine,
		words: append([]string{o.Machine}, o.Words...), counting: make(chan struct{}, 1),
	}
	if len(o.SessionKey) < keyBytes || len(o.FactorKey) < keyBytes {
		return nil, fmt.Errorf("a key is shorter than %d bytes", keyBytes)
	}
	derive := func(key []byte, purpose string) []byte {
		k, err := hkdf.Key(sha256.New, key, nil, "arasul "+purpose, keyBytes)
		if err != nil {
			panic(err) // the length is ours
		}
		return k
	}
	g.sessions = tokens{forSession, derive(o.SessionKey, "session token")}
	g.devices = tokens{forDevice, derive(o.SessionKey, "device token")}
	g.setupKey = derive(o.SessionKey, "setup code")
	g.codeKey = derive(o.FactorKey, "recovery code")
	var err error
	g.factors, err = newBox(derive(o.FactorKey, "second factor"))
	return g, err
}

// Client is who asks, as far as we can tell.
type Client struct {
	Address netip.Addr
	Agent   string
	Device  string // the token of a device, if it shows one
	Session string // the id of the session it has already, if any
	Bearer  bool   // wants its token as text, not in a cookie
}

// Entry is what somebody gets who may come in. The tokens are for him alone.
type Entry struct {
	Session Session
	Token   string
	Device  string // for the next login from there
	Ended   bool   // another session was ended for it
}

// Ready says whether there is an admin.
func (g *Gate) Ready(ctx context.Context) (bool, error) {
	_, err := g.store.Account(ctx, Admin)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Account returns the account of this user.
func (g *Gate) Account(ctx context.Context, user string) (Account, error) {
	return g.store.Account(ctx, user)
}

// Login lets in who knows the password, and the code when TOTP is on. Errors:
// *LockedError, ErrCredentials, ErrCodeRequired, ErrBusy, or the store's.
func (g *Gate) Login(ctx context.Context, user, password, code string, from Client) (Entry, error) {
	account, err := g.store.Account(ctx, user)
	if errors.Is(err, ErrNotFound) {
		account, err = Account{}, nil
	}
	if err != nil {
		return Entry{}, err
	}
	err = g.attempt(ctx, loginLockout, from, g.device(account, from.Device), func() error {
		return g.prove(ctx, account, password, code)
	})
	if err != nil {
		return Entry{}, err
	}
	return g.enter(ctx, account, from)
}

// prove checks both factors.
func (g *Gate) prove(ctx context.Context, a Account, password, code string) error {
	right, err := g.hasher.is(ctx, a.PasswordHash, password)
	if err != nil {
		return err
	}
	if !right {
		return ErrCredentials
	}
	if a.Factor.Secret == nil {
		return nil
	}
	if typed(code) == "" {
		return ErrCodeRequired
	}
	return g.useCode(context.WithoutCancel(ctx), a, code)
}

// device returns the id of a device that this account knows, or "".
func (g *Gate) device(a Account, token string) string {
	if token == "" {
		return ""
	}
	user, id, at, err := g.devices.read(token)
	if err != nil || user != a.User || at.Before(a.PasswordChangedAt.Truncate(time.Second)) {
		return ""
	}
	return "device " + id
}

// attempt runs try, if this client may try now, and keeps how it ended.
func (g *Gate) attempt(ctx context.Context, rule Lockout, from Client, device string, try func() error) error {
	id, err := g.begin(ctx, rule, from, device)
	if err != nil {
		return err
	}
	err = try()
	result := AttemptIncomplete
	switch {
	case err == nil:
		result = AttemptSucceeded
	case errors.Is(err, ErrCredentials):
		return err // it stands there already
	}
	settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleWithin)
	defer cancel()
	if failed := g.store.SettleAttempt(settle, id, result); failed != nil && err == nil {
		return failed
	}
	return err
}

// begin writes the attempt down as a failure, unless there were too many.
func (g *Gate) begin(ctx context.Context, rule Lockout, from Client, device string) (id int64, err error) {
	patience := time.NewTimer(attemptLock)
	defer patience.Stop()
	select {
	case g.counting <- struct{}{}:
	case <-patience.C:
		return 0, ErrBusy
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { <-g.counting }()
	now, network := time.Now(), Network(from.Address)
	past, err := g.store.Attempts(ctx, now.Add(-rule.memory()))
	if err != nil {
		return 0, err
	}
	if until := rule.Judge(past, network, device, now); !until.IsZero() {
		return 0, &LockedError{until}
	}
	return g.store.AddAttempt(ctx, Attempt{At: now, Network: network, Device: device, Result: AttemptFailed})
}

// enter opens a new session, in place of the one that the client had. What it
// had is never taken over: somebody else may have put it there.
func (g *Gate) enter(ctx context.Context, a Account, from Client) (Entry, error) {
	now := time.Now().UTC().Truncate(time.Second)
	s := Session{
		ID: rand.Text(), User: a.User, Bearer: from.Bearer, Agent: from.Agent[:min(len(from.Agent), mostAgentBytes)],
		CreatedAt: now, LastUsedAt: now, ExpiresAt: now.Add(sessionLife),
	}
	if from.Address.IsValid() {
		s.Address = from.Address.String()
	}
	e := Entry{Session: s}
	var err error
	if e.Token, err = g.sessions.make(s.User, s.ID, now, s.ExpiresAt); err != nil {
		return Entry{}, err
	}
	if e.Device, err = g.newDevice(a.User, now); err != nil {
		return Entry{}, err
	}
	ended, err := g.store.OpenSession(ctx, s, mostSessions)
	if err != nil {
		return Entry{}, err
	}
	e.Ended = ended > 0
	if from.Session != "" {
		err = g.store.EndSession(ctx, a.User, from.Session)
		e.Ended = e.Ended || err == nil
	}
	return e, nil
}

func (g *Gate) newDevice(user string, now time.Time) (string, error) {
	return g.devices.make(user, rand.Text(), now, now.Add(DeviceLife))
}
