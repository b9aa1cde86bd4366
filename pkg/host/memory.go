package host

import (
	"errors"
	"fmt"

	"github.com/arasul/arasul/pkg/api"
)

// memory is what we want of /proc/meminfo, in bytes.
type memory struct {
	total, available    uint64
	swapTotal, swapFree uint64
}

// collectMemory counts as used what cannot be had without swapping. Free
// memory would be the wrong figure: the kernel fills it with caches.
func (s *Sampler) collectMemory(out *api.Sample) error {
	text, err := s.meminfo.read(&s.buf)
	if err != nil {
		return err
	}
	m, err := parseMeminfo(text)
	if err != nil {
		return fmt.Errorf("reading %s: %w", s.meminfo.path, err)
	}
	out.MemoryTotalBytes = m.total
	out.MemoryUsedBytes = m.total - min(m.available, m.total)
	out.SwapTotalBytes = m.swapTotal
	out.SwapUsedBytes = m.swapTotal - min(m.swapFree, m.swapTotal)
	return nil
}

// parseMeminfo reads /proc/meminfo. Swap may be missing, the rest not.
func parseMeminfo(text []byte) (memory, error) {
	var m memory
	var found int
	for number := 1; len(text) > 0; number++ {
		var line []byte
		line, text = cutLine(text)
		key, rest := cutField(line)
		var into *uint64
		switch string(key) {
		case "MemTotal:":
			into = &m.total
		case "MemAvailable:":
			into = &m.available
		case "SwapTotal:":
			into = &m.swapTotal
		case "SwapFree:":
			into = &m.swapFree
		default:
			continue
		}
		field, rest := cutField(rest)
		unit, _ := cutField(rest)
		kib, ok := parseUint(field)
		if !ok || kib > 1<<53 || string(unit) != "kB" {
			return memory{}, badLine(number, line)
		}
		*into = kib << 10
		if into == &m.total || into == &m.available {
			found++
		}
	}
	if found != 2 || m.total == 0 {
		return memory{}, errors.New("want MemTotal and MemAvailable once each")
	}
	return m, nil
}
