package proxy

import (
	"math"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/go-chi/httprate"
)

// class is how often one client may come.
type class int

const (
	pages class = iota
	general
	auth
	authReading
	login
	models
	metrics
	webhooks
	objects
	transfer
	classes int = iota
)

// rates are AUTH-5's, and where it does not say, ours.
var rates = [classes]struct {
	requests int
	window   time.Duration
}{
	login:    {5, 15 * time.Minute}, // and setup; those that succeed are not counted
	auth:     {5, time.Minute},      // what changes passwords and sessions
	models:   {10, time.Second},
	metrics:  {20, time.Second},
	webhooks: {100, time.Minute},
	general:  {100, time.Minute},
	// The page asks who is logged in each time it is loaded, and shows the
	// list of sessions: that reveals nothing to somebody who guesses.
	authReading: {60, time.Minute},
	// n8n's editor is several hundred files, twice that with its source maps,
	// and saves as its user types.
	pages: {3000, time.Minute},
	// A client of S3 sends one request for each object.
	objects: {500, time.Second},
	// A release comes in slices of a few MiB.
	transfer: {3000, time.Minute},
}

// How many requests of one client may be under way, and how many of those that
// may take minutes: WebSockets, streams, models, webhooks. A load of 50 at once
// on the models is allowed for.
const (
	atOnce     = 256
	longAtOnce = 64
)

// allowance keeps one client from taking everything from the others.
type allowance struct {
	rates [classes]*limiter
	all   crowd
	long  crowd
}

func newAllowance() *allowance {
	l := &allowance{all: crowd{most: atOnce}, long: crowd{most: longAtOnce}}
	for c, rate := range rates {
		l.rates[c] = newLimiter(rate.requests, rate.window)
	}
	return l
}

// of says which class a request counts in.
func (t *route) of(r *http.Request) class {
	if reading := r.Method == http.MethodGet || r.Method == http.MethodHead; reading && (t.rate == auth || t.rate == login) {
		return authReading
	}
	return t.rate
}

// limiter is one class.
type limiter struct {
	requests int
	window   time.Duration
	counter  *counter
	rate     *httprate.RateLimiter
}

func newLimiter(requests int, window time.Duration) *limiter {
	c := newCounter()
	return &limiter{requests, window, c, httprate.NewRateLimiter(requests, window,
		httprate.WithLimitCounter(c), httprate.WithResponseHeaders(httprate.ResponseHeaders{}))}
}

// take counts a request of a client. When it is one too many, wait is how long
// the client should.
func (l *limiter) take(w http.ResponseWriter, r *http.Request, client netip.Addr) (wait time.Duration) {
	key := client.String()
	if !l.rate.OnLimit(w, r, key) {
		return 0
	}
	now := time.Now().UTC()
	window := now.Truncate(l.window)
	current, previous, _ := l.counter.Get(key, window, window.Add(-l.window))
	return until(l.requests, l.window, now.Sub(window), current, previous)
}

// giveBack takes back what take counted: the request turned out to be one that
// nobody need be protected from.
func (l *limiter) giveBack(client netip.Addr) {
	_ = l.counter.IncrementBy(client.String(), time.Now().UTC().Truncate(l.window), -1)
}

// until says when the next request fits. Httprate counts those of the window
// before by the part of it that is within a window that ends now; so it is a
// question of when that part is small enough, in this window or the next.
func until(requests int, window, gone time.Duration, current, previous int) time.Duration {
	room := float64(requests) - 0.5 // it rounds
	part := func(of int, room float64) time.Duration {
		return time.Duration(math.Ceil(float64(window) * max(0, 1-room/float64(of))))
	}
	var wait time.Duration
	switch free := room - float64(current); {
	case free > 0 && previous > 0:
		wait = part(previous, free) - gone
	default:
		wait = window - gone + part(max(current, 1), room)
	}
	return max(wait, time.Second)
}

// retryAfter is a wait as a header says it, in whole seconds.
func retryAfter(wait time.Duration) int { return int(math.Ceil(wait.Seconds())) }

// crowd counts requests under way by client.
type crowd struct {
	most int

	mu sync.Mutex
	in map[netip.Addr]int
}

func (c *crowd) enter(client netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.in[client] >= c.most {
		return false
	}
	if c.in == nil {
		c.in = make(map[netip.Addr]int)
	}
	c.in[client]++
	return true
}

func (c *crowd) leave(client netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.in[client]--; c.in[client] <= 0 {
		delete(c.in, client)
	}
}
