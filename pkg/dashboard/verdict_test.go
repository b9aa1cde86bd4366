package dashboard

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arasul/arasul/pkg/api"
)

func TestOverallFollowsTheStatusRule(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	since := func(d time.Duration) *time.Time { at := ago(d); return &at }
	sample := func(change func(*api.Sample)) func(*Observed) {
		return func(o *Observed) { change(o.Sample) }
	}
	degrees := func(c float64) func(*Observed) {
		return sample(func(s *api.Sample) { s.TemperatureCelsius = &c })
	}
	disk := func(used uint64) func(*Observed) {
		return sample(func(s *api.Sample) { s.DiskTotalBytes, s.DiskUsedBytes = 1000, used })
	}
	service := func(s api.Service) func(*Observed) {
		s.Unit = "arasul-x.service"
		return func(o *Observed) { o.Services = append(o.Services, s) }
	}
	acted := func(d time.Duration, outcome string) func(*Observed) {
		return func(o *Observed) {
			o.Incidents = append(o.Incidents, api.Incident{Unit: "arasul-x.service", Class: api.ClassService, State: api.IncidentResolved,
				ClosedAt: since(0), Actions: []api.Action{{Kind: "restart", Unit: "arasul-x.service", StartedAt: ago(d), Outcome: outcome}}})
		}
	}
	state := func(s api.IncidentState) func(*Observed) {
		return func(o *Observed) {
			o.Incidents = append(o.Incidents, api.Incident{Unit: "arasul-x.service", Class: api.ClassService, State: s})
		}
	}
	unresponsive := func(s api.IncidentState, running api.Service) func(*Observed) {
		return func(o *Observed) {
			state(s)(o)
			o.Incidents[0].Fault = api.Unresponsive
			service(running)(o)
		}
	}
	machine := func(class api.Class, s api.IncidentState) func(*Observed) {
		return func(o *Observed) {
			o.Incidents = append(o.Incidents, api.Incident{Rule: "heat", Class: class, Fault: api.Measured, Detail: "91 °C", State: s})
		}
	}
	running := api.Service{Status: api.Up}
	failed := api.Service{Status: api.Down, ActiveState: "failed"}
	minutes := func(m float64) time.Duration { return time.Duration(m * float64(time.Minute)) }

	tests := []struct {
		name    string
		change  func(*Observed)
		status  api.Overall
		codes   []string
		healing bool
	}{
		{"all is well", func(*Observed) {}, api.OK, nil, false},
		{"85 °C", degrees(85), api.OK, nil, false},
		{"over 85 °C", degrees(85.1), api.Critical, []string{"temperature-high"}, false},
		{"disk 80 %", disk(800), api.OK, nil, false},
		{"disk over 80 %", disk(801), api.Warning, []string{"disk-high"}, false},
		{"no disk", sample(func(s *api.Sample) { s.DiskTotalBytes = 0 }), api.OK, nil, false},
		{"busy for less than 5 minutes", func(o *Observed) { o.CPUHighSince = ago(minutes(4.9)) }, api.OK, nil, false},
		{"busy for 5 minutes", func(o *Observed) { o.CPUHighSince = ago(minutes(5)) }, api.Warning, []string{"cpu-high"}, false},
		{"service down", service(api.Service{Status: api.Down}), api.Critical, []string{"service-down"}, false},
		{"service stopped by hand", service(api.Service{Status: api.Down, ActiveState: "inactive"}), api.Critical, []string{"service-stopped"}, false},
		{"service that no repair has helped", func(o *Observed) {
			service(failed)(o)
			state(api.IncidentExhausted)(o)
		}, api.Critical, []string{"service-needs-help"}, false},
		{"service degraded", service(api.Service{Status: api.Degraded}), api.OK, nil, false},
		{"service unknown", service(api.Service{Status: api.Unknown}), api.OK, nil, false},
		{"service started, not restarted", service(api.Service{Status: api.Up, Since: since(minutes(1))}), api.OK, nil, false},
		{"restarted by systemd", service(api.Service{Status: api.Up, Restarts: 1, Since: since(minutes(9.9))}), api.Warning, []string{"service-restarted"}, false},
		{"restarted by systemd long ago", service(api.Service{Status: api.Up, Restarts: 1, Since: since(minutes(10))}), api.OK, nil, false},
		{"restarted by the healer", acted(minutes(9.9), "helped"), api.Warning, []string{"service-restarted"}, false},
		{"restarted by the healer long ago", acted(minutes(10), "helped"), api.OK, nil, false},
		{"restart only thought of", func(o *Observed) {
			acted(minutes(1), "failed")(o)
			o.Incidents[0].Actions[0].Error = "shadow mode: decided, not done"
		}, api.OK, nil, false},
		{"crashed, about to be restarted", service(api.Service{Status: api.Degraded, SubState: "auto-restart", Reason: "x, restarting"}), api.Warning, []string{"service-restarting"}, false},
		{"being restarted by systemd", service(api.Service{Status: api.Degraded, ActiveState: "activating", Restarts: 1, Since: since(0), Reason: "starting"}), api.Warning, []string{"service-restarting"}, false},
		{"being restarted by the healer", func(o *Observed) {
			acted(minutes(1), "running")(o)
			service(api.Service{Status: api.Degraded, Reason: "starting"})(o)
		}, api.Warning, []string{"service-restarting"}, false},
		{"stopped by hand after many restarts", service(api.Service{Status: api.Degraded, ActiveState: "deactivating", Restarts: 9, Since: since(0)}), api.OK, nil, false},
		{"restarted in vain", func(o *Observed) {
			acted(minutes(1), "failed")(o)
			service(api.Service{Status: api.Down})(o)
		}, api.Critical, []string{"service-down"}, false},
		{"maintenance", func(o *Observed) { o.Healer.Maintenance = true }, api.Warning, []string{"healer-paused"}, false},
		{"shadow mode", func(o *Observed) { o.Healer.Mode = "shadow" }, api.Warning, []string{"healer-paused"}, false},
		{"a healer that is gone is not paused", func(o *Observed) { o.Healer.Mode, o.HealerErr = "shadow", errors.New("x") }, api.Warning, []string{"healer-unreachable"}, false},
		{"restart refused", acted(minutes(1), "refused"), api.OK, nil, false},
		{"restarted by both, said once", func(o *Observed) {
			acted(minutes(1), "helped")(o)
			service(api.Service{Status: api.Up, Restarts: 3, Since: since(minutes(1))})(o)
		}, api.Warning, []string{"service-restarted"}, false},
		{"database away", func(o *Observed) { o.DatabaseErr = errors.New("x") }, api.Critical, []string{"database-unreachable"}, false},
		{"healer away", func(o *Observed) { o.HealerErr = errors.New("x") }, api.Warning, []string{"healer-unreachable"}, false},
		{"three intervals without a sample", func(o *Observed) { o.SampleAt = ago(15 * time.Second) }, api.OK, nil, false},
		{"more than that", func(o *Observed) { o.SampleAt = ago(16 * time.Second) }, api.Warning, []string{"metrics-stale"}, false},
		{"a stale sample proves nothing", func(o *Observed) { degrees(99)(o); o.SampleAt = ago(time.Minute) }, api.Warning, []string{"metrics-stale"}, false},
		{"no sample yet", func(o *Observed) { o.Sample = nil; o.Since = ago(10 * time.Second) }, api.OK, nil, false},
		{"never a sample", func(o *Observed) { o.Sample = nil; o.Since = ago(time.Minute) }, api.Warning, []string{"metrics-stale"}, false},
		{"open is not healing", state(api.IncidentOpen), api.OK, nil, false},
		{"exhausted is not healing", state(api.IncidentExhausted), api.Critical, []string{"incident-exhausted"}, false},
		{"a unit that does not answer", unresponsive(api.IncidentOpen, running), api.Critical, []string{"service-down"}, false},
		{"a unit that does not answer, waiting for another", unresponsive(api.IncidentSuppressed, running), api.Critical, []string{"service-down"}, false},
		{"a unit that was restarted and does not answer yet", unresponsive(api.IncidentVerifying, running), api.Critical, []string{"service-down"}, true},
		{"a unit that answers again", func(o *Observed) {
			unresponsive(api.IncidentVerifying, running)(o)
			o.Incidents[0].RecoveredAt = since(0)
		}, api.OK, nil, true},
		{"a unit that does not answer is being restarted", unresponsive(api.IncidentActing, api.Service{Status: api.Degraded}), api.OK, nil, true},
		{"a unit that never answers again", unresponsive(api.IncidentExhausted, running), api.Critical, []string{"incident-exhausted"}, false},
		{"overload", machine(api.ClassOverload, api.IncidentOpen), api.Warning, []string{"incident-open"}, false},
		{"overload that something is done against", machine(api.ClassOverload, api.IncidentActing), api.Warning, []string{"incident-open"}, true},
		{"overload that nothing helps against", machine(api.ClassOverload, api.IncidentExhausted), api.Warning, []string{"incident-exhausted"}, false},
		{"critical", machine(api.ClassCritical, api.IncidentOpen), api.Critical, []string{"incident-open"}, false},
		{"critical, and not known yet whether something has helped", machine(api.ClassCritical, api.IncidentVerifying), api.Critical, []string{"incident-open"}, true},
		{"critical until just now", func(o *Observed) {
			machine(api.ClassCritical, api.IncidentVerifying)(o)
			o.Incidents[0].RecoveredAt = since(0)
		}, api.Warning, []string{"incident-open"}, true},
		{"critical, over, and clocks still capped", func(o *Observed) {
			machine(api.ClassCritical, api.IncidentHolding)(o)
			o.Incidents[0].RecoveredAt = since(0)
		}, api.Warning, []string{"incident-open"}, false},
		{"critical, over", func(o *Observed) {
			machine(api.ClassCritical, api.IncidentResolved)(o)
			o.Incidents[0].ClosedAt = since(0)
		}, api.OK, nil, false},
		{"a unit has too much of something and is down, too", func(o *Observed) {
			machine(api.ClassCritical, api.IncidentExhausted)(o)
			o.Incidents[0].Unit = "arasul-x.service"
			service(failed)(o)
		}, api.Critical, []string{"service-down", "incident-exhausted"}, false},
		{"clocks capped, which is no restart", func(o *Observed) {
			acted(minutes(1), "helped")(o)
			o.Incidents[0].Actions[0].Kind = "cap-clocks"
		}, api.OK, nil, false},
		{"restarted for the machine's sake", func(o *Observed) {
			acted(minutes(1), "helped")(o)
			o.Incidents[0].Unit = ""
		}, api.Warning, []string{"service-restarted"}, false},
		{"breaker open", func(o *Observed) { o.Healer.BreakerOpen = new(now.Add(time.Minute)) }, api.Warning, []string{"healer-breaker"}, false},
		{"breaker closed again", func(o *Observed) { o.Healer.BreakerOpen = since(0) }, api.OK, nil, false},
		{"lease", func(o *Observed) { o.Healer.Lease = &api.Lease{Holder: "updater", Until: now.Add(time.Minute)} }, api.Warning, []string{"healer-paused"}, false},
		{"lease that ended", func(o *Observed) { o.Healer.Lease = &api.Lease{Until: now} }, api.OK, nil, false},
		{"acting", state(api.IncidentActing), api.OK, nil, true},
		{"verifying", state(api.IncidentVerifying), api.OK, nil, true},
		{"the worst comes first", func(o *Observed) {
			disk(990)(o)
			degrees(99)(o)
			o.HealerErr, o.DatabaseErr = errors.New("x"), errors.New("x")
			service(api.Service{Status: api.Down})(o)
		}, api.Critical, []string{"service-down", "database-unreachable", "temperature-high", "healer-unreachable", "disk-high"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := Observed{Since: ago(time.Hour), Interval: 5 * time.Second, Sample: &api.Sample{CPURatio: 0.1}, SampleAt: now}
			tt.change(&o)
			status, reasons, healing := Overall(o, now)
			var codes []string
			for _, r := range reasons {
				codes = append(codes, r.Code)
				if r.Message == "" || strings.HasPrefix(r.Message, ":") {
					t.Errorf("reason %+v", r)
				}
			}
			if worst := slices.IsSortedFunc(reasons, func(a, b api.Reason) int { return strings.Compare(string(a.Severity), string(b.Severity)) }); !worst {
				t.Errorf("not the worst first: %+v", reasons) // CRITICAL < WARNING
			}
			if (status == api.Critical) != (len(reasons) > 0 && reasons[0].Severity == api.Critical) {
				t.Errorf("%s because of %+v", status, reasons)
			}
			if status != tt.status || healing != tt.healing || !cmp.Equal(codes, tt.codes) {
				t.Errorf("got %s %v healing %v, want %s %v healing %v", status, codes, healing, tt.status, tt.codes, tt.healing)
			}
			if reasons == nil {
				t.Error("reasons would be null in JSON")
			}
		})
	}
}

// overallNow is what /api/system/status would say, in short.
func overallNow(d *Dashboard) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := fmt.Sprint(d.verdict.Status)
	for _, r := range d.verdict.Reasons {
		s += " " + r.Code
	}
	return s
}

func TestProcessorIsHighOnlyWhenAllSamplesOfFiveMinutesAre(t *testing.T) {
	tests := []struct {
		name  string
		ratio func(n int) float64 // of sample n; negative: no sample
		want  string
	}{
		{"always", func(int) float64 { return 0.81 }, "WARNING cpu-high"},
		{"at the limit", func(int) float64 { return 0.8 }, "OK"},
		{"one dip", func(n int) float64 { return map[bool]float64{true: 0.5, false: 0.99}[n == 30] }, "OK"},
		{"a gap that nobody saw", func(n int) float64 { return map[bool]float64{true: -1, false: 0.99}[n >= 30 && n < 35] }, "OK"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDashboard(t, Options{Interval: 5 * time.Second})
				for n := range 61 {
					if r := tt.ratio(n); r >= 0 {
						d.OnSample(api.Sample{CPURatio: r})
					}
					if n < 60 {
						time.Sleep(5 * time.Second)
					}
				}
				if got := overallNow(d); got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
			})
		})
	}
}
