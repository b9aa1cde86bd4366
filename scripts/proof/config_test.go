//go:build machine

package proof

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const configPath = "/etc/arasul/arasul.toml"

// breakConfiguration puts a mistake at the end of the file, until the test
// ends, and returns where arasul has to point: file, line and key.
func (b *bed) breakConfiguration() (mistake string) {
	b.t.Helper()
	before := b.run("cat", configPath)
	above, below, found := strings.Cut(before, "[mdns]\n")
	if !found {
		b.t.Fatalf("%s has no table [mdns]", configPath)
	}
	b.t.Cleanup(func() { b.put(configPath, []byte(before)) })
	b.put(configPath, []byte(above+"[mdns]\ncolour = \"green\"\n"+below))
	return fmt.Sprintf("%s:%d", configPath, strings.Count(above, "\n")+2)
}

// Proves BOOT-9: a daemon does not start with a configuration that it does not
// understand, is not restarted in vain, and says where the mistake is.
func TestBrokenConfigurationStopsADaemonAndIsNamed(t *testing.T) {
	b := takePatient(t)
	b.run("arasul", "heal", "maintenance", "on") // so that the healer does not try
	t.Cleanup(func() {
		b.run("arasul", "heal", "maintenance", "off")
		b.run("systemctl", "restart", mdnsUnit)
	})
	mistake := b.breakConfiguration()
	_, said, code := b.try("arasul", "config", "check")
	if code != 78 || !strings.Contains(said, mistake) || !strings.Contains(said, "mdns.colour") {
		t.Errorf("arasul config check: exit status %d\n%swant 78, %s and mdns.colour", code, said, mistake)
	}
	if _, _, code := b.try("systemctl", "restart", mdnsUnit); code == 0 {
		t.Errorf("%s started with a broken configuration", mdnsUnit)
	}
	b.healerLooksAgain()
	for property, want := range map[string]string{"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "78", "NRestarts": "0"} {
		if got := b.property(mdnsUnit, property); got != want {
			t.Errorf("%s: %s is %s, want %s", mdnsUnit, property, got, want)
		}
	}
	if log := b.run("journalctl", "--unit="+mdnsUnit, "--lines=20", "--output=cat"); !strings.Contains(log, mistake) {
		t.Errorf("the journal does not say %s:\n%s", mistake, log)
	}
}

// Proves BOOT-9: reloading takes a good file and refuses a bad one, and the
// daemon runs on either way.
func TestReloadTakesGoodConfigurationAndRefusesBad(t *testing.T) {
	b := takePatient(t)
	pid := b.property(metricsUnit, "MainPID")
	t.Cleanup(func() { b.run("systemctl", "reload", metricsUnit) })
	t.Cleanup(b.set("interval", `"1s"`))
	b.run("systemctl", "reload", metricsUnit)
	everySecond := func() {
		t.Helper()
		eventually(t, 20*time.Second, func() error {
			var first, next sample
			if err := b.get("/api/metrics/live", &first); err != nil {
				return err
			}
			eventually(t, 15*time.Second, func() error {
				if err := b.get("/api/metrics/live", &next); err != nil {
					return err
				}
				if !next.Timestamp.After(first.Timestamp) {
					return fmt.Errorf("still %+v", next)
				}
				return nil
			})
			if apart := next.Timestamp.Sub(first.Timestamp); apart > 2500*time.Millisecond {
				return fmt.Errorf("samples are %s apart", apart)
			}
			return nil
		})
	}
	everySecond()

	mistake := b.breakConfiguration()
	b.run("systemctl", "reload", metricsUnit)
	eventually(t, 10*time.Second, func() error {
		log := b.run("journalctl", "--unit="+metricsUnit, "--lines=20", "--output=cat")
		if !strings.Contains(log, "reload refused") || !strings.Contains(log, mistake) {
			return fmt.Errorf("the journal does not refuse %s:\n%s", mistake, log)
		}
		return nil
	})
	everySecond()
	if got := b.property(metricsUnit, "MainPID"); got != pid {
		t.Errorf("main process %s before, %s after", pid, got)
	}
}

// Proves BOOT-9: what the README says brings a new configuration into force is
// taken by every daemon, without a restart.
func TestReloadRestartsNoDaemon(t *testing.T) {
	b := takePatient(t)
	pids := map[string]string{}
	for _, unit := range daemons {
		pids[unit] = b.property(unit, "MainPID")
	}
	b.run(append([]string{"systemctl", "reload"}, daemons...)...)
	for unit, pid := range pids {
		if got := b.property(unit, "MainPID"); got != pid || b.property(unit, "ActiveState") != "active" {
			t.Errorf("%s: main process %s before, %s after, now %s", unit, pid, got, b.property(unit, "ActiveState"))
		}
	}
}
