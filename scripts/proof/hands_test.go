//go:build machine

package proof

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// counter writes the time into a file ten times a second, from a child that
// does not hear what its parent is told.
const counter = `[Service]
Type=exec
ExecStart=/bin/sh -c 'sh -c "while :; do date +%%s%%N >>/run/%n.log; sleep 0.1; done" & wait'
TimeoutStopSec=5s
`

// giveHands puts the program that hand calls into the machine.
func (b *bed) giveHands() {
	b.t.Helper()
	if _, _, code := b.try("test", "-x", handsBinary); code == 0 {
		return
	}
	b.putDeb(buildHands(b.t), handsBinary)
	b.run("chmod", "755", handsBinary)
}

// operated is a machine on which the hands do one thing after the other.
var operated = share("machine", "t-hands")

func takeHands(t *testing.T) *bed {
	t.Helper()
	b := operated.take(t)
	b.giveHands()
	return b
}

// unit writes a unit that goes with the test.
func (b *bed) unit(name, text string) {
	b.t.Helper()
	path := "/run/systemd/system/" + name
	b.put(path, []byte(text))
	b.run("systemctl", "daemon-reload")
	b.t.Cleanup(func() {
		b.try("systemctl", "stop", name)
		b.try("systemctl", "reset-failed", name)
		b.run("rm", "-f", path, "/run/"+name+".log")
		b.run("systemctl", "daemon-reload")
	})
}

// does wants the hand to do it, refuses that it says why not.
func (b *bed) does(args ...string) {
	b.t.Helper()
	if err := b.hand(args...); err != nil {
		b.t.Errorf("%q: %v", args, err)
	}
}

func (b *bed) refuses(why string, args ...string) {
	b.t.Helper()
	if err := b.hand(args...); err == nil || !strings.Contains(err.Error(), why) {
		b.t.Errorf("%q: got %v, want %q", args, err, why)
	}
}

func (b *bed) wantProperty(unit, name, want string) {
	b.t.Helper()
	if got := b.property(unit, name); got != want {
		b.t.Errorf("%s: %s is %q, want %q", unit, name, got, want)
	}
}

// beats says whether a counter counts.
func (b *bed) beats(unit string) bool {
	b.t.Helper()
	size := func() string { return b.run("stat", "--format=%s", "/run/"+unit+".log") }
	before := size()
	time.Sleep(time.Second)
	return size() != before
}

// Proves HEAL-1: the single steps that every repair is made of.
func TestHandsStartStopAndForget(t *testing.T) {
	b := takeHands(t)
	const unit = "hand.service"
	b.unit(unit, counter)
	b.does("start", unit)
	b.wantProperty(unit, "ActiveState", "active")
	b.does("start", unit)
	b.does("stop", unit)
	b.wantProperty(unit, "ActiveState", "inactive")
	b.does("stop", unit)
	b.refuses("not found", "start", "hand-none.service")

	// Crashes until its start limit, which one start clears.
	b.unit("hand-limit.service", "[Unit]\nStartLimitBurst=2\nStartLimitIntervalSec=1h\n[Service]\nExecStart=sleep 1d\nRestart=always\nRestartSec=10ms\n")
	b.does("start", "hand-limit.service")
	eventually(t, 20*time.Second, func() error {
		b.try("systemctl", "kill", "--signal=KILL", "hand-limit.service")
		if state := b.property("hand-limit.service", "ActiveState"); state != "failed" {
			return fmt.Errorf("it is %s", state)
		}
		return nil
	})
	b.does("start", "hand-limit.service")
	b.run("systemctl", "kill", "--signal=KILL", "hand-limit.service")
	eventually(t, 20*time.Second, func() error {
		if n := b.property("hand-limit.service", "NRestarts"); n == "0" {
			return fmt.Errorf("%s restarts", n)
		}
		return nil
	})
	before := b.property("hand-limit.service", "InvocationID")
	b.does("forget", "hand-limit.service")
	b.wantProperty("hand-limit.service", "NRestarts", "0")
	b.wantProperty("hand-limit.service", "InvocationID", before)
}

func TestHandsRunAOneshotToItsEnd(t *testing.T) {
	b := takeHands(t)
	b.run("rm", "-f", "/run/hand-runs")
	for name, command := range map[string]string{"well": "sh -c 'echo >>/run/hand-runs; sleep 2'", "ill": "sh -c 'exit 3'", "late": "sleep 10"} {
		b.unit("hand-"+name+".service", "[Service]\nType=oneshot\nExecStart="+command+"\nTimeoutStartSec=4s\n")
	}
	b.unit("hand-never.service", "[Unit]\nConditionPathExists=/nowhere\n[Service]\nType=oneshot\nExecStart=true\n")
	begin := time.Now()
	b.does("run", "hand-well.service")
	if d := time.Since(begin); d < 2*time.Second {
		t.Errorf("a run of 2 s was over after %s", d)
	}
	b.run("systemctl", "start", "--no-block", "hand-well.service")
	b.does("run", "hand-well.service")
	if n := len(b.run("cat", "/run/hand-runs")); n != 2 {
		t.Errorf("%d runs: the second was to be waited for, not repeated", n)
	}
	b.wantProperty("hand-well.service", "ActiveState", "inactive")
	b.refuses("hand-ill.service failed (exit-code, status 3); its log: journalctl -u hand-ill.service", "run", "hand-ill.service")
	b.refuses("hand-late.service failed (timeout", "run", "hand-late.service")
	b.refuses("one of its conditions is not met", "run", "hand-never.service")
	b.refuses("would not end", "run", mdnsUnit)
	b.refuses("not-found", "run", "hand-none.service")
}

// The fourth bug of the field: a pause that was a restart destroyed the
// workflows under way.
func TestPausedUnitStandsStillAndLosesNothing(t *testing.T) {
	b := takeHands(t)
	b.pausesAndResumes("frozen")
	b.refuses("it has a watchdog", "pause", metricsUnit)
}

// On a machine with control groups of version 1 systemd has no freezer. Here it
// is started anew while it cannot see the one there is.
func TestPauseWorksWithoutAFreezer(t *testing.T) {
	beside(t)
	b := up(t, "machine", "t-nofreeze", "--deb", deb(t))
	b.giveHands()
	b.sh(`cp -r /sys/fs/cgroup/init.scope /run/init.scope 2>/dev/null
		rm /run/init.scope/cgroup.freeze
		mount --bind /run/init.scope /sys/fs/cgroup/init.scope
		systemctl daemon-reexec`)
	if _, errOut, _ := b.try("systemctl", "freeze", mdnsUnit); !strings.Contains(errOut, "does not support freezing") {
		t.Fatalf("systemd still has a freezer: %s", errOut)
	}
	b.pausesAndResumes("running")
}

// pausesAndResumes wants a counter to stand still, itself and its child, and to
// go on as the same process.
func (b *bed) pausesAndResumes(freezer string) {
	b.t.Helper()
	const unit = "hand.service"
	b.unit(unit, counter)
	b.refuses("it is inactive", "pause", unit)
	b.does("resume", unit)
	b.does("start", unit)
	pid, invocation := b.property(unit, "MainPID"), b.property(unit, "InvocationID")
	for range 2 {
		b.does("pause", unit)
		b.wantProperty(unit, "FreezerState", freezer)
		b.wantProperty(unit, "ActiveState", "active")
		if b.beats(unit) {
			b.t.Error("the paused unit works")
		}
	}
	for range 2 {
		b.does("resume", unit)
		b.wantProperty(unit, "FreezerState", "running")
		if !b.beats(unit) {
			b.t.Error("the resumed unit does not work")
		}
	}
	b.wantProperty(unit, "MainPID", pid)
	b.wantProperty(unit, "InvocationID", invocation)
	b.wantProperty(unit, "NRestarts", "0")

	// To stop or restart it ends the pause, and does not wait for a timeout.
	for _, verb := range []string{"restart", "stop"} {
		b.does("pause", unit)
		begin := time.Now()
		b.does(verb, unit)
		if d := time.Since(begin); d > 4*time.Second {
			b.t.Errorf("%s of a paused unit took %s", verb, d)
		}
		b.wantProperty(unit, "Result", "success")
		if verb == "restart" && !b.beats(unit) {
			b.t.Error("the restarted unit does not work")
		}
	}
}

// Proves HEAL-3: all application services go down and come up in their order.
func TestHardRestartKeepsTheOrderAndTheStopped(t *testing.T) {
	b := takeHands(t)
	log := func(word string) string { return `/bin/sh -c 'echo ` + word + ` %p >>/run/hand-order'` }
	b.run("rm", "-f", "/run/hand-order")
	units := []string{"hand-a.service", "hand-b.service", "hand-c.service", "hand-stopped.service"}
	for _, unit := range units {
		b.unit(unit, "[Service]\nType=exec\nExecStartPre="+log("start")+"\nExecStart=sleep 1d\nExecStop="+log("stop")+"\n")
	}
	b.run("systemctl", "start", "hand-a.service", "hand-b.service")
	b.unit("hand-c.service", "[Service]\nExecStart=false\n") // failed is not stopped
	b.try("systemctl", "start", "hand-c.service")
	eventually(t, 5*time.Second, func() error {
		if state := b.property("hand-c.service", "ActiveState"); state != "failed" {
			return fmt.Errorf("it is %s", state)
		}
		return nil
	})
	b.unit("hand-c.service", "[Service]\nType=exec\nExecStartPre="+log("start")+"\nExecStart=sleep 1d\nExecStop="+log("stop")+"\n")
	b.run("rm", "-f", "/run/hand-order")
	b.does(append([]string{"hard-restart", "hand-none.service"}, units...)...)
	if got, want := strings.Split(strings.TrimSpace(b.run("cat", "/run/hand-order")), "\n"),
		[]string{"stop hand-b", "stop hand-a", "start hand-a", "start hand-b", "start hand-c"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	b.wantProperty("hand-stopped.service", "ActiveState", "inactive")

	// One that does not come up does not keep the others down.
	b.dropIn("hand-a.service", "[Service]\nExecStartPre=false\n")
	b.refuses("systemd's job to start hand-a.service ended as \"failed\"", append([]string{"hard-restart"}, units...)...)
	for _, unit := range units[1:3] {
		b.wantProperty(unit, "ActiveState", "active")
	}
}

// Proves HEAL-4, as far as a machine goes that shares its kernel: the way to
// logind, in the healer's sandbox, and the locks that it obeys.
func TestRebootIsRehearsedAndObeysLocks(t *testing.T) {
	b := takeHands(t)
	b.does("dry-reboot")
	eventually(t, 10*time.Second, func() error {
		if said := b.run("journalctl", "--boot", "--unit=systemd-logind", "--output=cat"); !strings.Contains(said, "Running in dry run, suppressing action.") {
			return fmt.Errorf("logind says: %s", said)
		}
		return nil
	})
	b.run("systemd-run", "--quiet", "--unit=hand-lock", "systemd-inhibit", "--what=shutdown", "--who=updater", "--why=installs a release", "sleep", "1d")
	t.Cleanup(func() { b.run("systemctl", "stop", "hand-lock") })
	eventually(t, 10*time.Second, func() error {
		if out := b.run("systemd-inhibit", "--list"); !strings.Contains(out, "updater") {
			return fmt.Errorf("locks: %s", out)
		}
		return nil
	})
	b.refuses("blocked by updater", "reboot")
}

// Proves HEAL-6: the hands work while the bus is dead, over systemd's private
// socket.
func TestHandsWorkWithoutTheBus(t *testing.T) {
	beside(t)
	b := up(t, "machine", "t-handbus", "--deb", deb(t))
	b.giveHands()
	b.allWell()
	b.unit("hand-well.service", "[Service]\nType=oneshot\nExecStart=sleep 1\n")
	b.unit("hand-ill.service", "[Unit]\nCollectMode=inactive-or-failed\n[Service]\nType=oneshot\nExecStart=false\n")
	b.run("systemctl", "mask", "--runtime", "dbus.socket", "dbus.service")
	b.run("systemctl", "kill", "--signal=KILL", "dbus.service")
	b.run("systemctl", "stop", "dbus.socket")
	eventually(t, 10*time.Second, func() error {
		if out, _, code := b.try("busctl", "--timeout=2", "status"); code == 0 {
			return fmt.Errorf("the bus still answers: %s", out)
		}
		return nil
	})
	b.does("run", "hand-well.service")
	b.refuses("hand-ill.service", "run", "hand-ill.service")
	b.pausesAndResumes("frozen")
	b.does("hard-restart", metricsUnit, mdnsUnit)
	b.wantProperty(metricsUnit, "ActiveState", "active")
	b.does("run", "arasul-vacuum.service")
	b.does("run", "arasul-cleanup.service")
}
