package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/api"
)

const (
	mib       = 1 << 20
	machineID = "0123456789abcdef0123456789abcdef"
)

// machine is a root folder on a file system of its own.
type machine struct {
	t    *testing.T
	root string
}

func newMachine(t *testing.T, bytes int) *machine {
	t.Helper()
	m := &machine{t, t.TempDir()}
	m.mount("tmpfs", m.root, "tmpfs", 0, fmt.Sprintf("size=%d", bytes))
	m.put("/etc/machine-id", 0)
	if err := os.WriteFile(m.root+"/etc/machine-id", []byte(machineID+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	m.folder(DataDir)
	return m
}

func (m *machine) mount(what, where, kind string, flags uintptr, options string) {
	m.t.Helper()
	if os.Geteuid() != 0 {
		m.t.Fatal("needs root for mounts")
	}
	if err := unix.Mount(what, where, kind, flags, options); err != nil {
		m.t.Fatalf("mounting %s: %v", where, err)
	}
	m.t.Cleanup(func() { _ = unix.Unmount(where, unix.MNT_DETACH) })
}

func (m *machine) folder(path string) string {
	m.t.Helper()
	if err := os.MkdirAll(m.root+path, 0o755); err != nil {
		m.t.Fatal(err)
	}
	return m.root + path
}

// put makes a file of that many bytes, each younger than the one before.
func (m *machine) put(path string, bytes int) {
	m.t.Helper()
	m.folder(filepath.Dir(path))
	if err := os.WriteFile(m.root+path, nil, 0o644); err != nil {
		m.t.Fatal(err)
	}
	if bytes > 0 {
		if err := allocate(m.root+path, uint64(bytes)); err != nil {
			m.t.Fatal(err)
		}
	}
	clock = clock.Add(time.Minute)
	if err := os.Chtimes(m.root+path, clock, clock); err != nil {
		m.t.Fatal(err)
	}
}

var clock = time.Now().Add(-240 * time.Hour)

func (m *machine) wantThere(paths ...string) {
	m.t.Helper()
	for _, path := range paths {
		if _, err := os.Lstat(m.root + path); err != nil {
			m.t.Error(err)
		}
	}
}

func (m *machine) wantGone(paths ...string) {
	m.t.Helper()
	for _, path := range paths {
		if _, err := os.Lstat(m.root + path); err == nil {
			m.t.Errorf("%s is still there", path)
		}
	}
}

// all is what is in the machine, one path each.
func (m *machine) all() (paths []string) {
	_ = filepath.WalkDir(m.root, func(path string, _ os.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	})
	return paths
}

// units free what they are asked to.
type units map[string]func() error

func (u units) Run(_ context.Context, unit string) error {
	if u[unit] == nil {
		return nil
	}
	return u[unit]()
}

func (m *machine) clean(target float64, dry bool, u units) api.DiskCleanup {
	m.t.Helper()
	c := Cleaner{Units: u, DryRun: dry, root: m.root, target: target}
	report, err := c.Clean(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	return report
}

func steps(r api.DiskCleanup) map[string]api.DiskStep {
	out := map[string]api.DiskStep{}
	for _, s := range r.Steps {
		out[s.Name] = s
	}
	return out
}

// fill puts one of everything there: what may go, of 1 MiB each, and what may
// not.
func (m *machine) fill() (may, not []string) {
	may = []string{
		"/var/lib/arasul/reserve/reserve",
		"/var/cache/apt/archives/a_1_amd64.deb",
		"/var/cache/arasul/model.part", "/var/cache/arasul/llm/deep/er/blob",
		"/var/log/arasul/system.log.2.gz", "/var/log/arasul/service/n8n.log.1", "/var/log/arasul/update.log-20261101.gz",
		"/var/lib/arasul/updates/1.araupdate", "/var/lib/arasul/updates/2.araupdate",
	}
	not = []string{
		"/var/lib/arasul/updates/3.araupdate", "/var/lib/arasul/updates/state.json", "/var/lib/arasul/postgres/16/base/1",
		"/var/log/arasul/system.log", "/var/log/arasul/service/n8n.log", "/var/log/arasul/a/b/deep.log.1", "/var/log/syslog.1",
		"/var/cache/apt/pkgcache.bin", "/var/cache/apt/archives/partial/b.deb", "/var/cache/apt/archives/lock", "/var/cache/other/x",
		"/var/log/journal/" + machineID + "/system.journal", "/var/log/journal/remote/remote-1@2.journal",
	}
	for _, path := range slices.Concat(may, not) {
		m.put(path, mib)
	}
	return may, not
}

// Proves HEAL-3: defined paths only.
func TestCleanUpRemovesWhatMayGoAndNothingElse(t *testing.T) {
	m := newMachine(t, 64*mib)
	may, not := m.fill()
	m.put("/usr/bin/podman", 0)
	asked := []string{}
	report := m.clean(0.0001, false, units{ // never enough: every step to its end
		pruneUnit:  func() error { asked = append(asked, "prune"); return nil },
		vacuumUnit: func() error { asked = append(asked, "vacuum"); return os.Remove(m.root + "/var/cache/other/x") },
	})
	m.wantGone(may...)
	m.wantThere(slices.DeleteFunc(not, func(p string) bool { return p == "/var/cache/other/x" })...)
	m.wantThere("/var/cache/arasul/llm/deep/er", "/var/lib/arasul/reserve")
	var got []string
	for _, s := range report.Steps {
		got = append(got, fmt.Sprintf("%s %d %d %s%s", s.Name, s.FreedBytes/mib, s.Files, s.Skipped, s.Error))
	}
	want := []string{"reserve 1 1 ", "apt 1 1 ", "cache 2 2 ", "logs 3 3 ", "journal 0 0 ", "bundles 2 2 ", "images 0 0 ", "database 1 0 "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if freed := report.BeforeBytes - report.AfterBytes; freed != 10*mib || report.Reached || report.TotalBytes != 64*mib {
		t.Errorf("freed %d: %+v", freed, report)
	}
	if want := []string{"prune", "vacuum"}; !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
}

// Harmless steps go first, and what is not needed is not taken.
func TestCleanUpStopsWhenThereIsRoomEnough(t *testing.T) {
	m := newMachine(t, 64*mib)
	m.put("/var/lib/arasul/models/big", 40*mib)
	m.put("/var/cache/apt/archives/old.deb", 8*mib)
	m.put("/var/cache/apt/archives/young.deb", 8*mib)
	m.put("/var/cache/arasul/x", mib)
	report := m.clean(0.80, false, nil) // 57 of 64 MiB are used; below 51.2 is enough
	m.wantGone("/var/cache/apt/archives/old.deb")
	m.wantThere("/var/cache/apt/archives/young.deb", "/var/cache/arasul/x")
	if s := steps(report); !report.Reached || s["apt"].Files != 1 || s["database"].Skipped != "there is room enough" {
		t.Errorf("%+v", report)
	}
	before := m.all()
	if report := m.clean(0.80, false, nil); report.Steps[0].Skipped == "" || !report.Reached {
		t.Errorf("%+v", report)
	}
	if diff := cmp.Diff(before, m.all()); diff != "" {
		t.Errorf("there was room enough, and yet:\n%s", diff)
	}
}

func TestDryRunTouchesNothingAndNamesWhatWouldGo(t *testing.T) {
	m := newMachine(t, 64*mib)
	may, _ := m.fill()
	before := m.all()
	report := m.clean(0.0001, true, nil)
	if diff := cmp.Diff(before, m.all()); diff != "" {
		t.Errorf("touched:\n%s", diff)
	}
	if s := steps(report)["images"]; s.Skipped != "podman is not installed" {
		t.Errorf("%+v", s)
	}
	var named []string
	for _, s := range report.Steps {
		named = append(named, s.Paths...)
	}
	slices.Sort(named)
	slices.Sort(may)
	if diff := cmp.Diff(may, named); diff != "" {
		t.Errorf("named (-want +got):\n%s", diff)
	}
	if would := report.BeforeBytes - report.AfterBytes; would != uint64(len(may))*mib || !report.DryRun {
		t.Errorf("would free %d: %+v", would, report)
	}
	// It stops where the real one would.
	m.put("/var/lib/arasul/models/big", 35*mib) // 57 MiB are used
	if report := m.clean(0.87, true, nil); !report.Reached || steps(report)["apt"].Files != 1 || steps(report)["cache"].Files != 0 {
		t.Errorf("%+v", report)
	}
}

// The newest 256 MiB of what was archived stay, and the open journals.
func TestJournalKeepsItsYoungest(t *testing.T) {
	m := newMachine(t, 512*mib)
	dir := "/var/log/journal/" + machineID + "/"
	m.put(dir+"system.journal", 8*mib)
	for _, name := range []string{"system@1-1.journal", "user-1000@1-2.journal", "system@1-3.journal~"} {
		m.put(dir+name, 100*mib)
	}
	m.put(dir+"note.txt", mib)
	if s := steps(m.clean(0.0001, false, nil))["journal"]; s.Files != 1 || s.FreedBytes != 100*mib || s.Error != "" {
		t.Errorf("%+v", s)
	}
	m.wantGone(dir + "system@1-1.journal")
	m.wantThere(dir+"user-1000@1-2.journal", dir+"system@1-3.journal~", dir+"system.journal", dir+"note.txt")
}

func TestCleanUpGoesOnAfterAFailure(t *testing.T) {
	m := newMachine(t, 64*mib)
	m.put("/var/cache/apt/archives/a.deb", mib)
	m.put("/var/cache/arasul/x", mib)
	if err := os.RemoveAll(m.root + "/etc/machine-id"); err != nil {
		t.Fatal(err)
	}
	m.put("/var/log/arasul", 1) // not a directory
	m.put("/srv/full", mib)
	m.put("/usr/bin/podman", 0)
	s := steps(m.clean(0.0001, false, units{pruneUnit: func() error { return errors.New("no podman") }}))
	if s["logs"].Error == "" || s["journal"].Error == "" || s["images"].Error != "no podman" {
		t.Errorf("%+v", s)
	}
	if s["apt"].Files != 1 || s["cache"].Files != 1 || s["database"].Error != "" {
		t.Errorf("%+v", s)
	}
	if s["bundles"].Skipped != "/var/lib/arasul/updates does not exist" {
		t.Errorf("%+v", s)
	}
}

func TestCleanUpEndsWithItsContext(t *testing.T) {
	m := newMachine(t, 64*mib)
	m.fill()
	before := m.all()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := Cleaner{root: m.root, target: 0.0001}
	report, err := c.Clean(ctx)
	if !errors.Is(err, context.Canceled) || len(report.Steps) != 8 || report.Steps[0].Skipped != "there was no time left" {
		t.Errorf("%+v, %v", report, err)
	}
	if diff := cmp.Diff(before, m.all()); diff != "" {
		t.Errorf("touched:\n%s", diff)
	}
}

func TestPackagesThatAptIsAtWorkWithStay(t *testing.T) {
	m := newMachine(t, 64*mib)
	m.put("/var/cache/apt/archives/lock", 0)
	m.put("/var/cache/apt/archives/a.deb", mib)
	// Such locks are between processes.
	holder := exec.Command("python3", "-c", "import fcntl,sys\nf=open(sys.argv[1],'r+')\nfcntl.lockf(f,fcntl.LOCK_EX)\nprint('held',flush=True)\nsys.stdin.read()", m.root+"/var/cache/apt/archives/lock")
	stdin, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdout.Read(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	if s := steps(m.clean(0.0001, false, nil))["apt"]; s.Skipped != "apt is at work" {
		t.Errorf("%+v", s)
	}
	m.wantThere("/var/cache/apt/archives/a.deb")
	_ = stdin.Close()
	_ = holder.Wait()
	if s := steps(m.clean(0.0001, false, nil))["apt"]; s.Files != 1 {
		t.Errorf("%+v", s)
	}
}

// Who may write into one of the places must not be able to have other files
// removed.
func TestAttacksOnTheCleanUp(t *testing.T) {
	const victim = "/srv/victim/precious.deb"
	for name, attack := range map[string]func(m *machine){
		"link to a file":      func(m *machine) { m.link(victim, "/var/cache/arasul/x") },
		"link to a folder":    func(m *machine) { m.link("/srv/victim", "/var/cache/arasul/x") },
		"link upwards":        func(m *machine) { m.link("../../../srv/victim", "/var/cache/arasul/x") },
		"the place is a link": func(m *machine) { m.link("/srv/victim", "/var/cache/arasul") },
		"another file system": func(m *machine) {
			m.mount("tmpfs", m.folder("/var/cache/arasul/x"), "tmpfs", 0, "size=1m")
			m.put("/var/cache/arasul/x/theirs", 4096)
		},
		"the same one, mounted below": func(m *machine) {
			m.mount(m.root+"/srv/victim", m.folder("/var/cache/arasul/x"), "", unix.MS_BIND, "")
		},
		"a folder named like a package": func(m *machine) { m.put("/var/cache/apt/archives/x.deb/inside", 1) },
		"a pipe": func(m *machine) {
			if err := unix.Mkfifo(m.folder("/var/cache/arasul")+"/x", 0o600); err != nil {
				m.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, 64*mib)
			m.put(victim, mib)
			m.folder("/var/cache/apt/archives")
			attack(m)
			before := m.all()
			for _, s := range m.clean(0.0001, false, nil).Steps {
				if s.Files > 0 || s.FreedBytes > 0 {
					t.Errorf("%+v", s)
				}
			}
			if diff := cmp.Diff(before, m.all()); diff != "" {
				t.Errorf("removed:\n%s", diff)
			}
		})
	}
}

func (m *machine) link(to, from string) {
	m.t.Helper()
	m.folder(filepath.Dir(from))
	if strings.HasPrefix(to, "/") {
		to = m.root + to
	}
	if err := os.Symlink(to, m.root+from); err != nil {
		m.t.Fatal(err)
	}
}

// Between the look and the removal a folder becomes a link.
func TestFolderThatIsSwappedForALinkIsNotFollowed(t *testing.T) {
	m := newMachine(t, 64*mib)
	m.put("/var/cache/arasul/x/precious", mib)
	m.put("/srv/victim/precious", mib)
	s, err := measure(m.root)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := openTree(m.root+"/var/cache/arasul", s.device)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	files, err := tree.files(t.Context(), place{depth: 1})
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	if err := os.RemoveAll(m.root + "/var/cache/arasul/x"); err != nil {
		t.Fatal(err)
	}
	m.link("/srv/victim", "/var/cache/arasul/x")
	if err := tree.remove(files[0]); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("got %v", err)
	}
	m.wantThere("/srv/victim/precious")
}

// A file with another name gives nothing back.
func TestHardLinksAreNotCountedAsFreed(t *testing.T) {
	m := newMachine(t, 64*mib)
	m.put("/srv/kept", mib)
	if err := os.Link(m.root+"/srv/kept", m.folder("/var/cache/arasul")+"/x"); err != nil {
		t.Fatal(err)
	}
	if s := steps(m.clean(0.0001, false, nil))["cache"]; s.Files != 1 || s.FreedBytes != 0 {
		t.Errorf("%+v", s)
	}
	m.wantThere("/srv/kept")
}

func TestReserveIsReallyAllocatedAndGivenBackFirst(t *testing.T) {
	m := newMachine(t, 400*mib)
	size, why, err := reserve(m.root)
	if err != nil || size != 4*mib || why != "" {
		t.Fatalf("%d, %q, %v: want 1 %% of 400 MiB", size, why, err)
	}
	if s, err := measure(m.root); err != nil || s.used < 4*mib {
		t.Errorf("%+v, %v: the reserve takes no room", s, err)
	}
	if st, err := os.Stat(m.root + reserveFile); err != nil || st.Mode().Perm() != 0o600 || st.Size() != 4*mib {
		t.Errorf("%v, %v", st, err)
	}
	if again, why, err := reserve(m.root); err != nil || again != size || why != "" {
		t.Errorf("%d, %q, %v", again, why, err)
	}
	m.put("/var/lib/arasul/models/big", 350*mib)
	if again, why, err := reserve(m.root); err != nil || again != size || why != "" {
		t.Errorf("%d, %q, %v: one that is there stays", again, why, err)
	}
	m.put("/var/cache/arasul/x", 20*mib)
	report := m.clean(0.93, false, nil)
	if s := steps(report); !report.Reached || s["reserve"].FreedBytes != 4*mib || s["cache"].Skipped != "there is room enough" {
		t.Errorf("%+v", report)
	}
	m.wantGone(reserveFile)
	if size, why, err := reserve(m.root); err != nil || size != 0 || !strings.Contains(why, "a reserve is set aside below 80 %") {
		t.Errorf("%d, %q, %v: none while it is this full", size, why, err)
	}
	m.wantGone(reserveFile)
}

func TestReserveIsAtMost256MiB(t *testing.T) {
	m := newMachine(t, 40<<30) // of a file system in memory, which takes only what it is given
	if size, why, err := reserve(m.root); err != nil || size != 256*mib || why != "" {
		t.Errorf("%d, %q, %v", size, why, err)
	}
}

func TestReserveThatIsNoFileIsAnError(t *testing.T) {
	m := newMachine(t, 400*mib)
	m.put("/srv/victim", 1)
	m.link("/srv/victim", reserveFile)
	if size, _, err := reserve(m.root); err == nil {
		t.Errorf("%d bytes set aside through a link", size)
	}
	if st, err := os.Stat(m.root + "/srv/victim"); err != nil || st.Size() != 1 {
		t.Errorf("%v, %v", st, err)
	}
}
