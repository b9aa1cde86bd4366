//go:build machine

package proof

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// Proves LOG-1 and HEAL-7 on the machine: a restart that somebody asks for is
// carried out and kept, the journal can be read and followed within the daemon's
// sandbox, and its files go on where they ended.
func TestRestartAndWhatTheJournalSaysOfIt(t *testing.T) {
	beside(t)
	b := up(t, "machine", "t-logs", "--deb", deb(t))
	for _, name := range []string{"proxy", "dashboard", "mdns"} { // the first two carry what they are asked over
		unit := "arasul-" + name + ".service"
		was := b.property(unit, "MainPID")
		b.run("arasul", "restart", name)
		eventually(t, 30*time.Second, func() error {
			if b.property(unit, "MainPID") == was || b.property(unit, "ActiveState") != "active" {
				return fmt.Errorf("%s is not restarted", unit)
			}
			return nil
		})
	}
	if out, errOut, code := b.try("arasul", "restart", "ssh"); code != 1 || !strings.Contains(errOut, "no service that the healer looks after") {
		t.Errorf("ssh: %d\n%s%s", code, out, errOut)
	}
	for user, may := range map[string]bool{"arasul-dashboard": true, "arasul-metrics": false, "arasul-logs": false} {
		_, errOut, code := b.try("setpriv", "--reuid="+user, "--regid=arasul", "--init-groups", "busctl", "call",
			"de.arasul.Healer1", "/de/arasul/Healer1", "de.arasul.Healer1", "Restart", "ss", "arasul-gpu.service", "admin")
		if (code == 0) != may || !may && !strings.Contains(errOut, "Access denied") {
			t.Errorf("%s: %d %s", user, code, errOut)
		}
	}

	var page api.LogPage
	eventually(t, 20*time.Second, func() error {
		out := b.run("curl", "-sf", "--unix-socket", "/run/arasul/dashboard.sock", "http://localhost/api/logs?service=healer&lines=50")
		if err := json.Unmarshal([]byte(out), &page); err != nil {
			return err
		}
		if !slices.ContainsFunc(page.Entries, func(e api.LogEntry) bool {
			return strings.Contains(e.Message, "restart asked for") && strings.Contains(e.Message, "arasul-proxy.service")
		}) {
			return fmt.Errorf("the healer does not tell of it: %s", out)
		}
		return nil
	})
	stream := b.sh(`timeout 5 curl -sN --unix-socket /run/arasul/dashboard.sock 'http://localhost/api/logs/stream?service=healer&lines=3' || true`)
	if n := strings.Count(stream, "\ndata: {"); n < 3 {
		t.Errorf("%d events in %q", n, stream)
	}
	b.run("logrotate", "-f", "/etc/logrotate.d/arasul")
	b.run("systemctl", "restart", "arasul-logs.service")
	eventually(t, 20*time.Second, func() error {
		if text := b.sh("cat /var/log/arasul/system.log /var/log/arasul/service/logs.log"); strings.Count(text, "msg=ready") < 2 {
			return fmt.Errorf("it does not go on: %s", text)
		}
		return nil
	})
	if twice := b.sh("{ zcat /var/log/arasul/system.log.1.gz; cat /var/log/arasul/system.log; } | sort | uniq -d"); twice != "" {
		t.Errorf("copied twice:\n%s", twice)
	}
	b.sh("test -s /var/log/arasul/service/healer.log.1.gz && test -s /var/log/arasul/self_healing.log.1.gz")
}
