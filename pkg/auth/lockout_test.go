package auth

import (
	"net/netip"
	"testing"
	"time"
)

// Proves AUTH-1: each row is a past, and who may try after it.
func TestLockout(t *testing.T) {
	start := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	owner, thief := Network(netip.MustParseAddr("192.168.1.10")), Network(netip.MustParseAddr("192.168.1.66"))
	fails := func(n int, from netip.Prefix, device string, after time.Duration) (past []Attempt) {
		for i := range n {
			past = append(past, Attempt{start.Add(after + time.Duration(i)*time.Second), from, device, AttemptFailed})
		}
		return past
	}
	join := func(parts ...[]Attempt) (all []Attempt) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	one := func(r AttemptResult, from netip.Prefix, device string, after time.Duration) []Attempt {
		return []Attempt{{start.Add(after), from, device, r}}
	}
	var many []Attempt
	for n := range 30 {
		many = append(many, fails(1, Network(netip.AddrFrom4([4]byte{10, 0, byte(n), 1})), "", time.Duration(n)*10*time.Second)...)
	}
	const m = time.Minute
	for _, tt := range []struct {
		name   string
		past   []Attempt
		from   netip.Prefix
		device string
		now    time.Duration
		wait   time.Duration
	}{
		{"nothing", nil, thief, "", 0, 0},
		{"four", fails(4, thief, "", 0), thief, "", m, 0},
		{"five", fails(5, thief, "", 0), thief, "", m, 14*m + 4*time.Second},
		{"five, and time", fails(5, thief, "", 0), thief, "", 15*m + 4*time.Second, 0},
		{"five, spread over more than the window", join(fails(4, thief, "", 0), fails(1, thief, "", 15*m)), thief, "", 15*m + time.Second, 0},
		{"five, in no order", join(fails(1, thief, "", 4*m), fails(4, thief, "", 0)), thief, "", 5 * m, 14 * m},
		{"five by another", fails(5, thief, "", 0), owner, "", m, 0},
		{"a success between", join(fails(4, thief, "", 0), one(AttemptSucceeded, thief, "", m), fails(4, thief, "", 2*m)), thief, "", 3 * m, 0},
		{"another's success between", join(fails(4, thief, "", 0), one(AttemptSucceeded, owner, "", m), fails(1, thief, "", 2*m)), thief, "", 3 * m, 14 * m},
		{"a device's success on the same network", join(fails(4, thief, "", 0), one(AttemptSucceeded, thief, "d", m), fails(1, thief, "", 2*m)), thief, "", 3 * m, 14 * m},
		{"incomplete ones", join(fails(4, thief, "", 0), one(AttemptIncomplete, thief, "", m)), thief, "", 2 * m, 0},
		{"thirty by many", many, owner, "", 5 * m, 15*m - 10*time.Second},
		{"twenty-nine by many", many[1:], owner, "", 5 * m, 0},
		{"thirty by many, and a known device", many, owner, "d", 5 * m, 0},
		{"thirty by many, and the owner was in", join(many, one(AttemptSucceeded, owner, "", 5*m)), owner, "", 5 * m, 15*m - 10*time.Second},
		{"five by the device's network", fails(5, owner, "", 0), owner, "d", m, 0},
		{"five by the device", fails(5, owner, "d", 0), owner, "d", m, 14*m + 4*time.Second},
		{"five by the device, from elsewhere", fails(5, thief, "d", 0), owner, "d", m, 14*m + 4*time.Second},
		{"five by the device, and no cookie", fails(5, owner, "d", 0), owner, "", m, 0},
		{"the clock went back a year", fails(5, thief, "", 0), thief, "", -365 * 24 * time.Hour, 15 * m},
	} {
		until := loginLockout.Judge(tt.past, tt.from, tt.device, start.Add(tt.now))
		var wait time.Duration
		if !until.IsZero() {
			wait = until.Sub(start.Add(tt.now))
		}
		// many ends at 290 s, and five minutes are 300.
		if wait != tt.wait {
			t.Errorf("%s: waits %v, want %v", tt.name, wait, tt.wait)
		}
	}
	if !setupLockout.Judge(many, owner, "", start.Add(5*m)).IsZero() {
		t.Error("strangers keep the owner from his setup code")
	}
}

func TestANetworkIsWhatOneClientHas(t *testing.T) {
	for addr, want := range map[string]string{
		"192.168.1.10": "192.168.1.10/32", "::ffff:192.168.1.10": "192.168.1.10/32",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := Network(netip.MustParseAddr(addr)).String(); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
	if Network(netip.Addr{}).IsValid() {
		t.Error("the machine itself has a network")
	}
}
