package heal

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// A recording is segments of JSON lines. The first line of a segment is its
// header, each other line is one observation and says only what is new in it.
// Times are seconds since the recorder was started, by a clock that nobody sets,
// or after the line's own time.

const (
	recordVersion = 1
	maxGroups     = 64 // sets of readings in a segment
)

// header is the first line of a segment.
type header struct {
	Version     int       `json:"version"`
	Base        time.Time `json:"base"`  // what times are counted from; the same in all segments of one recorder
	Begun       seconds   `json:"begun"` // when the segment began
	Boot        string    `json:"boot"`
	Booted      seconds   `json:"booted"`
	Policy      string    `json:"policy"` // its text
	AllowReboot bool      `json:"allow_reboot"`
	Lost        int       `json:"lost,omitempty"` // observations that are missing before this segment
	State       State     `json:"state"`          // before the first observation, without closed incidents
}

// line is one observation.
type line struct {
	Now      seconds           `json:"t"`               // when it was decided upon
	At       seconds           `json:"at,omitempty"`    // when it was made, after Now: usually negative
	Units    []recordedUnit    `json:"units,omitempty"` // those that are other than they were
	Set      int               `json:"set,omitempty"`   // which readings were taken: the nth set of them; 0: none
	Readings map[string]float5 `json:"r,omitempty"`     // by metric, or metric/unit; those that are other than they were
	Probes   map[string]string `json:"p,omitempty"`     // status and detail, by unit
	Kernel   []api.KernelEvent `json:"kernel,omitempty"`
	Result   *Result           `json:"result,omitempty"`
	Command  *recordedCommand  `json:"command,omitempty"` // that was given since the line before
	Told     *recordedOrder    `json:"told,omitempty"`
}

// recordedUnit is an api.Unit, with times after the line's.
type recordedUnit struct {
	api.Unit
	StateChange *seconds `json:"state_change,omitempty"`
	ActiveEnter *seconds `json:"active_enter,omitempty"`
	ActiveExit  *seconds `json:"active_exit,omitempty"`
	Started     *seconds `json:"started,omitempty"`
	Exited      *seconds `json:"exited,omitempty"`
}

// recordedCommand is a command that was given.
type recordedCommand struct {
	Command
	Rule  string  `json:"rule,omitempty"`
	About string  `json:"about,omitempty"` // the unit of the incident
	Begun seconds `json:"begun"`           // after the line's time: negative
}

// recordedOrder is what somebody asked for.
type recordedOrder struct {
	Request      *Request `json:"request,omitempty"`
	Maintenance  *bool    `json:"maintenance,omitempty"`
	Lease        string   `json:"lease,omitempty"` // the holder
	Until        seconds  `json:"until,omitempty"` // of the lease, after the line's time
	ResetBreaker bool     `json:"reset_breaker,omitempty"`
}

// seconds are written with milliseconds.
type seconds float64

func secondsOf(d time.Duration) seconds { return seconds(d.Round(time.Millisecond).Seconds()) }

func (s seconds) duration() time.Duration {
	return time.Duration(math.Round(float64(s)*1e3)) * time.Millisecond
}

// float5 is written with five significant digits.
type float5 float64

// MarshalJSON implements json.Marshaler.
func (f float5) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(f), 'g', 5, 64), nil
}

// known is what a segment has said so far: what writer and reader leave out and
// fill in.
type known struct {
	units map[string]api.Unit
	sets  []map[string]float5 // of readings, and their values
}

func newKnown() known { return known{units: map[string]api.Unit{}} }

// encode says what is new in an observation; new reports whether anything is.
// It returns false for full when the segment has no room for another set of
// readings.
func (k *known) encode(o Observation, now time.Time) (l line, isNew, full bool) {
	l.At = secondsOf(o.At.Sub(now))
	for _, u := range o.Units {
		u.Description, u.MainPID = "", 0 // Reduce does not look at them
		if k.units[u.Name] != u {
			k.units[u.Name] = u
			l.Units = append(l.Units, recordUnit(u, now))
		}
	}
	if len(o.Readings) > 0 {
		if l.Set, l.Readings = k.changed(o.Readings); l.Set > maxGroups {
			return l, true, true
		}
	}
	for _, p := range o.Probes {
		if l.Probes == nil {
			l.Probes = map[string]string{}
		}
		l.Probes[p.Unit] = strings.TrimSpace(string(p.Status) + " " + p.Detail)
	}
	for _, e := range o.Kernel {
		e.Time = time.Time{}
		l.Kernel = append(l.Kernel, e)
	}
	l.Result = o.Result
	if o.Request != nil || o.Maintenance != nil || o.Lease != nil || o.ResetBreaker {
		l.Told = &recordedOrder{Request: o.Request, Maintenance: o.Maintenance, ResetBreaker: o.ResetBreaker}
		if o.Lease != nil {
			l.Told.Lease, l.Told.Until = o.Lease.Holder, secondsOf(o.Lease.Until.Sub(now))
		}
	}
	return l, l.Units != nil || l.Set > 0 || l.Probes != nil || l.Kernel != nil || l.Result != nil || l.Told != nil, false
}

// changed finds the set that readings belong to, the first being 1, and those
// of them that are other than they were.
func (k *known) changed(readings []api.Reading) (set int, news map[string]float5) {
	values := map[string]float5{}
	for _, r := range readings {
		name := r.Metric
		if r.Of != "" {
			name += "/" + r.Of
		}
		if v := r.Value; !math.IsNaN(v) && !math.IsInf(v, 0) {
			rounded, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 5, 64), 64)
			values[name] = float5(rounded)
		}
	}
	i := slices.IndexFunc(k.sets, func(old map[string]float5) bool {
		if len(old) != len(values) {
			return false
		}
		for name := range values {
			if _, there := old[name]; !there {
				return false
			}
		}
		return true
	})
	if i < 0 {
		k.sets = append(k.sets, values)
		return len(k.sets), values
	}
	news = map[string]float5{}
	for name, v := range values {
		if k.sets[i][name] != v {
			news[name] = v
		}
	}
	k.sets[i] = values
	return i + 1, news
}

// decode makes an observation of a line, which was decided upon at now.
func (k *known) decode(l *line, now time.Time) Observation {
	o := Observation{At: now.Add(l.At.duration()), Result: l.Result}
	for i := range l.Units {
		u := l.Units[i].unit(now)
		k.units[u.Name] = u
		o.Units = append(o.Units, u)
	}
	if l.Set > 0 {
		o.Readings = k.readings(l, o.At)
	}
	for _, unit := range slices.Sorted(maps.Keys(l.Probes)) {
		status, detail, _ := strings.Cut(l.Probes[unit], " ")
		o.Probes = append(o.Probes, api.ProbeResult{Unit: unit, Status: api.Status(status), Detail: detail, Time: o.At})
	}
	for _, e := range l.Kernel {
		e.Time = o.At
		o.Kernel = append(o.Kernel, e)
	}
	if t := l.Told; t != nil {
		o.Request, o.Maintenance, o.ResetBreaker = t.Request, t.Maintenance, t.ResetBreaker
		if t.Lease != "" {
			o.Lease = &api.Lease{Holder: t.Lease, Until: now.Add(t.Until.duration())}
		}
	}
	return o
}

func (k *known) readings(l *line, at time.Time) (out []api.Reading) {
	if l.Set == len(k.sets)+1 && l.Set <= maxGroups {
		k.sets = append(k.sets, map[string]float5{})
	}
	if l.Set > len(k.sets) {
		return nil // of a set that nobody has named: a spoiled line
	}
	set := k.sets[l.Set-1]
	maps.Copy(set, l.Readings)
	for _, name := range slices.Sorted(maps.Keys(set)) {
		metric, of, _ := strings.Cut(name, "/")
		out = append(out, api.Reading{Metric: metric, Of: of, Value: float64(set[name]), Time: at})
	}
	return out
}

// everything is what a look at all units sees, as the healer takes every ten
// seconds.
func (k *known) everything() (units []api.Unit) {
	for _, name := range slices.Sorted(maps.Keys(k.units)) {
		units = append(units, k.units[name])
	}
	return units
}

func recordUnit(u api.Unit, now time.Time) recordedUnit {
	after := func(t time.Time) *seconds {
		if t.IsZero() {
			return nil
		}
		s := secondsOf(t.Sub(now))
		return &s
	}
	return recordedUnit{
		Unit: u, StateChange: after(u.StateChange), ActiveEnter: after(u.ActiveEnter),
		ActiveExit: after(u.ActiveExit), Started: after(u.Started), Exited: after(u.Exited),
	}
}

func (r *recordedUnit) unit(now time.Time) api.Unit {
	at := func(s *seconds) time.Time {
		if s == nil {
			return time.Time{}
		}
		return now.Add(s.duration())
	}
	u := r.Unit
	u.StateChange, u.ActiveEnter, u.ActiveExit, u.Started, u.Exited = at(r.StateChange), at(r.ActiveEnter), at(r.ActiveExit), at(r.Started), at(r.Exited)
	return u
}
