// Package updater1 is the D-Bus interface de.arasul.Updater1.
//
//	bus name     de.arasul.Updater1, which starts the updater
//	object       /de/arasul/Updater1
//	Status    () → s     api.Update as JSON
//	History   () → s     api.UpdateHistory as JSON
//	Apply     (sbs)      install the staged bundle of this id; to an older release too; why; root only
//	Cancel    (s)        turn back what has not stopped anything yet, or forget what is received; why; root only
//	Rollback  (s)        bring the release before back; why; root only
//	Progress  signal (us)  in hundredths, and what is being done
//	Completed signal (ss)  id of a transaction, and its outcome
//
// Who may call what is the bus's business: see de.arasul.Updater1.conf. Bundles
// do not come over the bus, but over the updater's socket, as do the dashboard's
// questions.
package updater1

import (
	"context"
	"log/slog"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/bus"
)

// callTimeout bounds what a method takes: checking a program and copying it.
const callTimeout = 20 * time.Second

// Updater is what stands behind the interface.
type Updater interface {
	Status(ctx context.Context) api.Update
	History() api.UpdateHistory
	Apply(ctx context.Context, a api.ApplyUpdate, person bool) error
	Cancel(ctx context.Context, a api.UndoUpdate) error
	Rollback(ctx context.Context, a api.UndoUpdate) error
}

var object = bus.Object{
	Name: "de.arasul.Updater1",
	Path: "/de/arasul/Updater1",
	Methods: `
<method name="Status"><arg name="json" type="s" direction="out"/></method>
<method name="History"><arg name="json" type="s" direction="out"/></method>
<method name="Apply"><arg name="bundle" type="s" direction="in"/><arg name="allow_downgrade" type="b" direction="in"/><arg name="reason" type="s" direction="in"/></method>
<method name="Cancel"><arg name="reason" type="s" direction="in"/></method>
<method name="Rollback"><arg name="reason" type="s" direction="in"/></method>
<signal name="Progress"><arg name="percent" type="u"/><arg name="message" type="s"/></signal>
<signal name="Completed"><arg name="id" type="s"/><arg name="outcome" type="s"/></signal>
`,
}

// Serve offers u on the system bus until ctx ends, and signals what changes of
// the updates that it is sent.
func Serve(ctx context.Context, u Updater, changes <-chan api.Update, log *slog.Logger) error {
	signals := make(chan bus.Signal)
	go func() {
		var last api.UpdateRun
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-changes:
				for _, s := range news(&last, now.Run) {
					select {
					case signals <- s:
					case <-ctx.Done():
						return
					}
				}
			}
		}
	}()
	o := object
	o.Signals = signals
	return o.Offer(ctx, methods{ctx, u}, bus.RetryPause, log)
}

// news are the signals that tell of what is new in run.
func news(last *api.UpdateRun, run *api.UpdateRun) (out []bus.Signal) {
	if run == nil {
		return nil
	}
	fresh := run.ID != last.ID
	if (fresh || run.Percent != last.Percent || run.Step != last.Step) && run.Outcome == "" {
		out = append(out, bus.Signal{Name: "Progress", Args: []any{uint32(run.Percent), run.Step}})
	}
	if !fresh && last.Outcome == "" && run.Outcome != "" {
		out = append(out, bus.Signal{Name: "Progress", Args: []any{uint32(100), run.Outcome}}, bus.Signal{Name: "Completed", Args: []any{run.ID, run.Outcome}})
	}
	*last = *run
	return out
}

type methods struct {
	ctx context.Context //nolint:containedctx // godbus passes none
	u   Updater
}

func (m methods) Status() (string, *dbus.Error) { return bus.JSON(m.u.Status(m.ctx)) }

func (m methods) History() (string, *dbus.Error) { return bus.JSON(m.u.History()) }

func (m methods) Apply(bundle string, downgrade bool, reason string) *dbus.Error {
	return m.do(func(ctx context.Context) error {
		return m.u.Apply(ctx, api.ApplyUpdate{Bundle: bundle, Actor: "root", AllowDowngrade: downgrade, Reason: reason}, true)
	})
}

func (m methods) Cancel(reason string) *dbus.Error {
	return m.do(func(ctx context.Context) error {
		return m.u.Cancel(ctx, api.UndoUpdate{Actor: "root", Reason: reason})
	})
}

func (m methods) Rollback(reason string) *dbus.Error {
	return m.do(func(ctx context.Context) error {
		return m.u.Rollback(ctx, api.UndoUpdate{Actor: "root", Reason: reason})
	})
}

func (m methods) do(f func(context.Context) error) *dbus.Error {
	ctx, cancel := context.WithTimeout(m.ctx, callTimeout)
	defer cancel()
	if err := f(ctx); err != nil {
		return dbus.MakeFailedError(err)
	}
	return nil
}
