package systemd

import (
	"context"
	"errors"
	"log/slog"
	"path"
	"slices"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/arasul/arasul/pkg/api"
)

// PassInterval is how often all units are looked at even though nothing was
// signalled (spec HEAL: the loop of 10 s).
const PassInterval = 10 * time.Second

// errLost says that the bus went away.
var errLost = errors.New("the bus connection was lost")

// Watcher follows units.
type Watcher struct {
	Patterns []string // unit names or shell globs
	Log      *slog.Logger

	options options
}

// Watch calls seen with all units at the start and then every PassInterval,
// and with single units as soon as systemd signals a change, until ctx ends.
// At is when they had been read. While systemd is out of sight seen is called
// with no units after each attempt. Calls come from one goroutine, one after the
// other. A lost connection is taken up again with a back-off of 100 ms to 5 s.
func (w *Watcher) Watch(ctx context.Context, seen func(at time.Time, units []api.Unit)) error {
	const first, longest = 100 * time.Millisecond, 5 * time.Second
	backoff, away := first, false
	for {
		begin := time.Now()
		err := w.watchOnce(ctx, func(at time.Time, units []api.Unit) {
			if away {
				w.Log.Info("service manager in sight again")
				away = false
			}
			seen(at, units)
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !away {
			w.Log.Warn("service manager out of sight", "err", err)
			away = true
		}
		seen(time.Now(), nil) // looked, and saw nothing
		if time.Since(begin) > longest {
			backoff = first
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, longest)
	}
}

func (w *Watcher) watchOnce(ctx context.Context, seen func(time.Time, []api.Unit)) error {
	c, err := connect(ctx, w.options)
	if err != nil {
		return err
	}
	defer c.Close()
	known := map[string]api.Unit{}
	read := func(names []string) error {
		units := make([]api.Unit, 0, len(names))
		for _, name := range names {
			u, err := c.unit(ctx, name)
			if err != nil {
				return err
			}
			known[name] = u
			units = append(units, u)
		}
		seen(time.Now(), units)
		return nil
	}
	pass := func(whole bool) error {
		units, err := c.all(ctx, w.Patterns, known, whole)
		if err != nil {
			return err
		}
		clear(known)
		for _, u := range units {
			known[u.Name] = u
		}
		seen(time.Now(), units)
		return nil
	}
	if err := pass(true); err != nil {
		return err
	}
	o := w.options.orDefault()
	tick := time.NewTicker(o.pass)
	defer tick.Stop()
	for n := 1; ; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.lost:
			return errLost
		case <-tick.C:
			if err := pass(n%o.whole == 0); err != nil {
				return err
			}
			n++
		case s := <-c.signals:
			names, err := w.changed(s, c.signals)
			if err != nil {
				return err
			}
			if len(names) == 0 {
				continue
			}
			if err := read(names); err != nil {
				return err
			}
		}
	}
}

// changed names the units of ours that a signal and those waiting behind it
// are about, each once: one read answers them all.
func (w *Watcher) changed(s *dbus.Signal, more <-chan *dbus.Signal) (names []string, err error) {
	for {
		if s == nil {
			return nil, errLost
		}
		if name, ok := unitName(s.Path); ok && w.watches(name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
		select {
		case s = <-more:
		default:
			return names, nil
		}
	}
}

func (w *Watcher) watches(name string) bool {
	return slices.ContainsFunc(w.Patterns, func(p string) bool {
		ok, _ := path.Match(p, name)
		return ok || p == name // a name may hold \x2d
	})
}
