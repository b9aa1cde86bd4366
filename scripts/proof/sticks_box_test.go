//go:build box

package proof

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const usbLog = "/var/log/arasul/update_usb.log"

// plug puts a stick in and waits until its log has all the lines since, which are
// regular expressions.
func (b *bed) plug(img string, within time.Duration, lines ...string) {
	b.t.Helper()
	before := strings.TrimSpace(b.sh("cat " + usbLog + " 2>/dev/null | wc -l"))
	b.do("usb-insert", img)
	b.t.Cleanup(func() { _, _, _ = run(b.t, nil, time.Minute, b.script, "usb-remove", "--name", b.name) }) // of a test that failed
	b.logged(before, within, lines...)
}

// logged waits for lines in the stick's log behind its first ones.
func (b *bed) logged(before string, within time.Duration, lines ...string) {
	b.t.Helper()
	eventually(b.t, within, func() error {
		said := b.sh("tail -n +$((" + before + " + 1)) " + usbLog + " 2>/dev/null || true")
		for _, line := range lines {
			if _, _, code := run(b.t, []byte(said), time.Minute, "grep", "-qE", line); code != 0 {
				return fmt.Errorf("no line %q in\n%s", line, said)
			}
		}
		return nil
	})
}

// unplug pulls the stick and waits until nothing of it is left.
func (b *bed) unplug() {
	b.t.Helper()
	b.do("usb-remove")
	eventually(b.t, time.Minute, func() error {
		if out, _, _ := b.try("systemctl", "list-units", "--plain", "--no-legend", "--state=active,activating,deactivating,failed", "arasul-usb@*"); strings.TrimSpace(out) != "" {
			return fmt.Errorf("still there: %s", out)
		}
		return nil
	})
	if mounts := b.run("cat", "/proc/mounts"); strings.Contains(mounts, "/run/arasul/usb") {
		b.t.Errorf("the stick is mounted:\n%s", mounts)
	}
}

// Proves UPD-6: what a stranger plugs in is read as far as that is safe, refused in
// words, and harms nothing.
func TestHostileSticksAreSurvived(t *testing.T) {
	b := theBox.take(t)
	b.well(2 * time.Minute)

	t.Run("special files and ten thousand others", func(t *testing.T) {
		b := b.of(t)
		dir, img := t.TempDir(), filepath.Join(t.TempDir(), "stick.img")
		for i := range 10_000 {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("holiday-%d.jpg", i)), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, err := range []error{
			os.WriteFile(filepath.Join(dir, "._release.araupdate"), []byte("of a Mac"), 0o600),
			os.WriteFile(filepath.Join(dir, "rubbish.araupdate"), []byte("no bundle"), 0o600),
			os.Symlink("/etc/shadow", filepath.Join(dir, "link.araupdate")),
			os.Mkdir(filepath.Join(dir, "folder.araupdate"), 0o700),
			unix.Mknod(filepath.Join(dir, "device.araupdate"), unix.S_IFBLK|0o666, int(unix.Mkdev(254, 0))),
			unix.Mkfifo(filepath.Join(dir, "fifo.araupdate"), 0o666),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		here(t, "truncate", "-s", "64M", img)
		here(t, "mkfs.ext4", "-q", "-N", "12000", "-d", dir, img)
		b.plug(img, 2*time.Minute,
			"refused.*link.araupdate.*symbolic link", "refused.*folder.araupdate.*a folder", "refused.*device.araupdate.*special file",
			"refused.*fifo.araupdate.*special file", "refused.*rubbish.araupdate", "stick searched.*found 1 bundle, refused 4")
		var told updateState
		if b.updater("GET", "/status", "", &told); told.Stick == nil || len(told.Stick.Files) != 5 {
			t.Errorf("the page is told of the stick: %+v", told.Stick)
		} else {
			for _, f := range told.Stick.Files {
				if f.Taken || f.Problem == nil || f.Problem.Message == "" {
					t.Errorf("the page is told of %s: %+v", f.Name, f)
				}
			}
		}
		b.unplug()
	})

	t.Run("a damaged file system", func(t *testing.T) {
		b := b.of(t)
		img := releaseStick(t, "/etc/os-release")
		f, err := os.OpenFile(img, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		noise := make([]byte, 4<<20) // over both tables and the root folder, not over what udev knows it by
		_, _ = rand.Read(noise)
		if _, err := f.WriteAt(noise, 32<<10); err != nil {
			t.Fatal(err)
		}
		b.plug(img, 2*time.Minute, "stick (not )?searched")
		b.unplug()
	})

	t.Run("what is not read is named", func(t *testing.T) {
		b := b.of(t)
		dir := t.TempDir()
		img, system, windows := filepath.Join(dir, "stick.img"), filepath.Join(dir, "system"), filepath.Join(dir, "windows")
		here(t, "truncate", "--size=16M", system, windows)
		here(t, "mkfs.vfat", "-n", "EFI", system)
		here(t, "mkntfs", "--fast", "--force", "--quiet", "--label", "HOLIDAY", windows)
		here(t, "sh", "-c", `truncate --size=40M `+img+`
			printf 'label: gpt\nstart=2048, size=32768, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\nstart=34816, size=32768, type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7\n' |
			sfdisk --quiet `+img+`
			dd if=`+system+` of=`+img+` bs=512 seek=2048 conv=notrunc status=none
			dd if=`+windows+` of=`+img+` bs=512 seek=34816 conv=notrunc status=none`)
		b.plug(img, time.Minute, "stick not searched.*HOLIDAY.*ntfs: FAT, exFAT and ext4 are read")
		var told updateState
		if b.updater("GET", "/status", "", &told); told.Stick == nil || told.Stick.Label != "HOLIDAY" || !strings.Contains(told.Stick.Error, "ntfs") {
			t.Errorf("the page is told of the stick: %+v", told.Stick)
		}
		b.unplug()
		if said := b.sh("grep 'label=EFI' " + usbLog + " || true"); said != "" {
			t.Errorf("the system partition was looked at:\n%s", said)
		}
	})

	t.Run("pulled while it is copied, and put in again", func(t *testing.T) {
		b, w := b.of(t), openWorkshop(t)
		b.trustsWorkshop(w)
		const configuration = "/etc/arasul/arasul.toml"
		b.sh(`cp -p ` + configuration + ` /root/before.toml; sed -i 's/^#usb = "apply"/usb = "stage"/' ` + configuration + `; arasul config check`)
		t.Cleanup(func() {
			b.sh("mv /root/before.toml " + configuration + "; rm /etc/arasul/update-keys/workshop.pem")
			b.updater("DELETE", "/stage", "", &updateState{})
		})
		img := releaseStick(t, w.release(t, "1.0.99", 50, "", func(root string) {
			noise := make([]byte, 100<<20)
			_, _ = rand.Read(noise)
			if err := os.WriteFile(filepath.Join(root, "usr/lib/arasul/noise"), noise, 0o600); err != nil {
				t.Fatal(err)
			}
		}))
		var staged struct {
			ReceivedBytes int64 `json:"received_bytes"`
			Complete      bool
			Code          string // while there is none
		}
		b.plug(img, 2*time.Minute, "bundle is copied")
		eventually(t, time.Minute, func() error {
			if b.updater("GET", "/stage", "", &staged); staged.ReceivedBytes == 0 {
				return fmt.Errorf("%+v", staged)
			}
			return nil
		})
		b.unplug()
		if b.updater("GET", "/stage", "", &staged); staged.Complete {
			t.Fatalf("the stick was pulled too late: %+v", staged)
		}
		t.Logf("pulled after %d bytes", staged.ReceivedBytes)
		b.plug(img, 4*time.Minute, "bundle is on this machine")
		if b.updater("GET", "/stage", "", &staged); !staged.Complete {
			t.Errorf("put in again: %+v", staged)
		}
		b.unplug()
	})
	b.well(2 * time.Minute)
}
