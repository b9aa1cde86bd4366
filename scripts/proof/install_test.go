//go:build machine

package proof

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// fresh is a machine on which the package was just installed. Its tests look
// and touch nothing.
var fresh = share("machine", "t-fresh")

// Proves PKG-1: one command, and everything runs.
func TestInstallStartsEverything(t *testing.T) {
	b := fresh.take(t)
	for _, unit := range append([]string{"arasul.target", "arasul-dashboard.socket", "arasul-proxy.socket", "arasul-proxy-tls.socket", "arasul.slice", "arasul-core.slice"}, daemons...) {
		if got := b.property(unit, "ActiveState"); got != "active" {
			t.Errorf("%s is %s, want active", unit, got)
		}
		if n := b.property(unit, "NRestarts"); n != "0" && n != "" {
			t.Errorf("%s needed %s restarts to come up", unit, n)
		}
	}
	if state, result := b.property("arasul-db.service", "ActiveState"), b.property("arasul-db.service", "Result"); state != "inactive" || result != "success" {
		t.Errorf("arasul-db.service is %s with result %s, want inactive with success", state, result)
	}
	if failed := b.run("systemctl", "list-units", "--failed", "--plain", "--no-legend"); failed != "" {
		t.Errorf("failed units:\n%s", failed)
	}
}

// Proves PKG-1: a working dashboard, at the address that was printed.
func TestInstalledPageIsServedAndAllIsWell(t *testing.T) {
	b := fresh.take(t)
	resp, err := b.client(false).Get(b.addr) // and on to TLS
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(page), "<title>Arasul") {
		t.Fatalf("%s: %s, %v\n%.300s", b.addr, resp.Status, err, page)
	}
	began := time.Now()
	eventually(t, 15*time.Second, func() error {
		var s systemStatus
		if err := b.get("/api/system/status", &s); err != nil {
			return err
		}
		for _, r := range s.Reasons {
			if !busy(r.Code, r.Subject) {
				return fmt.Errorf("status %s: %+v", s.Status, s.Reasons)
			}
		}
		return nil
	})
	t.Logf("figure: all well after %s", time.Since(began).Round(time.Millisecond))
	if out := b.run("arasul", "status"); !strings.HasPrefix(out, "OK") && !strings.HasPrefix(out, "WARNING") {
		t.Errorf("arasul status says\n%s", out)
	}
}

// Proves METRICS-1 and METRICS-3: the figures are this machine's, and they move.
func TestInstalledMetricsAreLiveAndMove(t *testing.T) {
	b := fresh.take(t)
	var first, next sample
	eventually(t, 15*time.Second, func() error { return b.get("/api/metrics/live", &first) })
	if cores := strings.TrimSpace(b.run("nproc", "--all")); strconv.Itoa(first.Cores) != cores || first.Memory == 0 || first.Uptime <= 0 {
		t.Errorf("sample %+v, with %s cores", first, cores)
	}
	eventually(t, 15*time.Second, func() error {
		if err := b.get("/api/metrics/live", &next); err != nil {
			return err
		}
		if !next.Timestamp.After(first.Timestamp) || (next.CPU == first.CPU && next.Memory == first.Memory) {
			return fmt.Errorf("still %+v", next)
		}
		return nil
	})
	if age := time.Since(next.Timestamp); age < -time.Second || age > 10*time.Second {
		t.Errorf("the newest sample is %s old", age)
	}
}

// Proves METRICS-1 and DB-1: samples are in PostgreSQL, in daily partitions.
func TestInstalledSamplesReachTheDatabase(t *testing.T) {
	b := fresh.take(t)
	eventually(t, time.Minute, func() error { // flushed every 30 s
		var history struct {
			Samples []sample `json:"samples"`
		}
		if err := b.get("/api/metrics/history?range=1h", &history); err != nil {
			return err
		}
		if len(history.Samples) == 0 {
			return errors.New("no samples in the history")
		}
		return nil
	})
	if n := b.sql("SELECT count(*) FROM samples WHERE ts > now() - interval '10 min'"); n == "0" {
		t.Error("no samples in PostgreSQL")
	}
	partitions := b.sql("SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'samples'::regclass")
	if today := "samples_" + time.Now().UTC().Format("20060102"); !slices.Contains(strings.Fields(partitions), today) {
		t.Errorf("partitions %q, want %s among them", partitions, today)
	}
}

// Proves PKG-1: the next boot brings all of it up.
func TestInstalledUnitsAreEnabledAtBoot(t *testing.T) {
	b := fresh.take(t)
	for _, unit := range append([]string{"arasul.target", "arasul-dashboard.socket", "arasul-proxy.socket"}, daemons...) {
		if got, _, _ := b.try("systemctl", "is-enabled", unit); strings.TrimSpace(got) != "enabled" {
			t.Errorf("%s is %q, want enabled", unit, strings.TrimSpace(got))
		}
	}
	if wants := b.property("multi-user.target", "Wants"); !strings.Contains(wants, "arasul.target") {
		t.Errorf("multi-user.target wants %s", wants)
	}
}

// Proves PKG-1 and PKG-2: who owns what, and who may open which door.
func TestInstalledFilesBelongToTheirDaemons(t *testing.T) {
	b := fresh.take(t)
	for path, want := range map[string]string{
		"/etc/arasul":                         "755 root root",
		"/etc/arasul/arasul.toml":             "644 root root",
		"/var/cache/arasul":                   "755 root root",
		"/var/log/arasul":                     "750 root adm",
		"/var/lib/arasul":                     "755 root root",
		"/var/lib/arasul/dashboard":           "700 arasul-dashboard arasul-dashboard",
		"/var/lib/arasul/healer":              "700 root arasul",
		"/var/lib/arasul/metrics":             "700 arasul-metrics arasul",
		"/var/lib/arasul/postgres":            "700 arasul-postgres arasul-postgres",
		"/var/lib/arasul/secrets":             "700 root root",
		"/var/lib/arasul/secrets/session-key": "600 root root",
		"/var/lib/arasul/secrets/totp-key":    "600 root root",
		"/run/arasul":                         "755 root root",
		"/run/arasul/dashboard.sock":          "660 arasul-dashboard arasul-proxy",
		"/run/arasul/proxy.sock":              "600 arasul-proxy arasul-proxy",
		"/run/arasul/healer":                  "750 root arasul",
		"/run/arasul/healer/healer.sock":      "660 root arasul",
		"/run/arasul/metrics":                 "750 arasul-metrics arasul",
		"/run/arasul/metrics/metrics.sock":    "660 arasul-metrics arasul",
		"/run/arasul/postgres":                "755 arasul-postgres arasul-postgres",
		"/run/arasul/postgres/.s.PGSQL.5432":  "777 arasul-postgres arasul-postgres", // peer authentication guards it
		"/var/log/arasul/service":             "2750 arasul-logs adm",
		"/var/log/arasul/system.log":          "640 arasul-logs adm",
		"/run/arasul/logs":                    "750 arasul-logs arasul",
		"/run/arasul/logs/logs.sock":          "660 arasul-logs arasul",
		"/run/arasul/mdns/mdns.sock":          "660 arasul-mdns arasul",
	} {
		out, errOut, _ := b.try("stat", "--format=%a %U %G", path)
		if got := strings.TrimSpace(out + errOut); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	for _, unit := range daemons {
		user := strings.TrimSuffix(unit, ".service")
		if user == "arasul-healer" {
			user = "root"
		}
		if got := strings.TrimSpace(b.run("ps", "-o", "user:32=", "-p", b.property(unit, "MainPID"))); got != user {
			t.Errorf("%s runs as %s, want %s", unit, got, user)
		}
	}
	if groups := strings.Fields(b.run("id", "--name", "--groups", "arasul-dashboard")); !slices.Contains(groups, "arasul") {
		t.Errorf("arasul-dashboard is in %v, want arasul among them", groups)
	}
}

// Proves PKG-6: only port 80 can be reached, besides mDNS, which is multicast
// on UDP 5353 and here avahi's.
func TestOnlyPorts80And443AreOpenToTheNetwork(t *testing.T) {
	b := fresh.take(t)
	for _, line := range strings.Split(strings.TrimSpace(b.run("ss", "-Hltunp")), "\n") {
		f := strings.Fields(line)
		protocol, local := f[0], f[4]
		host, port := local[:strings.LastIndex(local, ":")], local[strings.LastIndex(local, ":")+1:]
		switch {
		case strings.HasPrefix(host, "127."), host == "[::1]":
		case protocol == "tcp" && (port == "80" || port == "443"):
		case protocol == "udp" && strings.Contains(line, `"avahi-daemon"`):
		default:
			t.Errorf("open to the network: %s", line)
		}
	}
}

// Proves PKG-3.
func TestDaemonsStartInTheirOrder(t *testing.T) {
	b := fresh.take(t)
	var before int
	for i, unit := range daemons {
		at, err := strconv.Atoi(b.property(unit, "ActiveEnterTimestampMonotonic"))
		if err != nil {
			t.Fatal(err)
		}
		switch unit {
		case "arasul-mdns.service", "arasul-gpu.service", "arasul-logs.service", "arasul-ai.service":
			continue // whenever they like, the first of them after the proxy
		}
		if i > 0 && at <= before {
			t.Errorf("%s was ready %d µs before the one ahead of it", unit, before-at)
		}
		before = at
	}
}

// Proves PKG-1: the journal of a first start holds nothing an administrator
// would have to look into.
func TestFirstStartLeavesNoWarningInTheJournal(t *testing.T) {
	b := fresh.take(t)
	expected := []string{
		// The dashboard starts before the healer, which is last (PKG-3), and says
		// that it is not there yet.
		`msg="out of reach" name=healer`,
	}
	for _, line := range strings.Split(strings.TrimSpace(b.run("journalctl", "--boot", "--quiet", "--priority=warning", "--unit=arasul*", "--output=cat")), "\n") {
		if line != "" && !slices.ContainsFunc(expected, func(e string) bool { return strings.Contains(line, e) }) {
			t.Errorf("warning in the journal: %s", line)
		}
	}
}

// Proves PKG-2: every unit verifies, and is as tight as it must be.
func TestUnitsVerifyAndAreSandboxed(t *testing.T) {
	b := fresh.take(t)
	script, err := os.ReadFile("../units-check")
	if err != nil {
		t.Fatal(err)
	}
	b.put("/tmp/units-check", script)
	out, errOut, code := b.try("bash", "/tmp/units-check")
	t.Logf("scripts/units-check:\n%s%s", out, errOut)
	if code != 0 {
		t.Errorf("units-check: exit status %d", code)
	}
	for _, unit := range daemons {
		if got := b.property(unit, "Type"); got != "notify" {
			t.Errorf("%s is of type %s", unit, got)
		}
		if got := b.property(unit, "WatchdogUSec"); (got == "0" || got == "infinity") && unit != "arasul-postgres.service" { // PostgreSQL feeds none
			t.Errorf("%s has no watchdog", unit)
		}
		if got := b.property(unit, "Slice"); got != "arasul-core.slice" {
			t.Errorf("%s is in %s", unit, got)
		}
	}
}

// Proves PKG-1: a bare Debian, and apt brings what is needed. Without avahi
// the machine announces itself.
func TestBareMachineGetsItsDependenciesFromApt(t *testing.T) {
	beside(t)
	began := time.Now()
	b := up(t, "machine", "t-bare", "--bare", "--deb", deb(t))
	t.Logf("figure: booted and installed with all dependencies in %s", time.Since(began).Round(time.Second))
	b.allWell()
	announces := func(how string) {
		t.Helper()
		eventually(t, 30*time.Second, func() error {
			if said := b.property("arasul-mdns.service", "StatusText"); !strings.HasPrefix(said, "announced as arasul.local through "+how) {
				return errors.New(said)
			}
			return nil
		})
	}
	announces("avahi")
	b.apt("purge", "avahi-daemon")
	announces("zeroconf")
	b.allWell()
}
