package gpu

import (
	"fmt"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// The rules. Those of a 64 GB Orin and the fallbacks are the product's (GPU-2).
const (
	window = 5 // samples that a level looks back on
	quorum = 3 // of them, to begin and to end
	stale  = 30 * time.Second

	// Out of memory: 36, 38 and 40 GB of a 64 GB Orin, where the system and the
	// other services need the rest. A card's memory is its own, so there 40 GB
	// stand for all of it, of which the driver never hands out the last percent.
	unifiedWarning, unifiedCritical, unifiedLimit = 36.0 / 64, 38.0 / 64, 40.0 / 64
	ownWarning, ownCritical, ownLimit             = 36.0 / 40, 38.0 / 40, 0.99
	memoryGap                                     = 0.02

	// Temperature in °C: on a Jetson as far below its passive trip point as 83,
	// 85 and 90 are below Orin's 99. A card is built to run hotter, close to its
	// slowdown temperature, so only levels that it would never reach are moved.
	warm, hot, tooHot          = 83.0, 85.0, 90.0
	orinTrip                   = 99.0
	cardWarm, cardHot, cardTop = 4.0, 2.0, 0.0 // below slowdown, at most
	temperatureGap             = 5.0

	// Hang: busy for so long and no token produced.
	busy      = 0.99
	hangAfter = 30 * time.Second
)

// tokens is how many tokens the LLM has produced, as last reported.
type tokens struct {
	total uint64
	at    time.Time
}

// tokensValid is how long a report of tokens is believed.
const tokensValid = 15 * time.Second

// history is what is remembered of one GPU from sample to sample.
type history struct {
	memory      level
	temperature level

	busySince  time.Time
	busyTokens uint64

	faults map[api.GPURecovery]fault // by events, until the driver or a reset takes them back
	driver fault                     // the driver's own verdict, while it has one
}

type fault struct {
	since   time.Time
	message string
}

// judge takes one sample of one GPU and says what is wrong, worst thing last.
// It changes h and nothing else.
func (h *history) judge(g api.GPU, t tokens, now time.Time) (problems []api.GPUProblem) {
	add := func(kind api.GPUProblemKind, l api.GPULevel, since time.Time, message string, args ...any) {
		problems = append(problems, api.GPUProblem{
			GPU: g.ID, Kind: kind, Level: l, Since: since, Message: fmt.Sprintf(message, args...),
		})
	}
	if l := h.memory.next(memoryRatio(g), memoryLevels(g.MemoryUnified), memoryGap, now); l != "" {
		add(api.GPUMemory, l, h.memory.since, "%.0f %% of the memory is held for the GPU", 100*h.memory.last)
	}
	levels := temperatureLevels(g.MemoryUnified, g.SlowdownCelsius)
	if l := h.temperature.next(g.TemperatureCelsius, levels, temperatureGap, now); l != "" {
		add(api.GPUTemperature, l, h.temperature.since, "the GPU has %.0f °C; levels are %.0f, %.0f and %.0f",
			h.temperature.last, levels[0], levels[1], levels[2])
	}
	if since, hangs := h.hangs(g.UtilisationRatio, t, now); hangs {
		add(api.GPUHang, api.GPUCritical, since, "busy since %s without a token", since.Format(time.TimeOnly))
	}
	return append(problems, h.standing(g, now)...)
}

func memoryRatio(g api.GPU) *float64 {
	if g.MemoryUsedBytes == nil || g.MemoryTotalBytes == nil || *g.MemoryTotalBytes == 0 {
		return nil
	}
	total := *g.MemoryTotalBytes
	if g.MemoryUnified {
		// The kernel hides what the firmware took: 61.4 of 64 GiB are left.
		const unit = 8 << 30
		total = (total + unit - 1) / unit * unit
	}
	return new(float64(*g.MemoryUsedBytes) / float64(total))
}

func memoryLevels(unified bool) [3]float64 {
	if unified {
		return [3]float64{unifiedWarning, unifiedCritical, unifiedLimit}
	}
	return [3]float64{ownWarning, ownCritical, ownLimit}
}

func temperatureLevels(jetson bool, slowdown *float64) [3]float64 {
	levels := [3]float64{warm, hot, tooHot}
	switch {
	case slowdown == nil:
	case jetson:
		for i := range levels {
			levels[i] += *slowdown - orinTrip
		}
	default:
		for i, below := range []float64{cardWarm, cardHot, cardTop} {
			levels[i] = min(levels[i], *slowdown-below)
		}
	}
	return levels
}

// hangs says since when the GPU has been busy without a token, once that is long
// enough. What is not known is no hang.
func (h *history) hangs(utilisation *float64, t tokens, now time.Time) (time.Time, bool) {
	known := !t.at.IsZero() && now.Sub(t.at) <= tokensValid
	if utilisation == nil || *utilisation < busy || !known {
		h.busySince = time.Time{}
		return h.busySince, false
	}
	if h.busySince.IsZero() || h.busyTokens != t.total {
		h.busySince, h.busyTokens = now, t.total
	}
	return h.busySince, now.Sub(h.busySince) >= hangAfter
}

// note remembers an event that a reset or a reboot must follow.
func (h *history) note(e api.GPUEvent) {
	if e.Recovery != api.RecoverReset && e.Recovery != api.RecoverReboot {
		return
	}
	if _, known := h.faults[e.Recovery]; known {
		return
	}
	if h.faults == nil {
		h.faults = map[api.GPURecovery]fault{}
	}
	h.faults[e.Recovery] = fault{e.Time, e.Message}
}

// standing are the faults that are not over. The driver's own verdict goes
// before what we make of its events: when it says that nothing is needed, the
// events are history.
func (h *history) standing(g api.GPU, now time.Time) (problems []api.GPUProblem) {
	add := func(r api.GPURecovery, f fault) {
		problems = append(problems, api.GPUProblem{
			GPU: g.ID, Kind: api.GPUFault, Level: api.GPUCritical, Since: f.since, Recovery: r, Message: f.message,
		})
	}
	switch g.Recovery {
	case "":
		for _, r := range []api.GPURecovery{api.RecoverReset, api.RecoverReboot} {
			if f, ok := h.faults[r]; ok {
				add(r, f)
			}
		}
	case api.RecoverNothing:
		h.faults, h.driver = nil, fault{}
	default:
		if h.driver.since.IsZero() {
			h.driver.since = now
		}
		h.driver.message = strings.TrimSpace("the driver asks for this: " + string(g.Recovery))
		add(g.Recovery, h.driver)
	}
	return problems
}

// level is one value with three thresholds.
type level struct {
	recent []float64 // the newest last, at most window
	seen   time.Time
	at     int // 0 none, 1 warning, 2 critical, 3 limit
	since  time.Time
	last   float64
}

var names = [...]api.GPULevel{"", api.GPUWarning, api.GPUCritical, api.GPUAtLimit}

// next takes the next value, nil when there is none, and returns the level. A
// level begins with quorum of the last window values at or above it, and stays
// while quorum of them are no more than gap below. A missing value changes
// nothing until values have been missing for too long.
func (l *level) next(value *float64, thresholds [3]float64, gap float64, now time.Time) api.GPULevel {
	if value == nil {
		if now.Sub(l.seen) > stale {
			*l = level{}
		}
		return names[l.at]
	}
	l.recent = append(l.recent, *value)
	if len(l.recent) > window {
		l.recent = l.recent[1:]
	}
	l.last, l.seen = *value, now
	reached := 0
	for i, threshold := range thresholds {
		if l.at > i {
			threshold -= gap
		}
		count := 0
		for _, v := range l.recent {
			if v >= threshold {
				count++
			}
		}
		if count >= quorum {
			reached = i + 1
		}
	}
	if l.at == 0 && reached > 0 {
		l.since = now
	}
	l.at = reached
	return names[l.at]
}
