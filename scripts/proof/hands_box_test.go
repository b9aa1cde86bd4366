//go:build box

package proof

import (
	"strings"
	"testing"
	"time"
)

// Proves HEAL-4: a reboot asked for in the healer's sandbox, without any
// capability, is one; the machine is well after it, and what was set aside on
// its disk is still there.
func TestBoxRebootsWhenAsked(t *testing.T) {
	b := theBox.take(t)
	b.do("push", buildHands(t), handsBinary)
	b.run("chmod", "755", handsBinary)
	b.run("systemctl", "start", "arasul-reserve.service")
	out := strings.Fields(b.run("stat", "--format=%b %B %a %U", "/var/lib/arasul/reserve/reserve"))
	t.Logf("figure: the reserve has %s blocks of %s bytes", out[0], out[1])
	if out[0] == "0" || out[2] != "600" || out[3] != "root" {
		t.Errorf("the reserve is %q", out)
	}
	asked := time.Now()
	b.bootsAgain(func() { _ = b.hand("reboot") }) // who asks may be gone before he has the answer
	b.well(2 * time.Minute)
	t.Logf("figure: well again %s after the reboot was asked for", time.Since(asked).Round(time.Second))
	if said := b.run("journalctl", "--boot=-1", "--output=cat", "--unit=systemd-logind"); !strings.Contains(said, "System is rebooting") {
		t.Errorf("logind says\n%s", said)
	}
	b.run("test", "-e", "/var/lib/arasul/reserve/reserve")
}
