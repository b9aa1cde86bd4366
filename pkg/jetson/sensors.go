package jetson

import (
	"path/filepath"
	"strconv"
	"strings"

	"github.com/arasul/arasul/pkg/api"
)

// temperature is that of the GPU's own zone, or of the hottest part of the chip
// (tj) while the GPU has no power and its zone does not answer. Slowdown is the
// zone's lowest passive trip point, where the kernel begins to slow the clocks.
//
// Zones are found by name: their numbers change from release to release.
// JetPack 5 calls the GPU's GPU-therm, later ones gpu-thermal.
func (b *Board) temperature() (celsius, slowdown *float64) {
	dir := filepath.Join(b.root, "sys/class/thermal")
	zones := map[string]string{}
	for _, name := range list(dir) {
		if !strings.HasPrefix(name, "thermal_zone") {
			continue
		}
		kind, err := read(filepath.Join(dir, name, "type"))
		if err != nil {
			continue
		}
		kind, _, _ = strings.Cut(strings.ToLower(strings.ReplaceAll(kind, "_", "-")), "-")
		zones[kind] = filepath.Join(dir, name)
	}
	for _, kind := range []string{"gpu", "tj"} {
		zone, ok := zones[kind]
		if !ok {
			continue
		}
		// A zone that is off may also say −256 °C.
		if t, err := number(filepath.Join(zone, "temp"), -100_000, 250_000); err == nil && celsius == nil {
			celsius = new(float64(t) / 1000)
		}
		if slowdown == nil {
			slowdown = passive(zone)
		}
	}
	return celsius, slowdown
}

// passive is the lowest passive trip point of a zone. One under 80 °C serves a
// fan and not the protection of the chip; one of 150 °C and more is switched off.
func passive(zone string) (lowest *float64) {
	for i := range 16 {
		trip := filepath.Join(zone, "trip_point_"+strconv.Itoa(i))
		kind, err := read(trip + "_type")
		if err != nil || kind != "passive" {
			continue
		}
		t, err := number(trip+"_temp", 80_000, 149_999)
		if c := float64(t) / 1000; err == nil && (lowest == nil || c < *lowest) {
			lowest = &c
		}
	}
	return lowest
}

// power is that of the rail that feeds the GPU, with whatever else hangs on it:
// VDD_GPU_SOC on AGX Orin, VDD_CPU_GPU_CV on Orin NX.
func (b *Board) power() *float64 {
	monitors, _ := filepath.Glob(filepath.Join(b.root, "sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*"))
	for _, dir := range monitors {
		for channel := 1; channel <= 3; channel++ {
			at := func(what, file string) string {
				return filepath.Join(dir, what+strconv.Itoa(channel)+"_"+file)
			}
			label, err := read(at("in", "label"))
			if err != nil || !strings.Contains(label, "GPU") {
				continue
			}
			mv, err := number(at("in", "input"), 0, 100_000)
			if err != nil {
				continue
			}
			ma, err := number(at("curr", "input"), 0, 1_000_000)
			if err != nil {
				continue
			}
			return new(float64(mv) * float64(ma) / 1e6)
		}
	}
	return nil
}

// memoryTotal is the memory of the machine, which the GPU shares.
func (b *Board) memoryTotal() *uint64 {
	text, err := read(filepath.Join(b.root, "proc/meminfo"))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == "MemTotal:" && fields[2] == "kB" {
			kb, err := strconv.ParseUint(fields[1], 10, 50)
			if err != nil {
				return nil
			}
			return new(kb << 10)
		}
	}
	return nil
}

// memoryUsed is what processes hold for the GPU. Its list is in debugfs, which
// only root and holders of CAP_DAC_READ_SEARCH may read.
func (b *Board) memoryUsed() (used *uint64, processes []api.GPUProcess) {
	processes = []api.GPUProcess{}
	text, err := read(filepath.Join(b.root, "sys/kernel/debug/nvmap/iovmm/clients"))
	if err != nil {
		return nil, processes
	}
	for line := range strings.Lines(text) {
		// CLIENT PROCESS PID SIZE, where PROCESS may hold blanks, and a last
		// line "total SIZE".
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		size, ok := parseSize(f[len(f)-1])
		if !ok {
			continue // the heading
		}
		if f[0] == "total" && len(f) == 2 {
			used = &size
			continue
		}
		if len(f) < 4 || len(processes) == maxProcesses {
			continue
		}
		pid, err := strconv.ParseUint(f[len(f)-2], 10, 32)
		if err != nil {
			continue
		}
		processes = append(processes, api.GPUProcess{
			PID:         uint32(pid),
			Name:        strings.Join(f[1:len(f)-2], " "),
			MemoryBytes: &size,
		})
	}
	return used, processes
}
