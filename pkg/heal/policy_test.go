package heal

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Proves HEAL-8: the policy is validated at load, with file, line and key.
func TestPolicyIsRefusedByKey(t *testing.T) {
	rule := `
[[rule]]
name = "hot"
class = "B"
why = "because"
unit = "arasul-proxy.service"
retry = "1m"
window = "1h"
budget = 1
[[rule.when]]
metric = "heat_celsius"
above = 83
clear = 78
[[rule.rung]]
action = "restart"
timeout = "30s"
verify = "1m"
`
	for _, tt := range []struct{ name, old, new, want string }{
		{"an unknown key", `class = "B"`, `klass = "B"`, "klass"},
		{"an unknown class", `class = "B"`, `class = "D"`, `rule.0.class: "D" is neither "B" nor "C"`},
		{"no reason", `why = "because"`, ``, "rule.0.why: say in words"},
		{"a name that is taken", `name = "hot"`, `name = "down"`, "rule.0.name"},
		{"a unit that is not looked after", `unit = "arasul-proxy.service"`, `unit = "ssh.service"`, `rule.0.unit: "ssh.service" is not among the units`},
		{"an unknown metric", `"heat_celsius"`, `"cpu_temperature"`, `rule.0.when.0.metric: "cpu_temperature" is not a metric`},
		{"no limit", `above = 83`, ``, "rule.0.when.0: give either above or below"},
		{"two limits", `above = 83`, "above = 83\nbelow = 3", "rule.0.when.0: give either above or below"},
		{"no clear level", `clear = 78`, ``, "rule.0.when.0.clear: say where it is well again"},
		{"no hysteresis", `clear = 78`, `clear = 83`, "rule.0.when.0.clear: 83 leaves no gap"},
		{"hysteresis the wrong way round", `clear = 78`, `clear = 90`, "rule.0.when.0.clear: 90 leaves no gap"},
		{"a quorum of nothing", `clear = 78`, "clear = 78\nsamples = \"5 of 3\"", "5 of 3"},
		{"a window for what is no event", `clear = 78`, "clear = 78\nwithin = \"5m\"", "rule.0.when.0.within"},
		{"an event with a clear level", `metric = "heat_celsius"`, `metric = "kernel_oom_kills"`, "rule.0.when.0"},
		{"a probe of nobody", `metric = "heat_celsius"`, `metric = "probe_up"`, "rule.0.when.0.of: probe_up is one unit's"},
		{"an unknown action", `action = "restart"`, `action = "format"`, `rule.0.rung.0.action: "format" is not an action`},
		{"an undo as action", `action = "restart"`, `action = "resume"`, `rule.0.rung.0.action`},
		{"clocks without a level", `action = "restart"`, `action = "cap-clocks"`, "rule.0.rung.0.level"},
		{"a level that nothing has", `action = "restart"`, "action = \"restart\"\nlevel = \"deep\"", "rule.0.rung.0.level"},
		{"no time to act", `timeout = "30s"`, ``, "rule.0.rung.0.timeout: 0s is not between 1s and 15m"},
		{"no time to verify", `verify = "1m"`, ``, "rule.0.rung.0.verify"},
		{"no budget", `budget = 1`, ``, "rule.0.budget: 0 is not between 1 and 100"},
		{"a whole number as duration", `window = "1h"`, `window = 3600`, "window"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(rule, tt.old) {
				t.Fatalf("%q is not in the rule", tt.old)
			}
			text := smallPolicy + strings.Replace(rule, tt.old, tt.new, 1)
			_, err := ParsePolicy("policy.toml", []byte(text))
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "policy.toml:") {
				t.Errorf("got %v, want policy.toml:LINE: … %s", err, tt.want)
			}
		})
	}
	if _, err := ParsePolicy("policy.toml", []byte(smallPolicy+rule)); err != nil {
		t.Errorf("the rule without a mistake: %v", err)
	}
}

// smallPolicy looks after two units.
const smallPolicy = `version = 2
[[unit]]
name = "arasul-postgres.service"
[[unit]]
name = "arasul-proxy.service"
needs = ["arasul-postgres.service"]
[breaker]
actions = 12
window = "15m"
hold = "1h"
healthy = "30m"
[down]
grace = "20s"
verify = "5s"
retry = "5m"
window = "10m"
budget = 6
misses = 3
every = "5s"
healthy = "10m"
[[down.rung]]
action = "restart"
timeout = "90s"
`

func TestUnitsAreCheckedToo(t *testing.T) {
	for _, tt := range []struct{ name, old, new, want string }{
		{"a pattern", `"arasul-proxy.service"`, `"arasul-*.service"`, "unit.1.name"},
		{"a unit that is no service", `"arasul-proxy.service"`, `"arasul-proxy.socket"`, "unit.1.name"},
		{"twice the same", `"arasul-proxy.service"`, `"arasul-postgres.service"`, "unit.1.name"},
		{"a need that comes later", `["arasul-postgres.service"]`, `["arasul-proxy.service"]`, "unit.1.needs"},
		{"an old version", `version = 2`, `version = 1`, "version: 1 is not"},
		{"a ladder for units with other actions", `action = "restart"`, `action = "reboot"`, "down.rung.0.action"},
	} {
		_, err := ParsePolicy("policy.toml", []byte(strings.Replace(smallPolicy, tt.old, tt.new, 1)))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
	}
}

// Proves HEAL-4: no rule of the built-in policy reboots unless that is allowed,
// and none reboots before it has tried something else, but where the driver
// itself says that nothing else helps.
func TestBuiltInPolicyIsSound(t *testing.T) {
	p, err := LoadPolicy("")
	if err != nil {
		t.Fatal(err)
	}
	if p.AllowReboot || len(p.Hash) != 12 {
		t.Errorf("reboots allowed: %t, hash %q", p.AllowReboot, p.Hash)
	}
	reboots := map[string]int{}
	for _, rule := range p.Rules {
		for i, rung := range rule.Ladder {
			if rung.Action == ActionReboot {
				reboots[rule.Name] = i
			}
		}
	}
	want := map[string]int{"database-lost": 2, "disk-critical": 1, "gpu-fault": 1, "gpu-lost": 0, "critical-repeated": 0}
	if diff := cmp.Diff(want, reboots); diff != "" {
		t.Errorf("rules that reboot, and on which rung (-want +got):\n%s", diff)
	}
}

func TestPolicyFileIsReadByName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mine.toml")
	if _, err := LoadPolicy(path); err == nil || !strings.Contains(err.Error(), "reading policy") {
		t.Errorf("a missing file: %v", err)
	}
	if err := os.WriteFile(path, []byte(smallPolicy), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := LoadPolicy(path)
	if err != nil || len(p.Units) != 2 {
		t.Errorf("%+v, %v", p, err)
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add(defaultPolicy)
	f.Add([]byte(smallPolicy))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePolicy("fuzz.toml", data)
		if err != nil {
			return
		}
		// Whatever is accepted can be decided with.
		Reduce(p, State{}, Observation{At: epoch, Boot: "a"}, epoch)
	})
}
