package kernel

import (
	"maps"
	"strings"
	"sync/atomic"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

const (
	// repeat is how long a GPU that goes on saying the same is not heard again.
	repeat = 10 * time.Minute
	// again is within what the second lines about a kill follow the first.
	again = 10 * time.Second
	// maxTold bounds what is remembered of them.
	maxTold = 256
	// A dying disk says thousands of lines in a minute: no more than most
	// events are handed on in each span.
	most = 100
	span = 10 * time.Second
)

// filter makes events of records: each trouble once, and never a flood.
type filter struct {
	told     map[finding]time.Time // of GPUs, until when it is not to be told again
	killed   time.Time             // when a task was last killed for want of memory
	since    time.Time             // when the span began
	handed   int                   // in this span
	withheld atomic.Uint64
}

// take returns the event that a record means, if any.
func (f *filter) take(r record, now time.Time) (api.KernelEvent, bool) {
	if r.fragment || r.facility != 0 && forwarded(r.text) {
		return api.KernelEvent{}, false
	}
	x, ok := classify(r.text)
	if !ok || f.knows(x, now) {
		return api.KernelEvent{}, false
	}
	if f.since.IsZero() || now.Sub(f.since) >= span {
		f.since, f.handed = now, 0
	}
	if f.handed >= most {
		f.withheld.Add(1)
		return api.KernelEvent{}, false
	}
	f.handed++
	return api.KernelEvent{Kind: x.kind, Device: x.device, Code: x.code, Text: shorten(r.text)}, true
}

// knows says whether the same was told a short while ago, and remembers it.
func (f *filter) knows(x finding, now time.Time) bool {
	if x.kind == api.KernelOOMKill {
		if !x.echo {
			f.killed = now
		}
		return x.echo && !f.killed.IsZero() && now.Sub(f.killed) < again
	}
	if x.kind != api.KernelXid && x.kind != api.KernelGPUError {
		return false
	}
	if now.Before(f.told[x]) {
		return true
	}
	if f.told == nil {
		f.told = map[finding]time.Time{}
	}
	if len(f.told) >= maxTold {
		maps.DeleteFunc(f.told, func(_ finding, until time.Time) bool { return !now.Before(until) })
	}
	if len(f.told) < maxTold { // else it is told again: the bound on all of them holds
		f.told[x] = now.Add(repeat)
	}
	return false
}

// forwarded says whether a line carries "[123]: ", as all do that journald
// passes on for others: after a name that the sender chose.
func forwarded(text string) bool {
	for {
		_, rest, found := strings.Cut(text, "[")
		if !found {
			return false
		}
		if digits := strings.TrimLeft(rest, "0123456789"); digits != rest && strings.HasPrefix(digits, "]: ") {
			return true
		}
		text = rest
	}
}
