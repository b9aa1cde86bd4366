package systemd

import (
	"context"
	"errors"
	"fmt"
	"math"
	"syscall"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// Pause stops all processes of a running unit where they are, until Resume; a
// unit that is paused already stays so. Nothing is lost and nothing is
// restarted: the unit remains active, and its peers wait for it. To stop or
// restart the unit ends the pause.
//
// The freezer of its control group does it, and systemd shows that it did.
// Where there is none (control groups of version 1) every process is sent
// SIGSTOP, which each is known to have got, and a program can see.
//
// A unit with WatchdogSec= is refused: its own watchdog would kill it. After
// an error the unit runs as before, as far as that could be had.
func (h *Hands) Pause(ctx context.Context, unit string) error {
	c, err := h.conn()
	if err != nil {
		return err
	}
	p, err := c.properties(ctx, unit)
	if err != nil {
		return err
	}
	if state := get[string](p, "ActiveState"); state != "active" {
		return fmt.Errorf("pausing %s: it is %s, and only what is active can be paused", unit, state)
	}
	if limit := get[uint64](p, "WatchdogUSec"); limit != 0 && limit != math.MaxUint64 {
		return fmt.Errorf("pausing %s: it has a watchdog (WatchdogSec=), which would kill it", unit)
	}
	if freezer(p) == frozen {
		return nil
	}
	err = c.short(ctx, func(ctx context.Context) error { return c.FreezeUnit(ctx, unit) })
	if noFreezer(err) {
		err = c.signal(ctx, unit, syscall.SIGSTOP)
	} else if err == nil {
		err = c.expectFreezer(ctx, unit, frozen)
	}
	if err != nil {
		// A unit that froze half would hang for ever.
		err = fmt.Errorf("pausing %s: %w", unit, err)
		if undo := h.Resume(context.WithoutCancel(ctx), unit); undo != nil {
			err = inOneLine([]error{err, undo})
		}
		return err
	}
	return nil
}

// Resume lets a paused unit go on, whichever way it was paused. A unit that is
// not paused stays as it is.
func (h *Hands) Resume(ctx context.Context, unit string) error {
	c, err := h.conn()
	if err != nil {
		return err
	}
	if err := c.resume(ctx, unit); err != nil {
		return fmt.Errorf("resuming %s: %w", unit, err)
	}
	return nil
}

// resume thaws first: a frozen process does not take the signal.
func (c *conn) resume(ctx context.Context, unit string) error {
	p, err := c.properties(ctx, unit)
	if err != nil {
		return err
	}
	if state := get[string](p, "ActiveState"); state == "inactive" || state == "failed" {
		return nil // nothing is left that could be paused
	}
	if state := freezer(p); state != "" && state != thawed {
		if err := c.short(ctx, func(ctx context.Context) error { return c.ThawUnit(ctx, unit) }); err != nil {
			return err
		}
		if err := c.expectFreezer(ctx, unit, thawed); err != nil {
			return err
		}
	}
	return c.signal(ctx, unit, syscall.SIGCONT)
}

// Freezer states, as systemd shows them.
const (
	frozen = "frozen"
	thawed = "running"
)

// freezer is empty before systemd 246.
func freezer(p properties) string { return get[string](p, "FreezerState") }

func (c *conn) expectFreezer(ctx context.Context, unit, want string) error {
	p, err := c.properties(ctx, unit)
	if err != nil {
		return err
	}
	if state := freezer(p); state != want {
		return fmt.Errorf("systemd shows it as %q, not %q", state, want)
	}
	return nil
}

// signal sends a signal to every process in the control group of the unit. A
// unit without any process is none to worry about.
func (c *conn) signal(ctx context.Context, unit string, s syscall.Signal) error {
	err := c.short(ctx, func(ctx context.Context) error { return c.KillUnitWithTarget(ctx, unit, sd.All, int32(s)) })
	if named(err, "org.freedesktop.systemd1.NoSuchProcess") {
		return nil
	}
	return err
}

// noFreezer says whether this is systemd's way of saying that it has no freezer
// to offer.
func noFreezer(err error) bool {
	return named(err, "org.freedesktop.DBus.Error.NotSupported") || named(err, "org.freedesktop.DBus.Error.UnknownMethod")
}

// named says whether the other side refused with the error of this name.
func named(err error, name string) bool {
	var refused dbus.Error
	return errors.As(err, &refused) && refused.Name == name
}
