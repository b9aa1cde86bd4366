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

// Overall judges by the status rule: CRITICAL if a service is down, the
// temperature is over 85 °C or the database cannot be reached; WARNING if the
// processor was over 80 % busy for five minutes, the disk is over 80 % full, a
// service is restarting or was restarted in the last ten minutes, the metrics or
// the healer are silent, or the healer does not repair; else OK. A restart counts
// when the machine did it by itself, not when somebody asked for it. A stale sample proves nothing, neither good nor
// bad. Healing says whether a repair is under way.
func Overall(o Observed, now time.Time) (status api.Overall, reasons []api.Reason, healing bool) {
	var critical, warning []api.Reason
	bad := func(code, subject, format string, args ...any) {
		critical = append(critical, api.Reason{Severity: api.Critical, Code: code, Subject: subject, Message: fmt.Sprintf(format, args...)})
	}
	warn := func(code, subject, format string, args ...any) {
		warning = append(warning, api.Reason{Severity: api.Warning, Code: code, Subject: subject, Message: fmt.Sprintf(format, args...)})
	}

	for _, s := range o.Services {
		if s.Status == api.Down {
			switch {
			case s.ActiveState == "inactive": // no fault leaves a unit like that
				bad("service-stopped", s.Unit, "%s was stopped", s.Unit)
			case exhausted(o.Incidents, s.Unit):
				bad("service-needs-help", s.Unit, "%s is down and no repair has helped", s.Unit)
			default:
				bad("service-down", s.Unit, "%s is down", s.Unit)
			}
		}
	}
	if o.DatabaseErr != nil {
		bad("database-unreachable", "", "the database cannot be reached")
	}
	switch {
	case o.HealerErr != nil:
		if now.Sub(o.Since) > healerStarts {
			warn("healer-unreachable", "", "the healer cannot be reached")
		}
	case o.Healer.Maintenance:
		warn("healer-paused", "maintenance", "self-repair is paused (maintenance)")
	case o.Healer.Mode == "shadow":
		warn("healer-paused", "shadow", "self-repair only watches (shadow mode)")
	}
	if o.Stale(now) {
		warn("metrics-stale", "", "no measurements are coming in")
	} else if s := o.Sample; s != nil {
		if s.TemperatureCelsius != nil && *s.TemperatureCelsius > temperatureHigh {
			bad("temperature-high", "", "the temperature is %.0f °C", *s.TemperatureCelsius)
		}
		if !o.CPUHighSince.IsZero() && now.Sub(o.CPUHighSince) >= cpuHighFor {
			warn("cpu-high", "", "the processor has been over 80 %% busy for five minutes")
		}
		if used := ratio(s.DiskUsedBytes, s.DiskTotalBytes); used > diskHigh {
			warn("disk-high", "", "the disk is %d %% full", int(used*100))
		}
	}
	for _, unit := range restarted(o, now) {
		n := slices.IndexFunc(o.Services, func(s api.Service) bool { return s.Unit == unit })
		switch {
		case n < 0 || o.Services[n].Status == api.Up:
			warn("service-restarted", unit, "%s was restarted in the last ten minutes", unit)
		case o.Services[n].Status == api.Degraded:
			warn("service-restarting", unit, "%s: %s", unit, o.Services[n].Reason)
		}
	}

	for _, i := range o.Incidents {
		healing = healing || i.State == api.IncidentActing || i.State == api.IncidentVerifying
	}
	reasons = slices.Concat(critical, warning)
	switch {
	case len(critical) > 0:
		status = api.Critical
	case len(warning) > 0:
		status = api.Warning
	default:
		status, reasons = api.OK, []api.Reason{}
	}
	return status, reasons, healing
}

// exhausted says whether the healer has nothing left to try for a unit.
func exhausted(incidents []api.Incident, unit string) bool {
	return slices.ContainsFunc(incidents, func(i api.Incident) bool {
		return i.Unit == unit && i.State == api.IncidentExhausted
	})
}

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
		for _, a := range i.Actions {
			if a.Outcome != "refused" && !strings.HasPrefix(a.Error, "shadow mode") {
				add(i.Unit, a.StartedAt)
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
