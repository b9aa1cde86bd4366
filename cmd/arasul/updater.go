package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/arasul/arasul/migrations"
	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/bus/updater1"
	"github.com/arasul/arasul/pkg/container"
	"github.com/arasul/arasul/pkg/daemon"
	"github.com/arasul/arasul/pkg/dpkg"
	"github.com/arasul/arasul/pkg/stable"
	"github.com/arasul/arasul/pkg/systemd"
	"github.com/arasul/arasul/pkg/update"
)

const (
	applyUnit = "arasul-apply.service"
	idleFor   = 2 * time.Minute // then the updater ends; its socket and the bus start it again
	lookAgain = 500 * time.Millisecond
	maxMark   = 256 << 10
)

// updaterDaemon receives releases and decides about them. What it decides is
// carried out by arasul-apply.service.
func updaterDaemon(ctx context.Context, d *daemon.Daemon) error {
	listeners, err := daemon.Listeners("http")
	if err != nil {
		return err
	}
	hands := &systemd.Hands{}
	defer hands.Close()
	id, _ := boot()
	changes := make(chan api.Update, 1)
	store := update.Store{FS: stable.OS{}, Dir: update.Dir}
	u, err := update.New(update.Options{
		Store: store, KeyDir: update.KeyDir,
		OS: "/etc/os-release", Arch: runtime.GOARCH, // dpkg's names for both of ours
		ID: "/etc/machine-id", Schema: migrations.Latest(),
		Program:  func() ([]byte, error) { return os.ReadFile("/proc/self/exe") },
		Version:  dpkg.Client{}.Version,
		Lacks:    dpkg.Client{}.Lacks,
		Run:      func(ctx context.Context) error { return carryOut(ctx, hands, store) },
		Halt:     func(ctx context.Context) error { return hands.Stop(ctx, applyUnit) },
		Progress: progressMark,
		Chosen:   func() (map[string]string, error) { return container.Chosen(container.EnvPath) },
		Boot:     id,
		Free:     func() (int64, error) { return stable.Free(update.Dir) },
		Synced: func() bool {
			_, err := os.Stat("/run/systemd/timesync/synchronized")
			return err == nil
		},
		Changed: func(s api.Update) {
			select {
			case changes <- s:
			default: // there is no bus
			}
		},
		Log: d.Log,
	})
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	visitors := &visitors{}
	visitors.last.Store(time.Now().UnixNano())
	g.Go(func() error { return u.Watch(ctx, lookAgain) })
	g.Go(func() error { return updater1.Serve(ctx, u, changes, d.Log) })
	g.Go(func() error { return daemon.Serve(ctx, listeners[0], visitors.counted(u.Handler())) })
	g.Go(func() error { return untilIdle(ctx, visitors, u) })
	d.Ready("waiting for a release")
	return g.Wait()
}

// carryOut starts what carries out the transaction under way. One that had little left to
// do has ended before systemd is asked how it does: that is no fault.
func carryOut(ctx context.Context, hands *systemd.Hands, store update.Store) error {
	err := hands.Start(ctx, applyUnit)
	if err == nil {
		return nil
	}
	if order, lookErr := store.Running(); lookErr == nil && order == nil {
		return nil
	}
	return err
}

// progressMark is what the one that carries out an update says of it.
func progressMark() *api.Update {
	info, err := os.Stat(updateMark)
	if err != nil || info.Size() > maxMark {
		return nil
	}
	text, err := os.ReadFile(updateMark)
	if err != nil {
		return nil
	}
	var u api.Update
	if json.Unmarshal(text, &u) != nil {
		return nil
	}
	return &u
}

// visitors counts who is being answered.
type visitors struct {
	now  atomic.Int64
	last atomic.Int64 // when the last one left
}

func (v *visitors) counted(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v.now.Add(1)
		defer func() {
			v.last.Store(time.Now().UnixNano())
			v.now.Add(-1)
		}()
		h.ServeHTTP(w, r)
	})
}

// untilIdle ends when there was nobody, and nothing to do, for a while. What waits to be
// installed is not left alone: who starts next has to read all of it again.
func untilIdle(ctx context.Context, v *visitors, u *update.Updater) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(idleFor / 4):
		}
		if v.now.Load() == 0 && time.Since(time.Unix(0, v.last.Load())) > idleFor && !u.Busy() && u.Staged(ctx) == nil {
			return daemon.ErrDone
		}
	}
}
