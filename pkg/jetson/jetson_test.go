package jetson

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/api"
)

// tree makes the files of a board; testdata/README has the format.
func tree(t *testing.T, board string) (root string) {
	t.Helper()
	root = t.TempDir()
	text, err := os.ReadFile(filepath.Join("testdata", board))
	if err != nil {
		t.Fatal(err)
	}
	unescape := strings.NewReplacer(`\n`, "\n", `\0`, "\x00")
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		name, rest, _ := strings.Cut(line, " ")
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		kind, content, _ := strings.Cut(rest, " ")
		switch kind {
		case "=":
			err = os.WriteFile(path, []byte(unescape.Replace(content)+"\n"), 0o644)
		case "->":
			err = os.Symlink(content, path)
		case "asleep":
			sleep(t, path)
		default:
			t.Fatalf("%s: %q", board, line)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// sleep makes a file that answers EAGAIN, as a sensor without power does: a
// FIFO that somebody holds open for writing.
func sleep(t *testing.T, path string) {
	t.Helper()
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	writer, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { writer.Close() }) // also ends a read that hangs
	if _, err := read(path); !strings.Contains(err.Error(), unix.EAGAIN.Error()) {
		t.Fatalf("a sensor asleep answers %v", err)
	}
}

func set(t *testing.T, root, path, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, root string) *Board {
	t.Helper()
	b, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sample(t *testing.T, b *Board) api.GPU {
	t.Helper()
	list, err := b.Sample()
	if err != nil || len(list) != 1 {
		t.Fatalf("%d GPUs, %v", len(list), err)
	}
	return list[0]
}

// Proves GPU-1.
func TestEveryLayoutIsFound(t *testing.T) {
	total := uint64(64349268 << 10)
	for board, want := range map[string]api.GPU{
		"orin-jp5": {
			ID: "17000000.ga10b", Name: "Jetson AGX Orin", Driver: "L4T 35.4.1",
			UtilisationRatio: new(1.0), MemoryUnified: true, MemoryTotalBytes: &total,
			TemperatureCelsius: new(58.5), SlowdownCelsius: new(97.0),
			ClockHertz: new(uint64(1300500000)), ClockMaxHertz: new(uint64(1300500000)),
			Throttle: []string{"clock-limit"}, Processes: []api.GPUProcess{},
		},
		"orin-jp6": {
			ID: "17000000.gpu", Name: "NVIDIA Jetson AGX Orin Developer Kit", Driver: "L4T 36.4.3",
			UtilisationRatio: new(0.423), MemoryUnified: true, MemoryTotalBytes: &total,
			MemoryUsedBytes:    new(uint64(9488384 << 10)),
			TemperatureCelsius: new(44.187), SlowdownCelsius: new(99.0), PowerWatts: new(19.184 * 0.624),
			ClockHertz: new(uint64(918000000)), ClockMaxHertz: new(uint64(1300500000)),
			Throttle: []string{},
			Processes: []api.GPUProcess{
				{PID: 2817, Name: "ollama", MemoryBytes: new(uint64(9437184 << 10))},
				{PID: 1903, Name: "gnome shell", MemoryBytes: new(uint64(51200 << 10))},
			},
		},
		"orin-jp7": { // the GPU asleep: its zone says EAGAIN, the die's hottest is taken
			ID: "17000000.gpu", Name: "NVIDIA Jetson AGX Orin Developer Kit", Driver: "L4T 39.2.0",
			UtilisationRatio: new(0.0), MemoryUnified: true, MemoryTotalBytes: &total,
			TemperatureCelsius: new(41.062), SlowdownCelsius: new(99.0),
			ClockHertz: new(uint64(306000000)), ClockMaxHertz: new(uint64(1300500000)),
			Throttle: []string{}, Processes: []api.GPUProcess{},
		},
	} {
		t.Run(board, func(t *testing.T) {
			got := sample(t, open(t, tree(t, board)))
			near := cmp.Comparer(func(a, b float64) bool { return max(a-b, b-a) < 1e-9 })
			if diff := cmp.Diff(want, got, near); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestThorIsLeftToNVML(t *testing.T) {
	if _, err := Open(tree(t, "thor")); err == nil || !strings.Contains(err.Error(), "Thor") {
		t.Errorf("got %v", err)
	}
}

func TestOtherMachinesAreNoJetson(t *testing.T) {
	if _, err := Open(t.TempDir()); err == nil || err.Error() != "no Jetson" {
		t.Errorf("got %v", err)
	}
}

// A daemon that started before the driver must find the GPU later.
func TestGPUThatAppearsLateIsFound(t *testing.T) {
	root := tree(t, "orin-jp6")
	class, aside := filepath.Join(root, "sys/class/devfreq"), filepath.Join(root, "aside")
	if err := os.Rename(class, aside); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(root); err == nil {
		t.Fatal("found a GPU without its driver")
	}
	if err := os.Rename(aside, class); err != nil {
		t.Fatal(err)
	}
	open(t, root)
}

func TestMissingDeviceTreeNodeIsReplacedByTheName(t *testing.T) {
	root := tree(t, "orin-jp6")
	if err := os.Remove(filepath.Join(root, "sys/devices/platform/bus@0/17000000.gpu/of_node/name")); err != nil {
		t.Fatal(err)
	}
	open(t, root)
}

func TestNonsenseIsLeftOut(t *testing.T) {
	const gpu = "sys/devices/platform/bus@0/17000000.gpu/"
	for path, text := range map[string]string{
		"sys/class/thermal/thermal_zone1/temp":                      "-256000\n",
		"sys/class/thermal/thermal_zone8/temp":                      "9999999999999999999999\n",
		"sys/class/thermal/thermal_zone1/trip_point_2_temp":         "0\n",
		"sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/in1_input": "many\n",
		"sys/kernel/debug/nvmap/iovmm/clients":                      "total 99999999999999999999K\nuser x 1 99999999999999999G\n",
		"proc/meminfo":                                              "MemTotal: 99999999999999999999 kB\n",
		"etc/nv_tegra_release":                                      strings.Repeat("# R36 (release", 9000),
		gpu + "devfreq/17000000.gpu/cur_freq":                       "-1\n",
		gpu + "devfreq/17000000.gpu/available_frequencies":          "1 2 x\n",
	} {
		root := tree(t, "orin-jp6")
		set(t, root, path, text)
		if path == "sys/class/thermal/thermal_zone8/temp" {
			set(t, root, "sys/class/thermal/thermal_zone1/temp", "x")
		}
		g := sample(t, open(t, root))
		left := map[string]bool{
			"sys/class/thermal/thermal_zone1/temp":                      g.TemperatureCelsius != nil && *g.TemperatureCelsius == 48.312,
			"sys/class/thermal/thermal_zone8/temp":                      g.TemperatureCelsius == nil,
			"sys/class/thermal/thermal_zone1/trip_point_2_temp":         g.SlowdownCelsius == nil,
			"sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3/in1_input": g.PowerWatts == nil,
			"sys/kernel/debug/nvmap/iovmm/clients":                      g.MemoryUsedBytes == nil && len(g.Processes) == 0,
			"proc/meminfo":                                              g.MemoryTotalBytes == nil,
			"etc/nv_tegra_release":                                      g.Driver == "",
			gpu + "devfreq/17000000.gpu/cur_freq":                       g.ClockHertz == nil,
			gpu + "devfreq/17000000.gpu/available_frequencies":          g.ClockMaxHertz == nil,
		}
		if !left[path] {
			t.Errorf("%s = %.40q: %+v", path, text, g)
		}
	}
	root := tree(t, "orin-jp6")
	b := open(t, root)
	set(t, root, gpu+"load", "1001\n")
	if _, err := b.Sample(); err == nil {
		t.Error("a load of 100.1 % was believed")
	}
}

// Proves GPU-3.
func TestHighestClockIsSetAndReadBack(t *testing.T) {
	root := tree(t, "orin-jp6")
	b := open(t, root)
	l, err := b.Limit(b.ID())
	if err != nil || l.Now != 1300500000 || l.Min != 306000000 || l.Full != l.Now || len(l.Steps) != 11 {
		t.Fatalf("%+v, %v", l, err)
	}
	if err := b.SetLimit(b.ID(), 612000000); err != nil {
		t.Fatal(err)
	}
	if l, err = b.Limit(b.ID()); err != nil || l.Now != 612000000 || l.Full != 1300500000 {
		t.Fatalf("%+v, %v", l, err)
	}
	if err := b.SetLimit("17000000.vic", 612000000); err == nil {
		t.Error("a device that is no GPU was limited")
	}
}

// The kernel rounds in silence; a file that keeps its content plays it.
func TestClockThatTheKernelRoundedIsAnError(t *testing.T) {
	root := tree(t, "orin-jp6")
	b := open(t, root)
	path := filepath.Join(b.devfreq, "max_freq")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", path); err != nil {
		t.Fatal(err)
	}
	if err := b.SetLimit(b.ID(), 612000000); err == nil {
		t.Error("no error")
	}
}

func FuzzReadNumber(f *testing.F) {
	f.Add("423\n")
	f.Add("-256000")
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), "load")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := number(path, 0, 1000); err == nil && (n < 0 || n > 1000) {
			t.Errorf("%q is %d", text, n)
		}
		if n, ok := parseSize(text); ok && n > 1<<63 {
			t.Errorf("%q is %d bytes", text, n)
		}
	})
}
