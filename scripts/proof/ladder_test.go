//go:build machine

package proof

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// impatient is the built-in policy with the shortest times it may have, and a
// ladder that is climbed again after a minute.
const impatient = `version = 2
[[unit]]
name = "arasul-mdns.service"
[breaker]
actions = 12
window = "15m"
hold = "1h"
healthy = "30m"
[down]
grace = "5s"
verify = "1s"
retry = "1m"
window = "10m"
budget = 6
misses = 3
every = "5s"
healthy = "10m"
[[down.rung]]
action = "restart"
timeout = "30s"
[[down.rung]]
action = "stop-start"
timeout = "30s"
`

// Proves HEAL-1, HEAL-5 and HEAL-8: a unit that cannot run climbs the ladder,
// is given up, and is well by itself once the cause is gone.
func TestUnitThatCannotRunClimbsTheLadderAndRecovers(t *testing.T) {
	beside(t)
	b := up(t, "machine", "t-ladder", "--deb", deb(t))
	b.put("/etc/arasul/policy.toml", []byte(impatient))
	b.set("policy", `"/etc/arasul/policy.toml"`)
	b.run("systemctl", "restart", healerUnit)
	b.allWell()
	remove := b.dropIn(mdnsUnit, "[Unit]\nStartLimitBurst=3\n[Service]\nExecStart=\nExecStart=/bin/false\nRestartSec=100ms\n")
	page := b.listen()
	broken := time.Now()
	b.kill(mdnsUnit, "KILL")

	i := page.incident(time.Minute, about(mdnsUnit, broken, "exhausted"))
	t.Logf("figure: given up after %s: %v", time.Since(broken).Round(time.Second), i)
	var climbed []string
	for _, a := range i.Actions {
		if a.Kind != "systemd-restart" {
			climbed = append(climbed, a.Kind+" "+a.Outcome)
		}
	}
	if want := []string{"restart failed", "stop-start failed"}; i.Actions[0].Kind != "systemd-restart" || !slices.Equal(climbed, want) {
		t.Errorf("tried %v, want systemd's own restart first and then %v", i, want)
	}
	// systemd goes on trying until its start limit, which our restart has reset.
	eventually(t, 20*time.Second, func() error {
		s, err := b.service(mdnsUnit)
		if err != nil {
			return err
		}
		var status systemStatus
		if err := b.get("/api/system/status", &status); err != nil {
			return err
		}
		if s.Status != "down" || status.Status != "CRITICAL" {
			return fmt.Errorf("the page shows %+v, %+v", s, status)
		}
		return nil
	})

	remove()
	i = page.incident(2*time.Minute, about(mdnsUnit, broken, "resolved"))
	if last := i.Actions[len(i.Actions)-1]; last.Kind != "restart" || last.Outcome != "helped" {
		t.Errorf("want a restart to have helped: %v", i)
	}
	b.allWell()
}

// Proves HEAL-6: without a bus the healer goes on over systemd's private
// socket, and back to the bus when there is one.
func TestHealerWorksWithoutTheBus(t *testing.T) {
	beside(t)
	b := up(t, "machine", "t-nobus", "--deb", deb(t))
	b.allWell()
	remove := b.dropIn(mdnsUnit, "[Service]\nRestart=no\n") // so that only the healer can help
	// Masked, or the first to ask for the bus would have it started.
	b.run("systemctl", "mask", "--runtime", "dbus.socket", "dbus.service")
	b.run("systemctl", "kill", "--signal=KILL", "dbus.service")
	b.run("systemctl", "stop", "dbus.socket")
	eventually(t, 10*time.Second, func() error {
		if out, _, code := b.try("busctl", "--timeout=2", "status"); code == 0 {
			return fmt.Errorf("the bus still answers: %s", out)
		}
		return nil
	})
	page := b.listen()
	killed := b.kill(mdnsUnit, "KILL")
	i := page.incident(time.Minute, about(mdnsUnit, killed, "resolved"))
	b.healed(i, "crashed", "restart", killed)

	remove()
	b.run("systemctl", "unmask", "--runtime", "dbus.socket", "dbus.service")
	b.run("systemctl", "start", "dbus.socket", "dbus.service")
	eventually(t, time.Minute, func() error {
		out, errOut, code := b.try("arasul", "heal", "status")
		if code != 0 || !strings.HasPrefix(out, "mode act") {
			return fmt.Errorf("%s%s", out, errOut)
		}
		return nil
	})
	b.allWell()
}
