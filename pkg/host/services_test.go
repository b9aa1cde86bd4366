package host

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/api"
)

// The files of a control group as Linux 6.1 writes them.
var group = map[string]string{
	"cpu.stat":        "usage_usec 4000000\nuser_usec 3000000\nsystem_usec 1000000\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\nnr_bursts 0\nburst_usec 0\n",
	"memory.current":  "13631488\n",
	"memory.events":   "low 0\nhigh 4\nmax 3\noom 2\noom_kill 1\noom_group_kill 0\n",
	"cpu.pressure":    "some avg10=1.25 avg60=0.00 avg300=0.00 total=8101\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
	"memory.pressure": "some avg10=50.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
	"io.pressure":     "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
	"cgroup.procs":    "812\n",
}

// addGroup makes a control group at a path below the root of all.
func addGroup(t testing.TB, root, path string) string {
	t.Helper()
	dir := filepath.Join(root, "sys/fs/cgroup", path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range group {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const core = "arasul.slice/arasul-core.slice/"

// Proves METRICS-1.
func TestServicesAreReadFromTheirControlGroups(t *testing.T) {
	root := tree(t, "vm")
	addGroup(t, root, core+"arasul-proxy.service")
	metrics := addGroup(t, root, core+"arasul-metrics.service")
	llm := addGroup(t, root, "arasul.slice/arasul-apps.slice/arasul-llm.service")
	addGroup(t, root, "arasul.slice/arasul-apps.slice/arasul-llm.service/libpod-payload-1") // podman --cgroups=split
	addGroup(t, root, "arasul.slice/arasul-usb@sda1.service")
	addGroup(t, root, core+"other.service")
	addGroup(t, root, "system.slice/arasul-stray.service")
	for _, name := range []string{"memory.current", "memory.events", "memory.pressure"} { // no memory controller
		if err := os.Remove(filepath.Join(llm, name)); err != nil {
			t.Fatal(err)
		}
	}
	s := sampler(t, root)
	now := time.Now()
	mustSample(t, s, now)
	edit(t, metrics, "cpu.stat", "usage_usec 4000000", "usage_usec 6000000")
	got := mustSample(t, s, now.Add(5*time.Second)).Services

	full := api.ServiceSample{
		CPUSecondsTotal: 4, MemoryBytes: new(uint64(13 << 20)), OOMKillsTotal: new(uint64(1)),
		PressureCPURatio: new(0.0125), PressureMemoryRatio: new(0.5), PressureIORatio: new(0.0),
	}
	want := []api.ServiceSample{full, full, full}
	want[0].Unit, want[0].MemoryBytes, want[0].OOMKillsTotal, want[0].PressureMemoryRatio = "arasul-llm.service", nil, nil, nil
	want[1].Unit, want[1].CPUSecondsTotal, want[1].CPURatio = "arasul-metrics.service", 6, 2.0/(5*2) // of two cores
	want[2].Unit = "arasul-proxy.service"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestMachineWithoutControlGroupsOfVersion2HasNoServices(t *testing.T) {
	root := tree(t, "vm")
	if err := os.MkdirAll(filepath.Join(root, "sys/fs/cgroup/memory/arasul.slice/arasul-metrics.service"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := mustSample(t, sampler(t, root), time.Now()).Services; got != nil {
		t.Errorf("services %+v", got)
	}
}

func TestServicesThatComeAndGoAreSeenAtTheNextLook(t *testing.T) {
	root := tree(t, "vm")
	addGroup(t, root, core+"arasul-metrics.service")
	s := sampler(t, root)
	now := time.Now()
	look := func(want ...string) {
		t.Helper()
		now = now.Add(5 * time.Second)
		var got []string
		for _, u := range mustSample(t, s, now).Services {
			got = append(got, strings.TrimSuffix(strings.TrimPrefix(u.Unit, "arasul-"), ".service"))
		}
		if !slices.Equal(got, want) {
			t.Errorf("services %v, want %v", got, want)
		}
	}
	look("metrics")
	kept := s.services.units[0]
	dir := addGroup(t, root, core+"arasul-mdns.service")
	look("mdns", "metrics")
	addGroup(t, root, "arasul.slice/arasul-apps.slice/arasul-n8n.service")
	look("mdns", "metrics", "n8n")
	if s.services.units[1] != kept {
		t.Error("the counters of a unit that stayed were forgotten")
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	look("metrics", "n8n")
}

// A restart gives the unit a new control group under the old name; the files
// that are open then answer with an error.
func TestRestartOfAServiceIsNoLeapAndNoGap(t *testing.T) {
	for name, c := range map[string]struct {
		restart func(u *service)
		usage   int // of the new run, in microseconds
	}{
		"files are gone":  {func(u *service) { _ = unix.Close(u.cpu.fd) }, 5_000_000},
		"counter is back": {func(*service) {}, 1_000_000},
	} {
		t.Run(name, func(t *testing.T) {
			root := tree(t, "vm")
			dir := addGroup(t, root, core+"arasul-metrics.service")
			s := sampler(t, root)
			now := time.Now()
			mustSample(t, s, now)
			usage := func(n int) string { return fmt.Sprintf("usage_usec %d\n", n) }
			edit(t, dir, "cpu.stat", usage(4_000_000), usage(c.usage))
			c.restart(s.services.units[0])
			got := mustSample(t, s, now.Add(5*time.Second)).Services
			if len(got) != 1 || got[0].MemoryBytes == nil {
				t.Fatalf("services %+v", got)
			}
			near(t, "CPU ratio", got[0].CPURatio, float64(c.usage)/1e6/(5*2))
			edit(t, dir, "cpu.stat", usage(c.usage), usage(c.usage+1_000_000))
			got = mustSample(t, s, now.Add(10*time.Second)).Services
			near(t, "CPU ratio afterwards", got[0].CPURatio, 1.0/(5*2))
		})
	}
}

func FuzzKeyed(f *testing.F) {
	f.Add([]byte(group["cpu.stat"]))
	f.Add([]byte("usage_usec 18446744073709551616\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if n, err := parseKeyed(text, "usage_usec"); err == nil && !strings.Contains(string(text), "usage_usec") {
			t.Errorf("%d out of nothing", n)
		}
	})
}

// BenchmarkSampleTenServices looks at a machine with ten services of ours.
func BenchmarkSampleTenServices(b *testing.B) {
	root := b.TempDir()
	if err := os.CopyFS(root, os.DirFS("testdata/vm")); err != nil {
		b.Fatal(err)
	}
	for n := range 10 {
		addGroup(b, root, fmt.Sprintf("%sarasul-%d.service", core, n))
	}
	s := New(Options{Root: root, Disk: root})
	defer s.Close()
	b.ReportAllocs()
	for b.Loop() {
		if out, err := s.Sample(time.Now()); err != nil || len(out.Services) != 10 {
			b.Fatal(len(out.Services), err)
		}
	}
}
