package auth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const (
	bcryptCost   = 12
	hashesAtOnce = 2 // each keeps a core busy for a fifth of a second, or two on a small board
	hashQueue    = 64
	hashPatience = 5 * time.Second
)

// ErrBusy says that others kept the hashing busy for too long.
var ErrBusy = errors.New("too many logins at once")

// hasher hashes passwords, a few at a time: more would starve the machine.
type hasher struct {
	cost    int
	slots   chan struct{}
	waiting atomic.Int64
	done    atomic.Int64 // hashes, right or wrong
	dummy   func() string
}

func newHasher(cost int) *hasher {
	return &hasher{cost: cost, slots: make(chan struct{}, hashesAtOnce), dummy: sync.OnceValue(func() string {
		h, err := bcrypt.GenerateFromPassword([]byte("nobody's password"), cost)
		if err != nil {
			panic(err) // the cost is ours, and so is the password
		}
		return string(h)
	})}
}

// turn waits until there is room for one more hash.
func (h *hasher) turn(ctx context.Context) (leave func(), err error) {
	if h.waiting.Add(1) > hashQueue {
		h.waiting.Add(-1)
		return nil, ErrBusy
	}
	defer h.waiting.Add(-1)
	patience := time.NewTimer(hashPatience)
	defer patience.Stop()
	select {
	case h.slots <- struct{}{}:
		h.done.Add(1)
		return func() { <-h.slots }, nil
	case <-patience.C:
		return nil, ErrBusy
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	leave, err := h.turn(ctx)
	if err != nil {
		return "", err
	}
	defer leave()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), h.cost)
	if err != nil {
		return "", fmt.Errorf("hashing: %w", err)
	}
	return string(hash), nil
}

// is says whether hash is of this password. It takes as long when there is no
// hash to compare with.
func (h *hasher) is(ctx context.Context, hash, password string) (bool, error) {
	if !usable(password) {
		return false, nil // bcrypt would look at the first 72 bytes only
	}
	leave, err := h.turn(ctx)
	if err != nil {
		return false, err
	}
	defer leave()
	if hash == "" {
		_ = bcrypt.CompareHashAndPassword([]byte(h.dummy()), []byte(password))
		return false, nil
	}
	err = bcrypt.CompareHashAndPassword([]byte(hash), []byte(password))
	if err != nil && !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		return false, fmt.Errorf("comparing: %w", err)
	}
	return err == nil, nil
}
