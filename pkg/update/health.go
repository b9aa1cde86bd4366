package update

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
)

// Sight is what was seen in one look at the machine.
type Sight struct {
	Well     map[string]string // by name of what is looked at; empty: it is well, else what is wrong
	Restarts map[string]int    // of units, by themselves, since they were started by somebody
}

// Prover is the Health of a machine. All that was well ahead of the update has to
// be well Streak times in a row, Every apart, within Limit. What comes and goes,
// or restarts by itself, is not well: it fails at once.
type Prover struct {
	Sight  func(context.Context) (Sight, error)
	Streak int
	Every  time.Duration
	Limit  time.Duration

	// Say, if set, hears how far it is.
	Say func(message string)
}

// Limits of Prove.
const (
	maxRelapses = 3 // times that something was well and is not any more
	maxRestarts = 3 // of one unit by itself
)

// Look implements Health.
func (p *Prover) Look(ctx context.Context) (map[string]bool, error) {
	s, err := p.Sight(ctx)
	if err != nil {
		return nil, err
	}
	well := make(map[string]bool, len(s.Well))
	for name, wrong := range s.Well {
		well[name] = wrong == ""
	}
	return well, nil
}

// Prove implements Health.
func (p *Prover) Prove(ctx context.Context, before map[string]bool) error {
	ctx, cancel := context.WithTimeout(ctx, p.Limit)
	defer cancel()
	var first map[string]int // restarts in the first look
	streak, relapses := 0, 0
	missing := "the machine could not be looked at" // what is not well
	late := func() error {
		if missing == "" {
			missing = fmt.Sprintf("well %d of %d times in a row", streak, p.Streak)
		}
		return fmt.Errorf("not well within %s: %s", p.Limit, missing)
	}
	for {
		s, err := p.Sight(ctx)
		if ctx.Err() != nil { // what the limit has cut off says nothing of the machine
			return late()
		}
		if err == nil {
			if first == nil {
				first = s.Restarts
			}
			if unit := restarting(first, s.Restarts); unit != "" {
				return fmt.Errorf("%s restarts again and again", unit)
			}
			missing = lacking(before, s)
		} else {
			missing = err.Error()
		}
		switch {
		case missing == "":
			streak++
		case streak > 0:
			if relapses++; relapses == maxRelapses {
				return fmt.Errorf("it was well, and then was not, %d times: %s", relapses, missing)
			}
			streak = 0
		}
		if streak == p.Streak {
			return nil
		}
		p.say(streak, missing)
		select {
		case <-ctx.Done():
			return late()
		case <-time.After(p.Every):
		}
	}
}

func (p *Prover) say(streak int, missing string) {
	if p.Say == nil {
		return
	}
	if missing != "" {
		p.Say("waiting: " + missing)
		return
	}
	p.Say(fmt.Sprintf("all is well, %d of %d times in a row", streak, p.Streak))
}

// lacking names what was well and is not, empty for nothing. What was not well
// before, or was not there, is no reason to go back.
func lacking(before map[string]bool, s Sight) string {
	var wrong []string
	for name, was := range before {
		if !was {
			continue
		}
		switch now, seen := s.Well[name]; {
		case !seen:
			wrong = append(wrong, name+" is gone")
		case now != "":
			wrong = append(wrong, name+": "+now)
		}
	}
	sort.Strings(wrong)
	if len(wrong) > 3 {
		wrong = append(slices.Clone(wrong[:3]), fmt.Sprintf("and %d more", len(wrong)-3))
	}
	return strings.Join(wrong, "; ")
}

func restarting(before, now map[string]int) string {
	for unit, n := range now {
		if n-before[unit] >= maxRestarts {
			return unit
		}
	}
	return ""
}
