package systemd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// HardRestart stops the units, last first, and when all are gone starts them,
// first first: units are named in the order in which they start. It waits for
// each, and leaves alone what is not installed or was not running, because
// somebody stopped it.
//
// Stops may take half of the time that ctx leaves. What has not stopped by then
// is restarted instead, and what there is no time to wait for is asked for
// nevertheless: whatever goes wrong, every unit that was running is told to
// start. The error says all that went wrong.
func (h *Hands) HardRestart(ctx context.Context, units []string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c, err := h.conn()
	if err != nil {
		return err
	}
	var errs []error
	var todo []string
	for _, unit := range units {
		p, err := c.properties(ctx, unit)
		switch {
		case err != nil:
			errs = append(errs, err)
		case get[string](p, "LoadState") == "loaded" && get[string](p, "ActiveState") != "inactive":
			todo = append(todo, unit)
		}
	}
	if len(todo) == 0 {
		errs = append(errs, errors.New("none of the units was running"))
	}
	stopping, cancel := halfOf(ctx)
	defer cancel()
	stopped := map[string]bool{}
	for _, unit := range slices.Backward(todo) {
		if stopping.Err() != nil {
			errs = append(errs, fmt.Errorf("no time to stop %s", unit))
			continue
		}
		if err := c.job(stopping, unit, "stop", c.StopUnitContext); err != nil {
			errs = append(errs, err)
			continue
		}
		stopped[unit] = true
	}
	for _, unit := range todo {
		if err := h.startAfterAll(ctx, unit, stopped[unit]); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("hard restart: %w", inOneLine(errs))
	}
	return nil
}

// startAfterAll starts a unit, or restarts one that did not stop. It asks even
// if ctx has ended, and waits only while it has not. The connection may have
// been lost on the way here.
func (h *Hands) startAfterAll(ctx context.Context, unit string, stopped bool) error {
	c, err := h.conn()
	if err != nil {
		return err
	}
	verb, f := "start", c.StartUnitContext
	if !stopped {
		verb, f = "restart", c.RestartUnitContext
	}
	asking := context.WithoutCancel(ctx)
	_ = c.resetFailed(asking, unit)
	result, err := c.ask(asking, unit, verb, f)
	if err != nil {
		return err
	}
	return c.wait(ctx, unit, verb, result)
}

// halfOf bounds what it returns to half of the time that ctx has left.
func halfOf(ctx context.Context) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(end)/2)
}

// inOneLine joins errors as errors.Join does, for logs and tables.
func inOneLine(errs []error) error {
	err := errs[0]
	for _, e := range errs[1:] {
		err = fmt.Errorf("%w; %w", err, e)
	}
	return err
}
