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
}

// Restart clears the unit's start limit and restarts it, which starts a unit
// that is not running. The error names systemd's job result when that was not
// "done".
func (h *Hands) Restart(ctx context.Context, unit string) error {
	c, err := h.conn()
	if err != nil {
		return err
	}
	// Not failed is fine: there is nothing to reset.
	_ = c.ResetFailedUnitContext(ctx, unit)
	return job(ctx, unit, "restart", c.RestartUnitContext)
}

// StopStart stops the unit, waits until it is gone, and starts it anew: what a
// restart cannot do when a process lingers from the run before.
func (h *Hands) StopStart(ctx context.Context, unit string) error {
	c, err := h.conn()
	if err != nil {
		return err
	}
	if err := job(ctx, unit, "stop", c.StopUnitContext); err != nil {
		return err
	}
	_ = c.ResetFailedUnitContext(ctx, unit)
	return job(ctx, unit, "start", c.StartUnitContext)
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
	c, err := connect(context.Background())
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

type start func(ctx context.Context, unit, mode string, result chan<- string) (int, error)

func job(ctx context.Context, unit, verb string, f start) error {
	result := make(chan string, 1) // buffered: go-systemd blocks on it
	if _, err := f(ctx, unit, "replace", result); err != nil {
		return fmt.Errorf("asking systemd to %s %s: %w", verb, unit, err)
	}
	select {
	case r := <-result:
		if r != "done" {
			return fmt.Errorf("systemd's job to %s %s ended as %q", verb, unit, r)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for systemd to %s %s: %w", verb, unit, context.Cause(ctx))
	}
}
