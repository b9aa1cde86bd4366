package inference

import (
	"slices"
	"sync"
	"time"
)

const (
	tallyWindow = 10 * time.Minute
	tallyMost   = 1000 // answers that are remembered
)

// tally remembers how the answers of the last ten minutes were.
type tally struct {
	mu       sync.Mutex
	answers  []measured
	requests uint64
	failures uint64
}

// measured is one answer.
type measured struct {
	at        time.Time
	perSecond float64       // tokens; 0: not known
	first     time.Duration // until the first token; 0: not known
}

func (t *tally) began() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests++
}

func (t *tally) failed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failures++
}

func (t *tally) ended(m measured) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answers = append(t.answers, m)
	if len(t.answers) > tallyMost {
		t.answers = slices.Clone(t.answers[len(t.answers)-tallyMost:])
	}
}

// figures are the medians, nil where nothing is known.
func (t *tally) figures(now time.Time) (perSecond, first *float64, requests, failures uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var speeds, firsts []float64
	for _, m := range t.answers {
		if now.Sub(m.at) > tallyWindow {
			continue
		}
		if m.perSecond > 0 {
			speeds = append(speeds, m.perSecond)
		}
		if m.first > 0 {
			firsts = append(firsts, m.first.Seconds())
		}
	}
	return median(speeds), median(firsts), t.requests, t.failures
}

func median(all []float64) *float64 {
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all)
	return &all[len(all)/2]
}
