package mdns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/godbus/dbus/v5"
)

// Avahi's words, from /usr/share/dbus-1/interfaces/org.freedesktop.Avahi.*.xml
// and avahi-common/defs.h.
const (
	avahiName  = "org.freedesktop.Avahi"
	avahiGroup = avahiName + ".EntryGroup"
	avahiTaken = avahiName + ".CollisionError"

	serverRunning = int32(2)

	groupRegistering = int32(1)
	groupEstablished = int32(2)
	groupCollision   = int32(3)

	anyProtocol = int32(-1)
	noReverse   = uint32(16) // AVAHI_PUBLISH_NO_REVERSE: the address already points back to the host name
)

// bus is a connection to the system bus of our own; the package's shared one
// may not be closed. A nil *bus is one that is not there.
type bus struct {
	conn *dbus.Conn
	sigs chan *dbus.Signal
}

// signals delivers what avahi and the bus say; what it says does not matter,
// only that it is time to look.
func (b *bus) signals() <-chan *dbus.Signal {
	if b == nil {
		return nil
	}
	return b.sigs
}

// ensure returns b, or a new connection if b is lost, or nil when there is no
// bus: that is no error, zeroconf needs none.
func (b *bus) ensure(ctx context.Context, log *slog.Logger) *bus {
	if b != nil {
		for len(b.sigs) > 0 { // all of them are answered by the turn that now begins
			<-b.sigs
		}
		if b.conn.Connected() {
			return b
		}
		b.conn.Close()
		log.Warn("lost the system bus")
	}
	b, err := connect(ctx)
	if err != nil {
		log.Debug("no system bus", "err", err)
		return nil
	}
	return b
}

func (b *bus) close() {
	if b != nil {
		b.conn.Close()
	}
}

// connect dials, authenticates and subscribes, within five seconds. The
// connection outlives ctx, so that there is one left to say goodbye on.
func connect(ctx context.Context) (*bus, error) {
	life, kill := context.WithCancel(context.WithoutCancel(ctx))
	guard := time.AfterFunc(5*time.Second, kill)
	conn, err := dbus.ConnectSystemBus(dbus.WithContext(life), dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
	if err != nil {
		kill()
		return nil, err
	}
	b := &bus{conn: conn, sigs: make(chan *dbus.Signal, 16)}
	conn.Signal(b.sigs)
	err = errors.Join(
		conn.AddMatchSignalContext(ctx, dbus.WithMatchSender("org.freedesktop.DBus"),
			dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, avahiName)),
		conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(avahiName), dbus.WithMatchMember("StateChanged")),
	)
	if !guard.Stop() || err != nil {
		conn.Close()
		return nil, errors.Join(errors.New("subscribing to avahi"), err)
	}
	return b, nil
}

// owner is the connection that is avahi now, empty when it does not run.
func (b *bus) owner(ctx context.Context) string {
	var owner string
	if b != nil {
		_ = b.conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.GetNameOwner", 0, avahiName).Store(&owner)
	}
	return owner
}

func (b *bus) hasAvahi(ctx context.Context) bool { return b.owner(ctx) != "" }

// byAvahi is an announcement made by avahi: one entry group per link and name,
// because a group takes 32 records.
type byAvahi struct {
	bus    *bus
	owner  string // the avahi that has our groups; they end with it
	host   string // its own host name when we asked
	groups []dbus.BusObject
}

// call asks avahi's server object. It never starts avahi: whoever stopped it
// had a reason.
func (y *byAvahi) call(ctx context.Context, method string, ret ...any) error {
	return y.bus.conn.Object(y.owner, "/").CallWithContext(ctx, avahiName+".Server."+method, dbus.FlagNoAutoStart).Store(ret...)
}

// announceByAvahi hands the records over. That they are established is known
// later, by check. Without a running server (it may be looking for a host name
// of its own) there are no groups yet and check asks to be made again.
func announceByAvahi(ctx context.Context, b *bus, a Announcement, labels []string, links []link) (announcer, error) {
	y := &byAvahi{bus: b, owner: b.owner(ctx)}
	var st int32
	if err := y.call(ctx, "GetState", &st); err != nil {
		return nil, fmt.Errorf("asking for the server's state: %w", err)
	}
	if st != serverRunning {
		return y, nil
	}
	if err := y.call(ctx, "GetHostNameFqdn", &y.host); err != nil {
		return nil, fmt.Errorf("asking for the host name: %w", err)
	}
	for _, l := range links {
		err := y.add(ctx, &a, labels[0], l)
		for _, alias := range labels[1:] {
			if err == nil {
				err = y.add(ctx, nil, alias, l)
			}
		}
		if err != nil {
			y.close()
			var e dbus.Error
			if errors.As(err, &e) && e.Name == avahiTaken {
				return nil, errTaken
			}
			return nil, fmt.Errorf("publishing on %s: %w", l.name, err)
		}
	}
	return y, nil
}

// add publishes a name on one link, and the service with it unless a is nil. If
// avahi's own host name is ours, it publishes the addresses itself.
func (y *byAvahi) add(ctx context.Context, a *Announcement, name string, l link) error {
	fqdn, host := name+".local", ""
	if a == nil && y.host == fqdn {
		return nil // an empty group cannot be committed
	}
	var path dbus.ObjectPath
	if err := y.call(ctx, "EntryGroupNew", &path); err != nil {
		return err
	}
	group := y.bus.conn.Object(y.owner, path)
	y.groups = append(y.groups, group)
	call := func(method string, args ...any) error {
		return group.CallWithContext(ctx, avahiGroup+"."+method, dbus.FlagNoAutoStart, args...).Err
	}
	if y.host != fqdn {
		host = fqdn
		for _, addr := range l.addrs() {
			if err := call("AddAddress", int32(l.index), anyProtocol, noReverse, fqdn, addr.String()); err != nil {
				return err
			}
		}
	}
	if a != nil {
		txt := make([][]byte, 0, len(a.TXT))
		for _, kv := range a.TXT {
			txt = append(txt, []byte(kv))
		}
		if err := call("AddService", int32(l.index), anyProtocol, uint32(0), instance(name), "_http._tcp", "", host, uint16(a.Port), txt); err != nil {
			return err
		}
	}
	return call("Commit")
}

func (y *byAvahi) check(ctx context.Context) (state, error) {
	if y.bus.owner(ctx) != y.owner {
		return gone, nil
	}
	var st int32
	var host string
	if err := errors.Join(y.call(ctx, "GetState", &st), y.call(ctx, "GetHostNameFqdn", &host)); err != nil {
		return gone, err
	}
	if st != serverRunning {
		return probing, nil
	}
	if host != y.host { // it was not running, or avahi itself had to rename
		return gone, nil
	}
	all := announced
	for _, group := range y.groups {
		if err := group.CallWithContext(ctx, avahiGroup+".GetState", dbus.FlagNoAutoStart).Store(&st); err != nil {
			return gone, fmt.Errorf("asking for the group's state: %w", err)
		}
		switch st {
		case groupEstablished:
		case groupRegistering:
			all = probing
		case groupCollision:
			return taken, nil
		default:
			return gone, fmt.Errorf("avahi gave the group up (state %d)", st)
		}
	}
	return all, nil
}

// close frees the groups, and avahi says goodbye for them.
func (y *byAvahi) close() {
	ctx, cancel := context.WithTimeout(context.Background(), byeLimit)
	defer cancel()
	for _, group := range y.groups {
		// An error means that avahi or the bus is gone, and the records with it.
		_ = group.CallWithContext(ctx, avahiGroup+".Free", dbus.FlagNoAutoStart).Err
	}
}
