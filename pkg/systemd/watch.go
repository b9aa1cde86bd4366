package systemd

import (
	"context"
	"errors"
	"path"
	"slices"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/arasul/arasul/pkg/api"
)

// PassInterval is how often all units are read even though nothing was
// signalled (spec HEAL: the loop of 10 s).
const PassInterval = 10 * time.Second

// Seen is one look at units.
type Seen struct {
	At    time.Time  // when they had been read
	Units []api.Unit // those that changed, or all
	All   bool       // this was a full pass
}

// Watcher follows units. Patterns are unit names or shell globs.
type Watcher struct {
	Patterns []string
}

// Watch calls seen with all units at the start and then every PassInterval,
// and with single units as soon as systemd signals a change, until ctx ends.
// Calls come from one goroutine, one after the other. A lost connection is
// taken up again with a back-off of 100 ms to 5 s; connected tells about that.
func (w *Watcher) Watch(ctx context.Context, seen func(Seen), connected func(error)) error {
	const first, longest = 100 * time.Millisecond, 5 * time.Second
	backoff := first
	for {
		begin := time.Now()
		err := w.watchOnce(ctx, seen, connected)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		connected(err)
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

func (w *Watcher) watchOnce(ctx context.Context, seen func(Seen), connected func(error)) error {
	c, err := connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	pass := func() error {
		names, err := c.list(ctx, w.Patterns)
		if err != nil {
			return err
		}
		units, err := c.units(ctx, names)
		if err != nil {
			return err
		}
		seen(Seen{At: time.Now(), Units: units, All: true})
		return nil
	}
	if err := pass(); err != nil {
		return err
	}
	connected(nil)

	tick := time.NewTicker(PassInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.lost:
			return errors.New("the bus connection was lost")
		case <-tick.C:
			if err := pass(); err != nil {
				return err
			}
		case s := <-c.signals:
			if s == nil {
				return errors.New("the bus connection was lost")
			}
			names := w.changed(nil, s.Path)
			for more := true; more; { // one read answers all signals that are waiting
				select {
				case s := <-c.signals:
					if s == nil {
						return errors.New("the bus connection was lost")
					}
					names = w.changed(names, s.Path)
				default:
					more = false
				}
			}
			if len(names) == 0 {
				continue
			}
			units, err := c.units(ctx, names)
			if err != nil {
				return err
			}
			seen(Seen{At: time.Now(), Units: units})
		}
	}
}

// changed adds the unit behind an object path to names, if it is ours and new.
func (w *Watcher) changed(names []string, object dbus.ObjectPath) []string {
	name, ok := unitName(object)
	if !ok || slices.Contains(names, name) {
		return names
	}
	for _, p := range w.Patterns {
		if ok, _ := path.Match(p, name); ok {
			return append(names, name)
		}
	}
	return names
}

func (c *conn) units(ctx context.Context, names []string) ([]api.Unit, error) {
	units := make([]api.Unit, 0, len(names))
	for _, name := range names {
		u, err := c.unit(ctx, name)
		if err != nil {
			return nil, err
		}
		units = append(units, u)
	}
	return units, nil
}
