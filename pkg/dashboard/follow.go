package dashboard

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/heal"
)

const (
	// databaseInterval is how often the database is asked for an answer, so that
	// its loss shows within five seconds.
	databaseInterval = 3 * time.Second
	// healerInterval is how often the healer is asked whether it repairs.
	healerInterval = 5 * time.Second
	retainEvery    = time.Hour
)

// Follower keeps a stream of JSON lines open until ctx ends; onState tells when
// it opens and when it breaks.
type Follower interface {
	Follow(ctx context.Context, path string, each func(line []byte) error, onState func(connected bool, err error))
}

// Asker gets one answer as JSON.
type Asker interface {
	GetJSON(ctx context.Context, path string, answer any) error
}

// Units sees units: all of them now and then, single ones when they change.
type Units interface {
	Watch(ctx context.Context, seen func(at time.Time, units []api.Unit)) error
}

// Pinger asks the database for an answer.
type Pinger interface {
	Ping(ctx context.Context) error
}

// FollowMetrics listens to the metrics daemon until ctx ends. Samples that do
// not come show by themselves.
func (d *Dashboard) FollowMetrics(ctx context.Context, metrics Follower) error {
	metrics.Follow(ctx, "/stream", func(line []byte) error {
		var s api.Sample
		if err := json.Unmarshal(line, &s); err != nil {
			return err
		}
		d.OnSample(s)
		return nil
	}, func(bool, error) {})
	return ctx.Err()
}

// FollowHealer listens to the healer until ctx ends. Whenever it can be reached
// again it is first asked for all that it remembers.
func (d *Dashboard) FollowHealer(ctx context.Context, healer Follower) error {
	healer.Follow(ctx, "/stream", func(line []byte) error {
		var i api.Incident
		if err := json.Unmarshal(line, &i); err != nil {
			return err
		}
		d.OnIncident(i)
		return nil
	}, func(connected bool, err error) {
		if connected && d.opts.Healer != nil {
			if all, err := d.opts.Healer.Incidents(ctx, api.IncidentQuery{Limit: maxIncidents}); err == nil {
				d.OnIncidents(all)
			}
		}
		d.OnHealer(err)
	})
	return ctx.Err()
}

// FollowHealerStatus asks the healer every five seconds whether it repairs, until
// ctx ends. What it said last counts until it answers again.
func (d *Dashboard) FollowHealerStatus(ctx context.Context, healer Healer) error {
	tick := time.NewTicker(healerInterval)
	defer tick.Stop()
	for {
		within, cancel := context.WithTimeout(ctx, askWithin)
		status, err := healer.Status(within)
		cancel()
		if err == nil {
			d.OnHealerStatus(status)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// chores are units that run when there is something to do, and are gone after
// it. What came of them is in the incident, or the terminal, that asked for them.
var chores = []string{
	"arasul-bootstrap.service", "arasul-cdi.service", "arasul-cleanup.service", "arasul-prune.service", "arasul-reserve.service",
	"arasul-setup-code.service", "arasul-setup.service", "arasul-vacuum.service",
}

// applications are shown also while they have nothing to run: what is missing is
// what the owner wants to know.
var applications = []string{"arasul-minio.service", "arasul-llm.service", "arasul-embeddings.service", "arasul-n8n.service"}

// FollowUnits watches our units until ctx ends and shows them in the order of
// their names. Instances of a template, such as one USB stick, are no services,
// nor are chores, nor what found that nothing is configured for it to do.
func (d *Dashboard) FollowUnits(ctx context.Context, units Units) error {
	services := map[string]api.Service{}
	return units.Watch(ctx, func(_ time.Time, seen []api.Unit) {
		for _, u := range seen {
			switch {
			case strings.Contains(u.Name, "@"), slices.Contains(chores, u.Name):
			case u.ActiveState == "inactive" && u.Result == "exec-condition" && !slices.Contains(applications, u.Name):
				delete(services, u.Name)
			default:
				services[u.Name] = heal.Service(u)
			}
		}
		d.OnServices(slices.SortedFunc(maps.Values(services), func(a, b api.Service) int { return cmp.Compare(a.Name, b.Name) }))
	})
}

// FollowDatabase asks the database every three seconds until ctx ends.
func (d *Dashboard) FollowDatabase(ctx context.Context, db Pinger) error {
	tick := time.NewTicker(databaseInterval)
	defer tick.Stop()
	for {
		if err := db.Ping(ctx); ctx.Err() == nil {
			d.OnDatabase(err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// AccessStore forgets sessions and audit events that are over.
type AccessStore interface {
	RetainAccess(ctx context.Context) error
}

// KeepAccess has what is over forgotten every hour until ctx ends.
func (d *Dashboard) KeepAccess(ctx context.Context, store AccessStore) error {
	tick := time.NewTicker(retainEvery)
	defer tick.Stop()
	for {
		if err := store.RetainAccess(ctx); err != nil && ctx.Err() == nil && d.databaseUp() {
			d.opts.Log.Warn("old sessions and audit events kept", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Memory is the healer's own memory, asked for over its socket. It answers
// while the database is away.
type Memory struct{ Healer Asker }

// Status implements Healer.
func (m Memory) Status(ctx context.Context) (s api.HealerStatus, err error) {
	err = m.Healer.GetJSON(ctx, "/status", &s)
	return s, err
}

// Probes implements Healer.
func (m Memory) Probes(ctx context.Context) ([]api.ProbeResult, error) {
	var answer struct {
		Probes []api.ProbeResult `json:"probes"`
	}
	err := m.Healer.GetJSON(ctx, "/probes", &answer)
	return answer.Probes, err
}

// Explain implements Healer.
func (m Memory) Explain(ctx context.Context, incident string) (string, error) {
	var answer struct {
		Text string `json:"text"`
	}
	err := m.Healer.GetJSON(ctx, "/explain/"+url.PathEscape(incident), &answer)
	return answer.Text, err
}

// Incidents implements Incidents. The memory is short, so all of it is asked
// for and searched here.
func (m Memory) Incidents(ctx context.Context, q api.IncidentQuery) ([]api.Incident, error) {
	var answer struct {
		Incidents []api.Incident `json:"incidents"`
	}
	if err := m.Healer.GetJSON(ctx, "/incidents?limit=400", &answer); err != nil {
		return nil, err
	}
	return newest(slices.DeleteFunc(answer.Incidents, func(i api.Incident) bool { return !asked(q, i) }), q.Limit), nil
}
