package dashboard

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// The limits of the status rule.
const (
	temperatureHigh = 85.0 // °C, CRITICAL above
	cpuHigh         = 0.8  // busy share, WARNING above for cpuHighFor
	cpuHighFor      = 5 * time.Minute
	diskHigh        = 0.8 // used share, WARNING above
	restartRecent   = 10 * time.Minute
	healerStarts    = 10 * time.Second // the healer starts last, so the dashboard waits for it
	samplesMissing  = 3                // intervals without a sample that make metrics stale
)

// Observed is what the status rule judges. Its zero value is a machine nobody
// has said anything about.
type Observed struct {
	Since    time.Time     // when somebody began to look
	Interval time.Duration // between samples

	Sample       *api.Sample // the newest, nil before the first
	SampleAt     time.Time   // when it arrived
	CPUHighSince time.Time   // first of the samples in a row over the limit; zero when the newest is not

	Services  []api.Service
	Incidents []api.Incident

	Healer      api.HealerStatus // what it said last about itself
	HealerErr   error            // why it cannot be reached
	DatabaseErr error
}

// Stale says whether samples have stopped coming.
func (o Observed) Stale(now time.Time) bool {
	last := o.SampleAt
	if o.Sample == nil {
		last = o.Since
	}
	return now.Sub(last) > samplesMissing*o.Interval
}

// verdict is what Overall says, without the names and times around it.
type verdict struct {
	Status  api.Overall
	Reasons []api.Reason // worst first
	Healing bool
}

// Overall judges by the status rule: CRITICAL if a service is down or does not
// answer, the temperature is over 85 °C, the database cannot be reached, or the
// healer has an incident of class C, or of a service that no repair has helped;
// WARNING if it has one of class B, helped or not, the processor was over 80 %
// busy for five minutes, the disk is over 80 % full, a service is restarting or
// was restarted in the last ten minutes, the metrics or the healer are silent,
// or the healer does not repair; else OK. A restart counts when the machine did
// it by itself, not when somebody asked for it. A stale sample proves nothing,
// neither good nor bad. Healing says whether a repair is under way.
func Overall(o Observed, now time.Time) (status api.Overall, reasons []api.Reason, healing bool) {
	var r ruling
	r.services(o)
	if o.DatabaseErr != nil {
		r.bad("database-unreachable", "", "the database cannot be reached")
	}
	r.incidents(o)
	r.healer(o, now)
	r.figures(o, now)
	r.restarts(o, now)
	for _, i := range o.Incidents {
		healing = healing || i.Fault != api.Requested && (i.State == api.IncidentActing || i.State == api.IncidentVerifying)
	}
	reasons = slices.Concat(r.critical, r.warning)
	switch {
	case len(r.critical) > 0:
		status = api.Critical
	case len(r.warning) > 0:
		status = api.Warning
	default:
		status, reasons = api.OK, []api.Reason{}
	}
	return status, reasons, healing
}

// ruling gathers reasons.
type ruling struct{ critical, warning []api.Reason }

func (r *ruling) bad(code, subject, format string, args ...any) {
	r.critical = append(r.critical, api.Reason{Severity: api.Critical, Code: code, Subject: subject, Message: fmt.Sprintf(format, args...)})
}

func (r *ruling) warn(code, subject, format string, args ...any) {
	r.warning = append(r.warning, api.Reason{Severity: api.Warning, Code: code, Subject: subject, Message: fmt.Sprintf(format, args...)})
}

func (r *ruling) services(o Observed) {
	for _, s := range o.Services {
		switch {
		case s.Status == api.Up && silent(o.Incidents, s.Unit):
			r.bad("service-down", s.Unit, "%s does not answer", s.Unit)
		case s.Status != api.Down:
		case s.ActiveState == "inactive": // no fault leaves a unit like that
			r.bad("service-stopped", s.Unit, "%s was stopped", s.Unit)
		case exhausted(o.Incidents, s.Unit):
			r.bad("service-needs-help", s.Unit, "%s is down and no repair has helped", s.Unit)
		default:
			r.bad("service-down", s.Unit, "%s is down", s.Unit)
		}
	}
}

// silent says whether a unit runs, as far as systemd sees it, without answering
// its probe.
func silent(incidents []api.Incident, unit string) bool {
	return slices.ContainsFunc(incidents, func(i api.Incident) bool {
		return i.Unit == unit && i.Fault == api.Unresponsive && troubled(i)
	})
}

// troubled says whether what an incident is about is still the case, as far as
// the healer knows, and something may yet be done against it.
func troubled(i api.Incident) bool {
	return i.ClosedAt == nil && i.RecoveredAt == nil && i.State != api.IncidentExhausted
}

// exhausted says whether the healer has nothing left to try to bring a unit up.
func exhausted(incidents []api.Incident, unit string) bool {
	return slices.ContainsFunc(incidents, func(i api.Incident) bool {
		return i.Unit == unit && i.Class == api.ClassService && i.State == api.IncidentExhausted
	})
}

// incidents tells of those that services does not show: of classes B and C, and
// of units that no repair has helped though they are not down.
func (r *ruling) incidents(o Observed) {
	for _, i := range o.Incidents {
		helpless := i.State == api.IncidentExhausted
		switch {
		case i.ClosedAt != nil:
		case i.Class == api.ClassService:
			down := slices.ContainsFunc(o.Services, func(s api.Service) bool { return s.Unit == i.Unit && s.Status == api.Down })
			if helpless && !down {
				r.bad("incident-exhausted", i.Unit, "%s: no repair has helped", i.Unit)
			}
		case helpless && i.Class == api.ClassCritical:
			r.bad("incident-exhausted", i.Rule, "%s: no repair has helped", about(i))
		case helpless: // much to do is no failure: what fails of it is down, or too hot
			r.warn("incident-exhausted", i.Rule, "%s: no repair has helped", about(i))
		case i.Class == api.ClassCritical && troubled(i):
			r.bad("incident-open", i.Rule, "%s: %s", about(i), i.Detail)
		default: // class B, or over but not yet for good
			r.warn("incident-open", i.Rule, "%s: %s", about(i), i.Detail)
		}
	}
}

// about names what an incident of class B or C is about.
func about(i api.Incident) string {
	if i.Unit == "" {
		return i.Rule
	}
	return i.Rule + " of " + i.Unit
}

func (r *ruling) healer(o Observed, now time.Time) {
	if o.HealerErr != nil {
		if now.Sub(o.Since) > healerStarts {
			r.warn("healer-unreachable", "", "the healer cannot be reached")
		}
		return
	}
	h := o.Healer
	switch {
	case h.Maintenance:
		r.warn("healer-paused", "maintenance", "self-repair is paused (maintenance)")
	case h.Mode == "shadow":
		r.warn("healer-paused", "shadow", "self-repair only watches (shadow mode)")
	case h.Lease != nil && now.Before(h.Lease.Until):
		r.warn("healer-paused", "lease", "self-repair is paused for a while (%s)", h.Lease.Holder)
	}
	if h.BreakerOpen != nil && now.Before(*h.BreakerOpen) {
		r.warn("healer-breaker", "", "self-repair has stopped itself: it did too much in too short a time")
	}
}

func (r *ruling) figures(o Observed, now time.Time) {
	if o.Stale(now) {
		r.warn("metrics-stale", "", "no measurements are coming in")
		return
	}
	s := o.Sample
	if s == nil {
		return
	}
	if s.TemperatureCelsius != nil && *s.TemperatureCelsius > temperatureHigh {
		r.bad("temperature-high", "", "the temperature is %.0f °C", *s.TemperatureCelsius)
	}
	if !o.CPUHighSince.IsZero() && now.Sub(o.CPUHighSince) >= cpuHighFor {
		r.warn("cpu-high", "", "the processor has been over 80 %% busy for five minutes")
	}
	if used := ratio(s.DiskUsedBytes, s.DiskTotalBytes); used > diskHigh {
		r.warn("disk-high", "", "the disk is %d %% full", int(used*100))
	}
}

func (r *ruling) restarts(o Observed, now time.Time) {
	for _, unit := range restarted(o, now) {
		n := slices.IndexFunc(o.Services, func(s api.Service) bool { return s.Unit == unit })
		switch {
		case n < 0 || o.Services[n].Status == api.Up:
			r.warn("service-restarted", unit, "%s was restarted in the last ten minutes", unit)
		case o.Services[n].Status == api.Degraded:
			r.warn("service-restarting", unit, "%s: %s", unit, o.Services[n].Reason)
		}
	}
}

// restartKinds are the actions that end what a unit is at and begin it anew.
var restartKinds = map[string]bool{"systemd-restart": true, "restart": true, "stop-start": true}

// restarted names the units that the machine restarted of late, or is about to:
// systemd counts its own restarts until one by hand, incidents name the
// healer's. What it would have done in shadow mode is no restart.
func restarted(o Observed, now time.Time) (units []string) {
	seen := make(map[string]bool)
	add := func(unit string, at time.Time) {
		if now.Sub(at) < restartRecent && !seen[unit] {
			seen[unit] = true
			units = append(units, unit)
		}
	}
	for _, s := range o.Services {
		switch {
		case strings.HasPrefix(s.SubState, "auto-restart"):
			add(s.Unit, now)
		case s.Restarts > 0 && s.Since != nil && s.ActiveState != "deactivating":
			add(s.Unit, *s.Since)
		}
	}
	for _, i := range o.Incidents {
		if i.Fault == api.Requested {
			continue
		}
		for _, a := range i.Actions {
			if restartKinds[a.Kind] && a.Unit != "" && a.Outcome != "refused" && !strings.HasPrefix(a.Error, "shadow mode") {
				add(a.Unit, a.StartedAt)
			}
		}
	}
	return units
}

func ratio(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}
