package host

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/api"
)

const (
	// cgroups is where our control groups hang. On a machine with control
	// groups of version 1 it is not there, and there are no services to show.
	cgroups = "sys/fs/cgroup/arasul.slice"
	// maxServices and maxSlices are several times what we ship, maxDepth is one
	// more than our slices are deep.
	maxServices = 64
	maxSlices   = 16
	maxDepth    = 3
)

// services knows the control groups of our services: a read per file of each
// unit, and no walk through the processes, whatever a unit forks.
type services struct {
	root   string
	slices []slice
	units  []*service // by name
	listed time.Time  // zero when the list is known to be out of date
}

// slice is a folder that services hang in. The kernel counts the folders in it
// as links, which tells cheaply that one came or went.
type slice struct {
	path  string
	links uint64
}

// service is the control group of one unit.
type service struct {
	unit     string
	cpu      *file
	memory   *file
	events   *file
	pressure [3]*file // cpu, memory, io
	usage    uint64   // microseconds of processor time at the look before
	known    bool     // whether there was one
}

// readings holds what the pointers of a ServiceSample point to, so that the
// services of a sample share one allocation.
type readings struct {
	memory, kills uint64
	pressure      [3]float64
}

// collect looks at all services. Ratios are shares of the processor time that
// this many cores had in this time; they are 0 when capacity is.
func (s *services) collect(buf *buffer, now time.Time, capacity time.Duration) []api.ServiceSample {
	if s.listed.IsZero() || now.Sub(s.listed) >= reconsider || s.changed() {
		s.list(now)
	}
	if len(s.units) == 0 {
		return nil
	}
	out := make([]api.ServiceSample, 0, len(s.units))
	values := make([]readings, len(s.units))
	for i, u := range s.units {
		sample, ok := u.look(buf, &values[i], capacity)
		if !ok {
			s.listed = time.Time{} // stopped, as it seems
			continue
		}
		out = append(out, sample)
	}
	return out
}

// look reads the files of one unit. It fails when the unit has none any more.
func (u *service) look(buf *buffer, v *readings, capacity time.Duration) (out api.ServiceSample, ok bool) {
	usage, anew, err := u.readUsage(buf)
	if err != nil {
		u.known = false
		return out, false
	}
	out = api.ServiceSample{Unit: u.unit, CPUSecondsTotal: float64(usage) / 1e6}
	if anew || usage < u.usage { // another run of the unit, which began after the look before
		u.usage = 0
		u.close()
	}
	if u.known && capacity > 0 {
		out.CPURatio = min(1, float64(usage-u.usage)/float64(capacity.Microseconds()))
	}
	u.usage, u.known = usage, true

	if text, err := u.memory.read(buf); err == nil {
		if n, ok := parseUint(bytes.TrimSuffix(text, []byte{'\n'})); ok {
			v.memory, out.MemoryBytes = n, &v.memory
		}
	}
	if text, err := u.events.read(buf); err == nil {
		if n, err := parseKeyed(text, "oom_kill"); err == nil {
			v.kills, out.OOMKillsTotal = n, &v.kills
		}
	}
	fields := [3]**float64{&out.PressureCPURatio, &out.PressureMemoryRatio, &out.PressureIORatio}
	for i, f := range u.pressure {
		if p, err := readPressure(f, buf); err == nil {
			v.pressure[i] = p
			*fields[i] = &v.pressure[i]
		}
	}
	return out, true
}

// readUsage reads the processor time, in microseconds. A restart of the unit
// puts another control group in the place of the one that is open here, whose
// files then cannot be read any more: anew says that this was so.
func (u *service) readUsage(buf *buffer) (usage uint64, anew bool, err error) {
	was := u.cpu.fd >= 0
	text, err := u.cpu.read(buf)
	if err != nil && was {
		text, err = u.cpu.read(buf)
		anew = err == nil
	}
	if err != nil {
		return 0, false, err
	}
	if usage, err = parseKeyed(text, "usage_usec"); err != nil {
		err = fmt.Errorf("reading %s: %w", u.cpu.path, err)
	}
	return usage, anew, err
}

// changed says whether a service came or went since the last list.
func (s *services) changed() bool {
	for _, dir := range s.slices {
		if links(dir.path) != dir.links {
			return true
		}
	}
	return false
}

// links returns how many links a folder has, 0 when it is gone.
func links(path string) uint64 {
	var st unix.Stat_t
	if _, err := retry(func() (int, error) { return 0, unix.Stat(path, &st) }); err != nil {
		return 0
	}
	return uint64(st.Nlink) //nolint:unconvert // 32 bits on arm64
}

// list finds the services, and keeps what is open of those it knew.
func (s *services) list(now time.Time) {
	gone := s.units
	s.slices, s.units, s.listed = s.slices[:0], nil, now
	s.find(filepath.Join(s.root, cgroups), 0, &gone)
	for _, u := range gone {
		u.close()
	}
	slices.SortFunc(s.units, func(a, b *service) int { return strings.Compare(a.unit, b.unit) })
}

// find adds the services in a slice and in the slices below. Those it meets in
// known are taken from there. Instances of a template, such as one USB stick,
// come and go under ever new names and are no services.
func (s *services) find(dir string, depth int, known *[]*service) {
	before := links(dir) // what comes while we read is found by the next look
	entries, err := os.ReadDir(dir)
	if err != nil || len(s.slices) == maxSlices {
		return
	}
	s.slices = append(s.slices, slice{dir, before})
	for _, e := range entries {
		name, path := e.Name(), filepath.Join(dir, e.Name())
		switch {
		case !e.IsDir():
		case strings.HasSuffix(name, ".slice") && depth < maxDepth:
			s.find(path, depth+1, known)
		case strings.HasPrefix(name, "arasul-") && strings.HasSuffix(name, ".service") &&
			!strings.Contains(name, "@") && len(s.units) < maxServices:
			i := slices.IndexFunc(*known, func(u *service) bool { return u.unit == name && u.cpu.path == filepath.Join(path, "cpu.stat") })
			if i < 0 {
				s.units = append(s.units, newService(path))
				continue
			}
			s.units = append(s.units, (*known)[i])
			*known = slices.Delete(*known, i, i+1)
		}
	}
}

func newService(dir string) *service {
	at := func(name string) *file { return newFile(dir, name) }
	return &service{
		unit: filepath.Base(dir), cpu: at("cpu.stat"), memory: at("memory.current"), events: at("memory.events"),
		pressure: [3]*file{at("cpu.pressure"), at("memory.pressure"), at("io.pressure")},
	}
}

func (u *service) close() {
	for _, f := range []*file{u.cpu, u.memory, u.events, u.pressure[0], u.pressure[1], u.pressure[2]} {
		f.close()
	}
}

func (s *services) close() {
	for _, u := range s.units {
		u.close()
	}
	s.units, s.listed = nil, time.Time{}
}

// parseKeyed returns the number after a key in a file of lines "key number".
func parseKeyed(text []byte, key string) (uint64, error) {
	for number := 1; len(text) > 0; number++ {
		var line []byte
		line, text = cutLine(text)
		name, rest := cutField(line)
		if string(name) != key {
			continue
		}
		field, rest := cutField(rest)
		n, ok := parseUint(field)
		if extra, _ := cutField(rest); !ok || extra != nil {
			return 0, badLine(number, line)
		}
		return n, nil
	}
	return 0, errors.New("no line that begins with " + key)
}
