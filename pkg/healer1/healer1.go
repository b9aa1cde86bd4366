// Package healer1 is the D-Bus interface de.arasul.Healer1: both its ends.
//
//	bus name     de.arasul.Healer1
//	object       /de/arasul/Healer1
//	Status         () → s   api.HealerStatus as JSON
//	Incidents      (u) → s  the newest so many api.Incident, as a JSON array
//	SetMaintenance (b)      hands off, or on again; root only
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
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/introspect"

	"github.com/arasul/arasul/pkg/api"
)

const (
	name        = "de.arasul.Healer1"
	object      = dbus.ObjectPath("/de/arasul/Healer1")
	callTimeout = 5 * time.Second
	maxList     = 400 // incidents in one answer
)

// Healer is what stands behind the interface.
type Healer interface {
	Status() api.HealerStatus
	Incidents(limit int) []api.Incident
	SetMaintenance(ctx context.Context, on bool) error
}

// Serve offers h on the system bus until ctx ends. While there is no bus it
// tries again every 5 s; the healer works without.
func Serve(ctx context.Context, h Healer, log *slog.Logger) error {
	return serveAgain(ctx, h, log, 5*time.Second)
}

func serveAgain(ctx context.Context, h Healer, log *slog.Logger, pause time.Duration) error {
	failures := 0
	for {
		err := serve(ctx, h, func() { failures = 0 })
		if ctx.Err() != nil {
			return ctx.Err()
		}
		// The bus may learn from our own package only now who may have the name.
		if failures++; failures == 2 {
			log.Warn("not on the bus", "name", name, "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

func serve(ctx context.Context, h Healer, served func()) error {
	bus, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer bus.Close()
	if err := bus.Export(methods{ctx, h}, object, name); err != nil {
		return fmt.Errorf("exporting: %w", err)
	}
	if err := bus.Export(introspect.Introspectable(description), object, "org.freedesktop.DBus.Introspectable"); err != nil {
		return fmt.Errorf("exporting: %w", err)
	}
	switch reply, err := bus.RequestName(name, dbus.NameFlagDoNotQueue); {
	case err != nil:
		return fmt.Errorf("taking the name: %w", err)
	case reply != dbus.RequestNameReplyPrimaryOwner:
		return errors.New("another process has the name")
	}
	served()
	<-bus.Context().Done()
	return errors.New("the bus connection was lost")
}

const description = `<node><interface name="de.arasul.Healer1">
<method name="Status"><arg name="json" type="s" direction="out"/></method>
<method name="Incidents"><arg name="limit" type="u" direction="in"/><arg name="json" type="s" direction="out"/></method>
<method name="SetMaintenance"><arg name="on" type="b" direction="in"/></method>
</interface>` + introspect.IntrospectDataString + `</node>`

// methods are what the bus calls.
type methods struct {
	ctx context.Context //nolint:containedctx // godbus passes none
	h   Healer
}

func (m methods) Status() (string, *dbus.Error) { return encode(m.h.Status()) }

func (m methods) Incidents(limit uint32) (string, *dbus.Error) {
	return encode(m.h.Incidents(int(min(limit, maxList))))
}

func (m methods) SetMaintenance(on bool) *dbus.Error {
	ctx, cancel := context.WithTimeout(m.ctx, callTimeout)
	defer cancel()
	if err := m.h.SetMaintenance(ctx, on); err != nil {
		return dbus.MakeFailedError(err)
	}
	return nil
}

func encode(v any) (string, *dbus.Error) {
	data, err := json.Marshal(v)
	if err != nil {
		return "", dbus.MakeFailedError(err)
	}
	return string(data), nil
}

// Client calls the healer over the system bus. The zero value is ready to use.
type Client struct{}

// Status asks the healer how it does.
func (Client) Status(ctx context.Context) (s api.HealerStatus, err error) {
	return s, call(ctx, &s, "Status")
}

// Incidents asks for the newest incidents, at most limit.
func (Client) Incidents(ctx context.Context, limit int) (list []api.Incident, err error) {
	return list, call(ctx, &list, "Incidents", uint32(limit))
}

// SetMaintenance takes the healer's hands off, or puts them back on.
func (Client) SetMaintenance(ctx context.Context, on bool) error {
	return call(ctx, nil, "SetMaintenance", on)
}

func call(ctx context.Context, answer any, method string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	bus, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("connecting to the system bus: %w", err)
	}
	defer bus.Close()
	c := bus.Object(name, object).CallWithContext(ctx, name+"."+method, 0, args...)
	var refused dbus.Error
	if errors.As(c.Err, &refused) && refused.Name == "org.freedesktop.DBus.Error.AccessDenied" {
		return errors.New("only root may ask that of the healer, and members of the group arasul how it does")
	}
	if c.Err != nil {
		return fmt.Errorf("asking the healer: %w", c.Err)
	}
	if answer == nil {
		return nil
	}
	var text string
	if err := c.Store(&text); err != nil {
		return fmt.Errorf("reading the healer's answer: %w", err)
	}
	if err := json.Unmarshal([]byte(text), answer); err != nil {
		return fmt.Errorf("reading the healer's answer: %w", err)
	}
	return nil
}
