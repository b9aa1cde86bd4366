package proxy

import (
	"hash/maphash"
	"sync"
	"time"
)

const (
	maxCounts = 8192 // clients that are counted one by one, in each class and window
	shared    = 256  // counts that all others share
)

// counter counts requests by client in windows of time, for httprate, whose own
// counter grows with every address it meets. This one counts the first
// thousands one by one and lets the rest share: who comes from more addresses
// than that slows down other newcomers, but never takes our memory.
type counter struct {
	mu          sync.Mutex
	seed        maphash.Seed
	window      time.Duration
	latest      time.Time
	now, before counts
}

type counts struct {
	own    map[uint64]int32
	shared [shared]int32
}

func newCounter() *counter {
	return &counter{seed: maphash.MakeSeed(), now: counts{own: make(map[uint64]int32)}, before: counts{own: make(map[uint64]int32)}}
}

// Config is told the length of the windows.
func (c *counter) Config(_ int, window time.Duration) { c.window = window }

// Increment counts one request.
func (c *counter) Increment(key string, window time.Time) error {
	return c.IncrementBy(key, window, 1)
}

// IncrementBy counts some, or takes them back.
func (c *counter) IncrementBy(key string, window time.Time, amount int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn(window)
	c.now.add(maphash.String(c.seed, key), int32(amount)) //nolint:gosec // 1 or -1
	return nil
}

// Get returns the counts of a client in this window and the one before.
func (c *counter) Get(key string, window, _ time.Time) (current, previous int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn(window)
	k := maphash.String(c.seed, key)
	return c.now.get(k), c.before.get(k), nil
}

// turn begins a new window when it is time.
func (c *counter) turn(window time.Time) {
	if !window.After(c.latest) {
		return
	}
	c.before, c.now = c.now, c.before
	c.now.clear()
	if !window.Equal(c.latest.Add(c.window)) {
		c.before.clear() // nobody came for a while
	}
	c.latest = window
}

func (c *counts) add(key uint64, amount int32) {
	n, known := c.own[key]
	switch {
	case known || len(c.own) < maxCounts:
		c.own[key] = max(0, n+amount)
	default:
		s := &c.shared[key%shared]
		*s = max(0, *s+amount)
	}
}

func (c *counts) get(key uint64) int {
	if n, known := c.own[key]; known {
		return int(n)
	}
	if len(c.own) < maxCounts {
		return 0
	}
	return int(c.shared[key%shared])
}

// clear makes a new map: an old one keeps its size.
func (c *counts) clear() {
	if len(c.own) > 0 {
		c.own = make(map[uint64]int32)
	}
	c.shared = [shared]int32{}
}
