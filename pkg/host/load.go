package host

import (
	"fmt"

	"github.com/arasul/arasul/pkg/api"
)

func (s *Sampler) collectLoad(out *api.Sample) (err error) {
	out.Load1, err = readFirst(s.loadavg, &s.buf)
	return err
}

func (s *Sampler) collectUptime(out *api.Sample) (err error) {
	out.UptimeSecs, err = readFirst(s.uptime, &s.buf)
	return err
}

// readFirst reads the first number of a file: the load over one minute of
// /proc/loadavg, the seconds since boot of /proc/uptime.
func readFirst(f *file, buf *buffer) (float64, error) {
	text, err := f.read(buf)
	if err != nil {
		return 0, err
	}
	n, err := parseFirst(text)
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", f.path, err)
	}
	return n, nil
}

func parseFirst(text []byte) (float64, error) {
	line, _ := cutLine(text)
	field, _ := cutField(line)
	n, ok := parseDecimal(field)
	if !ok {
		return 0, badLine(1, line)
	}
	return n, nil
}
