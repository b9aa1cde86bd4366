package heal

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
)

// happen lets a step of the story begin.
func (w *world) happen(s *Step) {
	switch {
	case s.Unit != "":
		u := w.units[s.Unit]
		w.say("seen", "%s: %s%s", shortName(s.Unit), s.Is, lasting(s))
		u.fate = s
		if !w.off {
			w.bring(u, s.Is)
		}
	case s.Probe != "":
		w.say("seen", "probe of %s: %s%s", shortName(s.Probe), s.Is, lasting(s))
	case s.Metric != "":
		w.say("seen", "%s: %s%s", strings.TrimSpace(s.Metric+" "+shortName(s.Of)), valueOf(s), lasting(s))
	case s.Kernel != "":
		w.kernel(s, max(s.Times, 1))
	case s.Maintenance != "":
		w.say("seen", "maintenance %s", s.Maintenance)
		on := s.Maintenance == "on"
		w.observe(Observation{Maintenance: &on})
	case s.Lease != 0:
		w.say("seen", "the updater asks for hands off for %s", s.Lease)
		w.observe(Observation{Lease: &api.Lease{Holder: "updater", Until: w.now().Add(s.Lease.Std())}})
	case s.ResetBreaker:
		w.say("seen", "an operator closes the breaker")
		w.observe(Observation{ResetBreaker: true})
	case s.Reboot:
		w.say("seen", "the machine goes down")
		w.reboot()
	default:
		w.say("seen", "the clock is set by %s", s.Clock)
		w.clock += s.Clock.Std()
	}
}

func lasting(s *Step) string {
	switch {
	case s.Until == (Until{}):
		return ""
	case s.Until.At > 0:
		return " for " + config.Duration(s.Until.At-s.At.Std()).String()
	default:
		return " until " + s.Until.Action
	}
}

func valueOf(s *Step) string {
	if s.Value == nil {
		return s.Is
	}
	return fmt.Sprintf("%.6g", *s.Value)
}

func (w *world) kernel(s *Step, times int) {
	w.say("seen", "kernel: %s", s.Kernel)
	w.observe(Observation{Kernel: []api.KernelEvent{{Time: w.now(), Kind: s.Kernel, Text: string(s.Kernel)}}})
	if times > 1 {
		w.later(w.at+time.Second, w.boot, func() { w.kernel(s, times-1) })
	}
}

// end: a step holds no longer. What can happen by itself does.
func (w *world) end(s *Step) {
	u := w.units[s.Unit]
	if w.ended[s] || u == nil || u.fate != s {
		return
	}
	u.fate = nil
	if w.off {
		return
	}
	switch s.Is {
	case isStarting, isAbsent:
		w.say("seen", "%s: up", shortName(s.Unit))
		w.set(u, func() { w.up(u, w.now()) })
	case isStopped:
		w.say("seen", "%s: started by an operator", shortName(s.Unit))
		w.start(u)
	default: // it can be started again; somebody has to
	}
}

// set changes a unit, and lets the healer see it.
func (w *world) set(u *part, f func()) {
	u.turn++
	f()
	if u.LoadState == "loaded" {
		u.StateChange = w.now()
	}
	if !w.off {
		w.observe(Observation{Units: []api.Unit{u.Unit}})
	}
}

// up makes a unit run; it does not tell anybody.
func (w *world) up(u *part, since time.Time) {
	w.seq++
	u.LoadState, u.ActiveState, u.SubState, u.Result = "loaded", "active", "running", "success"
	u.InvocationID, u.MainPID = fmt.Sprintf("run-%d", w.seq), uint32(1000+w.seq)
	u.StateChange, u.ActiveEnter, u.Started, u.Exited = since, since, since, time.Time{}
	u.ExitCode, u.ExitStatus = 0, 0
	u.paused = false
	for i := range w.s.Steps { // what a start puts an end to
		s := &w.s.Steps[i]
		if s.Until.Action == ActionRestart && s.At.Std() < w.at && (s.Probe == u.Name || s.Unit == u.Name) {
			w.ended[s] = true
		}
	}
	if u.fate != nil && w.ended[u.fate] {
		u.fate = nil
	}
}

// bring puts a unit into a state.
func (w *world) bring(u *part, state string) {
	switch state {
	case isUp:
		u.fate = nil
		w.set(u, func() { w.up(u, w.now()) })
	case isCrashed:
		w.die(u, "signal", 2, 9)
	case isHung:
		w.die(u, "watchdog", 3, 6)
	case isFailed:
		w.set(u, func() { u.die("failed", "failed", "exit-code", w.now()); u.ExitCode, u.ExitStatus = 1, 1 })
	case isStopped:
		w.set(u, func() { u.die("inactive", "dead", "success", w.now()) })
	case isStarting:
		w.set(u, func() { u.ActiveState, u.SubState = "activating", "start" })
	default: // absent
		w.set(u, func() { u.Unit = api.Unit{Name: u.Name, LoadState: "not-found"} })
	}
}

func (u *part) die(active, sub, result string, at time.Time) {
	u.ActiveState, u.SubState, u.Result, u.Exited, u.ActiveExit, u.MainPID = active, sub, result, at, at, 0
}

// die ends a unit's run badly; systemd starts it anew, up to its start limit.
func (w *world) die(u *part, result string, code, status int32) {
	u.starts = slices.DeleteFunc(u.starts, func(at time.Duration) bool { return at <= w.at-startWindow })
	if len(u.starts) >= startLimit {
		w.set(u, func() { u.die("failed", "failed", "start-limit-hit", w.now()) })
		return
	}
	w.set(u, func() {
		u.die("activating", "auto-restart", result, w.now())
		u.ExitCode, u.ExitStatus = code, status
	})
	w.after(startTakes, u, func() {
		u.starts = append(u.starts, w.at)
		u.Restarts++
		w.arrive(u)
	})
}

// start has systemd start a unit because somebody asked for it.
func (w *world) start(u *part) {
	if u.LoadState != "loaded" {
		return
	}
	u.Restarts, u.starts = 0, nil
	w.set(u, func() { u.ActiveState, u.SubState = "activating", "start" })
	w.after(startTakes, u, func() { w.arrive(u) })
}

// arrive is the end of a start: the unit is up, unless the story says otherwise.
func (w *world) arrive(u *part) {
	fate := u.fate
	if fate == nil || fate.Until == (Until{}) || w.ended[fate] { // it happened once
		w.set(u, func() { w.up(u, w.now()) })
		return
	}
	switch fate.Is {
	case isFailed, isStarting:
		w.bring(u, fate.Is)
	case isCrashed, isHung:
		w.set(u, func() { w.up(u, w.now()) })
		if u.fate == fate {
			w.after(startTakes, u, func() { w.bring(u, fate.Is) })
		}
	default:
		w.set(u, func() { w.up(u, w.now()) })
	}
}

// reboot takes the machine down and brings it up again, with everything on it.
func (w *world) reboot() {
	w.boot++
	w.off = true
	w.later(w.at+bootTakes, -1, func() {
		w.off = false
		w.booted = w.at - bootUptime
		w.endSteps(ActionReboot, "")
		w.say("seen", "the machine is up again")
		for _, name := range w.p.UnitNames() {
			u := w.units[name]
			u.turn++
			u.Restarts, u.starts = 0, nil
			if u.LoadState != "loaded" {
				continue
			}
			w.up(u, w.now())
			if f := u.fate; f != nil && f.Until != (Until{}) && !w.ended[f] && (f.Is == isFailed || f.Is == isStarting) {
				w.after(0, u, func() { w.bring(u, f.Is) })
			}
		}
		w.observe(w.everything())
	})
}

// endSteps: an action has worked, and the steps that waited for it are over.
func (w *world) endSteps(action, unit string) {
	for i := range w.s.Steps {
		s := &w.s.Steps[i]
		if s.Until.Action != action || !w.holds(s) || (s.Probe != "" && unit != "" && s.Probe != unit) {
			continue
		}
		w.ended[s] = true
		if s.Unit != "" {
			if u := w.units[s.Unit]; u.fate == s {
				u.fate = nil
			}
		}
	}
}

// carry carries out a command.
func (w *world) carry(c Command) {
	w.out.Actions = append(w.out.Actions, Issued{w.at, w.at.Seconds(), c.what(), c.Reason, c})
	w.say("done", "%s: %s", c.what(), c.Reason)
	ending := Ending{"works", time.Second}
	if list := w.s.Outcome[c.Action]; len(list) > 0 {
		ending = list[min(w.begun[c.Action], len(list)-1)]
	}
	w.begun[c.Action]++
	if ending.Word == "hangs" || ending.After > c.Timeout {
		ending = Ending{"hangs", c.Timeout}
	}
	switch c.Action {
	case ActionRestart, ActionStopStart, ActionStart, ActionHardRestart, ActionResetGPU:
		for _, name := range slices.Concat(c.Units, []string{c.Unit}) {
			if u := w.units[name]; u != nil && u.LoadState == "loaded" {
				u.Restarts, u.starts = 0, nil
				w.set(u, func() { u.ActiveState, u.SubState = "activating", "start" })
			}
		}
	}
	w.later(w.at+ending.After, w.boot, func() { w.finish(c, ending.Word) })
}

// finish brings a command to its end.
func (w *world) finish(c Command, word string) {
	problem := ""
	switch word {
	case "fails":
		problem = "it did not work, says the story"
	case "hangs":
		problem = "it took longer than " + config.Duration(c.Timeout).String()
	default:
		w.endSteps(c.Action, c.Unit)
	}
	failed := problem != ""
	switch c.Action {
	case ActionRestart, ActionStopStart, ActionStart, ActionHardRestart, ActionResetGPU:
		for _, name := range slices.Concat(c.Units, []string{c.Unit}) {
			u := w.units[name]
			if u == nil || u.LoadState != "loaded" {
				continue
			}
			if failed {
				w.set(u, func() { u.die("failed", "failed", "exit-code", w.now()); u.ExitCode, u.ExitStatus = 1, 1 })
				continue
			}
			w.arrive(u)
			if u.ActiveState != "active" {
				problem = "job for " + u.Name + " failed"
			}
		}
	}
	if problem == "" {
		w.worked(c)
	} else {
		w.say("done", "%s: %s", c.what(), problem)
	}
	w.observe(Observation{Result: &Result{Incident: c.Incident, Attempt: c.Attempt, Error: problem}})
	if c.Action == ActionReboot && problem == "" {
		w.reboot()
	}
}

// worked does what an action that needs no start does to the unit.
func (w *world) worked(c Command) {
	u := w.units[c.Unit]
	if u == nil {
		return
	}
	switch c.Action {
	case ActionStop:
		w.set(u, func() { u.die("inactive", "dead", "success", w.now()) })
	case ActionPause:
		u.paused = true
	case ActionResume:
		u.paused = false
	case ActionForget:
		u.Restarts = 0
	}
}
