package heal

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
)

var (
	unitName = regexp.MustCompile(`^[A-Za-z0-9:_.\\@-]{1,200}\.service$`)
	ruleName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,39}$`)
)

// checker collects what is wrong with a policy, by key.
type checker struct {
	p      *Policy
	report func(key, problem string)
}

// Validate reports everything that would make the healer useless or dangerous.
func (p *Policy) Validate(report func(key, problem string)) {
	c := checker{p, report}
	if p.Version != 2 {
		report("version", fmt.Sprintf("%d is not a version this program knows (2)", p.Version))
	}
	if len(p.Units) == 0 {
		report("unit", "no unit to look after")
	}
	c.within("boot.grace", p.Boot.Grace, 0, 10*time.Minute)
	c.number("breaker.actions", p.Breaker.Actions, 1000)
	c.within("breaker.window", p.Breaker.Window, time.Minute, 24*time.Hour)
	c.within("breaker.hold", p.Breaker.Hold, time.Minute, 24*time.Hour)
	c.within("breaker.healthy", p.Breaker.Healthy, time.Minute, 24*time.Hour)
	for i := range p.Units {
		c.unit(i)
	}
	c.down()
	for i := range p.Rules {
		c.rule(i)
	}
}

func (c checker) unit(i int) {
	u, key := &c.p.Units[i], fmt.Sprintf("unit.%d", i)
	if !unitName.MatchString(u.Name) {
		c.report(key+".name", fmt.Sprintf("%q is not the name of a service unit", u.Name))
	}
	if c.p.order(u.Name) < i {
		c.report(key+".name", fmt.Sprintf("%q is listed twice", u.Name))
	}
	for _, need := range u.Needs {
		if at := c.p.order(need); at < 0 || at >= i {
			c.report(key+".needs", fmt.Sprintf("%q is not a unit that is listed before", need))
		}
	}
	if u.Deadline != 0 {
		c.within(key+".deadline", u.Deadline, 100*time.Millisecond, 10*time.Second)
	}
	c.within(key+".starting", u.Starting, 0, 10*time.Minute)
}

func (c checker) down() {
	d := &c.p.Down
	c.within("down.grace", d.Grace, time.Second, 5*time.Minute)
	c.within("down.verify", d.Verify, time.Second, 5*time.Minute)
	c.within("down.retry", d.Retry, time.Minute, 24*time.Hour)
	c.within("down.window", d.Window, time.Minute, 24*time.Hour)
	c.number("down.budget", d.Budget, 100)
	c.number("down.misses", d.Misses, 10)
	c.within("down.every", d.Every, time.Second, time.Minute)
	c.within("down.healthy", d.Healthy, time.Minute, 24*time.Hour)
	if len(d.Ladder) == 0 {
		c.report("down.rung", "a ladder needs at least one rung")
	}
	for i, rung := range d.Ladder {
		key := fmt.Sprintf("down.rung.%d", i)
		if rung.Action != ActionRestart && rung.Action != ActionStopStart {
			c.report(key+".action", fmt.Sprintf("%q is neither %q nor %q", rung.Action, ActionRestart, ActionStopStart))
		}
		if rung.Unit != "" || rung.Level != "" || rung.Verify != 0 {
			c.report(key, "unit, level and verify are for rules")
		}
		c.timing(key, rung)
	}
}

func (c checker) rule(i int) {
	r, key := &c.p.Rules[i], fmt.Sprintf("rule.%d", i)
	if !ruleName.MatchString(r.Name) || r.Name == downRule || r.Name == requestRule {
		c.report(key+".name", fmt.Sprintf("%q is not a name of lower-case letters, digits and hyphens, or is taken", r.Name))
	}
	if slices.IndexFunc(c.p.Rules, func(o Rule) bool { return o.Name == r.Name }) < i {
		c.report(key+".name", fmt.Sprintf("%q is listed twice", r.Name))
	}
	if r.Class != api.ClassOverload && r.Class != api.ClassCritical {
		c.report(key+".class", fmt.Sprintf("%q is neither %q nor %q", r.Class, api.ClassOverload, api.ClassCritical))
	}
	if r.Why == "" {
		c.report(key+".why", "say in words why this rule exists")
	}
	c.known(key+".unit", r.Unit)
	if len(r.When) == 0 {
		c.report(key+".when", "a rule needs at least one detector")
	}
	for j := range r.When {
		c.detector(fmt.Sprintf("%s.when.%d", key, j), &r.When[j])
	}
	for j := range r.Unless {
		c.detector(fmt.Sprintf("%s.unless.%d", key, j), &r.Unless[j])
	}
	c.within(key+".hold", r.Hold, 0, 24*time.Hour)
	c.within(key+".retry", r.Retry, time.Minute, 24*time.Hour)
	if len(r.Ladder) > 0 {
		c.within(key+".window", r.Window, time.Minute, 24*time.Hour)
		c.number(key+".budget", r.Budget, 100)
	}
	for j, rung := range r.Ladder {
		c.rung(fmt.Sprintf("%s.rung.%d", key, j), r, rung)
	}
}

func (c checker) rung(key string, r *Rule, rung Rung) {
	a, ok := actions[rung.Action]
	if !ok {
		c.report(key+".action", fmt.Sprintf("%q is not an action: %s", rung.Action, strings.Join(sortedKeys(actions), ", ")))
	}
	c.known(key+".unit", rung.Unit)
	switch {
	case a.unit && rung.Unit == "" && r.Unit == "":
		c.report(key+".unit", rung.Action+" is done to a unit: name one, here or for the rule")
	case !a.unit && rung.Unit != "":
		c.report(key+".unit", rung.Action+" is not done to a unit")
	}
	if (rung.Action == ActionCap) != slices.Contains(capLevels, rung.Level) {
		c.report(key+".level", fmt.Sprintf("%q: %s has a level, %s; others have none", rung.Level, ActionCap, strings.Join(capLevels, ", ")))
	}
	c.within(key+".verify", rung.Verify, time.Second, 30*time.Minute)
	c.timing(key, rung)
}

func (c checker) timing(key string, rung Rung) {
	c.within(key+".timeout", rung.Timeout, time.Second, 15*time.Minute)
	c.within(key+".cooldown", rung.Cooldown, 0, 24*time.Hour)
}

func (c checker) detector(key string, d *Detector) {
	m, ok := metrics[d.Metric]
	if !ok {
		c.report(key+".metric", fmt.Sprintf("%q is not a metric: %s", d.Metric, strings.Join(sortedKeys(metrics), ", ")))
		return
	}
	if m.of {
		if d.Of == "" {
			c.report(key+".of", d.Metric+" is one unit's: name it")
		}
		c.known(key+".of", d.Of)
	} else if d.Of != "" && d.Metric != "service_failures" {
		c.report(key+".of", d.Metric+" is the machine's")
	}
	if (d.Above == nil) == (d.Below == nil) {
		c.report(key, "give either above or below")
		return
	}
	if m.event {
		c.within(key+".within", d.Within, time.Second, 24*time.Hour)
		if d.Above == nil || d.Clear != nil || d.For != 0 || d.Samples != (Quorum{}) || d.Stale != 0 {
			c.report(key, d.Metric+" counts events: it takes above and within, nothing else")
		}
		return
	}
	if d.Within != 0 {
		c.report(key+".within", d.Metric+" does not count events: use for")
	}
	switch {
	case d.Clear == nil:
		c.report(key+".clear", "say where it is well again")
	case d.Above != nil && *d.Clear >= *d.Above, d.Below != nil && *d.Clear <= *d.Below:
		c.report(key+".clear", fmt.Sprintf("%g leaves no gap to the limit: one reading would begin what the next one ends", *d.Clear))
	}
	c.within(key+".for", d.For, 0, 24*time.Hour)
	if d.Stale != 0 {
		c.within(key+".stale", d.Stale, time.Second, 10*time.Minute)
	}
}

// known checks the name of a unit that the policy has to look after.
func (c checker) known(key, unit string) {
	if unit != "" && c.p.order(unit) < 0 {
		c.report(key, fmt.Sprintf("%q is not among the units", unit))
	}
}

func (c checker) within(key string, d config.Duration, lo, hi time.Duration) {
	if d.Std() < lo || d.Std() > hi {
		c.report(key, fmt.Sprintf("%s is not between %s and %s", d, config.Duration(lo), config.Duration(hi)))
	}
}

func (c checker) number(key string, n, most int) {
	if n < 1 || n > most {
		c.report(key, fmt.Sprintf("%d is not between 1 and %d", n, most))
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
