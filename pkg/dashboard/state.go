package dashboard

import (
	"cmp"
	"context"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/version"
)

// maxIncidents is how many incidents are kept in memory; those that are over
// leave ten minutes after they closed, when no rule asks for them any more.
const maxIncidents = 256

// repeatStatus is how often open pages hear the status though nothing changed,
// so that they can tell a quiet machine from a dead connection.
const repeatStatus = 15 * time.Second

// OnSample takes the newest sample.
func (d *Dashboard) OnSample(s api.Sample) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	switch gap := d.seen.Sample == nil || d.seen.Stale(now); {
	case s.CPURatio <= cpuHigh:
		d.seen.CPUHighSince = time.Time{}
	case gap || d.seen.CPUHighSince.IsZero(): // nobody knows what was in the gap
		d.seen.CPUHighSince = now
	}
	d.seen.Sample, d.seen.SampleAt = &s, now
	d.hub.PublishJSON(api.Event{Type: "sample", Sample: &s})
	d.judge(now)
}

// OnServices takes the state of all services.
func (d *Dashboard) OnServices(services []api.Service) {
	d.mu.Lock()
	defer d.mu.Unlock()
	services = d.missing(d.restartable(services))
	if d.seen.Services != nil && reflect.DeepEqual(services, d.seen.Services) {
		return // nothing that open pages do not show
	}
	d.seen.Services = services
	d.hub.PublishJSON(api.Event{Type: "services", Services: services})
	d.judge(time.Now())
}

// restartable returns services with what the healer said of them.
func (d *Dashboard) restartable(services []api.Service) []api.Service {
	services = slices.Clone(services)
	for i := range services {
		services[i].Restartable = slices.Contains(d.seen.Healer.Units, services[i].Unit)
	}
	return services
}

// OnIncident takes an incident that is new or has changed.
func (d *Dashboard) OnIncident(i api.Incident) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	d.incidents[i.ID] = i
	d.counted.count(i)
	d.hub.PublishJSON(api.Event{Type: "incident", Incident: &i})
	d.judge(now)
}

// OnIncidents takes all that the healer remembers, newest first. What it has
// forgotten is forgotten here, too; pages hear of those that changed.
func (d *Dashboard) OnIncidents(all []api.Incident) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	before := d.incidents
	d.incidents = make(map[string]api.Incident, len(all))
	for _, i := range slices.Backward(all) {
		d.incidents[i.ID] = i
		d.counted.count(i)
	}
	d.forget(now)
	for _, i := range slices.Backward(all) {
		old, known := before[i.ID]
		if _, kept := d.incidents[i.ID]; (known || kept) && !reflect.DeepEqual(old, i) {
			d.hub.PublishJSON(api.Event{Type: "incident", Incident: &i})
		}
	}
	d.judge(now)
}

// OnHealerStatus takes what the healer says about itself.
func (d *Dashboard) OnHealerStatus(s api.HealerStatus) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen.Healer = s
	if again := d.restartable(d.seen.Services); d.seen.Services != nil && !reflect.DeepEqual(again, d.seen.Services) {
		d.seen.Services = again
		d.hub.PublishJSON(api.Event{Type: "services", Services: again})
	}
	d.judge(time.Now())
}

// Reload takes a new interval between samples, and notes in the audit that there is
// a new configuration, which only root can write.
func (d *Dashboard) Reload(interval time.Duration) {
	d.audit(context.WithValue(context.Background(), identityKey{}, &identity{User: console}), "config.reload", "", api.ResultSuccess, "")
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen.Interval = interval
	d.judge(time.Now())
}

// OnHealer takes whether the healer can be reached: nil, or why not.
func (d *Dashboard) OnHealer(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	starting := err != nil && time.Since(d.seen.Since) < healerStarts
	if !starting && (!d.known.healer || (err == nil) != (d.seen.HealerErr == nil)) {
		d.tell("healer", err)
	}
	d.known.healer, d.seen.HealerErr = true, err
	d.judge(time.Now())
}

// OnDatabase takes whether the database can be reached: nil, or why not.
func (d *Dashboard) OnDatabase(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.known.database || (err == nil) != (d.seen.DatabaseErr == nil) {
		d.tell("database", err)
	}
	d.known.database, d.seen.DatabaseErr = true, err
	d.judge(time.Now())
}

// tell writes a change to the log. Pages hear that something cannot be reached;
// why is for those who may read the journal.
func (d *Dashboard) tell(name string, err error) {
	if err != nil {
		d.opts.Log.Warn("out of reach", "name", name, "err", err)
		return
	}
	d.opts.Log.Info("within reach", "name", name)
}

// judge applies the status rule and publishes the verdict when it changed. The
// caller holds mu.
func (d *Dashboard) judge(now time.Time) {
	d.forget(now)
	d.seen.Incidents = d.kept()
	var v verdict
	v.Status, v.Reasons, v.Healing = Overall(d.seen, now)
	if reflect.DeepEqual(v, d.verdict) && now.Sub(d.toldAt) < repeatStatus {
		return
	}
	if v.Status != d.verdict.Status {
		codes := make([]string, len(v.Reasons))
		for i, r := range v.Reasons {
			codes[i] = r.Code
		}
		d.opts.Log.Info("status changed", "result", v.Status, "reason", codes)
	}
	d.verdict, d.toldAt = v, now
	status := d.status(now)
	d.hub.PublishJSON(api.Event{Type: "status", Status: &status})
}

// forget drops incidents that no rule asks for, and the oldest when there are
// too many.
func (d *Dashboard) forget(now time.Time) {
	maps.DeleteFunc(d.incidents, func(_ string, i api.Incident) bool {
		return i.ClosedAt != nil && now.Sub(*i.ClosedAt) >= restartRecent
	})
	if len(d.incidents) <= maxIncidents {
		return
	}
	for _, i := range d.kept()[:len(d.incidents)-maxIncidents] {
		delete(d.incidents, i.ID)
	}
}

// kept returns the incidents in memory, oldest first.
func (d *Dashboard) kept() []api.Incident {
	return slices.SortedFunc(maps.Values(d.incidents), func(a, b api.Incident) int {
		return cmp.Or(a.FaultAt.Compare(b.FaultAt), cmp.Compare(a.ID, b.ID))
	})
}

// status dresses the verdict for the API. The caller holds mu.
func (d *Dashboard) status(now time.Time) api.SystemStatus {
	s := api.SystemStatus{
		Status:    d.verdict.Status,
		Reasons:   d.verdict.Reasons,
		Healing:   d.verdict.Healing,
		Hostname:  d.opts.Hostname,
		Version:   version.Version,
		Timestamp: now.UTC(),
	}
	if d.seen.Sample != nil {
		s.UptimeS = d.seen.Sample.UptimeSecs + now.Sub(d.seen.SampleAt).Seconds()
	}
	return s
}

// join subscribes to events and returns what a page needs to begin with: all
// that is known now. Nothing is missed between the two, and nothing older
// follows.
func (d *Dashboard) join() (begin []api.Event, events <-chan []byte, leave func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	events, leave = d.hub.Subscribe()
	if d.hub.Last() != nil {
		<-events // repeats what begin says
	}
	status := d.status(time.Now())
	begin = append(begin, api.Event{Type: "status", Status: &status})
	if d.seen.Sample != nil {
		begin = append(begin, api.Event{Type: "sample", Sample: d.seen.Sample})
	}
	if d.seen.Services != nil {
		begin = append(begin, api.Event{Type: "services", Services: d.seen.Services})
	}
	for _, i := range d.kept() {
		begin = append(begin, api.Event{Type: "incident", Incident: &i})
	}
	return begin, events, leave
}
