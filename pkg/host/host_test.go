package host

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/api"
)

// tree copies a recorded tree to where a test may change it.
func tree(t *testing.T, name string) string {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS(filepath.Join("testdata", name))); err != nil {
		t.Fatal(err)
	}
	return root
}

// edit replaces text in a file in place, as the kernel does: a sampler holds
// the file open.
func edit(t *testing.T, root, path, old, new string) {
	t.Helper()
	name := filepath.Join(root, path)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("%s holds no %q", path, old)
	}
	if err := os.WriteFile(name, []byte(strings.Replace(string(text), old, new, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

func sampler(t *testing.T, root string) *Sampler {
	t.Helper()
	s := New(Options{Root: root, Disk: t.TempDir()})
	t.Cleanup(s.Close)
	return s
}

func mustSample(t *testing.T, s *Sampler, now time.Time) api.Sample {
	t.Helper()
	out, err := s.Sample(now)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-6*math.Max(1, math.Abs(want)) {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}

// Proves METRICS-1.
func TestRecordedMachine(t *testing.T) {
	s := sampler(t, tree(t, "vm"))
	now := time.Now()
	got := mustSample(t, s, now)
	if got.DiskTotalBytes == 0 || got.DiskUsedBytes == 0 || got.DiskUsedBytes > got.DiskTotalBytes {
		t.Errorf("disk %d of %d bytes used", got.DiskUsedBytes, got.DiskTotalBytes)
	}
	got.DiskTotalBytes, got.DiskUsedBytes = 0, 0
	if got.TemperatureCelsius != nil {
		t.Errorf("temperature %v on a machine without sensors", *got.TemperatureCelsius)
	}
	want := api.Sample{
		Time:     now.UTC().Round(0),
		CPUCores: 2, Load1: 0.42, UptimeSecs: 1371.08,
		MemoryTotalBytes: 24684096 << 10, MemoryUsedBytes: (24684096 - 24302924) << 10,
		PressureCPURatio: new(0.0003), PressureMemoryRatio: new(0.0), PressureIORatio: new(0.0),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestRatesAreSinceTheCallBefore(t *testing.T) {
	root := tree(t, "orin")
	s := sampler(t, root)
	now := time.Now()
	first := mustSample(t, s, now)
	if first.CPURatio != 0 || first.DiskReadBps != 0 || first.NetworkReceiveBps != 0 {
		t.Errorf("the first call has rates: %+v", first)
	}
	if first.CPUCores != 8 {
		t.Errorf("%d cores online, want 8 of 12", first.CPUCores)
	}

	// One core of eight: 300 ticks of user with 100 of guest among them, 100 of
	// steal, 500 of idle, 100 of iowait, and the others idle for 1000.
	edit(t, root, "proc/stat", "cpu0 60000 38 25000 1140000 1015 0 502 0 0 0", "cpu0 60300 38 25000 1140500 1115 0 502 100 100 0")
	for _, idle := range []string{"1140101", "1140202", "1140303", "1140404", "1140505", "1140606", "1140707"} {
		edit(t, root, "proc/stat", idle, strings.Replace(idle, "1140", "1141", 1))
	}
	// Every disk moves 1000 sectors more, every interface 5000 bytes.
	edit(t, root, "proc/diskstats", "402312", "403312")   // mmcblk0
	edit(t, root, "proc/diskstats", "400000", "401000")   // its partition
	edit(t, root, "proc/diskstats", "8012312", "8013312") // nvme0n1
	edit(t, root, "proc/diskstats", "9120400", "9122400") // nvme0n1, written
	edit(t, root, "proc/diskstats", "8010000", "8011000") // its partition
	edit(t, root, "proc/diskstats", "8000000", "8001000") // dm-0 on it
	edit(t, root, "proc/diskstats", " 50 0 400 ", " 50 0 1400 ")
	edit(t, root, "proc/diskstats", " 40 0 320 ", " 40 0 1320 ")
	edit(t, root, "proc/diskstats", " 60 0 480 ", " 60 0 1480 ")
	edit(t, root, "proc/diskstats", " 12 0 240 ", " 12 0 1240 ")
	edit(t, root, "proc/diskstats", " 300 0 2400 ", " 300 0 3400 ")
	edit(t, root, "proc/net/dev", "eth0:1201204412", "eth0:1201209412")
	edit(t, root, "proc/net/dev", "301204412", "301206912")
	edit(t, root, "proc/net/dev", "4400000", "4405000")
	edit(t, root, "proc/net/dev", "500000", "505000")
	for range 7 {
		edit(t, root, "proc/net/dev", " 700000 ", " 705000 ")
	}
	edit(t, root, "proc/net/dev", "lo: 9120441", "lo: 9125441")

	got := mustSample(t, s, now.Add(5*time.Second))
	near(t, "CPU ratio", got.CPURatio, 400.0/8000)
	near(t, "bytes read per second", got.DiskReadBps, 2*1000*512/5)
	near(t, "bytes written per second", got.DiskWriteBps, 2000*512/5)
	near(t, "bytes received per second", got.NetworkReceiveBps, 2*5000/5)
	near(t, "bytes sent per second", got.NetworkTransmitBps, 2500/5)

	third := mustSample(t, s, now.Add(10*time.Second))
	if third.CPURatio != 0 || third.DiskReadBps != 0 || third.NetworkReceiveBps != 0 {
		t.Errorf("nothing changed, but there are rates: %+v", third)
	}
}

func TestHottestZoneThatReads(t *testing.T) {
	got := mustSample(t, sampler(t, "testdata/orin"), time.Now())
	if got.TemperatureCelsius == nil {
		t.Fatal("no temperature")
	}
	near(t, "temperature", *got.TemperatureCelsius, 48.75)
}

func TestZoneThatAppearsLateIsFound(t *testing.T) {
	root := tree(t, "vm")
	s := sampler(t, root)
	now := time.Now()
	mustSample(t, s, now)
	zone := filepath.Join(root, "sys/class/thermal/thermal_zone0")
	if err := os.MkdirAll(zone, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(zone, "temp"), []byte("-5000\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	got := mustSample(t, s, now.Add(time.Minute))
	if got.TemperatureCelsius == nil || *got.TemperatureCelsius != -5 {
		t.Errorf("temperature %v, want -5", got.TemperatureCelsius)
	}
}

// The kernel has the zones of a Jetson slow the board down at 99 °C; tj, tboard
// and tdiode only switch it off. Whether a zone has power does not matter.
func TestLowestPassiveTripPoint(t *testing.T) {
	root := tree(t, "orin")
	s := sampler(t, root)
	now := time.Now()
	got := mustSample(t, s, now)
	if got.TripCelsius == nil {
		t.Fatal("no trip point")
	}
	near(t, "trip point", *got.TripCelsius, 99)

	// It is read anew with the list of zones, not before.
	edit(t, root, "sys/class/thermal/thermal_zone5/trip_point_0_temp", "99000", "95500")
	near(t, "trip point", *mustSample(t, s, now.Add(5*time.Second)).TripCelsius, 99)
	near(t, "trip point", *mustSample(t, s, now.Add(time.Minute)).TripCelsius, 95.5)
}

func TestTripPointThatCannotBeIsPassedOver(t *testing.T) {
	for name, text := range map[string]string{
		"not set": "0\n", "absolute zero": "-274000\n", "beyond what a board bears": "150001\n", "odd": "hot\n", "empty": "",
	} {
		root := tree(t, "orin")
		zones, err := filepath.Glob(filepath.Join(root, "sys/class/thermal/*/trip_point_0_temp"))
		if err != nil || len(zones) != 11 {
			t.Fatal(zones, err)
		}
		for _, file := range zones {
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := mustSample(t, sampler(t, root), time.Now()); got.TripCelsius != nil {
			t.Errorf("%s: %v", name, *got.TripCelsius)
		}
	}
}

// A zone without power answers EAGAIN, and a read that waits for it to become
// readable waits for ever. A FIFO that somebody holds open for writing answers
// the same, and os.ReadFile hangs on it.
func TestSleepingSensorDoesNotHang(t *testing.T) {
	root := tree(t, "orin")
	if err := os.Remove(filepath.Join(root, "sys/class/thermal/thermal_zone2/trip_point_0_temp")); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"thermal_zone2/temp", "thermal_zone2/trip_point_0_temp", "thermal_zone3/temp", "thermal_zone4/temp"} {
		path := filepath.Join(root, "sys/class/thermal", file)
		if err := unix.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
		writer, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer writer.Close() // also ends a read that hangs
	}
	s := sampler(t, root)
	done := make(chan api.Sample, 1)
	go func() {
		got, _ := s.Sample(time.Now())
		done <- got
	}()
	select {
	case got := <-done:
		if got.TemperatureCelsius == nil {
			t.Fatal("no temperature")
		}
		near(t, "temperature", *got.TemperatureCelsius, 48.75)
	case <-time.After(10 * time.Second):
		t.Fatal("Sample hangs")
	}
}

func TestIdleMayFallALittle(t *testing.T) {
	var c cpu
	c.advance(0, cpuTimes{1000, 0, 0, 50_000, 100})
	// Idle falls by 10 ticks while user grows by 100.
	busy, total := c.advance(0, cpuTimes{1100, 0, 0, 49_990, 100})
	if busy != 100 || total != 100 {
		t.Errorf("busy %d of %d, want 100 of 100", busy, total)
	}
	// It comes back: only what is above the highest value counts.
	busy, total = c.advance(0, cpuTimes{1100, 0, 0, 50_100, 100})
	if busy != 0 || total != 100 {
		t.Errorf("busy %d of %d, want 0 of 100", busy, total)
	}
}

func TestCoreThatComesBackBeginsAnew(t *testing.T) {
	var c cpu
	c.advance(3, cpuTimes{1000, 0, 0, 50_000, 1000})
	if busy, total := c.advance(3, cpuTimes{0, 0, 0, 10, 0}); busy != 0 || total != 0 {
		t.Errorf("busy %d of %d after a reset, want 0 of 0", busy, total)
	}
	if busy, total := c.advance(3, cpuTimes{100, 0, 0, 410, 0}); busy != 100 || total != 500 {
		t.Errorf("busy %d of %d, want 100 of 500", busy, total)
	}
}

func TestDevicesComeGoAndBeginAnew(t *testing.T) {
	counted := map[string]bool{"a": true, "b": true}
	s := newTally(func(name string) bool { return counted[name] })
	now := time.Now()
	step := func(after time.Duration, totals map[string]uint64, want uint64) {
		t.Helper()
		now = now.Add(after)
		s.begin(now)
		for name, n := range totals {
			s.add([]byte(name), n, 2*n)
		}
		in, out := s.end()
		if in != want || out != 2*want {
			t.Errorf("%v grew by %d and %d, want %d and %d", totals, in, out, want, 2*want)
		}
	}
	step(0, map[string]uint64{"a": 1000}, 0)
	step(time.Second, map[string]uint64{"a": 1100, "b": 5000}, 100) // b is new
	step(time.Second, map[string]uint64{"a": 1200, "b": 5010}, 110)
	step(time.Second, map[string]uint64{"a": 7, "b": 5020}, 10) // a began anew
	step(time.Second, map[string]uint64{"b": 5020}, 0)          // a is gone
	step(time.Second, map[string]uint64{"a": 9000, "b": 5020}, 0)
	counted["a"] = false // it became part of a bond
	step(time.Minute, map[string]uint64{"a": 9900, "b": 5021}, 1)
	if len(s.devices) != 2 {
		t.Errorf("%d devices remembered, want 2", len(s.devices))
	}
}

func TestRatesAreDroppedOverGapsAndJumps(t *testing.T) {
	const interval = 5 * time.Second
	for _, c := range []struct {
		name       string
		mono, wall time.Duration
		want       bool
	}{
		{"on time", interval, interval, true},
		{"a little late", interval + 300*time.Millisecond, interval + 301*time.Millisecond, true},
		{"one sample missed", 2 * interval, 2 * interval, true},
		{"two samples missed", 3 * interval, 3 * interval, false},
		{"the same instant", 0, 0, false},
		{"clock set forward", interval, interval + time.Hour, false},
		{"clock set back", interval, interval - time.Hour, false},
		{"machine slept", interval, 8 * time.Hour, false},
	} {
		if got := adjacent(c.mono, c.wall, interval); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestGapHasNoRates(t *testing.T) {
	root := tree(t, "vm")
	s := sampler(t, root)
	now := time.Now()
	mustSample(t, s, now)
	edit(t, root, "proc/stat", "cpu0 ", "cpu0 9")
	got := mustSample(t, s, now.Add(11*time.Second))
	if got.CPURatio != 0 {
		t.Errorf("CPU ratio %v after a gap of 11 s", got.CPURatio)
	}
	s.SetInterval(time.Minute)
	edit(t, root, "proc/stat", "cpu0 9", "cpu0 99")
	if got = mustSample(t, s, now.Add(71*time.Second)); got.CPURatio < 0.99 {
		t.Errorf("CPU ratio %v, want 1 within twice the interval", got.CPURatio)
	}
}

func TestMissingOrOddFileIsNamed(t *testing.T) {
	for _, path := range []string{"proc/stat", "proc/meminfo", "proc/loadavg", "proc/uptime", "proc/diskstats", "proc/net/dev"} {
		for name, spoil := range map[string]func(file string) error{
			"missing": os.Remove,
			"odd":     func(file string) error { return os.WriteFile(file, []byte("odd\n\nodd: odd\n"), 0o644) },
		} {
			t.Run(path+" "+name, func(t *testing.T) {
				root := tree(t, "vm")
				file := filepath.Join(root, path)
				good, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if err := spoil(file); err != nil {
					t.Fatal(err)
				}
				s := sampler(t, root)
				now := time.Now()
				if got, err := s.Sample(now); err == nil || !strings.Contains(err.Error(), file) {
					t.Errorf("got %+v, error %v does not name the file", got, err)
				}
				// It recovers by itself, and compares with no half look.
				if err := os.WriteFile(file, good, 0o644); err != nil {
					t.Fatal(err)
				}
				edit(t, root, "proc/diskstats", "3651810", "9651810")
				if got := mustSample(t, s, now.Add(5*time.Second)); got.DiskReadBps != 0 {
					t.Errorf("%v bytes read per second since a look that failed", got.DiskReadBps)
				}
			})
		}
	}
}

func TestKernelWithoutPressure(t *testing.T) {
	root := tree(t, "vm")
	if err := os.RemoveAll(filepath.Join(root, "proc/pressure")); err != nil {
		t.Fatal(err)
	}
	got := mustSample(t, sampler(t, root), time.Now())
	if got.PressureCPURatio != nil || got.PressureMemoryRatio != nil || got.PressureIORatio != nil {
		t.Errorf("pressure on a kernel that has none: %+v", got)
	}
}

func TestEndlessFileIsRefused(t *testing.T) {
	root := tree(t, "vm")
	if err := os.Truncate(filepath.Join(root, "proc/stat"), 2*maxFile); err != nil {
		t.Fatal(err)
	}
	if _, err := sampler(t, root).Sample(time.Now()); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("error %v", err)
	}
}

func TestStateDirectoryThatIsNotThereYet(t *testing.T) {
	dir := t.TempDir()
	s := New(Options{Disk: filepath.Join(dir, "not", "yet")})
	defer s.Close()
	got := mustSample(t, s, time.Now())
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	if want, _ := room(&st); got.DiskTotalBytes != want {
		t.Errorf("%d bytes, want the parent's %d", got.DiskTotalBytes, want)
	}
}

// ext4 keeps 5 % for root: when a service cannot write any more, the disk is full.
func TestDiskIsFullWhenServicesCannotWrite(t *testing.T) {
	total, used := room(&unix.Statfs_t{Frsize: 4096, Blocks: 1000, Bfree: 50, Bavail: 0})
	if total != used || total != 950*4096 {
		t.Errorf("%d of %d bytes", used, total)
	}
}

func TestSamplesDoNotShareMemory(t *testing.T) {
	root := tree(t, "orin")
	s := sampler(t, root)
	now := time.Now()
	first := mustSample(t, s, now)
	edit(t, root, "sys/class/thermal/thermal_zone8/temp", "48750", "91000")
	second := mustSample(t, s, now.Add(5*time.Second))
	near(t, "first temperature", *first.TemperatureCelsius, 48.75)
	near(t, "second temperature", *second.TemperatureCelsius, 91)
}

func TestSampleAllocatesNextToNothing(t *testing.T) {
	s := New(Options{})
	defer s.Close()
	mustSample(t, s, time.Now())
	if n := testing.AllocsPerRun(50, func() { mustSample(t, s, time.Now()) }); n > 5 {
		t.Errorf("%v allocations per sample, want at most 5", n)
	}
}

func BenchmarkSample(b *testing.B) {
	s := New(Options{})
	defer s.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Sample(time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}
