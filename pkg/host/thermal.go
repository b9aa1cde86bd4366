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
	// maxTrips is several times what a zone has.
	maxTrips = 32
	// hottestTrip is above what any board bears, in thousandths of a degree. A
	// trip point that nobody set may read as 0, or as next to absolute zero.
	hottestTrip = 150_000
)

// thermal knows the thermal zones of the machine. The list is renewed now and
// then, because drivers add zones long after the system is up.
type thermal struct {
	root   string
	zones  []*file
	trip   int64 // the lowest passive trip point of them, in thousandths of a degree; 0: none
	listed time.Time
}

// hottest returns the temperature of the hottest zone in degrees Celsius, and
// false when no zone can be read. Zones that are switched off do not read and
// are passed over: most of the zones of a Jetson are, most of the time. The
// file "mode" is of no use here: it says who controls the fan.
func (t *thermal) hottest(buf *buffer, now time.Time) (celsius float64, ok bool) {
	if t.listed.IsZero() || now.Sub(t.listed) >= reconsider {
		t.list(buf)
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

// passive returns where the board begins to slow itself down, in degrees
// Celsius, as the zones were listed by hottest.
func (t *thermal) passive() (celsius float64, ok bool) {
	return float64(t.trip) / 1000, t.trip != 0
}

// list finds the zones and the lowest of their passive trip points.
func (t *thermal) list(buf *buffer) {
	t.close()
	dir := filepath.Join(t.root, "sys/class/thermal")
	entries, _ := os.ReadDir(dir) // none: a machine without sensors
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "thermal_zone") && len(t.zones) < maxZones {
			t.zones = append(t.zones, newFile(dir, filepath.Join(e.Name(), "temp")))
			trip := lowestTrip(filepath.Join(dir, e.Name()), buf)
			if trip != 0 && (t.trip == 0 || trip < t.trip) {
				t.trip = trip
			}
		}
	}
}

// lowestTrip returns the lowest passive trip point of a zone in thousandths of a
// degree Celsius, 0 when it has none. Their numbers have no gap.
func lowestTrip(zone string, buf *buffer) (lowest int64) {
	for i := range maxTrips {
		point := "trip_point_" + strconv.Itoa(i)
		kind, err := readOnce(zone, point+"_type", buf)
		if err != nil {
			break
		}
		if string(bytes.TrimSpace(kind)) != "passive" {
			continue
		}
		text, err := readOnce(zone, point+"_temp", buf)
		if err != nil {
			continue
		}
		if n, good := parseTemperature(text); good && n > 0 && n <= hottestTrip && (lowest == 0 || n < lowest) {
			lowest = n
		}
	}
	return lowest
}

func (t *thermal) close() {
	for _, zone := range t.zones {
		zone.close()
	}
	t.zones, t.trip, t.listed = t.zones[:0], 0, time.Time{}
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
