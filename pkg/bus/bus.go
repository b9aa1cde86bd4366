// Package bus offers an object of ours on the system bus and calls those of our
// other daemons. The packages below it are the interfaces, both ends of each.
//
// It does not know what the methods do, and it does not decide who may call
// them: the policy file of the bus does.
package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/introspect"
)

// RetryPause is how long Offer waits before it tries the bus again.
const RetryPause = 5 * time.Second

// ErrAccessDenied is what the bus says to those who may not call a method.
var ErrAccessDenied = errors.New("access denied")

// Object is one object with one interface, whose name is also its bus name.
type Object struct {
	Name    string // de.arasul.Healer1
	Path    dbus.ObjectPath
	Methods string // as <method> elements, for introspection, and <signal>

	// Signals, if set, are sent to whoever listens. While there is no bus nobody
	// takes them.
	Signals <-chan Signal
}

// Signal is one that an object sends.
type Signal struct {
	Name string
	Args []any
}

// Offer has the bus call methods, whose context the caller keeps, until ctx
// ends. Without a bus it tries again after each pause.
func (o Object) Offer(ctx context.Context, methods any, pause time.Duration, log *slog.Logger) error {
	failures := 0
	for {
		err := o.offer(ctx, methods, func() { failures = 0 })
		if ctx.Err() != nil {
			return ctx.Err()
		}
		// The bus may learn from our own package only now who may have the name, on
		// a busy machine after ten seconds.
		if failures++; failures == 4 {
			log.Warn("not on the bus", "name", o.Name, "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

func (o Object) offer(ctx context.Context, methods any, offered func()) error {
	conn, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer conn.Close()
	if err := conn.Export(methods, o.Path, o.Name); err != nil {
		return fmt.Errorf("exporting: %w", err)
	}
	description := `<node><interface name="` + o.Name + `">` + o.Methods + `</interface>` + introspect.IntrospectDataString + `</node>`
	if err := conn.Export(introspect.Introspectable(description), o.Path, "org.freedesktop.DBus.Introspectable"); err != nil {
		return fmt.Errorf("exporting: %w", err)
	}
	switch reply, err := conn.RequestName(o.Name, dbus.NameFlagDoNotQueue); {
	case err != nil:
		return fmt.Errorf("taking the name: %w", err)
	case reply != dbus.RequestNameReplyPrimaryOwner:
		return errors.New("another process has the name")
	}
	offered()
	for {
		select {
		case <-conn.Context().Done():
			return errors.New("the bus connection was lost")
		case s := <-o.Signals:
			if err := conn.Emit(o.Path, o.Name+"."+s.Name, s.Args...); err != nil {
				return fmt.Errorf("sending a signal: %w", err)
			}
		}
	}
}

// Call calls a method and stores what it returns in answer, or nothing when
// answer is nil. The caller's context limits it.
func (o Object) Call(ctx context.Context, answer *string, method string, args ...any) error {
	conn, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if ctx.Err() != nil {
		err = context.Cause(ctx) // godbus closes the connection, and only says so
	}
	if err != nil {
		return fmt.Errorf("connecting to the system bus: %w", err)
	}
	defer conn.Close()
	c := conn.Object(o.Name, o.Path).CallWithContext(ctx, o.Name+"."+method, 0, args...)
	if c.Err != nil && ctx.Err() != nil {
		return context.Cause(ctx) // as above
	}
	var refused dbus.Error
	if errors.As(c.Err, &refused) && refused.Name == "org.freedesktop.DBus.Error.AccessDenied" {
		return ErrAccessDenied
	}
	if c.Err != nil || answer == nil {
		return c.Err
	}
	return c.Store(answer)
}

// JSON is v as a method returns it.
func JSON(v any) (string, *dbus.Error) {
	data, err := json.Marshal(v)
	if err != nil {
		return "", dbus.MakeFailedError(err)
	}
	return string(data), nil
}
