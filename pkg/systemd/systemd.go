// Package systemd sees and moves units over D-Bus, and reboots the machine.
//
// It connects to the system bus and, when that is dead and we are root, to the
// service manager's private socket; it reconnects by itself. It does not judge
// what it sees and does not decide what to restart.
//
// Signals only say where to look: systemd coalesces them, so that a crash and
// the restart after it can arrive as one. Every signal leads to a fresh read of
// the whole unit. A pass every ten seconds looks whether a signal was lost: it
// compares the states and jobs of all units, which come in one answer, and when
// each last changed; reading one whole costs thirty times as much, in systemd
// and here.
package systemd

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"

	"github.com/arasul/arasul/pkg/api"
)

const unitPrefix = "/org/freedesktop/systemd1/unit/"

// options are what tests change; the zero value is what an installed machine has.
type options struct {
	// private is systemd's own bus for root, which needs no dbus-daemon.
	private string
	// timeout bounds one question to the service manager. It answers in
	// milliseconds; when it does not, it is busy or gone.
	timeout time.Duration
	// pass is how often all units are looked at, and whole the how-manieth of
	// these looks reads them whole, for the little that can change without a
	// change of state.
	pass  time.Duration
	whole int
}

func (o options) orDefault() options {
	return options{
		private: cmp.Or(o.private, "unix:path=/run/systemd/private"),
		timeout: cmp.Or(o.timeout, 5*time.Second),
		pass:    cmp.Or(o.pass, PassInterval),
		whole:   cmp.Or(o.whole, 6),
	}
}

// conn is one connection: go-systemd's for calls and jobs, and the signals of
// its second half.
type conn struct {
	*sd.Conn
	bus     *dbus.Conn // the half that takes the signals, for calls of other services
	signals chan *dbus.Signal
	lost    <-chan struct{} // closed when the bus went away
	hangUp  context.CancelFunc
	timeout time.Duration // for one question
}

// Close ends the connection.
func (c *conn) Close() {
	c.hangUp()
	c.Conn.Close()
}

// connect dials the system bus, or the private socket when that fails and we
// are root. The connection lives until it is closed or ctx ends.
func connect(ctx context.Context, o options) (*conn, error) {
	o = o.orDefault()
	c, busErr := connectTo(ctx, o.timeout, dbus.ConnectSystemBus)
	if busErr == nil {
		return c, nil
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("connecting to the system bus: %w", busErr)
	}
	c, err := connectTo(ctx, o.timeout, func(opts ...dbus.ConnOption) (*dbus.Conn, error) {
		bus, err := dbus.Dial(o.private, opts...)
		if err != nil {
			return nil, err
		}
		if err := bus.Auth([]dbus.Auth{whoWeAre()}); err != nil {
			_ = bus.Close()
			return nil, err
		}
		return bus, nil // no Hello: there is no bus daemon here
	})
	if err != nil {
		return nil, fmt.Errorf("connecting to the service manager: %w", errors.Join(busErr, err))
	}
	return c, nil
}

func connectTo(ctx context.Context, timeout time.Duration, dial func(...dbus.ConnOption) (*dbus.Conn, error)) (*conn, error) {
	type result struct {
		c   *conn
		err error
	}
	done := make(chan result, 1)
	connCtx, hangUp := context.WithCancel(ctx)
	go func() {
		var last *dbus.Conn // go-systemd dials twice; the second takes the signals
		c, err := sd.NewConnection(func() (*dbus.Conn, error) {
			var err error
			last, err = dial(dbus.WithContext(connCtx), dbus.WithAuth(whoWeAre()), dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
			return last, err
		})
		if err != nil {
			done <- result{err: err}
			return
		}
		signals := make(chan *dbus.Signal, 256)
		last.Signal(signals)
		done <- result{c: &conn{Conn: c, bus: last, signals: signals, lost: last.Context().Done(), hangUp: hangUp, timeout: timeout}, err: subscribe(connCtx, last)}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			hangUp()
			return nil, r.err
		}
		return r.c, nil
	case <-time.After(timeout): // a bus that accepts but does not answer
		hangUp()
		return nil, errors.New("no answer")
	case <-ctx.Done():
		hangUp()
		return nil, ctx.Err()
	}
}

// whoWeAre logs in by number: names need a lookup that a static program lacks.
func whoWeAre() dbus.Auth { return dbus.AuthExternal(strconv.Itoa(os.Getuid())) }

// subscribe asks for the property changes of units and for finished jobs. On
// the private socket there is nobody to match, and all signals come anyway.
func subscribe(ctx context.Context, bus *dbus.Conn) error {
	if unique := bus.Names()[0]; unique != "" { // empty when nobody was there to say Hello to
		err := bus.AddMatchSignalContext(ctx,
			dbus.WithMatchSender("org.freedesktop.systemd1"),
			dbus.WithMatchInterface("org.freedesktop.DBus.Properties"),
			dbus.WithMatchMember("PropertiesChanged"),
			dbus.WithMatchPathNamespace("/org/freedesktop/systemd1/unit"))
		if err != nil {
			return fmt.Errorf("asking for signals: %w", err)
		}
	}
	manager := bus.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1")
	if err := manager.CallWithContext(ctx, "org.freedesktop.systemd1.Manager.Subscribe", 0).Err; err != nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	return nil
}

// unit reads everything about one unit. A unit that systemd does not know has
// LoadState not-found.
func (c *conn) unit(ctx context.Context, name string) (api.Unit, error) {
	p, err := c.properties(ctx, name)
	if err != nil {
		return api.Unit{}, err
	}
	u := api.Unit{
		Name:         name,
		Description:  get[string](p, "Description"),
		LoadState:    get[string](p, "LoadState"),
		FileState:    get[string](p, "UnitFileState"),
		ActiveState:  get[string](p, "ActiveState"),
		SubState:     get[string](p, "SubState"),
		Result:       get[string](p, "Result"),
		OneShot:      get[string](p, "Type") == "oneshot",
		InvocationID: hex.EncodeToString(get[[]byte](p, "InvocationID")),
		Restarts:     get[uint32](p, "NRestarts"),
		MainPID:      get[uint32](p, "MainPID"),
		ExitCode:     get[int32](p, "ExecMainCode"),
		ExitStatus:   get[int32](p, "ExecMainStatus"),
		StateChange:  p.time("StateChangeTimestamp"),
		ActiveEnter:  p.time("ActiveEnterTimestamp"),
		ActiveExit:   p.time("ActiveExitTimestamp"),
		Started:      p.time("ExecMainStartTimestamp"),
		Exited:       p.time("ExecMainExitTimestamp"),
	}
	if job := get[[]any](p, "Job"); len(job) > 0 {
		u.Job, _ = job[0].(uint32)
	}
	return u, nil
}

// properties reads all interfaces of a unit in one answer: read one after the
// other, they could belong to two different runs.
func (c *conn) properties(ctx context.Context, unit string) (p properties, err error) {
	err = c.short(ctx, func(ctx context.Context) (err error) {
		p, err = c.GetAllPropertiesContext(ctx, unit)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", unit, err)
	}
	return p, nil
}

// short bounds one question. A connection over which nobody answers is closed,
// so that the next attempt looks for another way.
func (c *conn) short(ctx context.Context, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	err := ask(ctx)
	if err != nil && ctx.Err() != nil {
		c.Close()
	}
	return err
}

// all returns the units that match the patterns. Those that have not moved since
// they became known are not read again, unless they are to be read whole.
func (c *conn) all(ctx context.Context, patterns []string, known map[string]api.Unit, whole bool) ([]api.Unit, error) {
	states, err := c.list(ctx, patterns)
	if err != nil {
		return nil, err
	}
	units := make([]api.Unit, 0, len(states))
	for _, state := range states {
		u, read := known[state.Name]
		read = read && !whole
		if read {
			moved, err := c.moved(ctx, u, state)
			if err != nil {
				return nil, err
			}
			read = !moved
		}
		if !read {
			if u, err = c.unit(ctx, state.Name); err != nil {
				return nil, err
			}
		}
		units = append(units, u)
	}
	return units, nil
}

// list returns the states of the loaded units that match one of the patterns,
// and of those patterns that are plain names, loaded or not.
func (c *conn) list(ctx context.Context, patterns []string) (all []sd.UnitStatus, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var names, globs []string
	for _, p := range patterns {
		if strings.ContainsAny(p, "*?[") {
			globs = append(globs, p)
		} else {
			names = append(names, p)
		}
	}
	if len(names) > 0 {
		if all, err = c.ListUnitsByNamesContext(ctx, names); err != nil {
			return nil, fmt.Errorf("listing units: %w", err)
		}
		if len(all) == len(names) { // an alias stays what it is called by
			for i := range all {
				all[i].Name = names[i]
			}
		}
	}
	if len(globs) > 0 {
		loaded, err := c.ListUnitsByPatternsContext(ctx, nil, globs)
		if err != nil {
			return nil, fmt.Errorf("listing units: %w", err)
		}
		all = append(all, loaded...)
	}
	return all, nil
}

// moved says whether a unit has changed since it was read. Whatever it did
// since, be it a restart that is over, has left a new time of its last change.
func (c *conn) moved(ctx context.Context, u api.Unit, now sd.UnitStatus) (bool, error) {
	if u.Description != now.Description || u.LoadState != now.LoadState || u.ActiveState != now.ActiveState ||
		u.SubState != now.SubState || u.Job != now.JobId {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	p, err := c.GetUnitPropertyContext(ctx, u.Name, "StateChangeTimestamp")
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", u.Name, err)
	}
	at := properties{p.Name: p.Value.Value()}.time(p.Name)
	return !at.Equal(u.StateChange), nil
}

// properties are the values of one D-Bus interface. Reading one that is absent
// or of another type gives zero: older systemd lacks some.
type properties map[string]any

func get[T any](p properties, name string) T {
	v, _ := p[name].(T)
	return v
}

// ranWell says whether this is a oneshot that has ended well and left nothing
// behind.
func (p properties) ranWell() bool {
	return get[string](p, "Type") == "oneshot" && get[string](p, "ActiveState") == "inactive" && get[string](p, "Result") == "success"
}

// time reads a wall-clock timestamp in microseconds; zero means never.
func (p properties) time(name string) time.Time {
	us := get[uint64](p, name)
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(us)).UTC()
}

// unitName turns an object path into the unit's name: each byte that is not a
// letter or digit is written as _xx.
func unitName(path dbus.ObjectPath) (name string, ok bool) {
	escaped, ok := strings.CutPrefix(string(path), unitPrefix)
	if !ok {
		return "", false
	}
	var b strings.Builder
	for i := 0; i < len(escaped); i++ {
		if escaped[i] != '_' {
			b.WriteByte(escaped[i])
			continue
		}
		if i+2 >= len(escaped) {
			return "", false
		}
		c, err := strconv.ParseUint(escaped[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), true
}
