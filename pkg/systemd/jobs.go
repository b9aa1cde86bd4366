package systemd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/arasul/arasul/pkg/api"
)

// Hands moves units. The zero value is ready to use; it connects when first
// needed and again after the bus was lost. Each method is bounded by its
// context and returns nil only when what it does is done and was looked at.
//
// Two calls for the same unit at once may share one job of systemd's, whose end
// only one of them hears of: the caller does one thing at a time.
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
	_ = c.resetFailed(ctx, unit)
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
	_ = c.resetFailed(ctx, unit)
	return c.job(ctx, unit, "start", c.StartUnitContext)
}

// Start clears the unit's start limit, starts it, and sees it active. A unit
// that is active already stays as it is.
func (h *Hands) Start(ctx context.Context, unit string) error {
	c, err := h.conn()
	if err != nil {
		return err
	}
	_ = c.resetFailed(ctx, unit)
	if err := c.job(ctx, unit, "start", c.StartUnitContext); err != nil {
		return err
	}
	p, err := c.properties(ctx, unit)
	if err != nil {
		return err
	}
	if state := get[string](p, "ActiveState"); state != "active" && !p.ranWell() {
		return fmt.Errorf("systemd started %s, and it is %s", unit, state)
	}
	return nil
}

// Stop stops the unit and sees that it is gone. A unit that is not running
// stays as it is. Restart= does not bring it back; a request on its socket may,
// which is an error here.
func (h *Hands) Stop(ctx context.Context, unit string) error {
	c, err := h.conn()
	if err != nil {
		return err
	}
	if err := c.job(ctx, unit, "stop", c.StopUnitContext); err != nil {
		return err
	}
	p, err := c.properties(ctx, unit)
	if err != nil {
		return err
	}
	if state := get[string](p, "ActiveState"); state != "inactive" && state != "failed" {
		return fmt.Errorf("systemd stopped %s, and it is %s again: something else has started it", unit, state)
	}
	return nil
}

// Run starts a oneshot unit and waits until it has ended well; one that runs
// already is waited for. When ctx ends first, the unit goes on until its own
// TimeoutStartSec=.
func (h *Hands) Run(ctx context.Context, unit string) error {
	c, err := h.conn()
	if err != nil {
		return err
	}
	p, err := c.properties(ctx, unit)
	if err != nil {
		return err
	}
	if state := get[string](p, "LoadState"); state != "loaded" {
		return fmt.Errorf("running %s: the unit is %s", unit, state)
	}
	if kind := get[string](p, "Type"); kind != "oneshot" {
		return fmt.Errorf("running %s: it is of type %q, and would not end", unit, kind)
	}
	// systemd forgets a unit that has ended well, and with it that it did.
	if c.manager(ctx, "RefUnit", unit) == nil {
		defer func() { _ = c.manager(context.WithoutCancel(ctx), "UnrefUnit", unit) }()
	}
	_ = c.resetFailed(ctx, unit)
	err = c.job(ctx, unit, "run", c.StartUnitContext)
	if end := (*jobError)(nil); err != nil && !errors.As(err, &end) {
		return err
	}
	if p, readErr := c.properties(ctx, unit); readErr != nil {
		return errors.Join(err, readErr)
	} else if result := get[string](p, "Result"); result != "" && result != "success" {
		return fmt.Errorf("%s failed (%s, status %d); its log: journalctl -u %s", unit, result, get[int32](p, "ExecMainStatus"), unit)
	} else if looked := get[uint64](p, "ConditionTimestamp") > 0; err == nil && looked && !get[bool](p, "ConditionResult") {
		return fmt.Errorf("%s did not run: one of its conditions is not met", unit)
	}
	if err != nil { // and systemd has forgotten how it ended
		err = fmt.Errorf("%w; its log: journalctl -u %s", err, unit)
	}
	return err
}

// Reload has systemd read its units again.
func (h *Hands) Reload(ctx context.Context) error {
	c, err := h.conn()
	if err != nil {
		return err
	}
	if err := c.ReloadContext(ctx); err != nil {
		return fmt.Errorf("having systemd read its units: %w", err)
	}
	return nil
}

// Units returns the units that match the patterns, such as arasul-*.service.
func (h *Hands) Units(ctx context.Context, patterns ...string) ([]api.Unit, error) {
	c, err := h.conn()
	if err != nil {
		return nil, err
	}
	return c.all(ctx, patterns, nil, true)
}

// ForgetFailures sets the unit's count of restarts to zero, so that systemd's
// back-off and start limit begin anew; systemd itself never forgets. The unit
// is not touched.
func (h *Hands) ForgetFailures(ctx context.Context, unit string) error {
	c, err := h.conn()
	if err != nil {
		return err
	}
	resetErr := c.resetFailed(ctx, unit)
	p, err := c.properties(ctx, unit)
	if err != nil {
		return err
	}
	if n := get[uint32](p, "NRestarts"); n > 0 {
		return fmt.Errorf("forgetting the %d restarts of %s: %w", n, unit, cmp.Or(resetErr, errors.New("systemd still counts them")))
	}
	return nil // a unit that is not loaded has nothing to forget
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

// resetFailed clears the start limit. Most callers need not look at the error:
// a unit that has not failed has nothing to clear, and what else may be wrong
// the job will show.
func (c *conn) resetFailed(ctx context.Context, unit string) error {
	return c.short(ctx, func(ctx context.Context) error { return c.ResetFailedUnitContext(ctx, unit) })
}

// ask asks for a job and returns where its result will be.
func (c *conn) ask(ctx context.Context, unit, verb string, f start) (<-chan string, error) {
	result := make(chan string, 1) // buffered: go-systemd blocks on it
	err := c.short(ctx, func(ctx context.Context) error {
		_, err := f(ctx, unit, "replace", result)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("asking systemd to %s %s: %w", verb, unit, err)
	}
	return result, nil
}

// manager calls a method of systemd's that go-systemd lacks.
func (c *conn) manager(ctx context.Context, method string, args ...any) error {
	return c.short(ctx, func(ctx context.Context) error {
		return c.bus.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1").CallWithContext(ctx, "org.freedesktop.systemd1.Manager."+method, 0, args...).Err
	})
}

type start func(ctx context.Context, unit, mode string, result chan<- string) (int, error)

// job asks for a job and waits for its end.
func (c *conn) job(ctx context.Context, unit, verb string, f start) error {
	result, err := c.ask(ctx, unit, verb, f)
	if err != nil {
		return err
	}
	return c.wait(ctx, unit, verb, result)
}

// wait waits for the result of a job.
func (c *conn) wait(ctx context.Context, unit, verb string, result <-chan string) error {
	select {
	case r := <-result:
		if r != "done" {
			return &jobError{verb, unit, r}
		}
		return nil
	case <-c.lost:
		return fmt.Errorf("waiting for systemd to %s %s: %w", verb, unit, errLost)
	case <-ctx.Done():
		return fmt.Errorf("waiting for systemd to %s %s: %w", verb, unit, context.Cause(ctx))
	}
}

// jobError is a job that ended, but not as it should.
type jobError struct{ verb, unit, result string }

func (e *jobError) Error() string {
	return fmt.Sprintf("systemd's job to %s %s ended as %q", e.verb, e.unit, e.result)
}
