//go:build machine

package proof

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/arasul/arasul/pkg/heal"
)

// replay runs what the machine's healer has recorded through a policy.
func (b *bed) replay(args ...string) (c heal.Comparison) {
	b.t.Helper()
	begin := time.Now()
	out := b.run(append([]string{"arasul", "heal", "replay", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &c); err != nil {
		b.t.Fatalf("%v in %s", err, out)
	}
	b.t.Logf("figure: %d observations in %s, replayed within %s", c.Observations, c.Until.Sub(c.From).Round(time.Second), time.Since(begin).Round(time.Millisecond))
	return c
}

// Proves HEAL-8: what really happened is explained, recorded, and run again: by
// the policy that was in force to the same commands, by another one to others.
func TestPastIsExplainedRecordedAndReplayed(t *testing.T) {
	beside(t)
	b := up(t, "machine", "t-past", "--deb", deb(t))
	b.put("/etc/arasul/policy.toml", []byte(impatient))
	b.set("policy", `"/etc/arasul/policy.toml"`)
	b.run("systemctl", "restart", healerUnit)
	b.allWell()
	remove := b.dropIn(mdnsUnit, "[Unit]\nStartLimitBurst=3\n[Service]\nExecStart=\nExecStart=/bin/false\nRestartSec=100ms\n")
	page := b.listen()
	broken := time.Now()
	b.kill(mdnsUnit, "KILL")
	i := page.incident(time.Minute, about(mdnsUnit, broken, "exhausted"))

	why := b.run("arasul", "heal", "explain", i.ID)
	for _, want := range []string{
		"Rule down arasul-mdns.service, class A: everything was tried, somebody should look",
		"exited with status 1", "restart mdns: did not help", "stop-start mdns: did not help", "all is tried anew, from the top",
	} {
		if !strings.Contains(why, want) {
			t.Errorf("the explanation does not say %q:\n%s", want, why)
		}
	}

	remove()
	page.incident(2*time.Minute, about(mdnsUnit, broken, "resolved"))
	time.Sleep(11 * time.Second)                         // what is older than 10 s survives
	b.run("systemctl", "kill", "-s", "KILL", healerUnit) // even this
	eventually(t, 20*time.Second, func() error { _, err := b.incidents(); return err })

	c := b.replay()
	if len(c.Recorded) < 3 || !c.Exact() || c.Lost > 0 {
		t.Errorf("really commanded: %+v\nrun again: %+v\n%d lost", c.Recorded, c.Was.Acts, c.Lost)
	}
	b.put("/root/other.toml", []byte(strings.Replace(impatient, `action = "restart"`, `action = "stop-start"`, 1)))
	var was, would int
	for _, ch := range b.replay("--policy", "/root/other.toml").Changes {
		switch {
		case ch.Of == "was" && ch.What == "restart mdns":
			was++
		case ch.Of == "would" && ch.What == "stop-start mdns" && ch.Assumed:
			would++
		}
	}
	if was == 0 || would == 0 {
		t.Errorf("another policy would not restart %d times, and stop and start %d times instead", was, would)
	}
	if _, stderr, code := b.try("runuser", "-u", "nobody", "--", "arasul", "heal", "replay"); code != 1 || !strings.Contains(stderr, "root is needed") {
		t.Errorf("for nobody: %d %s", code, stderr)
	}
}
