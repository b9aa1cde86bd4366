//go:build machine

package proof

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
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

// repack makes another version of the package, changed by edit.
func repack(t *testing.T, version string, edit func(root string)) string {
	t.Helper()
	root, out := filepath.Join(t.TempDir(), "root"), filepath.Join(t.TempDir(), "arasul.deb")
	do := func(args ...string) {
		t.Helper()
		if _, errOut, code := run(t, nil, time.Minute, args...); code != 0 {
			t.Fatalf("%s: exit status %d\n%s", strings.Join(args, " "), code, errOut)
		}
	}
	do("dpkg-deb", "--raw-extract", deb(t), root)
	do("sed", "-i", "s/^Version: .*/Version: "+version+"/", root+"/DEBIAN/control")
	if edit != nil {
		edit(root)
	}
	do("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", root, out)
	return out
}

func (b *bed) version() string {
	b.t.Helper()
	return b.run("dpkg-query", "--show", "--showformat=${Version}", "arasul")
}

// mainPIDs and socketInodes tell a restarted daemon and a new socket from those before.
func (b *bed) mainPIDs() (pids []string) {
	b.t.Helper()
	for _, unit := range daemons {
		pids = append(pids, b.property(unit, "MainPID"))
	}
	return pids
}

func (b *bed) socketInodes() []string {
	b.t.Helper()
	return strings.Fields(b.sh(`ss -Hltne 'sport = :80' | grep -o 'ino:[0-9]*'
		awk '$4 == "00010000" && $8 ~ /^\/run\/arasul\/[a-z]+\.sock$/ { print $8 ":" $7 }' /proc/net/unix | sort`)) // the flag says: listening
}

// visitors ask the proxy without a pause, two over connections of their own for
// each request and two over lasting ones, until stop.
type visitors struct {
	wg    sync.WaitGroup
	leave context.CancelFunc

	mu       sync.Mutex
	requests int
	failures []string
}

func (b *bed) visit() *visitors {
	ctx, leave := context.WithCancel(context.Background())
	v := &visitors{leave: leave}
	for n := range 4 {
		client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: n%2 == 0}}
		path := []string{"api/system/status", "", "api/services", "health"}[n]
		v.wg.Go(func() {
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				v.count(client.Get(b.addr + path))
				time.Sleep(5 * time.Millisecond) // two processors also do the upgrade
			}
		})
	}
	b.t.Cleanup(func() { v.stop() })
	return v
}

func (v *visitors) count(resp *http.Response, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.requests++
	switch {
	case err != nil:
		v.failures = append(v.failures, err.Error())
	default:
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			v.failures = append(v.failures, resp.Request.URL.Path+": "+resp.Status)
		}
	}
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
	if len(inodes) != 3 {
		t.Fatalf("listening sockets: %v", inodes)
	}
	stored, until := b.aSampleOrTwo()
	b.putDeb(repack(t, base+"+proof1", nil), "/tmp/newer.deb")

	guests := b.visit()
	began := time.Now()
	b.apt("install", "/tmp/newer.deb")
	took := time.Since(began)
	b.allWell()
	guests.stop()
	t.Logf("figure: upgraded in %s; %d requests meanwhile, %d failed", took.Round(100*time.Millisecond), guests.requests, len(guests.failures))
	if len(guests.failures) > 0 || guests.requests < 50 {
		t.Errorf("%d requests, these failed: %q", guests.requests, guests.failures)
	}
	if got := b.version(); got != base+"+proof1" {
		t.Errorf("version %s after the upgrade", got)
	}
	for n, pid := range b.mainPIDs() {
		if pid == pids[n] {
			t.Errorf("%s was not restarted", daemons[n])
		}
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

// Proves PKG-4.
func TestRemoveKeepsDataAndReinstallFindsIt(t *testing.T) {
	b := takeVeteran(t)
	stored, until := b.aSampleOrTwo()
	b.apt("remove", "arasul")
	if _, err := http.Get(b.addr); err == nil {
		t.Error("something still answers on port 80")
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
		-o -user arasul-dashboard -o -user arasul-proxy -o -user arasul-mdns -o -user arasul-gpu -o -group arasul \) -print -prune`)) {
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
