// Package healer1 is the D-Bus interface de.arasul.Healer1: both its ends.
//
//	bus name     de.arasul.Healer1
//	object       /de/arasul/Healer1
//	Status         () → s   api.HealerStatus as JSON
//	Incidents      (u) → s  the newest so many api.Incident, as a JSON array
//	Explain        (s) → s  why an incident is what it is, in words
//	SetMaintenance (b)      hands off, or on again; root only
//	Lease          (su)     hands off for a holder's sake, for so many seconds, 3600 at most; 0: on again; root only
//	ResetBreaker   ()       act again, although too much was done; root only
//	Restart        (ss) → s restart a unit because an actor asked for it; the incident that keeps it; root and the dashboard only
//
// Who may call what is the bus's business: see de.arasul.Healer1.conf. The
// package does not decide anything. It is for people and programs that want the
// healer to do something; the dashboard reads its data over HTTP, which also works
// while the bus is dead.
package healer1

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/bus"
)

const (
	callTimeout = 5 * time.Second
	maxList     = 400  // incidents in one answer
	maxLease    = 3600 // seconds; a holder that needs more asks again
)

// Healer is what stands behind the interface.
type Healer interface {
	Status() api.HealerStatus
	Incidents(limit int) []api.Incident
	Explain(incident string) (text string, known bool)
	SetMaintenance(ctx context.Context, on bool) error
	SetLease(ctx context.Context, lease api.Lease) error
	ResetBreaker(ctx context.Context) error
	Restart(ctx context.Context, unit, actor string) (incident string, err error)
}

var object = bus.Object{
	Name: "de.arasul.Healer1",
	Path: "/de/arasul/Healer1",
	Methods: `
<method name="Status"><arg name="json" type="s" direction="out"/></method>
<method name="Incidents"><arg name="limit" type="u" direction="in"/><arg name="json" type="s" direction="out"/></method>
<method name="Explain"><arg name="incident" type="s" direction="in"/><arg name="text" type="s" direction="out"/></method>
<method name="SetMaintenance"><arg name="on" type="b" direction="in"/></method>
<method name="Lease"><arg name="holder" type="s" direction="in"/><arg name="seconds" type="u" direction="in"/></method>
<method name="ResetBreaker"></method>
<method name="Restart"><arg name="unit" type="s" direction="in"/><arg name="actor" type="s" direction="in"/><arg name="incident" type="s" direction="out"/></method>
`,
}

// Serve offers h on the system bus until ctx ends. While there is no bus it
// tries again every 5 s; the healer works without.
func Serve(ctx context.Context, h Healer, log *slog.Logger) error {
	return serveAgain(ctx, h, log, bus.RetryPause)
}

func serveAgain(ctx context.Context, h Healer, log *slog.Logger, pause time.Duration) error {
	return object.Offer(ctx, methods{ctx, h}, pause, log)
}

// methods are what the bus calls.
type methods struct {
	ctx context.Context //nolint:containedctx // godbus passes none
	h   Healer
}

func (m methods) Status() (string, *dbus.Error) { return bus.JSON(m.h.Status()) }

func (m methods) Incidents(limit uint32) (string, *dbus.Error) {
	return bus.JSON(m.h.Incidents(int(min(limit, maxList))))
}

func (m methods) Explain(incident string) (string, *dbus.Error) {
	text, known := m.h.Explain(incident)
	if !known {
		return "", dbus.MakeFailedError(fmt.Errorf("no incident %q is remembered", incident))
	}
	return text, nil
}

func (m methods) SetMaintenance(on bool) *dbus.Error {
	return m.tell(func(ctx context.Context) error { return m.h.SetMaintenance(ctx, on) })
}

var holderName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}$`)

func (m methods) Lease(holder string, seconds uint32) *dbus.Error {
	if !holderName.MatchString(holder) || seconds > maxLease {
		return dbus.MakeFailedError(fmt.Errorf("a lease has a holder of lower-case letters, digits and hyphens, and lasts %d seconds at most", maxLease))
	}
	until := time.Now().Add(time.Duration(seconds) * time.Second)
	return m.tell(func(ctx context.Context) error {
		return m.h.SetLease(ctx, api.Lease{Holder: holder, Until: until})
	})
}

func (m methods) ResetBreaker() *dbus.Error { return m.tell(m.h.ResetBreaker) }

// refused is what the name of an error begins with that is an api.Refusal; its
// code follows.
const refused = "de.arasul.Healer1.Refused."

func (m methods) Restart(unit, actor string) (string, *dbus.Error) {
	ctx, cancel := context.WithTimeout(m.ctx, callTimeout)
	defer cancel()
	incident, err := m.h.Restart(ctx, unit, actor)
	var r *api.Refusal
	switch {
	case errors.As(err, &r):
		return "", dbus.NewError(refused+string(r.Code), []any{r.Reason})
	case err != nil:
		return "", dbus.MakeFailedError(err)
	}
	return incident, nil
}

// tell asks the healer for something, and waits until it is in force.
func (m methods) tell(ask func(context.Context) error) *dbus.Error {
	ctx, cancel := context.WithTimeout(m.ctx, callTimeout)
	defer cancel()
	if err := ask(ctx); err != nil {
		return dbus.MakeFailedError(err)
	}
	return nil
}

// Client calls the healer over the system bus. The zero value is ready to use.
type Client struct{}

// Status asks the healer how it does.
func (Client) Status(ctx context.Context) (s api.HealerStatus, err error) {
	err = ask(ctx, &s, "Status")
	return s, err
}

// Incidents asks for the newest incidents, at most limit.
func (Client) Incidents(ctx context.Context, limit int) (list []api.Incident, err error) {
	err = ask(ctx, &list, "Incidents", uint32(limit))
	return list, err
}

// SetMaintenance takes the healer's hands off, or puts them back on.
func (Client) SetMaintenance(ctx context.Context, on bool) error {
	return call(ctx, nil, "SetMaintenance", on)
}

// Explain asks why an incident is what it is, in words.
func (Client) Explain(ctx context.Context, incident string) (text string, err error) {
	err = call(ctx, &text, "Explain", incident)
	return text, err
}

// Lease keeps the healer's hands off for a holder's sake, an hour at most; 0
// gives the lease back. Seconds count.
func (Client) Lease(ctx context.Context, holder string, d time.Duration) error {
	return call(ctx, nil, "Lease", holder, uint32(d/time.Second))
}

// ResetBreaker lets the healer act again after somebody has looked why it did
// so much.
func (Client) ResetBreaker(ctx context.Context) error { return call(ctx, nil, "ResetBreaker") }

// Restart has a unit restarted for an actor, and returns the id of the incident
// that keeps it. The unit goes down half a second later. An api.Refusal is an
// answer, too.
func (Client) Restart(ctx context.Context, unit, actor string) (incident string, err error) {
	err = call(ctx, &incident, "Restart", unit, actor)
	return incident, err
}

// ask calls a method that answers with JSON.
func ask(ctx context.Context, answer any, method string, args ...any) error {
	var text string
	if err := call(ctx, &text, method, args...); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), answer); err != nil {
		return fmt.Errorf("reading the healer's answer: %w", err)
	}
	return nil
}

func call(ctx context.Context, answer *string, method string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := object.Call(ctx, answer, method, args...)
	if r := refusal(err); r != nil {
		return r
	}
	switch {
	case errors.Is(err, bus.ErrAccessDenied):
		return errors.New("only root may ask that of the healer, and members of the group arasul how it does")
	case err != nil:
		return fmt.Errorf("asking the healer: %w", err)
	}
	return nil
}

// refusal is err as an api.Refusal, nil when it is none.
func refusal(err error) error {
	var e dbus.Error
	if !errors.As(err, &e) {
		return nil
	}
	code, ok := strings.CutPrefix(e.Name, refused)
	if !ok || len(e.Body) == 0 {
		return nil
	}
	reason, _ := e.Body[0].(string)
	return &api.Refusal{Code: api.RefusalCode(code), Reason: reason}
}
