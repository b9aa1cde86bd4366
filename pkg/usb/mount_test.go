package usb

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The tests of this file mount real file systems from loop devices, with the
// code that mounts sticks.

func tool(t *testing.T, args ...string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("needs root for loop devices and mounts")
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("%v: run scripts/deps", err)
	}
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// image makes a file system of the given kind with a few files on it.
func image(t *testing.T, fstype string) string {
	t.Helper()
	img := filepath.Join(t.TempDir(), "stick.img")
	content := t.TempDir()
	put(t, content, map[string]string{"arasul-1.2.3.araupdate": "not really", "arasul/second.araupdate": "x", "photo.jpg": "x"})
	switch fstype {
	case "ext4":
		if err := os.Symlink("/etc/shadow", filepath.Join(content, "link.araupdate")); err != nil {
			t.Fatal(err)
		}
		tool(t, "mkfs.ext4", "-q", "-L", "STICK", "-d", content, img, "8M")
		tool(t, "tune2fs", "-e", "panic", img) // the stick asks for a panic at its first error
	case "vfat":
		tool(t, "mkfs.vfat", "-C", "-n", "STICK", img, "8192")
		tool(t, "mcopy", "-i", img, "-s", content+"/arasul-1.2.3.araupdate", content+"/arasul", content+"/photo.jpg", "::")
	}
	return img
}

// plug attaches img to a loop device, which is no longer there after the test.
func plug(t *testing.T, img, fstype string) Device {
	t.Helper()
	node := tool(t, "losetup", "--find", "--show", img)
	t.Cleanup(func() { tool(t, "losetup", "--detach", node) })
	return Device{Name: filepath.Base(node), Node: node, Bus: "usb", Usage: "filesystem", Type: fstype}
}

// knows reports whether the running kernel can mount fstype.
func knows(t *testing.T, fstype string) bool {
	exec.Command("modprobe", fstype).Run() // the file tells whether it helped
	list, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(list, []byte("\t"+fstype+"\n"))
}

func digest(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))
}

// mounted fails the test if something below dir is still mounted.
func mounted(t *testing.T, dir string) {
	t.Helper()
	list, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(list, []byte(dir)) {
		t.Errorf("still mounted below %s", dir)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Proves UPD-6 as far as looking goes: mounted read-only, the bundles found,
// nothing left mounted, not a byte of the stick changed.
func TestStickIsSearchedAndLeftAsItWas(t *testing.T) {
	for _, fstype := range []string{"vfat", "ext4"} {
		t.Run(fstype, func(t *testing.T) {
			img := image(t, fstype)
			if !knows(t, fstype) {
				t.Skipf("this kernel has no %s; the box proves it", fstype)
			}
			before := digest(t, img)
			run := t.TempDir()
			r, err := Search(t.Context(), plug(t, img, fstype), run, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(r.Bundles); got != "[{arasul-1.2.3.araupdate 10} {arasul/second.araupdate 1}]" {
				t.Error(got)
			}
			if fstype == "ext4" && (len(r.Refused) != 1 || r.Refused[0].Name != "link.araupdate") {
				t.Errorf("refused %v", r.Refused)
			}
			mounted(t, run)
			if digest(t, img) != before {
				t.Error("the stick was written to")
			}
		})
	}
}

// A stick pulled while written to has a journal to replay, which the kernel
// would do on a read-only mount too.
func TestDirtyStickIsNotRepaired(t *testing.T) {
	img, work := image(t, "ext4"), t.TempDir()
	d := plug(t, img, "ext4")
	if err := unix.Mount(d.Node, work, "ext4", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(work, unix.MNT_DETACH) })
	put(t, work, map[string]string{"written.araupdate": "x"})
	tool(t, "sync", "-f", work)
	if _, err := Search(t.Context(), d, t.TempDir(), nil); !errors.Is(err, ErrInUse) {
		t.Errorf("a stick in use: got %v, want ErrInUse", err)
	}
	pulled := filepath.Join(t.TempDir(), "pulled.img")
	tool(t, "cp", img, pulled)
	if err := unix.Unmount(work, 0); err != nil {
		t.Fatal(err)
	}
	if s := tool(t, "dumpe2fs", "-h", pulled); !strings.Contains(s, "needs_recovery") {
		t.Fatal("the copy is not dirty")
	}
	before := digest(t, pulled)
	run := t.TempDir()
	if _, err := Search(t.Context(), plug(t, pulled, "ext4"), run, nil); err != nil {
		t.Error(err)
	}
	mounted(t, run)
	if digest(t, pulled) != before {
		t.Error("the journal was replayed")
	}
}

func TestMountAllowsNothingButReading(t *testing.T) {
	d, mnt := plug(t, image(t, "ext4"), "ext4"), t.TempDir()
	if err := mount(d.Node, d.Type, mnt); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(mnt, unix.MNT_DETACH) })
	var st unix.Statfs_t
	if err := unix.Statfs(mnt, &st); err != nil {
		t.Fatal(err)
	}
	const stNosymfollow = 0x2000
	for name, flag := range map[string]int64{
		"ro": unix.ST_RDONLY, "nosuid": unix.ST_NOSUID, "nodev": unix.ST_NODEV, "noexec": unix.ST_NOEXEC, "nosymfollow": stNosymfollow,
	} {
		if st.Flags&flag == 0 {
			t.Errorf("mounted without %s", name)
		}
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) { // the kernel names what differs from the superblock
		if strings.Contains(line, mnt) && !strings.Contains(line, "errors=continue") {
			t.Errorf("the stick decides about a panic: %s", line)
		}
	}
	if err := unmount(mnt); err != nil {
		t.Error(err)
	}
}

// A backing file cut to nothing answers as a pulled stick does.
func TestStickPulledBetweenMountAndScanIsGone(t *testing.T) {
	img, mnt := image(t, "ext4"), t.TempDir()
	d := plug(t, img, "ext4")
	if err := mount(d.Node, d.Type, mnt); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(mnt, unix.MNT_DETACH) })
	if err := os.Truncate(img, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := Scan(mnt); !errors.Is(gone(err), ErrGone) {
		t.Errorf("got %v, want ErrGone", err)
	}
	if err := unmount(mnt); err != nil {
		t.Error(err)
	}
}

func TestDamagedStickIsAClearError(t *testing.T) {
	img := filepath.Join(t.TempDir(), "noise.img")
	if err := os.WriteFile(img, bytes.Repeat([]byte("noise"), 1<<18), 0o600); err != nil {
		t.Fatal(err)
	}
	run := t.TempDir()
	_, err := Search(t.Context(), plug(t, img, "ext4"), run, nil)
	if err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v", err)
	}
	mounted(t, run)
}
