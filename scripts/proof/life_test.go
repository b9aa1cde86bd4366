//go:build machine

package proof

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// veteran is a machine on which the package comes and goes.
var veteran = share("machine", "t-veteran")

// shipped is where the package under test lies in the machine.
const shipped = "/tmp/arasul.deb"

// takeVeteran gives the machine with the package installed and well.
func takeVeteran(t *testing.T) *bed {
	t.Helper()
	b := veteran.take(t)
	if !b.installed() {
		b.apt("install", shipped)
	}
	b.allWell()
	return b
}

func (b *bed) installed() bool {
	out, _, _ := b.try("dpkg-query", "--show", "--showformat=${db:Status-Status}", "arasul")
	return out == "installed"
}

// samples counts what is stored of before this moment.
func (b *bed) samples(before time.Time) int {
	b.t.Helper()
	n, err := strconv.Atoi(b.sql("SELECT count(*) FROM samples WHERE ts < '" + before.UTC().Format(time.RFC3339) + "'"))
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

// aSampleOrTwo waits until something is stored, and returns how much and until when.
func (b *bed) aSampleOrTwo() (n int, until time.Time) {
	b.t.Helper()
	until = time.Now()
	eventually(b.t, 45*time.Second, func() error {
		if n = b.samples(until); n == 0 {
			until = time.Now()
			return fmt.Errorf("no samples stored")
		}
		return nil
	})
	return n, until
}

// mainPIDs and socketInodes tell a restarted daemon and a new socket from those before.
func (b *bed) mainPIDs() (pids []string) {
	b.t.Helper()
	for _, unit := range daemons {
		pids = append(pids, b.property(unit, "MainPID"))
	}
	return pids
}

// started says when the main process of a unit started, in µs since boot.
func (b *bed) started(unit string) int {
	b.t.Helper()
	at, err := strconv.Atoi(b.property(unit, "ExecMainStartTimestampMonotonic"))
	if err != nil {
		b.t.Fatal(err)
	}
	return at
}

func (b *bed) socketInodes() []string {
	b.t.Helper()
	return strings.Fields(b.sh(`ss -Hltne '( sport = :80 or sport = :443 )' | grep -o 'ino:[0-9]*'
		awk '$4 == "00010000" && $8 ~ /^\/run\/arasul\/[a-z]+\.sock$/ { print $8 ":" $7 }' /proc/net/unix | sort`)) // the flag says: listening
}

// oldPrograms names the daemons whose program is no longer in the file that they
// were started from, as after an upgrade that did not restart them.
func (b *bed) oldPrograms() (units []string) {
	b.t.Helper()
	for _, unit := range daemons {
		if exe := b.run("readlink", "/proc/"+b.property(unit, "MainPID")+"/exe"); strings.Contains(exe, "(deleted)") {
			units = append(units, unit)
		}
	}
	return units
}

// visitors ask the proxy without a pause, two over connections of their own for
// each request and two over lasting ones, until stop. A dropped connection is no
// answer, and they ask once more, as browsers do; an answer without its content
// is a failure.
type visitors struct {
	wg    sync.WaitGroup
	leave context.CancelFunc

	mu       sync.Mutex
	requests int
	dropped  int
	refused  int // connections
	failures []string
}

func (b *bed) visit() *visitors {
	ctx, leave := context.WithCancel(context.Background())
	v := &visitors{leave: leave}
	for n := range 4 {
		client := b.client(n%2 == 1)
		path := []string{"/api/system/status", "/", "/api/services", "/health"}[n]
		v.wg.Go(func() {
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				v.ask(client, b.web+path)
				time.Sleep(25 * time.Millisecond) // two processors also do the upgrade, and one neighbour may not ask more
			}
		})
	}
	b.t.Cleanup(func() { v.stop() })
	return v
}

func (v *visitors) ask(client *http.Client, url string) {
	status, size, err := fetch(client, url)
	first := err
	if err != nil {
		status, size, err = fetch(client, url)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.requests++
	if first != nil {
		v.dropped++
	}
	if errors.Is(first, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNREFUSED) {
		v.refused++
	}
	switch {
	case err != nil:
		v.failures = append(v.failures, fmt.Sprintf("%v, after %v", err, first))
	case status != http.StatusOK:
		v.failures = append(v.failures, fmt.Sprintf("%s: %d", url, status))
	case size == 0:
		v.failures = append(v.failures, url+": an empty page")
	}
}

// fetch reads all of an answer; err says that the connection broke.
func fetch(client *http.Client, url string) (status int, size int64, err error) {
	resp, err := client.Get(url)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	size, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, size, err
}

func (v *visitors) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.requests
}

func (v *visitors) stop() {
	v.leave()
	v.wg.Wait()
}

// Proves PKG-4.
func TestReinstallKeepsDataAndConfiguration(t *testing.T) {
	b := takeVeteran(t)
	stored, until := b.aSampleOrTwo()
	b.apt("install", "--reinstall", shipped)
	b.allWell()
	if n := b.samples(until); n < stored {
		t.Errorf("%d samples before, %d after", stored, n)
	}
}

// Proves PKG-4: an upgrade nobody on the page notices, and no question about a
// file that the owner has edited.
func TestUpgradeFailsNoRequestAndKeepsEditedConfiguration(t *testing.T) {
	b := takeVeteran(t)
	t.Cleanup(b.set("interval", `"2s"`))
	edited := b.run("cat", "/etc/arasul/arasul.toml")
	base, pids, inodes := b.version(), b.mainPIDs(), b.socketInodes()
	if len(inodes) != 5 {
		t.Fatalf("listening sockets: %v", inodes)
	}
	stored, until := b.aSampleOrTwo()
	migrated := b.property("arasul-db.service", "InvocationID")
	b.putDeb(repack(t, base+"+proof1", nil), "/tmp/newer.deb")

	guests := b.visit()
	began := time.Now()
	b.apt("install", "/tmp/newer.deb")
	took := time.Since(began)
	b.allWell()
	guests.stop()
	t.Logf("figure: upgraded in %s; %d requests meanwhile, %d asked twice, %d failed",
		took.Round(100*time.Millisecond), guests.requests, guests.dropped, len(guests.failures))
	if len(guests.failures) > 0 || guests.requests < 50 {
		t.Errorf("%d requests, these failed: %q", guests.requests, guests.failures)
	}
	if got := b.version(); got != base+"+proof1" {
		t.Errorf("version %s after the upgrade", got)
	}
	for n, pid := range b.mainPIDs() {
		if restarted := pid != pids[n]; restarted != (daemons[n] != postgresUnit) {
			t.Errorf("%s: main process %s before, %s after", daemons[n], pids[n], pid)
		}
	}
	if old := b.oldPrograms(); len(old) > 0 {
		t.Errorf("these still run the old program: %v", old)
	}
	if b.property("arasul-db.service", "InvocationID") == migrated {
		t.Error("the schema was not brought up to date")
	}
	if schema, daemon := b.started("arasul-db.service"), b.started(metricsUnit); schema >= daemon {
		t.Errorf("the schema was brought up to date %d µs after the first daemon started", schema-daemon)
	}
	if got := b.socketInodes(); !slices.Equal(got, inodes) {
		t.Errorf("listening sockets %v before, %v after", inodes, got)
	}
	if got := b.run("cat", "/etc/arasul/arasul.toml"); got != edited {
		t.Errorf("the edited configuration is now\n%s", got)
	}

	// A version that ships another configuration: the owner's stays in force.
	b.putDeb(repack(t, base+"+proof2", func(root string) {
		path := root + "/etc/arasul/arasul.toml"
		text, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, append([]byte("# Another beginning.\n"), text...), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}), "/tmp/newest.deb")
	b.apt("install", "--option=Dpkg::Options::=--force-confold", "/tmp/newest.deb")
	if got := b.run("cat", "/etc/arasul/arasul.toml"); got != edited {
		t.Errorf("the edited configuration is now\n%s", got)
	}
	b.allWell()

	b.apt("install", "--allow-downgrades", "--option=Dpkg::Options::=--force-confold", shipped)
	b.allWell()
	if got := b.version(); got != base {
		t.Errorf("version %s after the downgrade", got)
	}
	if n := b.samples(until); n < stored {
		t.Errorf("%d samples before, %d after", stored, n)
	}
	b.run("rm", "-f", "/etc/arasul/arasul.toml.dpkg-dist")
}

// Proves PKG-4: a fixed PostgreSQL takes effect at once, and only the server is
// restarted for it.
func TestNewPostgreSQLRestartsTheServer(t *testing.T) {
	b := takeVeteran(t)
	pids := b.mainPIDs()
	b.run("dpkg-trigger", "--by-package=postgresql-common", "/usr/lib/postgresql")
	b.run("dpkg", "--triggers-only", "arasul")
	for n, pid := range b.mainPIDs() {
		if restarted := pid != pids[n]; restarted != (daemons[n] == postgresUnit) {
			t.Errorf("%s: main process %s before, %s after", daemons[n], pids[n], pid)
		}
	}
	b.allWell()
}

// Proves PKG-4.
func TestRemoveKeepsDataAndReinstallFindsIt(t *testing.T) {
	b := takeVeteran(t)
	stored, until := b.aSampleOrTwo()
	b.apt("remove", "arasul")
	for _, address := range []string{b.addr, b.web} {
		if _, err := b.client(false).Get(address); err == nil {
			t.Errorf("something still answers at %s", address)
		}
	}
	if left := b.sh("ps -eo args= | grep [/]usr/lib/arasul || true"); left != "" {
		t.Errorf("still running:\n%s", left)
	}
	if units := b.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "--state=loaded", "arasul*"); units != "" {
		t.Errorf("units are left:\n%s", units)
	}
	b.run("test", "-f", "/etc/arasul/arasul.toml")
	b.run("test", "-d", "/var/lib/arasul/postgres")
	b.run("id", "arasul-metrics")

	b.apt("install", shipped)
	b.allWell()
	if n := b.samples(until); n < stored {
		t.Errorf("%d samples before, %d after", stored, n)
	}
}

// Proves PKG-4: nothing is left of it but its users, whose numbers nobody else
// shall inherit.
func TestPurgeLeavesNothingAndInstallBeginsAnew(t *testing.T) {
	b := takeVeteran(t)
	_, until := b.aSampleOrTwo()
	b.apt("purge", "arasul")
	ours := []string{ // the tests' own
		shipped, "/tmp/newer.deb", "/tmp/newest.deb",
		"/etc/postgresql-common/createcluster.d/arasul.conf",
	}
	for _, path := range strings.Fields(b.sh(`find / /run -xdev \( -name '*arasul*' -o -user arasul-metrics -o -user arasul-postgres \
		-o -user arasul-dashboard -o -user arasul-proxy -o -user arasul-mdns -o -user arasul-gpu -o -user arasul-certs \
		-o -user arasul-acme -o -user arasul-logs -o -group arasul \) -print -prune`)) {
		if !slices.Contains(ours, path) {
			t.Errorf("left after purge: %s", path)
		}
	}
	b.run("id", "arasul-metrics")
	if failed := b.run("systemctl", "list-units", "--failed", "--plain", "--no-legend"); failed != "" {
		t.Errorf("failed units:\n%s", failed)
	}

	b.apt("install", shipped)
	b.allWell()
	if n := b.samples(until); n != 0 {
		t.Errorf("%d old samples after a purge", n)
	}
}
