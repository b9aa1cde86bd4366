//go:build machine

package proof

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// injured is a machine with the policy as it is shipped. The healer learns from
// what helped and counts what it did, so each test begins without its memory.
var injured = share("machine", "t-faults")

func takeInjured(t *testing.T) *bed {
	t.Helper()
	b := injured.take(t)
	b.run("systemctl", "reset-failed", "arasul-*")
	b.run(append([]string{"systemctl", "start", "arasul.target"}, daemons...)...)
	b.allWell()
	b.run("systemctl", "stop", healerUnit)
	b.run("rm", "-f", "/var/lib/arasul/healer/state.json")
	b.run("systemctl", "start", healerUnit)
	b.allWell()
	// Until a probe has succeeded once, the unit may still be starting.
	for _, unit := range []string{postgresUnit, metricsUnit, dashboardUnit} {
		b.probed(unit, "up")
	}
	return b
}

const n8nUnit = "arasul-n8n.service"

// standIn is a service that listens where a real one would, with the mode of its
// answers in a file that it empties when it starts: a status, or "hang". It ends
// when the database does not take connections, if told so.
const standIn = `use strict; use IO::Socket::INET; use IO::Socket::UNIX;
my ($port, $mode, $database) = @ARGV;
unlink $mode;
$SIG{ALRM} = sub { IO::Socket::UNIX->new(Peer => $database) or exit 1; alarm 1 };
if ($database) { IO::Socket::UNIX->new(Peer => $database) or exit 1; alarm 1 }
my $door = IO::Socket::INET->new(LocalAddr => "127.0.0.1:$port", Listen => 50, ReuseAddr => 1) or die $!;
my @held;
while (1) {
	my $guest = $door->accept or next;
	my $answer = 200;
	if (open my $f, "<", $mode) { $answer = <$f>; chomp $answer }
	if ($answer eq "hang") { push @held, $guest; next }
	while (my $line = <$guest>) { last if $line =~ /^\r?\n$/ }
	print $guest "HTTP/1.1 $answer It\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
	close $guest;
}
`

// stand is where a stand-in stands.
type stand struct {
	unit string
	port int
	more string // of its unit
	arg  string // the database that it needs
}

var (
	n8nStand      = stand{unit: n8nUnit, port: 5678}
	n8nOnDatabase = stand{unit: n8nUnit, port: 5678, arg: "/run/arasul/postgres/.s.PGSQL.5432"}
)

// standsIn starts a stand-in and waits until its probe has succeeded. It goes
// with the test.
func (b *bed) standsIn(s stand) {
	b.t.Helper()
	b.put("/run/stand-in.pl", []byte(standIn))
	b.t.Cleanup(func() { b.run("systemctl", "restart", dashboardUnit) }) // or it would show a service that is no more
	b.unit(s.unit, fmt.Sprintf(`[Unit]
StartLimitIntervalSec=10min
StartLimitBurst=5
[Service]
ExecStart=/usr/bin/perl /run/stand-in.pl %d /run/%s.mode %s
Restart=always
RestartSec=500ms
TimeoutStopSec=5s
%s`, s.port, s.unit, s.arg, s.more))
	b.run("systemctl", "start", s.unit)
	b.probed(s.unit, "up")
}

// probed waits until the healer's probe of a unit says so.
func (b *bed) probed(unit, status string) {
	b.t.Helper()
	eventually(b.t, 30*time.Second, func() error {
		said := b.run("curl", "--silent", "--unix-socket", "/run/arasul/healer/healer.sock", "http://healer/probes")
		if !strings.Contains(said, fmt.Sprintf(`{"unit":%q,"status":%q`, unit, status)) {
			return fmt.Errorf("want %s %s: %s", unit, status, said)
		}
		return nil
	})
}

// answers sets how the stand-in answers from now on.
func (b *bed) answers(unit, how string) time.Time {
	b.t.Helper()
	at := time.Now()
	b.put("/run/"+unit+".mode", []byte(how))
	return at
}

// Proves HEAL-1 and HEAL-9: a daemon that stands still is noticed by its probe,
// before its watchdog, and restarted.
func TestFrozenDaemonIsNoticedBeforeItsWatchdog(t *testing.T) {
	b := takeInjured(t)
	page := b.listen()
	frozen := b.kill(metricsUnit, "STOP")
	i := page.incident(time.Minute, about(metricsUnit, frozen, "resolved"))
	b.mended(i, "unresponsive", "restart", frozen)
	if i.Count != 1 {
		t.Errorf("want one failure: %v", i)
	}
	b.allWell()
}

// Proves HEAL-1 and HEAL-9: a port that takes connections and does not answer.
func TestServiceThatHangsIsRestarted(t *testing.T) {
	b := takeInjured(t)
	b.standsIn(n8nStand)
	page := b.listen()
	hung := b.answers(n8nUnit, "hang")
	i := page.incident(time.Minute, about(n8nUnit, hung, "resolved"))
	b.mended(i, "unresponsive", "restart", hung)
	if !strings.Contains(i.Detail, "no answer to GET /healthz within 2s, 3 times in a row") {
		t.Errorf("the incident says %q", i.Detail)
	}
	b.probed(n8nUnit, "up")
	// And one that answers that it is broken.
	broken := b.answers(n8nUnit, "500")
	i = page.incident(time.Minute, about(n8nUnit, broken, "resolved"))
	b.mended(i, "unresponsive", "restart", broken)
	if !strings.Contains(i.Detail, "answers GET /healthz with 500") {
		t.Errorf("the incident says %q", i.Detail)
	}
}

// Proves HEAL-5: what stands still in maintenance is left so, and repaired
// afterwards; and the same while somebody has a lease, which ends by itself.
func TestFrozenServiceIsLeftAloneWhileHandsAreOff(t *testing.T) {
	b := takeInjured(t)
	b.standsIn(n8nStand)
	page := b.listen()
	leftAlone := func(off string) (frozen time.Time) {
		t.Helper()
		pid := b.property(n8nUnit, "MainPID")
		frozen = b.kill(n8nUnit, "STOP")
		i := page.incident(30*time.Second, about(n8nUnit, frozen))
		t.Logf("figure: %s: noticed after %s", off, i.DetectedAt.Sub(frozen).Round(10*time.Millisecond))
		b.healerLooksAgain()
		if now := b.property(n8nUnit, "MainPID"); now != pid {
			t.Errorf("%s: main process %s before, %s after", off, pid, now)
		}
		return frozen
	}

	b.run("arasul", "heal", "maintenance", "on")
	t.Cleanup(func() { b.run("arasul", "heal", "maintenance", "off") })
	frozen := leftAlone("maintenance")
	b.run("arasul", "heal", "maintenance", "off")
	b.mended(page.incident(30*time.Second, about(n8nUnit, frozen, "resolved")), "unresponsive", "restart", frozen)

	const lease = 40 * time.Second
	asked := time.Now()
	b.run("busctl", "call", "de.arasul.Healer1", "/de/arasul/Healer1", "de.arasul.Healer1", "Lease", "su", "updater", fmt.Sprint(lease.Seconds()))
	frozen = leftAlone("lease")
	i := page.incident(time.Minute, about(n8nUnit, frozen, "resolved"))
	b.mended(i, "unresponsive", "restart", frozen)
	if after := i.Actions[0].StartedAt.Sub(asked); after < lease {
		t.Errorf("repaired %s after a lease of %s was asked for", after, lease)
	}
}

// Proves HEAL-1 and HEAL-5: a unit that ends as soon as it starts is tried as
// the ladder says, and then left until somebody has looked.
func TestExitLoopIsGivenUp(t *testing.T) {
	b := takeInjured(t)
	remove := b.dropIn(mdnsUnit, "[Service]\nExecStart=\nExecStart=/bin/false\n")
	page := b.listen()
	killed := b.kill(mdnsUnit, "KILL")
	i := page.incident(2*time.Minute, about(mdnsUnit, killed, "exhausted"))
	t.Logf("figure: noticed after %s, given up after %s: %s, %d failures",
		i.DetectedAt.Sub(killed).Round(10*time.Millisecond), time.Since(killed).Round(100*time.Millisecond), i.tried(), i.Count)
	if want := "systemd-restart failed, restart failed, stop-start failed"; i.tried() != want {
		t.Errorf("tried %s, want %s", i.tried(), want)
	}
	eventually(t, 20*time.Second, func() error {
		var s systemStatus
		if err := b.get("/api/system/status", &s); err != nil {
			return err
		}
		for _, r := range s.Reasons {
			if r.Code == "service-needs-help" && r.Subject == mdnsUnit {
				return nil
			}
		}
		return fmt.Errorf("%+v", s)
	})
	remove()
	b.sh("systemctl reset-failed " + mdnsUnit + "; systemctl start " + mdnsUnit)
	page.incident(30*time.Second, about(mdnsUnit, killed, "resolved"))
	b.allWell()
}

// Proves HEAL-1: systemd gives up a unit that was killed too often; the healer
// clears its start limit and restarts it.
func TestStartLimitIsCleared(t *testing.T) {
	b := takeInjured(t)
	b.dropIn(mdnsUnit, "[Unit]\nStartLimitBurst=3\n[Service]\nRestartSec=100ms\n")
	page := b.listen()
	began := time.Now()
	last := began
	eventually(t, 20*time.Second, func() error {
		list, err := b.incidents()
		if err == nil && slices.ContainsFunc(list, func(i incident) bool { return about(mdnsUnit, began)(i) && len(i.touched()) > 0 }) {
			return nil
		}
		last = time.Now()
		b.try("systemctl", "kill", "--kill-whom=main", "--signal=KILL", mdnsUnit)
		return fmt.Errorf("systemd goes on restarting it: %w", err)
	})
	i := page.incident(30*time.Second, about(mdnsUnit, began, "resolved"))
	b.mended(i, "crashed", "restart", began)
	t.Logf("figure: well %s after the last kill", i.RecoveredAt.Sub(last).Round(10*time.Millisecond))
}

// Proves HEAL-1 and HEAL-9: a database whose main process stands still takes no
// connections; those that are open go on.
func TestFrozenDatabaseIsRestarted(t *testing.T) {
	b := takeInjured(t)
	page := b.listen()
	frozen := b.kill(postgresUnit, "STOP")
	i := page.incident(time.Minute, about(postgresUnit, frozen, "resolved"))
	b.allWell()
	b.mended(i, "unresponsive", "restart", frozen)
}

// Proves HEAL-5: a database that cannot run is repaired first, and nothing is
// tried in vain with what needs it.
func TestServiceWithoutItsDatabaseWaitsForIt(t *testing.T) {
	b := takeInjured(t)
	b.standsIn(n8nOnDatabase)
	b.dropIn(postgresUnit, "[Service]\nExecStartPre=/usr/bin/test ! -e /run/no-database\n")
	b.run("touch", "/run/no-database")
	t.Cleanup(func() { b.run("rm", "-f", "/run/no-database") })
	page := b.listen()
	killed := b.kill(postgresUnit, "KILL")
	i := page.incident(time.Minute, about(n8nUnit, killed, "suppressed"))
	t.Logf("figure: waits for %s %s after the kill: %v", i.Cause, time.Since(killed).Round(100*time.Millisecond), i)
	if i.Cause != postgresUnit || len(i.touched()) > 0 {
		t.Errorf("want it to wait, untouched: %v", i)
	}
	b.healerLooksAgain()
	b.run("rm", "/run/no-database")
	cause := page.incident(2*time.Minute, about(postgresUnit, killed, "resolved"))
	i = page.incident(time.Minute, about(n8nUnit, killed, "resolved"))
	b.allWell()
	b.recorded(cause)
	b.mended(i, "exited", "restart", killed)
	t.Logf("figure: %v", cause)
	for _, a := range i.Actions {
		if a.Kind == "restart" && a.StartedAt.Before(*cause.RecoveredAt) {
			t.Errorf("it was restarted at %s, and the database was back at %s", a.StartedAt, cause.RecoveredAt)
		}
	}
}

// Proves HEAL-5: a database that an operator stopped stays stopped, and what
// fails for want of it is not repaired in vain.
func TestDatabaseStoppedByAnOperatorStaysStopped(t *testing.T) {
	b := takeInjured(t)
	b.standsIn(n8nOnDatabase)
	page := b.listen()
	stopped := time.Now()
	b.run("systemctl", "stop", postgresUnit)
	t.Cleanup(func() { b.run("systemctl", "start", postgresUnit) })
	i := page.incident(time.Minute, about(n8nUnit, stopped, "suppressed"))
	if i.Cause != postgresUnit || len(i.touched()) > 0 {
		t.Errorf("want it to wait, untouched: %v", i)
	}
	b.healerLooksAgain()
	if state := b.property(postgresUnit, "ActiveState"); state != "inactive" {
		t.Errorf("%s is %s", postgresUnit, state)
	}
	b.run("systemctl", "start", postgresUnit)
	b.allWell()
	i = page.incident(time.Minute, about(n8nUnit, stopped, "resolved"))
	b.recorded(i)
	list, err := b.incidents()
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(list, about(postgresUnit, stopped)) {
		t.Errorf("an orderly stop became an incident: %v", list)
	}
}

// Proves HEAL-5 and HEAL-6: the healer is killed while it has a service stopped,
// to start it anew. Its successor starts it, and does not take it for stopped by
// an operator.
func TestHealerKilledInTheMiddleOfARepairLeavesNothingStopped(t *testing.T) {
	b := takeInjured(t)
	const minioUnit = "arasul-minio.service"
	b.standsIn(stand{unit: minioUnit, port: 9000, more: "ExecStop=/bin/sleep 4\n"})
	page := b.listen()
	remove := b.dropIn(minioUnit, "[Service]\nExecStartPost=/bin/kill -STOP $MAINPID\n") // a restart does not help
	hung := b.kill(minioUnit, "STOP")
	page.incident(2*time.Minute, func(i incident) bool { return about(minioUnit, hung)(i) && slices.Contains(i.touched(), "stop-start") })
	remove()
	eventually(t, 10*time.Second, func() error {
		if state := b.property(minioUnit, "ActiveState"); state != "deactivating" {
			return fmt.Errorf("it is %s", state)
		}
		return nil
	})
	b.kill(healerUnit, "KILL")
	i := page.incident(time.Minute, about(minioUnit, hung, "resolved"))
	if state := b.property(minioUnit, "ActiveState"); state != "active" || strings.Contains(i.Detail, "operator") {
		t.Errorf("it is %s: %v", state, i)
	}
	t.Logf("figure: %v", i)
	b.recorded(i)
}

// Proves HEAL-3, HEAL-6 and HEAL-7: the disk is full to the last byte. It is
// noticed, cleaned up and written down, though the database could write nothing.
func TestFullDiskHealsItself(t *testing.T) {
	beside(t)
	b := small(t, "t-full", 600)
	b.run("arasul", "disk", "reserve")
	b.sh(`fallocate --length 120M /var/cache/arasul/blob`)
	b.run("arasul", "heal", "maintenance", "off")
	page := b.listen()
	filled := time.Now()
	b.fillTo(99)
	b.try("sh", "-c", "cat /dev/zero >/var/lib/arasul/models/rest")
	if used := b.used(); used < 99.9 {
		t.Errorf("%.2f %% are used", used)
	}
	i := page.incident(2*time.Minute, by("disk-full", filled, "resolved"))
	t.Logf("figure: %s: noticed after %s, room again after %s, %.1f %% used; %s", i.Detail,
		i.DetectedAt.Sub(filled).Round(100*time.Millisecond), i.RecoveredAt.Sub(filled).Round(100*time.Millisecond), b.used(), i.tried())
	if i.tried() != "cleanup helped" || b.used() > 90 {
		t.Errorf("%.1f %% are used after %v", b.used(), i)
	}
	b.allWell()
	b.recorded(i)
	list, err := b.incidents()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list {
		if o.ID != i.ID {
			t.Logf("beside it: %v", o)
		}
	}
}
