package host

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

// seed adds the recorded files of that name.
func seed(f *testing.F, path string) {
	f.Helper()
	names, err := filepath.Glob(filepath.Join("testdata/*", path))
	if err != nil || len(names) == 0 {
		f.Fatalf("no recorded %s (%v)", path, err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
}

func FuzzStat(f *testing.F) {
	seed(f, "proc/stat")
	f.Fuzz(func(t *testing.T, text []byte) {
		var c cpu
		cores := 0
		for range 2 {
			_ = parseStat(text, func(core int, now cpuTimes) {
				cores++
				if busy, total := c.advance(core, now); busy > total {
					t.Errorf("core %d busy %d of %d", core, busy, total)
				}
			})
		}
		if cores > 2*maxCores || len(c.cores) > maxCores {
			t.Errorf("%d cores", cores)
		}
	})
}

func FuzzMeminfo(f *testing.F) {
	seed(f, "proc/meminfo")
	f.Fuzz(func(t *testing.T, text []byte) {
		if m, err := parseMeminfo(text); err == nil && m.total == 0 {
			t.Errorf("no memory: %+v", m)
		}
	})
}

func FuzzDiskstats(f *testing.F) {
	seed(f, "proc/diskstats")
	f.Fuzz(func(t *testing.T, text []byte) {
		_ = parseDiskstats(text, func(name []byte, read, written uint64) {
			if len(name) == 0 || read%sector != 0 || written%sector != 0 {
				t.Errorf("%q read %d, wrote %d", name, read, written)
			}
		})
	})
}

func FuzzNetDev(f *testing.F) {
	seed(f, "proc/net/dev")
	f.Fuzz(func(t *testing.T, text []byte) {
		_ = parseNetDev(text, func(name []byte, _, _ uint64) {
			if len(name) == 0 || len(name) > 15 {
				t.Errorf("interface %q", name)
			}
		})
	})
}

func FuzzPressure(f *testing.F) {
	seed(f, "proc/pressure/*")
	f.Fuzz(func(t *testing.T, text []byte) {
		if r, err := parsePressure(text); err == nil && !(r >= 0 && r <= 1) {
			t.Errorf("ratio %v", r)
		}
	})
}

func FuzzFirst(f *testing.F) {
	seed(f, "proc/loadavg")
	seed(f, "proc/uptime")
	f.Fuzz(func(t *testing.T, text []byte) {
		if n, err := parseFirst(text); err == nil && (n < 0 || math.IsNaN(n) || math.IsInf(n, 0)) {
			t.Errorf("%v", n)
		}
	})
}

func FuzzTemperature(f *testing.F) {
	seed(f, "sys/class/thermal/thermal_zone*/temp")
	f.Fuzz(func(t *testing.T, text []byte) {
		if n, ok := parseTemperature(text); ok && (n <= coldest || n >= warmest) {
			t.Errorf("%d", n)
		}
	})
}
