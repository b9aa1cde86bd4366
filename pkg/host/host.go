// Package host looks at the machine: it reads the text files of /proc and
// /sys and makes an api.Sample of them, once per call.
//
// It keeps its files open and its buffer between calls, so that a sample costs
// a fraction of a millisecond; what watches a machine must not be what loads
// it. It decides nothing, keeps no history, starts no goroutine, and knows
// neither GPUs nor single processes. Of our services it knows what their
// control groups count; how they do is systemd's to say.
//
// Rates are since the call before and are 0 when there is nothing to compare
// with: on the first call, after a gap of more than twice the interval, and
// when the wall clock was set or the machine slept in between.
package host

import (
	"fmt"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// Options says where to look. The zero value looks at the machine we run on.
type Options struct {
	// Root holds proc and sys; empty means /. It is for recorded trees and for
	// containers that mount the host's files elsewhere.
	Root string
	// Disk is a path on the file system to measure, taken as it is and not
	// below Root; empty means /var/lib/arasul. As long as it does not exist the
	// nearest parent that does stands in for it.
	Disk string
	// Interval is how far apart calls of Sample are expected; zero means 5 s.
	Interval time.Duration
}

// jump is how far the wall clock may drift from the monotonic clock between
// two samples before we call it set. NTP slews by 0.5 ms per second at most.
const jump = time.Second

// Sampler looks at one host. It may not be used by several goroutines at once.
type Sampler struct {
	interval time.Duration
	disk     string
	last     time.Time // of the sample before; zero before the first
	buf      buffer

	stat      *file
	meminfo   *file
	loadavg   *file
	uptime    *file
	diskstats *file
	netdev    *file
	pressure  [3]*file // cpu, memory, io

	cpu      cpu
	disks    *tally
	nics     *tally
	thermal  thermal
	services services
}

// New returns a Sampler that has not looked yet.
func New(o Options) *Sampler {
	if o.Root == "" {
		o.Root = "/"
	}
	if o.Disk == "" {
		o.Disk = "/var/lib/arasul"
	}
	if o.Interval == 0 {
		o.Interval = 5 * time.Second
	}
	at := func(path string) *file { return newFile(o.Root, path) }
	return &Sampler{
		interval:  o.Interval,
		disk:      o.Disk,
		stat:      at("proc/stat"),
		meminfo:   at("proc/meminfo"),
		loadavg:   at("proc/loadavg"),
		uptime:    at("proc/uptime"),
		diskstats: at("proc/diskstats"),
		netdev:    at("proc/net/dev"),
		pressure:  [3]*file{at("proc/pressure/cpu"), at("proc/pressure/memory"), at("proc/pressure/io")},
		disks:     newTally(wholeDisk(o.Root)),
		nics:      newTally(outward(o.Root)),
		thermal:   thermal{root: o.Root},
		services:  services{root: o.Root},
	}
}

// SetInterval says how far apart calls of Sample will be from now on.
func (s *Sampler) SetInterval(d time.Duration) { s.interval = d }

// Sample looks at the host now. Pass time.Now(), which carries the monotonic
// reading that rates are made of.
//
// A sensor or a file that this machine lacks (thermal zones, pressure, control
// groups of version 2) leaves its field nil. Without one of the others there is
// no sample but an error that names the file; the next call tries again.
func (s *Sampler) Sample(now time.Time) (api.Sample, error) {
	out := api.Sample{Time: now.UTC().Round(0)}
	elapsed, usable := s.elapsed(now)
	s.last = time.Time{} // until this look is complete, nothing can be compared with it

	for _, collect := range [...]func(*api.Sample) error{
		s.collectCPU, s.collectLoad, s.collectUptime, s.collectMemory, s.collectSpace,
	} {
		if err := collect(&out); err != nil {
			return api.Sample{}, err
		}
	}
	read, written, err := s.collectDisks(now)
	if err != nil {
		return api.Sample{}, err
	}
	received, sent, err := s.collectNetwork(now)
	if err != nil {
		return api.Sample{}, err
	}
	if usable {
		seconds := elapsed.Seconds()
		out.DiskReadBps = float64(read) / seconds
		out.DiskWriteBps = float64(written) / seconds
		out.NetworkReceiveBps = float64(received) / seconds
		out.NetworkTransmitBps = float64(sent) / seconds
	} else {
		out.CPURatio = 0
	}
	s.collectSensors(&out, now)
	var capacity time.Duration
	if usable {
		capacity = elapsed * time.Duration(out.CPUCores)
	}
	out.Services = s.services.collect(&s.buf, now, capacity)
	s.last = now
	return out, nil
}

// Close closes the files. A later Sample opens them again.
func (s *Sampler) Close() {
	for _, f := range []*file{s.stat, s.meminfo, s.loadavg, s.uptime, s.diskstats, s.netdev,
		s.pressure[0], s.pressure[1], s.pressure[2]} {
		f.close()
	}
	s.thermal.close()
	s.services.close()
}

// elapsed returns the time since the sample before, and whether rates may be
// made of it.
func (s *Sampler) elapsed(now time.Time) (time.Duration, bool) {
	if s.last.IsZero() {
		return 0, false
	}
	mono, wall := now.Sub(s.last), now.Round(0).Sub(s.last.Round(0))
	return mono, adjacent(mono, wall, s.interval)
}

// adjacent says whether two samples lie close enough together to be compared,
// by the time between them on the monotonic and on the wall clock.
func adjacent(mono, wall, interval time.Duration) bool {
	return mono > 0 && mono <= 2*interval && (wall-mono).Abs() <= jump
}

// collectSensors fills what a machine may lack. The values share one
// allocation.
func (s *Sampler) collectSensors(out *api.Sample, now time.Time) {
	values := new([5]float64)
	if t, ok := s.thermal.hottest(&s.buf, now); ok {
		values[0] = t
		out.TemperatureCelsius = &values[0]
	}
	if t, ok := s.thermal.passive(); ok {
		values[4] = t
		out.TripCelsius = &values[4]
	}
	fields := [3]**float64{&out.PressureCPURatio, &out.PressureMemoryRatio, &out.PressureIORatio}
	for i, f := range s.pressure {
		if p, err := readPressure(f, &s.buf); err == nil {
			values[i+1] = p
			*fields[i] = &values[i+1]
		}
	}
}

// badLine is the error of a parser that met a line it does not understand.
func badLine(number int, line []byte) error {
	if len(line) > 60 {
		line = line[:60]
	}
	return fmt.Errorf("line %d: unexpected %q", number, line)
}
