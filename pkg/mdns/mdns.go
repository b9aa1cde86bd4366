// Package mdns announces the appliance in the local network: the address of
// <name>.local and the service _http._tcp, so that a browser finds it without
// anyone knowing an address.
//
// When avahi runs it does the work, asked over D-Bus; otherwise the process
// answers port 5353 itself, the service by zeroconf and the address by the
// small responder in this package, because zeroconf answers no question for an
// address. A name that another machine already has becomes <name>-2, <name>-3
// and so on, and stays so until the process starts again. An alias, which is a
// second name for the same addresses, gets the same number.
//
// It does not browse, does not configure avahi or start it, and never gives up
// for want of a network: it says what is missing and tries again.
//
// # States
//
//	          links found, avahi or not
//	waiting ----------------------------> probing ---- nobody objects ---> announced
//	   ^                                   |    ^                             |
//	   | no link, or an error              |    | next name                   |
//	   +-----------------------------------+    +------ name is taken --------+
//	   +----- links changed, avahi came or went (then at once probing) -------+
//
// One loop moves between them. It compares what should be with what is, every
// five seconds and at each signal, so that a lost signal costs seconds and
// never a state.
package mdns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The times of the loop.
const (
	look      = 5 * time.Second  // between looks at links, avahi and the announcement
	renameGap = time.Second      // between two names, so that two machines cannot storm
	stepLimit = 10 * time.Second // for one turn of the loop, all D-Bus calls together
	byeLimit  = 2 * time.Second  // for avahi to take its groups back
)

// Announcement is what the network is told.
type Announcement struct {
	Name       string   // single label: "arasul" becomes arasul.local; nss-mdns resolves no longer names
	Aliases    []string // further labels, for the same addresses
	Port       int      // of the HTTP service, 1 to 65535
	Interfaces []string // announce on these only; empty: all but loopback, containers' and tunnels'
	TXT        []string // key=value pairs of the service, each at most 255 bytes
	// Announced, unless nil, is called with the labels in use when they change:
	// arasul-2, arasul-s3-2.
	Announced func(labels []string)
}

// S3 is the label under which the object store is to be found. Its clients sign
// the host, so it needs one of its own.
func S3(name string) string { return name + "-s3" }

// Validate says what is wrong with the announcement, or nil.
func (a Announcement) Validate() error {
	outside := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	}
	for _, name := range append([]string{a.Name}, a.Aliases...) {
		switch {
		case name == "" || len(name) > 59: // 63 less "-999"
			return fmt.Errorf("name %q: want 1 to 59 characters", name)
		case strings.ContainsFunc(name, outside), name[0] == '-', name[len(name)-1] == '-':
			return fmt.Errorf("name %q: want a single label of a-z, 0-9 and inner hyphens", name)
		}
	}
	if a.Port < 1 || a.Port > 65535 {
		return fmt.Errorf("port %d: want 1 to 65535", a.Port)
	}
	for _, kv := range a.TXT {
		if kv == "" || len(kv) > 255 {
			return fmt.Errorf("TXT %q: want 1 to 255 bytes", kv)
		}
	}
	return nil
}

// label is the nth candidate for the host name: arasul, arasul-2, arasul-3.
func label(name string, n int) string {
	if n == 1 {
		return name
	}
	return name + "-" + strconv.Itoa(n)
}

// labels are the nth candidates for all names, the host name first.
func (a Announcement) labels(n int) []string {
	list := []string{label(a.Name, n)}
	for _, alias := range a.Aliases {
		list = append(list, label(alias, n))
	}
	return list
}

// instance is the name of the service for the host label. It is as unique as
// the label, so that one collision settles both, and has no character that
// DNS-SD would have to escape.
func instance(label string) string {
	if label == "arasul" || strings.HasPrefix(label, "arasul-") {
		return "Arasul" + strings.TrimPrefix(label, "arasul")
	}
	return "Arasul-" + label
}

// Run announces a until ctx ends, then says goodbye and returns nil. Any other
// return is a mistake in a. It calls status with one line for a person
// whenever the state changes, and alive after each turn of its loop, at least
// every 25 seconds, however the bus behaves.
func Run(ctx context.Context, a Announcement, log *slog.Logger, status func(string), alive func()) error {
	if err := a.Validate(); err != nil {
		return fmt.Errorf("checking announcement: %w", err)
	}
	r := &runner{a: a, log: log, say: status, n: 1, wake: make(chan struct{}, 1)}
	defer func() {
		r.stop()
		r.bus.close()
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-r.wake:
		case <-r.bus.signals(): // nil, hence never, without a bus
		}
		turn, cancel := context.WithTimeout(ctx, stepLimit)
		wait := r.step(turn)
		cancel()
		alive()
		timer.Reset(wait)
	}
}

// state is how far an announcement has come.
type state int

const (
	probing   state = iota // asking whether the name is free
	announced              // done; the name is ours
	taken                  // another machine has the name
	gone                   // must be made again: avahi restarted, a socket died
)

// announcer is one way to announce. Both ways are level-triggered: check says
// what is, and wake is touched when it is worth asking.
type announcer interface {
	check(ctx context.Context) (state, error)
	close() // says goodbye and waits for it
}

// runner is the loop's memory.
type runner struct {
	a    Announcement
	log  *slog.Logger
	say  func(string)
	n    int // candidate in use, see label
	wake chan struct{}
	text string // last status said
	told int    // candidate that Announced knows of

	bus *bus
	cur announcer // nil while waiting
	how string    // "avahi" or "zeroconf" when cur is set
	on  []link    // links cur was made for
}

// step looks once and does what is due. It returns when to look again at the
// latest.
func (r *runner) step(ctx context.Context) time.Duration {
	r.bus = r.bus.ensure(ctx, r.log)
	links, err := usable(r.a.Interfaces)
	if err != nil {
		return r.waiting("cannot list network interfaces: " + err.Error())
	}
	if len(links) == 0 {
		return r.waiting("no network to announce on; ready and waiting for one")
	}
	how := "zeroconf"
	if r.bus.hasAvahi(ctx) {
		how = "avahi"
	}
	if r.cur != nil && (r.how != how || !slices.EqualFunc(r.on, links, link.equal)) {
		r.stop() // first goodbye, then anew: two of us would object to each other
	}
	name := label(r.a.Name, r.n)
	if r.cur == nil {
		r.how, r.on = how, links
		if how == "avahi" {
			r.cur, err = announceByAvahi(ctx, r.bus, r.a, r.a.labels(r.n), links)
		} else {
			r.cur, err = announceByZeroconf(r.a, r.a.labels(r.n), links, r.wake)
		}
		if errors.Is(err, errTaken) {
			return r.rename(name)
		}
		if err != nil {
			r.cur = nil
			return r.waiting(fmt.Sprintf("cannot announce through %s: %v", how, err))
		}
	}
	st, err := r.cur.check(ctx)
	switch {
	case st == taken:
		return r.rename(name)
	case st == gone || err != nil:
		r.stop()
		if err == nil {
			return renameGap
		}
		return r.waiting(fmt.Sprintf("lost the announcement through %s: %v", how, err))
	case st == announced:
		if r.told != r.n && r.a.Announced != nil {
			r.told = r.n
			r.a.Announced(r.a.labels(r.n))
		}
		r.status("announced as " + name + ".local through " + how + " on " + names(links) + takenNote(r.a.Name, r.n))
	default:
		r.status("probing for " + name + ".local through " + how + " on " + names(links))
	}
	return look
}

// errTaken says that this very machine already publishes the name otherwise.
var errTaken = errors.New("name is taken")

// takenNote tells the owner why the name is not the one configured.
func takenNote(name string, n int) string {
	if n == 1 {
		return ""
	}
	return "; " + name + ".local belongs to another machine"
}

// rename moves on to the next candidate after a collision. 999 candidates are
// more than a network has machines; then it starts over.
func (r *runner) rename(name string) time.Duration {
	r.stop()
	r.n = r.n%999 + 1
	r.log.Warn("name is taken, trying the next", "name", name+".local", "reason", label(r.a.Name, r.n)+".local is next")
	r.status(name + ".local is taken, trying " + label(r.a.Name, r.n) + ".local")
	return renameGap
}

// waiting stops what is announced and says why.
func (r *runner) waiting(why string) time.Duration {
	r.stop()
	r.status(why)
	return look
}

// status tells text once.
func (r *runner) status(text string) {
	if text == r.text {
		return
	}
	r.text = text
	r.log.Info("announcement changed", "reason", text)
	r.say(text)
}

// stop says goodbye if something is announced.
func (r *runner) stop() {
	if r.cur != nil {
		r.cur.close()
		r.cur = nil
	}
}

// names lists the links for a person.
func names(links []link) string {
	var b strings.Builder
	for i, l := range links {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(l.name)
	}
	return b.String()
}
