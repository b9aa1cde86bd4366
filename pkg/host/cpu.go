package host

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/arasul/arasul/pkg/api"
)

const (
	// maxCores is the most that Linux can be built for.
	maxCores = 8192
	// hotplug is how far a counter must fall, in ticks of 10 ms, for us to
	// believe that it began anew. Idle and iowait are estimates and fall a
	// little by themselves; nvpmodel takes cores away and gives them back.
	hotplug = 300
)

// cpuTimes is what a core has spent its time with since the kernel started, in
// ticks of 10 ms: user, nice, system, idle, iowait, irq, softirq, steal. The
// two guest columns that follow are contained in user and nice.
type cpuTimes [8]uint64

const (
	idle   = 3
	iowait = 4
)

// cpu remembers the counters of each core.
type cpu struct {
	cores []cpuTimes
	known []bool
}

func (s *Sampler) collectCPU(out *api.Sample) error {
	text, err := s.stat.read(&s.buf)
	if err != nil {
		return err
	}
	var busy, total uint64
	cores := 0
	err = parseStat(text, func(core int, t cpuTimes) {
		b, all := s.cpu.advance(core, t)
		busy += b
		total += all
		cores++
	})
	if err != nil {
		return fmt.Errorf("reading %s: %w", s.stat.path, err)
	}
	out.CPUCores = cores
	if total > 0 {
		out.CPURatio = float64(busy) / float64(total)
	}
	return nil
}

// advance takes the counters of one core and returns how many ticks it was
// busy since the look before, and of how many. Busy is all but idle and
// iowait; time stolen by the hypervisor counts as busy, nobody here can use it.
func (c *cpu) advance(core int, now cpuTimes) (busy, total uint64) {
	if core >= len(c.cores) {
		more := core + 1 - len(c.cores)
		c.cores = append(c.cores, make([]cpuTimes, more)...)
		c.known = append(c.known, make([]bool, more)...)
	}
	was := &c.cores[core]
	if !c.known[core] {
		c.known[core] = true
		*was = now
		return 0, 0
	}
	for i, n := range now {
		switch {
		case n >= was[i]:
			grown := n - was[i]
			total += grown
			if i != idle && i != iowait {
				busy += grown
			}
			was[i] = n
		case was[i]-n >= hotplug:
			was[i] = n
		default: // fell a little: wait until it has caught up
		}
	}
	return busy, total
}

// parseStat calls each with the counters of every online core in /proc/stat.
func parseStat(text []byte, each func(core int, t cpuTimes)) error {
	cores := 0
	for number := 1; len(text) > 0; number++ {
		var line []byte
		line, text = cutLine(text)
		name, rest := cutField(line)
		digits, ok := bytes.CutPrefix(name, []byte("cpu"))
		if !ok {
			break // the cores come first
		}
		if len(digits) == 0 {
			continue // the sum, which counts cores that are gone
		}
		core, ok := parseUint(digits)
		if !ok || core >= maxCores || cores == maxCores {
			return badLine(number, line)
		}
		var t cpuTimes
		for i := range t {
			var field []byte
			if field, rest = cutField(rest); field == nil && i > iowait {
				break // a kernel that is older than these columns
			}
			n, ok := parseUint(field)
			if !ok || n > 1<<53 { // 2.8 million years; keeps sums from wrapping
				return badLine(number, line)
			}
			t[i] = n
		}
		each(int(core), t)
		cores++
	}
	if cores == 0 {
		return errors.New("no cores listed")
	}
	return nil
}
