package heal

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
)

// Policy is what the healer may do, as data. docs/healing.md is its manual.
type Policy struct {
	Version int          `toml:"version"` // of this format: 2
	Units   []UnitPolicy `toml:"unit"`    // the units to look after, in start order
	Down    Down         `toml:"down"`    // for units that crash, hang or fail
	Rules   []Rule       `toml:"rule"`    // for what is measured
	Boot    struct {
		Grace config.Duration `toml:"grace"` // no rule begins an incident earlier after a boot, 0s to 10m
	} `toml:"boot"`
	Breaker Breaker `toml:"breaker"`

	AllowReboot bool `toml:"-"` // the configuration's to say: [healer] reboot

	Text []byte `toml:"-"` // as it was read
	Hash string `toml:"-"` // first 12 digits of the SHA-256 of Text
}

// UnitPolicy is one unit to look after. A machine that does not have it goes
// without.
type UnitPolicy struct {
	Name        string          `toml:"name"`
	Needs       []string        `toml:"needs"`       // units that must be well before this one is repaired
	Application bool            `toml:"application"` // one of those that hard-restart restarts, and whose failures count as service_failures
	GPU         bool            `toml:"gpu"`         // uses the GPU, and is stopped while that is reset
	Deadline    config.Duration `toml:"deadline"`    // for one look of its probe, 100ms to 10s; 0: not probed
	Starting    config.Duration `toml:"starting"`    // so long after its start a probe may miss, 0s to 10m
}

// Down says how a unit that is not up is handled.
type Down struct {
	Grace   config.Duration `toml:"grace"`   // how long systemd's own restart may take, 1s to 5m
	Verify  config.Duration `toml:"verify"`  // how long the unit must stay up until that counts, 1s to 5m
	Retry   config.Duration `toml:"retry"`   // when an exhausted ladder is climbed again, 1m to 24h
	Window  config.Duration `toml:"window"`  // over which Budget counts, 1m to 24h
	Budget  int             `toml:"budget"`  // actions per unit and window, 1 to 100
	Misses  int             `toml:"misses"`  // of the probe in a row that make a unit down, 1 to 10
	Every   config.Duration `toml:"every"`   // between looks of a probe, 1s to 1m; 1 s after a miss
	Healthy config.Duration `toml:"healthy"` // after so long up, systemd's back-off and start limit begin anew, 1m to 24h
	Ladder  []Rung          `toml:"rung"`    // what is tried, one after the other
}

// Rule says when something measured is trouble, and what is done about it.
type Rule struct {
	Name   string          `toml:"name"`
	Class  api.Class       `toml:"class"`
	Why    string          `toml:"why"`    // in words, for explain
	Unit   string          `toml:"unit"`   // the unit it is about; empty: the machine
	When   []Detector      `toml:"when"`   // all of them
	Unless []Detector      `toml:"unless"` // none of them
	Ladder []Rung          `toml:"rung"`   // empty: only reported
	Hold   config.Duration `toml:"hold"`   // how long it must be over before a measure is taken back, 0s to 24h
	Retry  config.Duration `toml:"retry"`  // when an exhausted ladder is climbed again, 1m to 24h
	Window config.Duration `toml:"window"` // over which Budget counts, 1m to 24h
	Budget int             `toml:"budget"` // actions per window, 1 to 100
}

// Rung is one thing to try.
type Rung struct {
	Action   string          `toml:"action"`
	Unit     string          `toml:"unit"`     // whom it is done to, if not to the rule's unit
	Level    string          `toml:"level"`    // of cap-clocks: light, deep or lowest
	Timeout  config.Duration `toml:"timeout"`  // for the action itself, 1s to 15m
	Verify   config.Duration `toml:"verify"`   // how long the readings may take to be well, 1s to 30m; of a rule only
	Cooldown config.Duration `toml:"cooldown"` // before the same is done to the same again, 0s to 24h
}

// Breaker stops the healer when it does too much.
type Breaker struct {
	Actions int             `toml:"actions"` // in Window, of all rules together, 1 to 1000
	Window  config.Duration `toml:"window"`  // 1m to 24h
	Hold    config.Duration `toml:"hold"`    // how long nothing more is done, 1m to 24h
	Healthy config.Duration `toml:"healthy"` // or until there was no open incident for so long, 1m to 24h
}

//go:embed policy.toml
var defaultPolicy []byte

// BuiltInPolicy is the text of the built-in policy, to begin one's own with.
func BuiltInPolicy() string { return string(defaultPolicy) }

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
	return ParsePolicy(name, data)
}

// ParsePolicy reads a policy. Errors name file, line and key.
func ParsePolicy(name string, data []byte) (*Policy, error) {
	p := &Policy{}
	if err := config.Decode(name, data, p); err != nil {
		return nil, err
	}
	p.Text = data
	sum := sha256.Sum256(data)
	p.Hash = hex.EncodeToString(sum[:])[:12]
	return p, nil
}

// UnitNames are the names of the units to look after, in start order.
func (p *Policy) UnitNames() []string {
	names := make([]string, len(p.Units))
	for i := range p.Units {
		names[i] = p.Units[i].Name
	}
	return names
}

// unit returns what the policy says about a unit, or nil.
func (p *Policy) unit(name string) *UnitPolicy {
	if i := p.order(name); i >= 0 {
		return &p.Units[i]
	}
	return nil
}

// order is the unit's place in start order, -1 when it is not looked after.
func (p *Policy) order(name string) int {
	return slices.IndexFunc(p.Units, func(u UnitPolicy) bool { return u.Name == name })
}

func (p *Policy) rule(name string) *Rule {
	if i := slices.IndexFunc(p.Rules, func(r Rule) bool { return r.Name == name }); i >= 0 {
		return &p.Rules[i]
	}
	return nil
}

// longest is the longest that anything in the policy is waited for.
func (p *Policy) longest() time.Duration {
	d := max(p.Down.Retry.Std(), p.Breaker.Hold.Std())
	for i := range p.Rules {
		d = max(d, p.Rules[i].Retry.Std(), p.Rules[i].Hold.Std())
	}
	return d
}
