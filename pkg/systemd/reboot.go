package systemd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"
)

// How a reboot was asked for.
const (
	ByLogin1  = "login1"        // logind, which tells who is logged in and lets inhibitors delay it
	BySystemd = "reboot.target" // systemd's own job, without logind
)

const (
	login1Name = "org.freedesktop.login1"
	login1Path = dbus.ObjectPath("/org/freedesktop/login1")
)

// Reboot asks for an orderly reboot of the machine, and says how. Reason is
// shown on the terminals of who is logged in. It returns when the reboot was
// accepted; services, the caller among them, are about to be stopped.
//
// It is refused while somebody holds an inhibitor lock that blocks shutdowns,
// root or not: the error names who and why. Where logind is not to be had,
// systemd is asked for reboot.target.
func (h *Hands) Reboot(ctx context.Context, reason string) (how string, err error) {
	c, err := h.conn()
	if err != nil {
		return "", err
	}
	err = c.rebootByLogin1(ctx, reason)
	if err == nil {
		return ByLogin1, nil
	}
	if refusal(err) || ctx.Err() != nil {
		return "", fmt.Errorf("rebooting: %w", err)
	}
	if c, connErr := h.conn(); connErr != nil { // over which logind did not answer
		return "", fmt.Errorf("rebooting: %w", inOneLine([]error{err, connErr}))
	} else if startErr := c.askForReboot(ctx); startErr != nil {
		return "", fmt.Errorf("rebooting: %w", inOneLine([]error{err, startErr}))
	}
	return BySystemd, nil
}

// askForReboot starts reboot.target as systemctl does without logind.
func (c *conn) askForReboot(ctx context.Context) error {
	return c.short(ctx, func(ctx context.Context) error {
		_, err := c.StartUnitContext(ctx, BySystemd, "replace-irreversibly", nil)
		return err
	})
}

// errInhibited is a reboot that somebody blocks.
var errInhibited = errors.New("blocked")

func (c *conn) rebootByLogin1(ctx context.Context, reason string) error {
	// logind lets root ignore the locks of root.
	var locks []struct {
		What, Who, Why, Mode string
		UID, PID             uint32
	}
	if err := c.login1(ctx, "ListInhibitors", &locks); err != nil {
		return err
	}
	for _, l := range locks {
		if l.Mode == "block" && slices.Contains(strings.Split(l.What, ":"), "shutdown") {
			return fmt.Errorf("%w by %s (pid %d): %s", errInhibited, l.Who, l.PID, l.Why)
		}
	}
	_ = c.login1(ctx, "SetWallMessage", nil, reason, true) // a courtesy
	const rootObeysInhibitors = 1                          // SD_LOGIND_ROOT_CHECK_INHIBITORS
	return c.login1(ctx, "RebootWithFlags", nil, uint64(rootObeysInhibitors))
}

// login1 calls a method of logind and stores what it returns in answer, or
// nothing when answer is nil.
func (c *conn) login1(ctx context.Context, method string, answer any, args ...any) error {
	if c.bus.Names()[0] == "" {
		return errors.New("asking logind: there is no bus")
	}
	err := c.short(ctx, func(ctx context.Context) error {
		call := c.bus.Object(login1Name, login1Path).CallWithContext(ctx, login1Name+".Manager."+method, 0, args...)
		if answer == nil {
			return call.Err
		}
		return call.Store(answer)
	})
	if err != nil {
		return fmt.Errorf("asking logind: %s: %w", method, err)
	}
	return nil
}

// refusal says whether this is a no, and not just nobody there.
func refusal(err error) bool {
	return errors.Is(err, errInhibited) ||
		named(err, "org.freedesktop.DBus.Error.AccessDenied") ||
		named(err, "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired") ||
		named(err, login1Name+".OperationInProgress")
}
