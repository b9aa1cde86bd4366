package auth

import (
	"net/netip"
	"slices"
	"time"
)

// AttemptResult says how an attempt to log in ended.
type AttemptResult string

// The results. An attempt counts as failed until it is known better.
const (
	AttemptFailed     AttemptResult = "failed"
	AttemptSucceeded  AttemptResult = "succeeded"
	AttemptIncomplete AttemptResult = "incomplete" // neither: the code is missing, or we could not look
)

// Attempt is one try to log in.
type Attempt struct {
	At      time.Time
	Network netip.Prefix // the client's
	Device  string       // one that we know, or a session; empty: a stranger
	Result  AttemptResult
}

// Lockout says how many failures are too many.
type Lockout struct {
	Each   int           // by one device, or from one network of strangers
	All    int           // by all strangers together; 0: any number
	Within time.Duration // of each other
	For    time.Duration // after the last of them
}

// The rules of the house.
var (
	loginLockout = Lockout{Each: 5, All: 30, Within: 15 * time.Minute, For: 15 * time.Minute}
	// The setup code cannot be guessed. Whoever tries must not keep it from its owner.
	setupLockout = Lockout{Each: 5, Within: 15 * time.Minute, For: 15 * time.Minute}
)

// memory is how far back Judge wants to know attempts.
func (l Lockout) memory() time.Duration { return l.Within + l.For }

// Judge says until when this client has to wait after these attempts, of which
// it wants those of the last memory; the zero time means that it may try.
//
// A success wipes out the failures of the same device or network before it, but
// not what strangers did together: else each of the owner's logins would give
// an attacker with many addresses thirty more.
func (l Lockout) Judge(past []Attempt, network netip.Prefix, device string, now time.Time) time.Time {
	past = slices.Clone(past)
	slices.SortStableFunc(past, func(a, b Attempt) int { return a.At.Compare(b.At) })
	var own, strangers []time.Time // failures
	for _, a := range past {
		mine := a.Device == device && (device != "" || a.Network == network)
		if mine && a.Result == AttemptSucceeded {
			own = nil
		}
		if a.Result != AttemptFailed {
			continue
		}
		if mine {
			own = append(own, a.At)
		}
		if a.Device == "" {
			strangers = append(strangers, a.At)
		}
	}
	until := l.after(own, l.Each)
	if device == "" && l.All > 0 {
		if all := l.after(strangers, l.All); all.After(until) {
			until = all
		}
	}
	if !until.After(now) {
		return time.Time{}
	}
	// A clock that went back must not lock for longer than the rule says.
	if most := now.Add(l.For); until.After(most) {
		return most
	}
	return until
}

// after returns when the lock of the last run of most failures ends.
func (l Lockout) after(failures []time.Time, most int) (until time.Time) {
	for n := most - 1; n < len(failures); n++ {
		if failures[n].Sub(failures[n-most+1]) < l.Within {
			until = failures[n].Add(l.For)
		}
	}
	return until
}

// Network is what counts as one client: an IPv4 address, or the /64 that
// whoever has one IPv6 address of it has all of. The zero Addr is one, too.
func Network(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 64
	if a.Is4() {
		bits = 32
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
