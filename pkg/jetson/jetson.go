// Package jetson sees the GPU of an NVIDIA Jetson through /proc and /sys, and
// sets its highest clock.
//
// Nothing is taken from a table of boards: the GPU is found among the devices
// that scale their clocks, so JetPack 5, 6 and 7 look the same. Thor's GPU has
// no load file and is left to NVML. The package does not decide when a GPU is
// too hot, and it does not reset one: it is part of the processor.
//
// Sources of the paths and units: jetson_stats (jtop/core/gpu.py, power.py,
// temperature.py), the tegra234 device trees, kernel Documentation/ABI/testing/
// sysfs-class-devfreq.
package jetson

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/arasul/arasul/pkg/api"
)

const (
	maxEntries   = 256 // of a directory of /sys
	maxProcesses = 256
)

// nodes are the names that the device trees give the GPU, oldest first.
var nodes = []string{"gp10b", "gv11b", "ga10b", "gpu", "gb10b"}

// Board is the GPU of this machine. Its methods must not be called at the same
// time.
type Board struct {
	root    string
	devfreq string // the GPU's folder in /sys/class/devfreq
	name    string
	driver  string
}

// Open finds the GPU below root, which is / on a real machine. It fails when the
// machine is no Jetson, and while the driver has not made the GPU's files, which
// it may do long after boot: try again later.
func Open(root string) (*Board, error) {
	model, _ := read(filepath.Join(root, "proc/device-tree/model"))
	compatible, _ := read(filepath.Join(root, "proc/device-tree/compatible"))
	if !strings.Contains(model, "Jetson") && !strings.Contains(compatible, "nvidia,tegra") {
		return nil, errors.New("no Jetson")
	}
	b := &Board{root: root, name: model, driver: release(root)}
	dir := filepath.Join(root, "sys/class/devfreq")
	for _, name := range list(dir) {
		d := filepath.Join(dir, name)
		if !isGPU(d, name) {
			continue
		}
		if _, err := number(filepath.Join(d, "device/load"), 0, 1000); err == nil {
			b.devfreq = d
			return b, nil
		}
	}
	return nil, errors.New("a Jetson without a load file of its GPU (Thor has none; elsewhere the driver is not up yet)")
}

// isGPU asks the device tree, and the device's name when the tree is silent.
func isGPU(dir, name string) bool {
	node, err := read(filepath.Join(dir, "device/of_node/name"))
	if err != nil {
		_, node, _ = strings.Cut(name, ".") // as in 17000000.gpu
	}
	return slices.Contains(nodes, strings.ToLower(node))
}

// ID is the name of the GPU's device, like 17000000.gpu.
func (b *Board) ID() string { return filepath.Base(b.devfreq) }

// Close is here for symmetry with other back ends: nothing stays open.
func (b *Board) Close() error { return nil }

// Sample looks at the GPU once. It fails when the load cannot be read; whatever
// else is missing is left out.
func (b *Board) Sample() ([]api.GPU, error) {
	load, err := number(filepath.Join(b.devfreq, "device/load"), 0, 1000)
	if err != nil {
		return nil, err
	}
	g := api.GPU{
		ID:               b.ID(),
		Name:             b.name,
		Driver:           b.driver,
		UtilisationRatio: new(float64(load) / 1000), // per mille
		MemoryUnified:    true,
		MemoryTotalBytes: b.memoryTotal(),
		PowerWatts:       b.power(),
		Throttle:         []string{},
	}
	g.MemoryUsedBytes, g.Processes = b.memoryUsed()
	g.TemperatureCelsius, g.SlowdownCelsius = b.temperature()
	if hz, err := hertz(filepath.Join(b.devfreq, "cur_freq")); err == nil {
		g.ClockHertz = &hz
	}
	if l, err := b.Limit(g.ID); err == nil {
		g.ClockMaxHertz = &l.Full
		if l.Now < l.Full {
			g.Throttle = append(g.Throttle, "clock-limit")
		}
	}
	return []api.GPU{g}, nil
}

// Limit says how fast the GPU may run.
func (b *Board) Limit(id string) (api.GPULimit, error) {
	if id != b.ID() {
		return api.GPULimit{}, fmt.Errorf("no GPU %q", id)
	}
	now, err := hertz(filepath.Join(b.devfreq, "max_freq"))
	if err != nil {
		return api.GPULimit{}, err
	}
	path := filepath.Join(b.devfreq, "available_frequencies")
	text, err := read(path)
	if err != nil {
		return api.GPULimit{}, err
	}
	var steps []uint64
	for _, field := range strings.Fields(text) {
		hz, err := strconv.ParseUint(field, 10, 64)
		if err != nil || hz == 0 || len(steps) == maxEntries {
			return api.GPULimit{}, fmt.Errorf("%s: %q is no list of frequencies", path, clip(text))
		}
		steps = append(steps, hz)
	}
	if len(steps) == 0 {
		return api.GPULimit{}, fmt.Errorf("%s: empty", path)
	}
	slices.Sort(steps)
	return api.GPULimit{Unit: "hertz", Now: now, Min: steps[0], Full: steps[len(steps)-1], Steps: steps}, nil
}

// SetLimit sets the highest clock, until the next boot or change of power mode.
// The kernel rounds a value that is not one of the steps and says nothing, so
// what it took is read back.
func (b *Board) SetLimit(id string, hz uint64) error {
	if id != b.ID() {
		return fmt.Errorf("no GPU %q", id)
	}
	path := filepath.Join(b.devfreq, "max_freq")
	if err := write(path, strconv.FormatUint(hz, 10)); err != nil {
		return err
	}
	switch now, err := hertz(path); {
	case err != nil:
		return err
	case now != hz:
		return fmt.Errorf("%s: wrote %d, the kernel took %d", path, hz, now)
	}
	return nil
}

var releaseLine = regexp.MustCompile(`^# R(\d{1,3}) \(release\), REVISION: (\d{1,3}(?:\.\d{1,3})?)`)

// release is the version of Linux for Tegra, empty when it is not told.
func release(root string) string {
	text, err := read(filepath.Join(root, "etc/nv_tegra_release"))
	if err != nil {
		return ""
	}
	m := releaseLine.FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return "L4T " + m[1] + "." + m[2]
}

// list returns the names in a folder of /sys, none when it is not there.
func list(dir string) []string {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(maxEntries)
	slices.Sort(names)
	return names
}
