package heal

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arasul/arasul/pkg/api"
)

// Proves HEAL-3, HEAL-4, HEAL-5 and HEAL-8 under random streams of
// observations: never more actions than the budgets and the breaker allow, never
// two at once, no reboot unless the configuration allows it, and then no more
// than the limits, no action on a unit that an operator stopped, every incident
// ends once all is well, and the same stream gives the same commands.
func TestReduceKeepsItsPromisesUnderRandomObservations(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(16) {
		first := newRandom(t, seed).play()
		for _, c := range first {
			seen[c.Action] = true
		}
		if seed%4 > 0 {
			continue
		}
		if diff := cmp.Diff(first, newRandom(t, seed).play()); diff != "" {
			t.Fatalf("seed %d: two runs differ:\n%s", seed, diff)
		}
	}
	for _, name := range Actions() { // else the promises were kept by doing nothing
		if !seen[name] {
			t.Errorf("no stream led to %s", name)
		}
	}
}

// random plays a stream of observations that is made up as it goes.
type random struct {
	*trace
	seed    uint64
	rnd     *rand.Rand
	stopped map[string]bool // by an operator
	begun   []Spent         // what was commanded, as the test sees it
	boots   int
	moods   map[string]float64 // of each metric, for a while
	playing bool
}

func newRandom(t *testing.T, seed uint64) *random {
	tr := newTrace(t)
	tr.careful = seed == 7
	tr.policy.AllowReboot = seed%2 == 0
	x := &random{trace: tr, seed: seed, rnd: rand.New(rand.NewPCG(seed, 7)), stopped: map[string]bool{}, moods: map[string]float64{}}
	tr.check = x.promises
	return x
}

func (x *random) play() []Command {
	x.observe(Observation{Boot: "boot-0", Uptime: time.Hour})
	x.playing = true
	for range 180 {
		x.step()
	}
	x.playing = false
	x.allWell()
	return x.commands
}

// step lets one thing happen.
func (x *random) step() {
	names := x.policy.UnitNames()
	name := names[x.rnd.IntN(len(names))]
	switch x.rnd.IntN(15) {
	case 0:
		delete(x.stopped, name) // somebody had started it
		x.crash(name)
	case 1:
		delete(x.stopped, name)
		x.fail(name, []string{"exit-code", "watchdog", "start-limit-hit", "oom-kill", "timeout"}[x.rnd.IntN(5)])
	case 2:
		delete(x.stopped, name)
		x.restarted(name)
	case 3:
		if !x.state.Running.touches(name) && !x.held(name) && !x.units[name].OneShot {
			x.stopped[name] = true
			x.see(name, func(u *api.Unit) { u.ActiveState, u.SubState, u.Result = "inactive", "dead", "success" })
		}
	case 4:
		x.observe(Observation{Units: []api.Unit{x.units[name]}})
	case 5:
		status := []api.Status{api.Up, api.Down, api.Degraded, api.Unknown}[x.rnd.IntN(4)]
		for range 1 + x.rnd.IntN(3) {
			x.wait(time.Second)
			x.observe(Observation{Probes: []api.ProbeResult{{Unit: name, Status: status, Time: x.now}}})
		}
	case 6:
		kinds := []api.KernelEventKind{api.KernelOOMKill, api.KernelIOError, api.KernelFilesystemError, api.KernelHungTask, api.KernelXid}
		x.observe(Observation{Kernel: []api.KernelEvent{{Kind: kinds[x.rnd.IntN(len(kinds))], Time: x.now}}})
	case 7:
		if x.rnd.IntN(40) == 0 {
			x.boot()
		}
	case 8, 9:
		x.end()
	case 14:
		q := Request{Unit: name, Actor: "admin"}
		asked := x.state.Refuse(x.policy, q, x.now) == nil
		x.observe(Observation{Request: &q})
		if asked {
			delete(x.stopped, name)
		}
		if taken := x.state.openIncident(requestRule, name) != nil; asked && !taken {
			x.t.Fatalf("seed %d: the restart of %s was taken on, and is not there", x.seed, name)
		}
	default:
		x.measure()
	}
}

// held reports whether a measure of ours keeps the unit stopped.
func (x *random) held(name string) bool {
	return slices.ContainsFunc(x.state.Incidents, func(i Incident) bool {
		return i.Open() && slices.ContainsFunc(i.Measures, func(m Measure) bool { return m.Unit == name })
	})
}

// end lets the command under way come to its end, and what it does happen.
func (x *random) end() {
	c := x.state.Running
	if c == nil {
		return
	}
	if x.rnd.IntN(3) == 0 {
		x.done("job failed")
		return
	}
	switch c.Action {
	case ActionStop:
		x.see(c.Unit, func(u *api.Unit) { u.ActiveState, u.SubState, u.Result = "inactive", "dead", "success" })
	case ActionRestart, ActionStopStart, ActionStart:
		x.start(c.Unit)
	case ActionReboot:
		if x.rnd.IntN(3) > 0 {
			x.boot()
			return
		}
	default:
	}
	if x.state.Running != nil {
		x.done("")
	}
}

func (x *random) boot() {
	x.boots++
	x.now = x.now.Add(time.Minute)
	x.observe(Observation{Boot: fmt.Sprintf("boot-%d", x.boots), Uptime: 10 * time.Second})
	clear(x.stopped)
	for _, name := range x.policy.UnitNames() {
		x.start(name)
	}
}

// measured are the metrics that the streams play with, and what is too much.
var measured = map[string][]float64{
	"cpu_ratio": {0.99}, "memory_ratio": {0.99}, "disk_ratio": {0.96, 0.99}, "heat_celsius": {84, 86, 99, 99},
	"gpu_utilisation_ratio": {0.99}, "gpu_hang": {1}, "gpu_memory_level": {2, 3}, "gpu_recovery": {2, 4},
}

// measure lets some minutes pass in which the readings stay in one mood.
func (x *random) measure() {
	names := sortedKeys(measured)
	if x.playing && x.rnd.IntN(4) == 0 {
		clear(x.moods)
		for range x.rnd.IntN(3) {
			name := names[x.rnd.IntN(len(names))]
			x.moods[name] = measured[name][x.rnd.IntN(len(measured[name]))]
		}
	}
	for range 12 * (1 + x.rnd.IntN(8)) {
		x.now = x.now.Add(5 * time.Second)
		var readings []api.Reading
		for _, name := range names {
			readings = append(readings, api.Reading{Metric: name, Value: x.moods[name], Time: x.now})
		}
		var probes []api.ProbeResult
		if x.moods["gpu_utilisation_ratio"] > 0 {
			probes = []api.ProbeResult{{Unit: "arasul-llm.service", Status: api.Down, Time: x.now}}
		}
		x.observe(Observation{Readings: readings, Probes: probes})
		if x.rnd.IntN(8) == 0 {
			x.end()
		}
	}
}

// promises checks the commands of one observation.
func (x *random) promises(before State, issued []Command) {
	x.t.Helper()
	if len(issued) > 1 || (len(issued) == 1 && before.Running != nil && x.state.Running == nil) {
		x.t.Fatalf("seed %d: two commands at once: %v", x.seed, issued)
	}
	for _, c := range issued {
		for _, unit := range append(slices.Clone(c.Units), c.Unit) {
			if x.stopped[unit] {
				x.t.Fatalf("seed %d: an operator stopped %s, and it was commanded: %+v", x.seed, unit, c)
			}
		}
		if c.Action == ActionForget || isUndo(c.Action) {
			continue
		}
		inc := x.state.incident(c.Incident)
		if inc.Rule == requestRule {
			continue // an operator's own: it costs the healer nothing
		}
		x.begun = append(x.begun, Spent{At: x.now, Rule: inc.Rule, Unit: inc.Unit, Action: c.Action})
		budget, window := x.policy.Down.Budget, x.policy.Down.Window.Std()
		if rule := x.policy.rule(inc.Rule); rule != nil {
			budget, window = rule.Budget, rule.Window.Std()
		}
		x.atMost(budget, window, func(e Spent) bool { return e.Rule == inc.Rule && e.Unit == inc.Unit })
		x.atMost(x.policy.Breaker.Actions, x.policy.Breaker.Window.Std(), func(Spent) bool { return true })
		if c.Action == ActionReboot {
			if !x.policy.AllowReboot {
				x.t.Fatalf("seed %d: a reboot that nobody allowed", x.seed)
			}
			reboots := func(e Spent) bool {
				return e.Action == ActionReboot && x.happened(e) || e.At.Equal(x.now) && e.Action == ActionReboot
			}
			x.atMost(rebootsPerHour, time.Hour, reboots)
			x.atMost(rebootsPerDay, 24*time.Hour, reboots)
		}
	}
}

// happened reports whether a reboot that was commanded was not refused.
func (x *random) happened(e Spent) bool {
	return slices.ContainsFunc(x.state.Reboots, func(b api.Reboot) bool { return b.RequestedAt.Equal(e.At) })
}

func (x *random) atMost(n int, window time.Duration, which func(Spent) bool) {
	x.t.Helper()
	count := 0
	for _, e := range x.begun {
		if e.At.After(x.now.Add(-window)) && which(e) {
			count++
		}
	}
	if count > n {
		x.t.Fatalf("seed %d: %d actions within %s, %d are allowed", x.seed, count, window, n)
	}
}

// allWell lets everything come up and stay up.
func (x *random) allWell() {
	clear(x.moods)
	clear(x.stopped)
	for range 14 {
		for _, name := range x.policy.UnitNames() {
			if x.state.Running != nil {
				x.done("")
			}
			x.start(name)
			x.observe(Observation{Probes: []api.ProbeResult{{Unit: name, Status: api.Up, Time: x.now}}})
		}
		x.measure()
	}
	x.wait(24 * time.Hour) // so long a damaged file system is told of
	for _, inc := range x.state.Incidents {
		if inc.Open() {
			x.t.Fatalf("seed %d: incident %s of %s %s is still %s", x.seed, inc.ID, inc.Rule, inc.Unit, inc.State)
		}
	}
}
