// Package gpu1 is the D-Bus interface de.arasul.Gpu1: both its ends.
//
//	bus name     de.arasul.Gpu1
//	object       /de/arasul/Gpu1
//	Status       () → s  api.GPUStatus as JSON
//	CapClocks    (s)     hold all GPUs back: light, deep, lowest; root only
//	UncapClocks  ()      take that back; root only
//	Reset        (s)     reset one GPU by its id, or the only one by ""; its
//	                     users must have been stopped; root only; minutes
//
// Who may call what is the bus's business: see de.arasul.Gpu1.conf. The package
// does not decide anything. Samples and events flow over HTTP, which also works
// while the bus is dead.
package gpu1

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/bus"
)

const (
	// callTimeout is more than a driver in good health ever takes.
	callTimeout = 10 * time.Second
	// resetTimeout is for the four calls that a reset makes, a minute each, and
	// for opening the driver again.
	resetTimeout = 5 * time.Minute
)

// GPU is what stands behind the interface.
type GPU interface {
	Status() api.GPUStatus
	CapClocks(ctx context.Context, level api.GPUCapLevel) error
	UncapClocks(ctx context.Context) error
	Reset(ctx context.Context, id string) error
}

var object = bus.Object{
	Name: "de.arasul.Gpu1",
	Path: "/de/arasul/Gpu1",
	Methods: `
<method name="Status"><arg name="json" type="s" direction="out"/></method>
<method name="CapClocks"><arg name="level" type="s" direction="in"/></method>
<method name="UncapClocks"/>
<method name="Reset"><arg name="id" type="s" direction="in"/></method>
`,
}

// Serve offers g on the system bus until ctx ends. While there is no bus it
// tries again every 5 s; the GPUs are watched without.
func Serve(ctx context.Context, g GPU, log *slog.Logger) error {
	return object.Offer(ctx, methods{ctx, g}, bus.RetryPause, log)
}

// methods are what the bus calls.
type methods struct {
	ctx context.Context //nolint:containedctx // godbus passes none
	g   GPU
}

func (m methods) Status() (string, *dbus.Error) {
	data, err := json.Marshal(m.g.Status())
	if err != nil {
		return "", dbus.MakeFailedError(err)
	}
	return string(data), nil
}

func (m methods) CapClocks(level string) *dbus.Error {
	return m.do(callTimeout, func(ctx context.Context) error { return m.g.CapClocks(ctx, api.GPUCapLevel(level)) })
}

func (m methods) UncapClocks() *dbus.Error { return m.do(callTimeout, m.g.UncapClocks) }

func (m methods) Reset(id string) *dbus.Error {
	return m.do(resetTimeout, func(ctx context.Context) error { return m.g.Reset(ctx, id) })
}

func (m methods) do(timeout time.Duration, f func(context.Context) error) *dbus.Error {
	ctx, cancel := context.WithTimeout(m.ctx, timeout)
	defer cancel()
	if err := f(ctx); err != nil {
		return dbus.MakeFailedError(err)
	}
	return nil
}

// Client calls arasul-gpu over the system bus. The zero value is ready to use.
type Client struct{}

// Status asks for the newest look at the GPUs.
func (Client) Status(ctx context.Context) (s api.GPUStatus, err error) {
	var text string
	if err := call(ctx, callTimeout, &text, "Status"); err != nil {
		return s, err
	}
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return s, fmt.Errorf("reading arasul-gpu's answer: %w", err)
	}
	return s, nil
}

// CapClocks holds all GPUs back.
func (Client) CapClocks(ctx context.Context, level api.GPUCapLevel) error {
	return call(ctx, callTimeout, nil, "CapClocks", string(level))
}

// UncapClocks takes every cap back.
func (Client) UncapClocks(ctx context.Context) error {
	return call(ctx, callTimeout, nil, "UncapClocks")
}

// Reset resets one GPU, the only one when id is empty. It may take minutes.
func (Client) Reset(ctx context.Context, id string) error {
	return call(ctx, resetTimeout, nil, "Reset", id)
}

func call(ctx context.Context, timeout time.Duration, answer *string, method string, args ...any) error {
	// A little longer than the other end, so that its reason arrives.
	ctx, cancel := context.WithTimeout(ctx, timeout+5*time.Second)
	defer cancel()
	if err := object.Call(ctx, answer, method, args...); err != nil {
		return fmt.Errorf("asking arasul-gpu: %w", err)
	}
	return nil
}
