package host

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	// maxZones is several times what a large machine has.
	maxZones = 128
	// coldest and warmest are the values we believe, in thousandths of a
	// degree Celsius. A zone that is off may read as −256 °C.
	coldest = -100_000
	warmest = 250_000
)

// thermal knows the thermal zones of the machine. The list is renewed now and
// then, because drivers add zones long after the system is up.
type thermal struct {
	root   string
	zones  []*file
	listed time.Time
}

// hottest returns the temperature of the hottest zone in degrees Celsius, and
// false when no zone can be read. Zones that are switched off do not read and
// are passed over: most of the zones of a Jetson are, most of the time. The
// file "mode" is of no use here: it says who controls the fan.
func (t *thermal) hottest(buf *buffer, now time.Time) (celsius float64, ok bool) {
	if t.listed.IsZero() || now.Sub(t.listed) >= reconsider {
		t.list()
		t.listed = now
	}
	var most int64
	for _, zone := range t.zones {
		text, err := zone.read(buf)
		if err != nil {
			continue
		}
		if n, good := parseTemperature(text); good && (!ok || n > most) {
			most, ok = n, true
		}
	}
	return float64(most) / 1000, ok
}

// list finds the zones.
func (t *thermal) list() {
	t.close()
	dir := filepath.Join(t.root, "sys/class/thermal")
	entries, _ := os.ReadDir(dir) // none: a machine without sensors
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "thermal_zone") && len(t.zones) < maxZones {
			t.zones = append(t.zones, newFile(dir, filepath.Join(e.Name(), "temp")))
		}
	}
}

func (t *thermal) close() {
	for _, zone := range t.zones {
		zone.close()
	}
	t.zones, t.listed = t.zones[:0], time.Time{}
}

// parseTemperature reads a temperature in thousandths of a degree Celsius.
func parseTemperature(text []byte) (int64, bool) {
	text = bytes.TrimSuffix(text, []byte{'\n'})
	if len(text) > 10 {
		return 0, false
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	return n, err == nil && n > coldest && n < warmest
}
