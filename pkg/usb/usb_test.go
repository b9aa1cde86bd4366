package usb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestNamesThatAreNoKernelNamesAreRefused(t *testing.T) {
	for _, name := range []string{
		"", ".", "..", "/", "/dev/sda1", "../x", "sda1/../../etc", "sda1\n", "sda1\x00", "\x00",
		"sda 1", "SDA1", "1sda", "-h", "sda1;reboot", "$(id)", "%i", "sdä1", "s", strings.Repeat("a", 33), strings.Repeat("a", 1<<20),
	} {
		err := CheckName(name)
		if err == nil {
			t.Errorf("%.40q was accepted", name)
		} else if len(err.Error()) > 400 || strings.ContainsAny(err.Error(), "\n\x00") {
			t.Errorf("%.40q: the error carries the attack on: %.80q", name, err)
		}
	}
	for _, name := range []string{"sda", "sda1", "sdaa12", "mmcblk0p1", "nvme0n1p2", "loop0"} {
		if err := CheckName(name); err != nil {
			t.Error(err)
		}
	}
}

func TestOnlyKnownFileSystemsOnUSBAreMounted(t *testing.T) {
	good := Device{Name: "sda1", Node: "/dev/sda1", Bus: "usb", Usage: "filesystem", Type: "vfat"}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for about, change := range map[string]func(*Device){
		"name":       func(d *Device) { d.Name = "../sda1" },
		"node":       func(d *Device) { d.Node = "/dev/../etc/shadow" },
		"other node": func(d *Device) { d.Node = "/dev/sdb1" },
		"bus":        func(d *Device) { d.Bus = "ata" },
		"no bus":     func(d *Device) { d.Bus = "" },
		"encrypted":  func(d *Device) { d.Usage = "crypto" },
		"ntfs":       func(d *Device) { d.Type = "ntfs" },
		"btrfs":      func(d *Device) { d.Type = "btrfs" },
		"options":    func(d *Device) { d.Type = "vfat,suid" },
		"no type":    func(d *Device) { d.Type = "" },
	} {
		d := good
		change(&d)
		if _, err := Search(t.Context(), d, t.TempDir(), nil); err == nil || errors.Is(err, ErrGone) {
			t.Errorf("%s: got %v, want a refusal", about, err)
		}
	}
}

func TestWhatIsNotABlockDeviceIsNotMounted(t *testing.T) {
	d := Device{Name: "null", Node: "/dev/null", Bus: "usb", Usage: "filesystem", Type: "vfat"}
	if _, err := Search(t.Context(), d, t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "not a block device") {
		t.Errorf("got %v", err)
	}
	d.Name, d.Node = "sdzz99", "/dev/sdzz99"
	if _, err := Search(t.Context(), d, t.TempDir(), nil); !errors.Is(err, ErrGone) {
		t.Errorf("missing device: got %v, want ErrGone", err)
	}
}

// put makes files below dir; a name that ends in a slash makes a folder.
func put(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Every row of the stick is an attack or a mishap.
func TestScanTakesRegularFilesOnly(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(t.TempDir(), "secret.araupdate")
	put(t, dir, map[string]string{
		"a.araupdate":               "bundle",
		"B.ARAUPDATE":               "bundle",
		"arasul/c.araupdate":        "bundle!",
		"arasul/deep/d.araupdate":   "too deep",
		"other/e.araupdate":         "elsewhere",
		"._a.araupdate":             "macOS",
		".araupdate":                "no name",
		"a.araupdate.txt":           "text",
		"empty.araupdate":           "",
		"folder.araupdate/":         "",
		"new\nline.araupdate":       "x",
		"\x1b]0;owned\a.araupdate":  "x",
		"bad\xff\xfeutf8.araupdate": "x",
	})
	put(t, filepath.Dir(secret), map[string]string{"secret.araupdate": "secret"})
	huge := filepath.Join(dir, "huge.araupdate")
	for _, err := range []error{
		os.Symlink(secret, filepath.Join(dir, "link.araupdate")),
		os.Symlink("a.araupdate", filepath.Join(dir, "arasul", "near.araupdate")),
		os.Symlink("/nonexistent", filepath.Join(dir, "dangling.araupdate")),
		unix.Mkfifo(filepath.Join(dir, "fifo.araupdate"), 0o644),
		os.WriteFile(huge, nil, 0o644),
		os.Truncate(huge, MaxSize+1),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mknod(filepath.Join(dir, "device.araupdate"), unix.S_IFCHR|0o644, int(unix.Mkdev(1, 5))); err != nil {
		t.Fatalf("needs root: %v", err)
	}

	r, err := Scan(dir)
	if err != nil {
		t.Fatal(err)
	}
	found, refused := map[string]int64{}, map[string]string{}
	for _, b := range r.Bundles {
		found[b.Name] = b.Size
	}
	for _, f := range r.Refused {
		refused[f.Name] = f.Reason
	}
	if diff := cmp.Diff(map[string]int64{
		"a.araupdate": 6, "B.ARAUPDATE": 6, "arasul/c.araupdate": 7,
		"new\nline.araupdate": 1, "\x1b]0;owned\a.araupdate": 1, "bad\xff\xfeutf8.araupdate": 1,
	}, found); diff != "" {
		t.Errorf("found (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{
		"empty.araupdate":       "empty",
		"folder.araupdate":      "a folder, not a file",
		"link.araupdate":        "a symbolic link, not a file",
		"arasul/near.araupdate": "a symbolic link, not a file",
		"dangling.araupdate":    "a symbolic link, not a file",
		"fifo.araupdate":        "a special file",
		"device.araupdate":      "a special file",
		"huge.araupdate":        "larger than 35.4 GB",
	}, refused); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
}

func TestScanDoesNotEnterALinkedFolder(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	put(t, elsewhere, map[string]string{"x.araupdate": "x"})
	if err := os.Symlink(elsewhere, filepath.Join(dir, Folder)); err != nil {
		t.Fatal(err)
	}
	if r, err := Scan(dir); err != nil || len(r.Bundles) != 0 {
		t.Errorf("link: %+v, %v", r, err)
	}
	if _, err := Scan(filepath.Join(dir, Folder)); err == nil {
		t.Error("a root folder that is a link was entered")
	}
}

// Proves UPD-6: what is opened is what was found, where it was found, even when the
// stick has changed its mind since.
func TestStickOpensWhatItFound(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, map[string]string{
		"a.araupdate": "bundle", "arasul/b.araupdate": "bundle", "other/c.araupdate": "bundle",
		"grown.araupdate": "larger than it was", "folder.araupdate/": "",
	})
	for _, err := range []error{
		os.Symlink("a.araupdate", filepath.Join(dir, "link.araupdate")),
		os.Symlink("other", filepath.Join(dir, "linked")),
		unix.Mkfifo(filepath.Join(dir, "fifo.araupdate"), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	alive := 0
	s, err := openStick(dir, func() { alive++ })
	if err != nil {
		t.Fatal(err)
	}
	defer s.root.Close()
	for _, name := range []string{"a.araupdate", "arasul/b.araupdate"} {
		f, err := s.Open(Bundle{name, 6})
		if err != nil {
			t.Error(err)
			continue
		}
		if text, err := io.ReadAll(f); err != nil || string(text) != "bundle" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
		_ = f.Close()
	}
	if alive < 2 {
		t.Errorf("%d signs of life", alive)
	}
	for _, name := range []string{
		"link.araupdate", "fifo.araupdate", "folder.araupdate", "grown.araupdate", "gone.araupdate", "other/c.araupdate",
		"linked/c.araupdate", "../a.araupdate", "arasul/../a.araupdate", "arasul/", "arasul", "", ".", "/a.araupdate",
	} {
		if f, err := s.Open(Bundle{name, 6}); err == nil {
			t.Errorf("%q was opened", name)
			_ = f.Close()
		}
	}
	for _, err := range []error{os.RemoveAll(filepath.Join(dir, Folder)), os.Symlink("other", filepath.Join(dir, Folder))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if f, err := s.Open(Bundle{"arasul/c.araupdate", 6}); err == nil {
		t.Error("a folder that became a link was entered")
		_ = f.Close()
	}
}

func TestScanIsBounded(t *testing.T) {
	for _, c := range []struct {
		about, pattern string
		n              int
		names, entries int
		partial        bool
	}{
		{"many entries", "f%d.txt", MaxEntries + 100, 0, MaxEntries, true},
		{"many bundles", "f%d.araupdate", 200, MaxNames, MaxNames, true},
		{"as many as allowed", "f%d.araupdate", MaxNames, MaxNames, MaxNames, false},
	} {
		dir := t.TempDir()
		for i := range c.n {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf(c.pattern, i)), []byte("x"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		r, err := Scan(dir)
		if err != nil || len(r.Bundles) != c.names || r.Entries != c.entries || r.Partial != c.partial {
			t.Errorf("%s: %d names, %d entries, partial %v, %v", c.about, len(r.Bundles), r.Entries, r.Partial, err)
		}
	}
}

func TestReportSaysWhatItFound(t *testing.T) {
	for want, r := range map[string]Report{
		"no bundles":                 {},
		"no bundles, refused 1":      {Refused: []Refusal{{"x", "y"}}},
		"found 1 bundle":             {Bundles: []Bundle{{"a", 1}}},
		"found 2 bundles, refused 1": {Bundles: []Bundle{{"a", 1}, {"b", 2}}, Refused: []Refusal{{"x", "y"}}},
	} {
		if got := r.String(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestStickThatHangsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := make(chan struct{})
		hang := func(context.Context, func()) (Report, error) { <-never; return Report{}, nil }
		start := time.Now()
		_, err := bounded(t.Context(), Limit, hang, func() { <-never }) // giving up hangs as well
		if took := time.Since(start); !errors.Is(err, ErrGone) || took > Limit+2*time.Second {
			t.Errorf("got %v after %v", err, took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // systemd stops the unit when the device goes
		start = time.Now()
		if _, err := bounded(ctx, Limit, hang, func() {}); !errors.Is(err, ErrGone) || time.Since(start) > time.Second {
			t.Errorf("stopped: got %v after %v", err, time.Since(start))
		}
		close(never)
	})
}

// Proves UPD-6 as far as the log goes: no name on a stick forges a line.
func TestNamesForgeNoLogLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "update_usb.log")
	f, err := OpenLog(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	log := slog.New(Handler(f))
	attacks := []string{
		"x\ntime=2026-01-01T00:00:00Z level=INFO msg=\"stick searched\".araupdate", "\r\n\r\n", "\x1b[2J\x1b]0;owned\a",
		"\u2028\u2029\u0085", "\u202egnp.exe", "\xff\xfe", "\x00", `" result="found`, "=", " ",
	}
	for _, name := range attacks {
		log.Info("bundle found", "bundle", name, "result", Report{Bundles: []Bundle{{name, 1}}})
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) != len(attacks) {
		t.Fatalf("%d events made %d lines:\n%s", len(attacks), len(lines), text)
	}
	for _, line := range lines {
		stamp, rest, _ := strings.Cut(strings.TrimPrefix(line, "time="), " ")
		if _, err := time.Parse(time.RFC3339, stamp); err != nil {
			t.Error(err)
		}
		if !strings.HasPrefix(rest, `level=INFO msg="bundle found" bundle="`) {
			t.Errorf("unexpected line %q", line)
		}
		for _, c := range line {
			if c < ' ' || c > '~' {
				t.Errorf("%q in line %q", c, line)
			}
		}
	}
}

func TestLogIsAPlainFile(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	put(t, dir, map[string]string{"victim": "keep"})
	for _, err := range []error{
		os.Symlink("victim", at("symlink")), os.Symlink("new", at("dangling")),
		os.Link(at("victim"), at("hardlink")), unix.Mkfifo(at("fifo"), 0o600), os.Mkdir(at("folder"), 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"symlink", "dangling", "hardlink", "fifo", "folder", "missing/x"} {
		if f, err := OpenLog(at(name)); err == nil {
			f.Close()
			t.Errorf("%s was opened", name)
		}
	}
	if err := errors.Join(os.WriteFile(at("full"), nil, 0o640), os.Truncate(at("full"), MaxLog)); err != nil {
		t.Fatal(err)
	}
	if f, err := OpenLog(at("full")); err == nil {
		f.Close()
		t.Error("a full log grows on")
	}
	old := unix.Umask(0o077) // as in the unit
	defer unix.Umask(old)
	for range 2 { // new, and the second time old
		f, err := OpenLog(at("log"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(f, "line")
		f.Close()
	}
	st, err := os.Stat(at("log"))
	if err != nil || st.Mode() != 0o640 || st.Size() != 10 {
		t.Errorf("got %v, %v", st, err)
	}
}

// Proves UPD-6: whatever names a folder has, what is found can be opened, and nothing
// else can.
func FuzzScan(f *testing.F) {
	f.Add("a.araupdate\x00B.ARAUPDATE\x00._a.araupdate\x00arasul\x00x\ny.araupdate")
	f.Add("\x1b]0;owned\a.araupdate\x00.araupdate\x00bad\xff.araupdate\x00 .araupdate\x00…araupdate")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, names string) {
		made := map[string]bool{}
		for name := range strings.SplitSeq(names, "\x00") {
			if name == "" || strings.Contains(name, "/") || name == "." || name == ".." || len(name) > 255 || len(made) == 16 {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
				return // no name of this file system
			}
			made[name] = true
			defer os.Remove(filepath.Join(dir, name))
		}
		r, err := Scan(dir)
		if err != nil {
			t.Fatal(err)
		}
		if r.Entries != len(made) || r.Partial {
			t.Fatalf("%+v of %d", r, len(made))
		}
		s, err := openStick(dir, func() {})
		if err != nil {
			t.Fatal(err)
		}
		defer s.root.Close()
		for _, b := range r.Bundles {
			if !made[b.Name] || !hasSuffixFold(b.Name, Suffix) {
				t.Fatalf("%q was found", b.Name)
			}
			file, err := s.Open(b)
			if err != nil {
				t.Fatalf("%q: %v", b.Name, err)
			}
			_ = file.Close()
		}
	})
}
