//go:build machine

package proof

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// patient is a machine that gets hurt. Each test waits until it is well again.
var patient = share("machine", "t-patient")

// takePatient gives the machine when all is well, with fresh start limits: tests
// of one unit must not add up, nor one that failed make others fail.
func takePatient(t *testing.T) *bed {
	t.Helper()
	b := patient.take(t)
	b.run("systemctl", "reset-failed", "arasul-*")
	b.run(append([]string{"systemctl", "start", "arasul.target"}, daemons...)...)
	b.allWell()
	return b
}

// healed checks what is written down of an incident, and says the figures.
func (b *bed) healed(i incident, fault, action string, since time.Time) {
	b.t.Helper()
	if i.Fault != fault {
		b.t.Errorf("the fault is called %q, want %q: %v", i.Fault, fault, i)
	}
	if len(i.Actions) == 0 || i.Actions[len(i.Actions)-1].Kind != action || i.Actions[len(i.Actions)-1].Outcome != "helped" {
		b.t.Errorf("want %s to have helped: %v", action, i)
	}
	if i.ActedAt == nil || i.RecoveredAt == nil || i.VerifiedAt == nil {
		b.t.Fatalf("times are missing: %+v", i)
	}
	order := []time.Time{since, i.FaultAt, i.DetectedAt, *i.ActedAt, *i.RecoveredAt, *i.VerifiedAt}
	for n := 1; n < len(order); n++ {
		if order[n].Before(order[n-1]) {
			b.t.Errorf("injection, fault, detection, action, recovery and proof are out of order: %v", order)
		}
	}
	noticed, back := i.DetectedAt.Sub(i.FaultAt), i.RecoveredAt.Sub(i.FaultAt)
	b.t.Logf("figure: %s of %s noticed after %s, back after %s", i.Fault, i.Unit, noticed.Round(100*time.Microsecond), back.Round(time.Millisecond))
	if noticed > 2*time.Second {
		b.t.Errorf("noticed only after %s", noticed)
	}

	b.recorded(i)
}

// Proves HEAL-1 and HEAL-7: before one's eyes, on a page that stays open.
func TestKilledDaemonIsHealedWhileThePageWatches(t *testing.T) {
	b := takePatient(t)
	page := b.listen()
	before := b.property(metricsUnit, "MainPID")
	killed := b.kill(metricsUnit, "KILL")
	page.incident(10*time.Second, about(metricsUnit, killed))
	t.Logf("figure: the page knew %s after the kill was asked for", time.Since(killed).Round(time.Millisecond))
	i := page.incident(30*time.Second, about(metricsUnit, killed, "resolved"))
	b.healed(i, "crashed", "systemd-restart", killed)
	if after := b.property(metricsUnit, "MainPID"); after == before || after == "0" {
		t.Errorf("main process %s before, %s after", before, after)
	}
}

// Proves HEAL-1 and PKG-2: a daemon that hangs is killed by its watchdog. The
// unit's own 15 s are cut to 3 s here, and it samples more often to match.
func TestHungDaemonIsHealedWhileThePageWatches(t *testing.T) {
	b := takePatient(t)
	undo := b.set("interval", `"1s"`)
	remove := b.dropIn(metricsUnit, "[Service]\nWatchdogSec=3s\n")
	b.run("systemctl", "restart", metricsUnit)
	t.Cleanup(func() {
		undo()
		remove()
		b.run("systemctl", "restart", metricsUnit)
	})
	page := b.listen()
	stopped := b.kill(metricsUnit, "STOP")
	i := page.incident(60*time.Second, about(metricsUnit, stopped, "resolved"))
	t.Logf("figure: %s from the hang to the watchdog", i.FaultAt.Sub(stopped).Round(time.Millisecond))
	b.healed(i, "hung", "systemd-restart", stopped)
}

// Proves HEAL-1: the page itself comes back, and tells what happened to it.
func TestKilledDashboardIsHealedAndThePageReconnects(t *testing.T) {
	b := takePatient(t)
	page := b.listen()
	killed := b.kill(dashboardUnit, "KILL")
	gone, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for err := error(nil); err == nil; {
		_, _, err = page.next(gone)
	}
	page = b.listen()
	t.Logf("figure: the page was back %s after the kill was asked for", time.Since(killed).Round(time.Millisecond))
	i := page.incident(30*time.Second, about(dashboardUnit, killed, "resolved"))
	b.healed(i, "crashed", "systemd-restart", killed)
}

// Proves HEAL-6 and METRICS-2: the database dies; nothing measured is lost.
func TestKilledDatabaseIsHealedAndNoSampleIsLost(t *testing.T) {
	b := takePatient(t)
	// The test before may have restarted the sampler, whose first look gives no
	// sample: that would be a gap of its own making.
	eventually(t, time.Minute, func() error {
		up := b.sh(`echo $(($(cut -d. -f1 /proc/uptime) - $(systemctl show -P ActiveEnterTimestampMonotonic ` + metricsUnit + `) / 1000000))`)
		if seconds, err := strconv.Atoi(strings.TrimSpace(up)); err != nil || seconds < 15 {
			return fmt.Errorf("%s has been up for %q s", metricsUnit, strings.TrimSpace(up))
		}
		return nil
	})
	page := b.listen()
	killed := b.kill(postgresUnit, "KILL")
	i := page.incident(time.Minute, about(postgresUnit, killed, "resolved"))
	b.healed(i, "crashed", "systemd-restart", killed)
	b.allWell()
	eventually(t, 45*time.Second, func() error { // flushed every 30 s
		gap := b.sql(fmt.Sprintf(`SELECT coalesce(max(ts) >= '%[1]s'::timestamptz + interval '10 s', false), max(gap)
			FROM (SELECT ts, extract(epoch FROM ts - lag(ts) OVER (ORDER BY ts)) AS gap FROM samples
			WHERE ts > '%[1]s'::timestamptz - interval '6 s') AS s`, killed.UTC().Format(time.RFC3339Nano)))
		complete, gap, _ := strings.Cut(gap, "|")
		if complete != "t" {
			return errors.New("no samples from after the fault yet")
		}
		if longest, err := time.ParseDuration(gap + "s"); err != nil || longest > 9*time.Second {
			return fmt.Errorf("%s s without a sample", gap)
		}
		return nil
	})
}

// Proves PKG-3 and HEAL-1: a database that takes its time to recover keeps nobody
// who is started anew meanwhile from running.
func TestSlowDatabaseHoldsNobodyUp(t *testing.T) {
	b := takePatient(t)
	b.dropIn(postgresUnit, "[Service]\nExecStartPre=/bin/sleep 15\n")
	b.kill(postgresUnit, "KILL")
	starting := func() error {
		if state := b.property(postgresUnit, "SubState"); state != "start-pre" {
			return fmt.Errorf("%s is in state %s", postgresUnit, state)
		}
		return nil
	}
	eventually(t, 10*time.Second, starting)
	for _, unit := range []string{healerUnit, dashboardUnit, metricsUnit} {
		before := b.property(unit, "MainPID")
		killed := b.kill(unit, "KILL")
		eventually(t, 5*time.Second, func() error {
			if state, pid := b.property(unit, "ActiveState"), b.property(unit, "MainPID"); state != "active" || pid == before {
				return fmt.Errorf("%s is %s with main process %s", unit, state, pid)
			}
			return nil
		})
		t.Logf("figure: %s was back after %s", unit, time.Since(killed).Round(10*time.Millisecond))
	}
	if err := starting(); err != nil {
		t.Errorf("nothing was there to be waited for: %v", err)
	}
	b.allWell()
}

// Proves HEAL-5: what an operator stopped stays stopped.
func TestStoppedByAnOperatorIsLeftAlone(t *testing.T) {
	b := takePatient(t)
	t.Cleanup(func() { b.run("systemctl", "start", mdnsUnit) })
	stopped := time.Now()
	b.run("systemctl", "stop", mdnsUnit)
	b.healerLooksAgain()
	if state := b.property(mdnsUnit, "ActiveState"); state != "inactive" {
		t.Errorf("%s is %s", mdnsUnit, state)
	}
	incidents, err := b.incidents()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range incidents {
		if about(mdnsUnit, stopped)(i) {
			t.Errorf("an orderly stop became an incident: %v", i)
		}
	}
	if s, err := b.service(mdnsUnit); err != nil || s.Status != "down" || s.Reason != "stopped" {
		t.Errorf("the page shows %+v, %v", s, err)
	}
}

// Proves HEAL-5: in maintenance the healer watches, writes down and touches
// nothing; afterwards it makes up for it.
func TestMaintenanceKeepsTheHealersHandsOff(t *testing.T) {
	b := takePatient(t)
	remove := b.dropIn(mdnsUnit, "[Service]\nRestart=no\n") // so that it stays dead
	b.run("arasul", "heal", "maintenance", "on")
	t.Cleanup(func() { b.run("arasul", "heal", "maintenance", "off") })
	if said := b.run("arasul", "heal", "status"); !strings.Contains(said, "maintenance is on") {
		t.Errorf("arasul heal status says\n%s", said)
	}
	page := b.listen()
	killed := b.kill(mdnsUnit, "KILL")
	page.incident(10*time.Second, about(mdnsUnit, killed))
	b.healerLooksAgain()
	if state := b.property(mdnsUnit, "ActiveState"); state != "failed" {
		t.Errorf("%s is %s in maintenance", mdnsUnit, state)
	}
	remove()
	b.run("arasul", "heal", "maintenance", "off")
	i := page.incident(30*time.Second, about(mdnsUnit, killed, "resolved"))
	if len(i.Actions) != 1 || i.Actions[0].Kind != "restart" {
		t.Errorf("want one restart: %v", i)
	}
}

// Proves HEAL-6: the healer's memory outlives it, and what it could not tell
// the database reaches it later.
func TestHealerKilledWithTheDatabaseAwayLosesNothing(t *testing.T) {
	b := takePatient(t)
	b.run("systemctl", "stop", postgresUnit)
	t.Cleanup(func() { b.run("systemctl", "start", postgresUnit) })
	page := b.listen()
	killed := b.kill(metricsUnit, "KILL")
	i := page.incident(10*time.Second, about(metricsUnit, killed))
	pid := b.property(healerUnit, "MainPID")
	b.kill(healerUnit, "KILL")
	done := page.incident(40*time.Second, about(metricsUnit, killed, "resolved"))
	if done.ID != i.ID || b.property(healerUnit, "MainPID") == pid {
		t.Errorf("the healer began anew: first %v, then %v", i, done)
	}
	if said := b.run("arasul", "heal", "status"); !strings.Contains(said, "wait for the database") {
		t.Errorf("arasul heal status does not say that events wait:\n%s", said)
	}
	b.run("systemctl", "start", postgresUnit)
	b.healed(done, "crashed", "systemd-restart", killed)
}

// Proves PKG-2: systemd restarts the healer whatever it died of. SIGQUIT ends a Go
// program with status 2, as a panic and the watchdog do.
func TestHealerThatPanicsIsRestarted(t *testing.T) {
	b := takePatient(t)
	before := b.property(healerUnit, "MainPID")
	b.kill(healerUnit, "QUIT")
	eventually(t, 10*time.Second, func() error {
		if state, pid := b.property(healerUnit, "ActiveState"), b.property(healerUnit, "MainPID"); state != "active" || pid == before {
			return fmt.Errorf("%s with main process %s", state, pid)
		}
		return nil
	})
}

// Proves PKG-1 and PKG-3: the target is the one switch, and the boot throws it.
// Who writes to the database stops before it.
func TestTargetStopsEverythingAndTheBootStartsIt(t *testing.T) {
	b := takePatient(t)
	b.run("systemctl", "stop", "arasul.target")
	for _, unit := range append([]string{"arasul-dashboard.socket", "arasul-proxy.socket"}, daemons...) {
		eventually(t, 20*time.Second, func() error { // stopping the target does not wait for them
			if state := b.property(unit, "ActiveState"); state != "inactive" {
				return fmt.Errorf("%s is %s with the target stopped", unit, state)
			}
			return nil
		})
	}
	var gone []string // in µs since boot
	for _, unit := range []string{healerUnit, dashboardUnit, "arasul-proxy.service", metricsUnit, postgresUnit} {
		gone = append(gone, fmt.Sprintf("%20s", b.property(unit, "InactiveEnterTimestampMonotonic")))
	}
	if !slices.IsSorted(gone) {
		t.Errorf("healer, dashboard, proxy, metrics and PostgreSQL stopped out of order, at %v", gone)
	}
	// Who tries this a few times in a row does not find a socket that systemd refuses.
	var waiting []string
	for _, kind := range []string{"socket", "path", "timer"} {
		files, err := filepath.Glob("../../systemd/*." + kind)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			waiting = append(waiting, filepath.Base(file))
		}
	}
	all := strings.Join(waiting, " ")
	b.sh("for n in 1 2 3 4 5 6 7; do systemctl start " + all + "; systemctl stop " + all + "; done")
	b.run("systemctl", "start", "multi-user.target") // the last step of a boot
	b.allWell()
}

// healerLooksAgain waits until the healer has looked at every unit anew, as it
// does every 10 s.
func (b *bed) healerLooksAgain() {
	b.t.Helper()
	after := time.Now().Add(11 * time.Second)
	eventually(b.t, 30*time.Second, func() error {
		var s struct {
			LastCheck time.Time `json:"last_check"`
		}
		if err := b.get("/api/self-healing/status", &s); err != nil {
			return err
		}
		if s.LastCheck.Before(after) {
			return fmt.Errorf("last check at %s", s.LastCheck)
		}
		return nil
	})
}
