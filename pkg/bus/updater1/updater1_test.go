package updater1

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/systemd/testbus"
)

// fakeUpdater takes one bundle, and has nothing to go back to.
type fakeUpdater struct{ wished chan api.ApplyUpdate }

func (f fakeUpdater) Status(context.Context) api.Update {
	return api.Update{State: "idle", Current: api.Installed{Version: "1.3.2"}}
}

func (f fakeUpdater) History() api.UpdateHistory {
	return api.UpdateHistory{Runs: []api.UpdateRun{{ID: "1"}}}
}

func (f fakeUpdater) Apply(_ context.Context, a api.ApplyUpdate, person bool) error {
	if a.Bundle != "good" || !person {
		return errors.New("this release is not on this machine")
	}
	f.wished <- a
	return nil
}

func (f fakeUpdater) Cancel(context.Context, api.UndoUpdate) error { return nil }

func (f fakeUpdater) Rollback(context.Context, api.UndoUpdate) error {
	return errors.New("there is no release to go back to")
}

// Proves UPD-5: what goes on is on the bus, and who is allowed begins it there.
func TestUpdaterOnTheBus(t *testing.T) {
	testbus.New(t)
	ctx, stop := context.WithCancel(t.Context())
	f := fakeUpdater{make(chan api.ApplyUpdate, 1)}
	changes, done := make(chan api.Update), make(chan error, 1)
	go func() { done <- Serve(ctx, f, changes, slog.New(slog.DiscardHandler)) }()
	conn, err := dbus.ConnectSystemBus()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	heard := make(chan *dbus.Signal, 16)
	conn.Signal(heard)
	if err := conn.AddMatchSignal(dbus.WithMatchInterface("de.arasul.Updater1")); err != nil {
		t.Fatal(err)
	}
	updater := conn.Object("de.arasul.Updater1", "/de/arasul/Updater1")
	call := func(method string, args ...any) *dbus.Call {
		return updater.CallWithContext(ctx, "de.arasul.Updater1."+method, 0, args...)
	}
	var text string
	for began := time.Now(); call("Status").Store(&text) != nil; time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > 5*time.Second {
			t.Fatal("nobody answers")
		}
	}
	var status api.Update
	if err := json.Unmarshal([]byte(text), &status); err != nil || status.Current.Version != "1.3.2" {
		t.Errorf("status: %q, %v", text, err)
	}
	if err := call("History").Store(&text); err != nil || !strings.Contains(text, `"id":"1"`) {
		t.Errorf("history: %q, %v", text, err)
	}
	if err := call("Apply", "good", true, "because").Err; err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(api.ApplyUpdate{Bundle: "good", Actor: "root", AllowDowngrade: true, Reason: "because"}, <-f.wished); diff != "" {
		t.Errorf("wished (-want +got):\n%s", diff)
	}
	for _, refused := range []*dbus.Call{call("Apply", "bad", false, ""), call("Rollback", "")} {
		if refused.Err == nil {
			t.Errorf("%s was not refused", refused.Method)
		}
	}
	if err := call("Cancel", "").Err; err != nil {
		t.Error(err)
	}

	for _, run := range []*api.UpdateRun{
		nil,
		{ID: "2", Step: "load", Percent: 10},
		{ID: "2", Step: "load", Percent: 10}, // nothing new
		{ID: "2", Step: "install", Percent: 52},
		{ID: "2", Percent: 100, Outcome: "committed"},
	} {
		changes <- api.Update{Run: run}
	}
	for _, want := range [][]any{{uint32(10), "load"}, {uint32(52), "install"}, {uint32(100), "committed"}, {"2", "committed"}} {
		if diff := cmp.Diff(want, next(t, heard)); diff != "" {
			t.Errorf("signal (-want +got):\n%s", diff)
		}
	}
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// next is what the next signal of the updater says: the bus has signals of its own.
func next(t *testing.T, heard <-chan *dbus.Signal) []any {
	t.Helper()
	for {
		select {
		case s := <-heard:
			if strings.HasPrefix(s.Name, "de.arasul.Updater1.") {
				return s.Body
			}
		case <-time.After(5 * time.Second):
			t.Fatal("no signal")
		}
	}
}
