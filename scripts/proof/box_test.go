//go:build box

package proof

import (
	"errors"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// theBox is one emulated computer for all tests of this file: each leaves it
// switched on and well.
var theBox = share("box", "proof")

// Proves PKG-1 and OPS-2: after a reboot everything is active by itself.
func TestBoxIsWellAfterAReboot(t *testing.T) {
	b := theBox.take(t)
	b.do("reboot")
	b.well(2 * time.Minute)
	if out, _, _ := b.try("sh", "-c", "journalctl --boot --no-pager --output=cat _PID=1 | grep -F 'ordering cycle'"); out != "" {
		t.Errorf("systemd left units out:\n%s", out)
	}
	if out, _, _ := b.try("systemctl", "--failed", "--plain", "--no-legend"); strings.Contains(out, "arasul") {
		t.Errorf("failed units:\n%s", out)
	}
	if got := strings.TrimSpace(b.run("systemctl", "is-active", "arasul.target")); got != "active" {
		t.Errorf("arasul.target is %s", got)
	}
}

// bootsAgain does what makes the box boot, and waits until it has.
func (b *bed) bootsAgain(do func()) {
	b.t.Helper()
	const id = "/proc/sys/kernel/random/boot_id"
	before := b.run("cat", id)
	do()
	eventually(b.t, 4*time.Minute, func() error {
		now, errOut, code := b.try("cat", id)
		if code != 0 || now == before {
			return fmt.Errorf("boot %s%s", now, errOut)
		}
		return nil
	})
}

// stick makes the image of a FAT stick with the given files in it.
func stick(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	img := filepath.Join(dir, "stick.img")
	here(t, "truncate", "-s", "16M", img)
	here(t, "mkfs.vfat", "-n", "UPDATES", img)
	for name, content := range files {
		path := filepath.Join(dir, "file")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		here(t, "mcopy", "-i", img, path, "::"+name)
	}
	return img
}

// here runs a command on this host.
func here(t testing.TB, args ...string) {
	t.Helper()
	if out, errOut, code := run(t, nil, time.Minute, args...); code != 0 {
		t.Fatalf("%s: exit status %d\n%s%s", strings.Join(args, " "), code, out, errOut)
	}
}

// Proves UPD-6: udev starts the unit, the stick is looked at once, read-only,
// and nothing of it stays behind; the next stick is looked at again.
func TestStickIsLookedAtOnceEachTimeItIsPluggedIn(t *testing.T) {
	b := theBox.take(t)
	const log = "/var/log/arasul/update_usb.log"
	found := func() int {
		out, _, _ := b.try("grep", "-c", "bundle found.*spring.araupdate", log)
		var n int
		_, _ = fmt.Sscan(out, &n)
		return n
	}
	before := found()
	img := stick(t, map[string]string{"spring.araupdate": "not a bundle, but named like one", "holiday.txt": "of no interest"})
	stickUnits := func() string {
		out, _, _ := b.try("systemctl", "list-units", "--plain", "--no-legend", "--state=active", "arasul-usb@*")
		return strings.TrimSpace(out)
	}
	for round := 1; round <= 2; round++ {
		b.do("usb-insert", img)
		eventually(t, time.Minute, func() error {
			if n := found(); n != before+round {
				return fmt.Errorf("%d lines about the bundle, want %d", n, before+round)
			}
			return nil
		})
		if mounts := b.run("cat", "/proc/mounts"); strings.Contains(mounts, "/run/arasul/usb") {
			t.Errorf("the stick is mounted for everybody:\n%s", mounts)
		}
		// A change event must not start it again: the unit stays active while
		// the stick is in.
		b.run("udevadm", "trigger", "--action=change", "--subsystem-match=block")
		b.run("udevadm", "settle", "--timeout=20")
		if n := found(); n != before+round {
			t.Errorf("looked at %d times, want once", n-before-round+1)
		}
		if got := stickUnits(); strings.Count(got, "arasul-usb@") != 1 {
			t.Errorf("units while it is in: %q", got)
		}
		b.do("usb-remove")
		eventually(t, time.Minute, func() error {
			if got := stickUnits(); got != "" {
				return fmt.Errorf("still active: %s", got)
			}
			return nil
		})
	}
	if journal := b.run("journalctl", "-b", "--no-pager", "-u", "arasul-usb@*"); !strings.Contains(journal, "spring.araupdate") {
		t.Errorf("the journal does not name the bundle:\n%s", journal)
	}
}

// Proves UI and PKG: another computer in the network finds the appliance by
// name and sees the page with live values.
func TestNeighbourOpensThePageByName(t *testing.T) {
	b := theBox.take(t)
	b.well(2 * time.Minute)
	var address string
	eventually(t, time.Minute, func() error {
		out, errOut, code := run(t, nil, time.Minute, b.script, "lan", "--name", b.name, "--", "getent", "hosts", "arasul.local")
		if code != 0 {
			return fmt.Errorf("exit status %d %s", code, errOut)
		}
		address = strings.TrimSpace(out)
		return nil
	})
	t.Logf("the neighbour resolves: %s", address)

	shot := filepath.Join(shots(t), "box-page.png")
	b.do("screenshot", shot)
	f, err := os.Open(shot)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("screenshot %s, %v", shot, img.Bounds().Size())

	dom, errOut, code := run(t, nil, 2*time.Minute, b.script, "lan", "--name", b.name, "--",
		"chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--lang=en",
		"--ignore-certificate-errors", // TestNeighbourTrustsTheBoxAndLogsIn is about those
		"--user-data-dir="+t.TempDir(), "--virtual-time-budget=20000", "--dump-dom", "http://arasul.local/")
	if code != 0 {
		t.Fatalf("chromium: exit status %d\n%s", code, errOut)
	}
	for _, want := range []string{"arasul-healer.service", "arasul-metrics.service"} {
		if !strings.Contains(dom, want) {
			t.Errorf("the page does not show %s", want)
		}
	}
}

// shots is where the pictures go, for people to look at.
func shots(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../../build/proof")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Proves UPD-4 and HEAL-6 for the daemons' own state: after a power cut the box
// comes back by itself, with the samples and the memory it had.
func TestPowerCutIsSurvived(t *testing.T) {
	b := theBox.take(t)
	b.well(2 * time.Minute)
	b.run("systemctl", "kill", "-s", "KILL", "arasul-metrics") // something to remember
	remembered := func() string {
		out, _, _ := b.try("sh", "-c", `arasul heal status --json | grep -o '"id": "[^"]*"' | head -n 1`)
		return strings.TrimSpace(out)
	}
	var id string
	eventually(t, time.Minute, func() error {
		if id = remembered(); id == "" {
			return errors.New("no incident yet")
		}
		return nil
	})
	b.well(2 * time.Minute)
	b.run("sync", "/var/lib/arasul/healer/state.json")

	b.do("cut")
	b.do("up", "--deb", deb(t))
	b.well(3 * time.Minute)
	if out := b.run("arasul", "heal", "status", "--json", "--limit=50"); !strings.Contains(out, id) {
		t.Errorf("the incident %s is forgotten:\n%s", id, out)
	}
	if out, _, _ := b.try("journalctl", "-b", "--no-pager", "-u", "arasul-postgres"); !strings.Contains(out, "ready to accept connections") {
		t.Errorf("PostgreSQL did not come back:\n%s", out)
	}
}
