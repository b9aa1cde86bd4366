package systemd

import (
	"context"
	"fmt"
	"sync"
)

// Hands moves units. The zero value is ready to use; it connects when first
// needed and again after the bus was lost. Each method waits for systemd's job
// and is bounded by its context.
type Hands struct {
	mu sync.Mutex
	c  *conn

	options options
}

// Restart clears the unit's start limit and restarts it, which starts a unit
// that is not running. The error names systemd's job result when that was not
// "done".
func (h *Hands) Restart(ctx context.Context, unit string) error {
	c, err := h.conn()
	if err != nil {
		return err
	}
	c.resetFailed(ctx, unit)
	return c.job(ctx, unit, "restart", c.RestartUnitContext)
}

// StopStart stops the unit, waits until it is gone, and starts it anew: what a
// restart cannot do when a process lingers from the run before.
func (h *Hands) StopStart(ctx context.Context, unit string) error {
	c, err := h.conn()
	if err != nil {
		return err
	}
	if err := c.job(ctx, unit, "stop", c.StopUnitContext); err != nil {
		return err
	}
	c.resetFailed(ctx, unit)
	return c.job(ctx, unit, "start", c.StartUnitContext)
}

// Close ends the connection.
func (h *Hands) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.c != nil {
		h.c.Close()
		h.c = nil
	}
}

func (h *Hands) conn() (*conn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.c != nil && h.c.Connected() {
		return h.c, nil
	}
	// Not the caller's context: the connection outlives the call. connect has
	// its own limit.
	c, err := connect(context.Background(), h.options)
	if err != nil {
		return nil, err
	}
	go func() { // nobody reads the signals here
		for range c.signals {
		}
	}()
	h.c = c
	return c, nil
}

// resetFailed clears the start limit. A unit that has not failed has nothing to
// clear, and what else may be wrong the job will show.
func (c *conn) resetFailed(ctx context.Context, unit string) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	_ = c.ResetFailedUnitContext(ctx, unit)
}

type start func(ctx context.Context, unit, mode string, result chan<- string) (int, error)

// job asks for a job and waits for its end. A connection over which nobody
// answers is closed, so that the next attempt looks for another way.
func (c *conn) job(ctx context.Context, unit, verb string, f start) error {
	result := make(chan string, 1) // buffered: go-systemd blocks on it
	askCtx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if _, err := f(askCtx, unit, "replace", result); err != nil {
		if askCtx.Err() != nil {
			c.Close()
		}
		return fmt.Errorf("asking systemd to %s %s: %w", verb, unit, err)
	}
	select {
	case r := <-result:
		if r != "done" {
			return fmt.Errorf("systemd's job to %s %s ended as %q", verb, unit, r)
		}
		return nil
	case <-c.lost:
		return fmt.Errorf("waiting for systemd to %s %s: %w", verb, unit, errLost)
	case <-ctx.Done():
		return fmt.Errorf("waiting for systemd to %s %s: %w", verb, unit, context.Cause(ctx))
	}
}
