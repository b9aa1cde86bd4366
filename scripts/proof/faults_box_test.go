//go:build box && faults

package proof

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// hurt is a computer that gets hurt where a container shares its host's kernel:
// in its memory, its clock, its power.
var hurt = share("box", "faults")

// quick is a policy with short times. Rules are added to it.
const quick = `version = 2
[[unit]]
name = "arasul-postgres.service"
deadline = "5s"
starting = "60s"
[[unit]]
name = "arasul-metrics.service"
[[unit]]
name = "arasul-mdns.service"
[boot]
grace = "10s"
[breaker]
actions = 12
window = "15m"
hold = "1h"
healthy = "30m"
[down]
grace = "30s"
verify = "2s"
retry = "1m"
window = "10m"
budget = 6
misses = 3
every = "5s"
healthy = "10m"
[[down.rung]]
action = "restart"
timeout = "60s"
`

// takeHurt gives the box with a healer that has no memory and the rules given
// instead of its own. Both are as they were when the test ends.
func takeHurt(t *testing.T, rules string) *bed {
	t.Helper()
	b := hurt.take(t)
	b.well(4 * time.Minute)
	b.put("/etc/arasul/policy.toml", []byte(quick+rules))
	undoPolicy, undoReboot := b.set("policy", `"/etc/arasul/policy.toml"`), b.set("reboot", "true")
	anew := func() {
		b.run("systemctl", "stop", healerUnit)
		b.run("rm", "-f", "/var/lib/arasul/healer/state.json")
		b.run("systemctl", "start", healerUnit)
	}
	anew()
	t.Cleanup(func() {
		undoReboot()
		undoPolicy()
		anew()
	})
	return b
}

// clock is the time in the box.
func (b *bed) clock() time.Time {
	b.t.Helper()
	text := strings.TrimSpace(b.run("date", "+%s.%N"))
	seconds, nanos, _ := strings.Cut(text, ".")
	s, err1 := strconv.ParseInt(seconds, 10, 64)
	n, err2 := strconv.ParseInt(nanos, 10, 64)
	if err1 != nil || err2 != nil {
		b.t.Fatalf("the time in the box is %q", text)
	}
	return time.Unix(s, n)
}

// Proves HEAL-1 and HEAL-7: a memory hog in a service's own control group is
// killed by the kernel, called by its name, and the service is back.
func TestMemoryHogIsNamedAndItsServiceIsBack(t *testing.T) {
	b := takeHurt(t, `
[[rule]]
name  = "memory-exhausted"
class = "B"
why   = "the kernel had to kill a process for want of memory"
retry = "1h"
[[rule.when]]
metric = "kernel_oom_kills"
above  = 0
within = "20s"
`)
	b.run("systemctl", "set-property", "--runtime", mdnsUnit, "MemoryMax=64M")
	t.Cleanup(func() { b.run("systemctl", "revert", mdnsUnit) })
	page := b.listen()
	fed := b.clock()
	b.try("sh", "-c", `echo $$ >/sys/fs/cgroup$(systemctl show --value --property=ControlGroup `+mdnsUnit+`)/cgroup.procs; exec tail /dev/zero`)
	i := page.incident(time.Minute, about(mdnsUnit, fed, "resolved"))
	b.mended(i, "oom-killed", "systemd-restart", fed)
	told := page.incident(time.Minute, by("memory-exhausted", fed, "resolved"))
	t.Logf("figure: the kernel's word for it was heard after %s", told.DetectedAt.Sub(fed).Round(10*time.Millisecond))
	if len(told.Actions) > 0 {
		t.Errorf("want it only reported: %v", told)
	}
	b.recorded(told)
}

// Proves HEAL-3 and HEAL-7: what the kernel says of a dying disk is reported, and
// nothing is done about it. The lines are written as root may write them.
func TestDyingDiskIsReported(t *testing.T) {
	b := takeHurt(t, `
[[rule]]
name  = "disk-errors"
class = "C"
why   = "the kernel cannot read or write a disk"
retry = "1h"
[[rule.when]]
metric = "kernel_io_errors"
above  = 2
within = "20s"
[[rule]]
name  = "filesystem-errors"
class = "C"
why   = "a file system is damaged"
retry = "1h"
[[rule.when]]
metric = "kernel_filesystem_errors"
above  = 0
within = "20s"
[[rule]]
name  = "gpu-errors"
class = "C"
why   = "the GPU's driver complains"
retry = "1h"
[[rule.when]]
metric = "kernel_gpu_errors"
above  = 0
within = "20s"
`)
	page := b.listen()
	for rule, lines := range map[string][]string{
		"disk-errors": {
			"I/O error, dev sdz, sector 2048 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 2",
			"I/O error, dev sdz, sector 4096 op 0x0:(READ) flags 0x0 phys_seg 1 prio class 2",
			"Buffer I/O error on dev sdz1, logical block 65, lost async page write",
		},
		"filesystem-errors": {"EXT4-fs error (device sdz1): ext4_find_entry:1463: inode #2: comm ls: reading directory lblock 0"},
		"gpu-errors":        {"NVRM: Xid (PCI:0000:01:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus."},
	} {
		said := b.clock()
		for _, line := range lines {
			b.run("sh", "-c", `echo "<3>$0" >/dev/kmsg`, line)
		}
		i := page.incident(30*time.Second, by(rule, said, "exhausted"))
		t.Logf("figure: %s: %s, noticed %s after the first line", rule, i.Detail, i.DetectedAt.Sub(said).Round(10*time.Millisecond))
		i = page.incident(time.Minute, by(rule, said, "resolved"))
		if len(i.Actions) > 0 {
			t.Errorf("want it only reported: %v", i)
		}
		b.recorded(i)
	}
}

// Proves HEAL-5 and HEAL-6: a clock that is set by an hour makes nothing old and
// nothing last an hour, and healing goes on in both directions, also by a healer
// that was restarted since.
func TestClockThatJumpsMisleadsNobody(t *testing.T) {
	b := takeHurt(t, `
[[rule]]
name  = "busy"
class = "C"
why   = "half of the processors have been busy for ten minutes"
retry = "1h"
window = "1h"
budget = 1
[[rule.when]]
metric = "cpu_ratio"
above  = 0.4
clear  = 0.3
for    = "10m"
[[rule.rung]]
action  = "cleanup"
timeout = "1m"
verify  = "1m"
`)
	b.run("systemd-run", "--quiet", "--unit=hog", "--nice=10", "sh", "-c", "while :; do :; done")
	right := func() { b.run("date", "--set", fmt.Sprintf("@%.3f", float64(time.Now().UnixMilli())/1000)) }
	t.Cleanup(func() {
		b.run("systemctl", "stop", "hog")
		right()
	})
	b.dropIn(mdnsUnit, "[Service]\nRestart=no\n") // only the healer helps
	page := b.listen()
	began := time.Now()
	for _, jump := range []struct {
		by    time.Duration
		again bool // the healer starts anew
	}{{time.Hour, false}, {-2 * time.Hour, false}, {-time.Hour, true}, {3 * time.Hour, true}} {
		b.run("date", "--set", fmt.Sprintf("@%d", b.clock().Add(jump.by).Unix()))
		if jump.again {
			b.kill(healerUnit, "KILL")
		}
		killed := b.clock()
		b.kill(mdnsUnit, "KILL")
		i := page.incident(time.Minute, about(mdnsUnit, killed.Add(-time.Second), "resolved"))
		t.Logf("the clock was set by %s", jump.by)
		b.mended(i, "crashed", "restart", killed)
		if took := i.VerifiedAt.Sub(killed); took < 0 || took > time.Minute {
			t.Errorf("verified after %s", took)
		}
		b.run("systemctl", "reset-failed", mdnsUnit)
	}
	if time.Since(began) > 9*time.Minute {
		t.Fatal("that took so long that the rule could hold")
	}
	list, err := b.incidents()
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(list, func(i incident) bool { return i.Rule == "busy" }) {
		t.Errorf("ten minutes seemed to have passed: %v", list)
	}
}

// fill takes a tenth of the disk, in a file of that name.
func (b *bed) fill(path string) {
	b.t.Helper()
	b.sh(`fallocate --length $(($(stat --file-system --format="%b * %S / 10" /))) ` + path)
}

// fuller is a rule that holds when the disk is a twentieth fuller than now.
func (b *bed) fuller(name, rungs string) string {
	b.t.Helper()
	f := strings.Fields(b.run("stat", "--file-system", "--format=%b %f", "/"))
	total, err1 := strconv.ParseFloat(f[0], 64)
	free, err2 := strconv.ParseFloat(f[1], 64)
	if err1 != nil || err2 != nil {
		b.t.Fatalf("the disk is %q", f)
	}
	limit := 1 - free/total + 0.05
	return fmt.Sprintf(`
[[rule]]
name  = %q
class = "C"
why   = "somebody has filled the disk a little"
retry = "1m"
window = "24h"
budget = 10
[[rule.when]]
metric  = "disk_ratio"
above   = %.3f
clear   = %.3f
for     = "3s"
samples = "2 of 2"
%s`, name, limit, limit-0.01, rungs)
}

const tidy = `[[rule.rung]]
action  = "cleanup"
timeout = "10m"
verify  = "10s"
[[rule.rung]]
action  = "vacuum"
timeout = "5m"
verify  = "10s"
`

// Proves HEAL-6 and HEAL-7: the power fails while something is being done. What
// was begun is settled, the rest is decided by what is seen after the boot.
func TestPowerCutDuringARepairIsSettled(t *testing.T) {
	b := takeHurt(t, "")
	b.put("/etc/arasul/policy.toml", []byte(quick+b.fuller("full", tidy)))
	b.run("systemctl", "restart", healerUnit)
	b.dropIn("arasul-cleanup.service", "[Service]\nExecStart=\nExecStart=/bin/sleep 500\n") // gone after the boot
	t.Cleanup(func() { b.run("rm", "-f", "/var/big") })
	page := b.listen()
	filled := b.clock()
	b.fill("/var/big")
	before := page.incident(time.Minute, by("full", filled, "acting"))
	eventually(t, 30*time.Second, func() error { // it is remembered before it is begun
		if state := b.property("arasul-cleanup.service", "ActiveState"); state != "activating" {
			return fmt.Errorf("the clean-up is %s", state)
		}
		return nil
	})
	b.do("cut")
	b.do("up", "--deb", deb(t))
	var i incident
	find := func(want func(incident) bool) func() error {
		return func() error {
			list, err := b.incidents()
			if err != nil {
				return err
			}
			n := slices.IndexFunc(list, func(i incident) bool { return i.ID == before.ID })
			if n < 0 || !want(list[n]) {
				return fmt.Errorf("want %v: %v", before, list)
			}
			i = list[n]
			return nil
		}
	}
	// It is full as before: the next rung, not the same again.
	eventually(t, 4*time.Minute, find(func(i incident) bool { return len(i.Actions) > 1 }))
	b.run("rm", "/var/big")
	eventually(t, 2*time.Minute, find(func(i incident) bool { return i.State == "resolved" }))
	t.Logf("figure: %v, from %s to %s", i, filled.Format(time.TimeOnly), i.RecoveredAt.Format(time.TimeOnly))
	if i.Actions[0].Kind != "cleanup" || i.Actions[0].Outcome != "failed" || i.Actions[1].Kind != "vacuum" {
		t.Errorf("want a clean-up that failed, then a vacuum: %v", i)
	}
	b.recorded(i)
}

// Proves HEAL-4: state saved before, validated after; a reboot that helped, one
// that is refused within the hour, one that did not help, and none after that.
func TestRebootIsJudgedAndNotRepeatedForEver(t *testing.T) {
	b := takeHurt(t, "")
	b.put("/etc/arasul/policy.toml", []byte(quick+b.fuller("full", "[[rule.rung]]\naction = \"reboot\"\ntimeout = \"60s\"\nverify = \"10s\"\n")))
	b.run("systemctl", "restart", healerUnit)
	t.Cleanup(func() {
		b.run("rm", "-f", "/tmp/big", "/var/big")
		b.run("date", "--set", fmt.Sprintf("@%d", time.Now().Unix()))
	})
	reboots := func() string { return b.sql("SELECT count(*) FROM reboot_events") }
	if n := reboots(); n != "0" {
		t.Fatalf("%s reboots before the first", n)
	}
	const id = "/proc/sys/kernel/random/boot_id"
	// rebooted waits until the healer has rebooted the box.
	rebooted := func(boot string, since time.Time) {
		t.Helper()
		eventually(t, 5*time.Minute, func() error {
			now, errOut, code := b.try("cat", id)
			if code != 0 || now == boot {
				return fmt.Errorf("boot %s%s", now, errOut)
			}
			return nil
		})
		eventually(t, 4*time.Minute, func() error {
			_, err := b.incidents()
			return err
		})
		t.Logf("figure: rebooted, and the page answers, %s after the disk was filled", time.Since(since).Round(time.Second))
	}
	judged := func(want string) {
		t.Helper()
		eventually(t, 2*time.Minute, func() error {
			if got := b.sql("SELECT string_agg(rule || ' ' || coalesce(helped::text, 'not judged'), ', ' ORDER BY requested_at) FROM reboot_events WHERE booted_at > requested_at"); got != want {
				return fmt.Errorf("reboots: %q, want %q", got, want)
			}
			return nil
		})
	}
	refused := func(why string) {
		t.Helper()
		eventually(t, 3*time.Minute, func() error {
			// The healer may be starting anew.
			said, errOut, _ := b.try("curl", "--silent", "--show-error", "--unix-socket", "/run/arasul/healer/healer.sock", "http://healer/incidents?limit=1")
			if !strings.Contains(said, why) {
				return fmt.Errorf("want %q: %s%s", why, said, errOut)
			}
			return nil
		})
	}

	boot, filled := b.run("cat", id), time.Now()
	b.fill("/tmp/big") // which is emptied by a boot
	rebooted(boot, filled)
	judged("full true")

	boot = b.run("cat", id)
	b.fill("/var/big")
	refused("the machine was rebooted within the last hour")
	if now := b.run("cat", id); now != boot {
		t.Fatal("rebooted twice within an hour")
	}
	filled = time.Now()
	b.run("date", "--set", fmt.Sprintf("@%d", b.clock().Add(61*time.Minute).Unix()))
	b.kill(healerUnit, "KILL") // or it goes by how much time has passed
	rebooted(boot, filled)

	boot = b.run("cat", id)
	refused("it did not help")
	b.run("date", "--set", fmt.Sprintf("@%d", b.clock().Add(3*time.Hour).Unix()))
	b.kill(healerUnit, "KILL")
	refused("2 reboots in a row did not rid the machine of it")
	if now := b.run("cat", id); now != boot {
		t.Error("rebooted a third time")
	}
	if n := reboots(); n != "2" {
		t.Errorf("%s reboots are written down", n)
	}
	b.run("rm", "/var/big")
}
