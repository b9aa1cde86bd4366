package heal

import (
	_ "embed"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/config"
)

// Policy is what the healer may do, as data.
type Policy struct {
	Version int      `toml:"version"` // of this format: 1
	Units   []string `toml:"units"`   // the units to look after, in start order
	Down    Rule     `toml:"down"`    // for a unit that crashed, hung or failed
}

// Rule says how one kind of trouble is handled.
type Rule struct {
	Grace  config.Duration `toml:"grace"`  // how long systemd's own restart may take, 1s to 5m
	Verify config.Duration `toml:"verify"` // how long the unit must stay up until that counts, 1s to 5m
	Retry  config.Duration `toml:"retry"`  // when an exhausted ladder is climbed again, 1m to 24h
	Window config.Duration `toml:"window"` // over which Budget counts, 1m to 24h
	Budget int             `toml:"budget"` // actions per unit and window, 1 to 100
	Ladder []Rung          `toml:"rung"`   // what is tried, one after the other
}

// Rung is one thing to try.
type Rung struct {
	Action  string          `toml:"action"`
	Timeout config.Duration `toml:"timeout"` // 1s to 10m
}

// The actions that a rung can name, and what systemd does before any of them.
const (
	ActionRestart        = "restart"         // clear the start limit, restart
	ActionStopStart      = "stop-start"      // stop, wait until gone, start
	ActionSystemdRestart = "systemd-restart" // Restart= of the unit; never in a ladder
)

//go:embed policy.toml
var defaultPolicy []byte

// LoadPolicy reads the policy file at path, or the built-in policy when path
// is empty. Errors name file, line and key.
func LoadPolicy(path string) (*Policy, error) {
	name, data := "built-in policy", defaultPolicy
	if path != "" {
		var err error
		if data, err = os.ReadFile(path); err != nil {
			return nil, fmt.Errorf("reading policy: %w", err)
		}
		name = path
	}
	p := &Policy{}
	if err := config.Decode(name, data, p); err != nil {
		return nil, err
	}
	return p, nil
}

// Validate reports everything that would make the healer useless or dangerous.
func (p *Policy) Validate(report func(key, problem string)) {
	if p.Version != 1 {
		report("version", fmt.Sprintf("%d is not a version this program knows (1)", p.Version))
	}
	if len(p.Units) == 0 {
		report("units", "no unit to look after")
	}
	for i, u := range p.Units {
		if !strings.HasSuffix(u, ".service") || strings.ContainsAny(u, "*?[/ ") {
			report("units", fmt.Sprintf("%q is not the name of a service unit", u))
		}
		if slices.Contains(p.Units[:i], u) {
			report("units", fmt.Sprintf("%q is listed twice", u))
		}
	}
	p.Down.validate("down", report)
}

func (r *Rule) validate(key string, report func(key, problem string)) {
	within := func(key string, d config.Duration, lo, hi time.Duration) {
		if d.Std() < lo || d.Std() > hi {
			report(key, fmt.Sprintf("%s is not between %s and %s", d, config.Duration(lo), config.Duration(hi)))
		}
	}
	within(key+".grace", r.Grace, time.Second, 5*time.Minute)
	within(key+".verify", r.Verify, time.Second, 5*time.Minute)
	within(key+".retry", r.Retry, time.Minute, 24*time.Hour)
	within(key+".window", r.Window, time.Minute, 24*time.Hour)
	if r.Budget < 1 || r.Budget > 100 {
		report(key+".budget", fmt.Sprintf("%d is not between 1 and 100", r.Budget))
	}
	if len(r.Ladder) == 0 {
		report(key+".rung", "a ladder needs at least one rung")
	}
	for i, rung := range r.Ladder {
		k := fmt.Sprintf("%s.rung.%d", key, i)
		if rung.Action != ActionRestart && rung.Action != ActionStopStart {
			report(k+".action", fmt.Sprintf("%q is neither %q nor %q", rung.Action, ActionRestart, ActionStopStart))
		}
		within(k+".timeout", rung.Timeout, time.Second, 10*time.Minute)
	}
}
