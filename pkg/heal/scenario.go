package heal

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
)

// Scenario is a story about a machine, to see what a policy makes of it. What
// it does not mention is well: every unit of the policy is up and answers, and
// every metric that a rule looks at is measured and at rest. The machine was
// booted an hour before. docs/healing.md has the manual.
type Scenario struct {
	Title   string             `toml:"title"`   // what it is about, in one sentence
	For     config.Duration    `toml:"for"`     // how long the story goes on, 1s to 168h
	Reboot  bool               `toml:"reboot"`  // the configuration allows the policy's reboots
	Steps   []Step             `toml:"step"`    // what happens; at most 1000
	Outcome map[string]Outcome `toml:"outcome"` // of actions; one that is not named works
	Expect  Expect             `toml:"expect"`

	policy *Policy // it names the units
}

// Step is one thing that happens: with a unit, a probe, a metric, the kernel,
// an operator, or the machine. Of several about one metric or one probe that
// hold at the same time the last one counts.
type Step struct {
	At    config.Duration `toml:"at"`    // since the beginning
	Until Until           `toml:"until"` // how long it holds; not given: to the end

	Unit  string `toml:"unit"`
	Probe string `toml:"probe"`
	Is    string `toml:"is"` // of a unit, see unitStates; of a probe: up, degraded, down, unknown; of a metric: missing

	Metric string   `toml:"metric"`
	Of     string   `toml:"of"`
	Value  *float64 `toml:"value"`

	Kernel api.KernelEventKind `toml:"kernel"`
	Times  int                 `toml:"times"` // so many events, one a second; 1 to 100

	Maintenance  string          `toml:"maintenance"`   // on, or off
	Lease        config.Duration `toml:"lease"`         // hands off for so long
	ResetBreaker bool            `toml:"reset-breaker"` // an operator has looked at it
	Reboot       bool            `toml:"reboot"`        // somebody reboots the machine, or its power is cut
	Clock        config.Duration `toml:"clock"`         // the clock is set forward, or back
}

// The states that a step can bring a unit into. Failed, crashed, hung and
// starting also say what becomes of the unit when it is started, until then.
const (
	isUp       = "up"
	isCrashed  = "crashed"  // killed; systemd restarts it, and gives up after five times within five minutes
	isHung     = "hung"     // killed by the watchdog; the same
	isFailed   = "failed"   // systemd has given up
	isStopped  = "stopped"  // by an operator
	isStarting = "starting" // and does not get ready
	isAbsent   = "absent"   // not installed
	isMissing  = "missing"  // of a metric: not measured
)

var unitStates = []string{isUp, isCrashed, isHung, isFailed, isStopped, isStarting, isAbsent}

// Until is when a step ceases to hold: at a time, or when an action was
// carried out, such as "cleanup". An action that starts the unit of a step
// anew is "restart".
type Until struct {
	At     time.Duration // since the beginning; 0: when Action works, or never
	Action string
}

// UnmarshalText reads "30m" or "restart".
func (u *Until) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	switch _, isAction := actions[string(text)]; {
	case err == nil && d > 0:
		u.At = d
	case isAction:
		u.Action = string(text)
	default:
		return fmt.Errorf(`%q is neither a time such as "30m" nor an action such as "restart"`, text)
	}
	return nil
}

// String is the opposite of UnmarshalText.
func (u Until) String() string {
	if u.At > 0 {
		return config.Duration(u.At).String()
	}
	return u.Action
}

// Outcome says how an action ends: the first time, the second, and so on; the
// last one holds from then on.
type Outcome []Ending

// Ending is one way for an action to end.
type Ending struct {
	Word  string        // works, fails or hangs
	After time.Duration // default 1s; what hangs, hangs until its timeout
}

// UnmarshalText reads "works", "fails after 20s", "fails, fails, works".
func (o *Outcome) UnmarshalText(text []byte) error {
	for part := range strings.SplitSeq(string(text), ",") {
		word, after, timed := strings.Cut(strings.TrimSpace(part), " after ")
		e := Ending{word, time.Second}
		var err error
		if timed {
			e.After, err = time.ParseDuration(after)
		}
		if err != nil || e.After < 0 || e.After > 24*time.Hour || !slices.Contains([]string{"works", "fails", "hangs"}, word) {
			return fmt.Errorf(`%q is not an outcome: works, fails or hangs, or such as "fails after 20s, works"`, part)
		}
		*o = append(*o, e)
	}
	return nil
}

// Expect is what must come of a story. A list that is not given is not
// checked; an empty one wants nothing.
type Expect struct {
	Actions   *[]string `toml:"actions"`   // because of incidents, in order: "restart llm", "2m5s cap-clocks light"
	Incidents *[]string `toml:"incidents"` // in the order of their beginnings: "heat", "down llm"
	Open      *[]string `toml:"open"`      // those that are not over at the end
}

const maxSteps = 1000

// LoadScenario reads the story at path, about the units of the policy.
// Errors name file, line and key.
func LoadScenario(path string, p *Policy) (*Scenario, error) {
	st, err := os.Stat(path)
	if err == nil && st.Size() > config.MaxBytes {
		err = fmt.Errorf("%s: %d bytes, the limit is %d", path, st.Size(), config.MaxBytes)
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("reading scenario: %w", err)
	}
	return ParseScenario(path, data, p)
}

// ParseScenario reads a story about the units of the policy. Errors name file,
// line and key.
func ParseScenario(name string, data []byte, p *Policy) (*Scenario, error) {
	s := &Scenario{policy: p}
	if err := config.Decode(name, data, s); err != nil {
		return nil, err
	}
	for i := range s.Steps {
		step := &s.Steps[i]
		for _, unit := range []*string{&step.Unit, &step.Probe, &step.Of} {
			*unit = fullName(*unit)
		}
	}
	return s, nil
}

// fullName makes a unit's name of the short one that the page uses, too.
func fullName(unit string) string {
	if unit == "" || strings.HasSuffix(unit, ".service") {
		return unit
	}
	return "arasul-" + unit + ".service"
}

// shortName is how the page calls a unit.
func shortName(unit string) string {
	return strings.TrimSuffix(strings.TrimPrefix(unit, "arasul-"), ".service")
}

// Validate reports everything that makes no sense.
func (s *Scenario) Validate(report func(key, problem string)) {
	c := checker{s.policy, report}
	if s.Title == "" {
		report("title", "say in one sentence what the story is about")
	}
	c.within("for", s.For, time.Second, 7*24*time.Hour)
	if len(s.Steps) > maxSteps {
		report("step", fmt.Sprintf("%d steps, the limit is %d", len(s.Steps), maxSteps))
	}
	for i := range s.Steps {
		c.step(fmt.Sprintf("step.%d", i), s.For, &s.Steps[i])
	}
	for _, name := range sortedKeys(s.Outcome) {
		if !slices.Contains(Actions(), name) {
			report("outcome."+name, fmt.Sprintf("%q is not an action: %s", name, strings.Join(Actions(), ", ")))
		}
	}
	if s.Expect.Actions != nil {
		for _, text := range *s.Expect.Actions {
			if _, err := parseExpected(text); err != nil {
				report("expect.actions", err.Error())
			}
		}
	}
}

func (c checker) step(key string, end config.Duration, s *Step) {
	c.within(key+".at", s.At, 0, end.Std())
	if s.Until.At > 0 && s.Until.At <= s.At.Std() {
		c.report(key+".until", s.Until.String()+" is not after "+s.At.String())
	}
	var about []string
	for _, a := range []struct {
		name  string
		given bool
	}{
		{"unit", s.Unit != ""}, {"probe", s.Probe != ""}, {"metric", s.Metric != ""}, {"kernel", s.Kernel != ""},
		{"maintenance", s.Maintenance != ""}, {"lease", s.Lease != 0}, {"reset-breaker", s.ResetBreaker}, {"reboot", s.Reboot}, {"clock", s.Clock != 0},
	} {
		if a.given {
			about = append(about, a.name)
		}
	}
	if len(about) != 1 {
		c.report(key, fmt.Sprintf("a step is about one of unit, probe, metric, kernel, maintenance, lease, reset-breaker, reboot, clock; this one about %d", len(about)))
		return
	}
	holds := about[0] == "unit" || about[0] == "probe" || about[0] == "metric"
	if !holds && (s.Is != "" || s.Until != (Until{})) {
		c.report(key, about[0]+" takes neither is nor until")
	}
	if about[0] != "metric" && (s.Value != nil || s.Of != "") {
		c.report(key, "value and of are for a metric")
	}
	if about[0] != "kernel" && s.Times != 0 {
		c.report(key+".times", "is for kernel events")
	}
	c.known(key+".unit", fullName(s.Unit))
	c.known(key+".probe", fullName(s.Probe))
	c.stepWords(key, about[0], s)
}

// stepWords checks the words that a step uses.
func (c checker) stepWords(key, about string, s *Step) {
	word := func(name, got string, known []string) {
		if !slices.Contains(known, got) {
			c.report(key+"."+name, fmt.Sprintf("%q is none of: %s", got, strings.Join(known, ", ")))
		}
	}
	switch about {
	case "unit":
		word("is", s.Is, unitStates)
	case "probe":
		word("is", s.Is, []string{string(api.Up), string(api.Degraded), string(api.Down), string(api.Unknown)})
		if u := c.p.unit(fullName(s.Probe)); u != nil && u.Deadline == 0 {
			c.report(key+".probe", "the policy does not probe "+u.Name)
		}
	case "metric":
		m, ok := metrics[s.Metric]
		switch {
		case !ok || m.event || slices.Contains(derived, s.Metric):
			c.report(key+".metric", fmt.Sprintf("%q is not a metric that is measured", s.Metric))
		case m.of != (s.Of != ""):
			c.report(key+".of", "names the unit, for metrics that each unit has")
		case (s.Is == isMissing) == (s.Value != nil):
			c.report(key+".value", `give a value, or is = "missing"`)
		default:
			c.known(key+".of", fullName(s.Of))
		}
	case "kernel":
		word("kernel", string(s.Kernel), sortedKinds())
		if s.Times != 0 {
			c.number(key+".times", s.Times, 100)
		}
	case "maintenance":
		word("maintenance", s.Maintenance, []string{"on", "off"})
	case "lease":
		c.within(key+".lease", s.Lease, time.Second, 24*time.Hour)
	default:
	}
}

// derived are the metrics that follow from units and probes.
var derived = []string{"probe_up", "probe_degraded", "unit_down"}

func sortedKinds() []string {
	var kinds []string
	for kind := range kernelMetrics {
		kinds = append(kinds, string(kind))
	}
	slices.Sort(kinds)
	return kinds
}

// about is how expectations and tables call an incident.
func about(rule, unit string) string {
	if rule == downRule {
		return rule + " " + shortName(unit)
	}
	return rule
}

// expected is one action that a story wants.
type expected struct {
	at    time.Duration
	timed bool
	what  string // "restart llm"
}

// within is how far from its time an expected action may be: readings come so
// far apart.
const within = 5 * time.Second

// parseExpected reads "restart llm" or "2m5s cap-clocks light".
func parseExpected(text string) (e expected, err error) {
	words := strings.Fields(text)
	if len(words) > 0 {
		if d, err := time.ParseDuration(words[0]); err == nil {
			e.at, e.timed, words = d, true, words[1:]
		}
	}
	if len(words) == 0 || len(words) > 2 || !slices.Contains(Actions(), words[0]) {
		return e, fmt.Errorf(`%q is not an action such as "restart llm" or "2m5s cap-clocks light"`, text)
	}
	if len(words) == 2 {
		words[1] = shortName(words[1])
	}
	e.what = strings.Join(words, " ")
	return e, nil
}
