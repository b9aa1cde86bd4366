package host

import "time"

const (
	// maxDevices is how many disks or interfaces are looked at; more than that
	// is no machine of ours, and would be memory for nothing.
	maxDevices = 4096
	// reconsider is how long the answer to "does this device count" is kept.
	// Devices come and go, and become part of others, but seldom.
	reconsider = time.Minute
)

// tally turns the ever-growing totals of named devices into their growth since
// the round before. It goes by device, because a sum over all would jump when
// one comes, goes or begins anew.
type tally struct {
	counts  func(name string) bool
	devices map[string]*device
	round   uint64
	now     time.Time
	in, out uint64
}

type device struct {
	in, out uint64
	counted bool
	asked   time.Time // when counted was found out
	round   uint64    // when it was last seen
}

// newTally returns a tally of the devices that counts says yes to.
func newTally(counts func(name string) bool) *tally {
	return &tally{counts: counts, devices: map[string]*device{}}
}

// begin starts a round.
func (t *tally) begin(now time.Time) {
	t.round++
	t.now = now
	t.in, t.out = 0, 0
}

// add takes the totals of one device, each once per round.
func (t *tally) add(name []byte, in, out uint64) {
	d := t.devices[string(name)]
	if d == nil {
		if len(t.devices) >= maxDevices {
			return
		}
		d = &device{in: in, out: out}
		t.devices[string(name)] = d
	}
	if d.asked.IsZero() || t.now.Sub(d.asked) >= reconsider {
		d.counted, d.asked = t.counts(string(name)), t.now
	}
	if d.counted {
		t.in += in - min(in, d.in) // a total that fell began anew
		t.out += out - min(out, d.out)
	}
	d.in, d.out, d.round = in, out, t.round
}

// end forgets the devices that were not seen and returns the growth of the
// others.
func (t *tally) end() (in, out uint64) {
	for name, d := range t.devices {
		if d.round != t.round {
			delete(t.devices, name)
		}
	}
	return t.in, t.out
}
