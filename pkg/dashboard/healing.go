package dashboard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/arasul/arasul/pkg/api"
)

// IncidentList is one page of incidents.
type IncidentList struct {
	Events    []api.Incident `json:"events" doc:"Newest fault first"`
	Next      *time.Time     `json:"next,omitempty" doc:"Value of before for the next page; absent on the last"`
	Source    string         `json:"source" enum:"database,healer" doc:"Who remembered: the healer keeps fewer"`
	Timestamp time.Time      `json:"timestamp"`
}

// FaultStatisticsList says how faults were dealt with.
type FaultStatisticsList struct {
	Since      time.Time             `json:"since"`
	Statistics []api.FaultStatistics `json:"statistics" doc:"Per rule and fault, the most frequent first"`
	Timestamp  time.Time             `json:"timestamp"`
}

// RebootList is the reboots that the healer asked for.
type RebootList struct {
	Reboots   []api.Reboot `json:"reboots" doc:"Newest first"`
	Timestamp time.Time    `json:"timestamp"`
}

// ProbeList is what the healer's probes saw last.
type ProbeList struct {
	Probes    []api.ProbeResult `json:"probes"`
	Timestamp time.Time         `json:"timestamp"`
}

// Explanation is the reasoning of the healer.
type Explanation struct {
	Text      string    `json:"text" doc:"Plain text in English, several lines: what was seen, what the policy says to it, what was decided and why"`
	Timestamp time.Time `json:"timestamp"`
}

// statisticsBack is how far back statistics go unless they are told.
const statisticsBack = 30 * 24 * time.Hour

// healingOperations mounts what there is to say about self-healing.
func (d *Dashboard) healingOperations(a huma.API) {
	get(a, "self-healing-events", "self-healing", "/api/self-healing/events", "Incidents and what was done", d.healingEvents, 503)
	get(a, "self-healing-explanation", "self-healing", "/api/self-healing/events/{id}/explanation", "Why the healer did what it did", d.healingExplanation, 404, 503)
	get(a, "self-healing-statistics", "self-healing", "/api/self-healing/statistics", "How fast faults are noticed and repaired", d.healingStatistics, 503)
	get(a, "self-healing-reboots", "self-healing", "/api/self-healing/reboots", "Reboots that the healer asked for", d.healingReboots, 503)
	get(a, "self-healing-probes", "self-healing", "/api/self-healing/probes", "What the healer's probes saw last", d.healingProbes, 503)
	get(a, "self-healing-status", "self-healing", "/api/self-healing/status", "How the healer does", d.healingStatus, 503)
}

type eventsInput struct {
	Rule   string            `query:"rule" maxLength:"100" example:"cpu-overload" doc:"Only incidents of this rule; down: a unit is not up"`
	Class  api.Class         `query:"class" enum:"A,B,C" example:"B" doc:"A: a unit is not up; B: too much of something; C: the appliance does not do its work"`
	Unit   string            `query:"unit" maxLength:"255" example:"arasul-metrics.service" doc:"Only incidents of this unit"`
	State  api.IncidentState `query:"state" enum:"open,suppressed,acting,verifying,holding,resolved,exhausted" doc:"Only incidents in this state"`
	Open   bool              `query:"open" doc:"Only incidents that are not over"`
	Since  time.Time         `query:"since" example:"2026-03-01T00:00:00Z" doc:"Only incidents whose fault_at is at this time or later"`
	Before time.Time         `query:"before" example:"2026-04-01T00:00:00Z" doc:"Only incidents whose fault_at is before this time; next of the page before asks for the one after it"`
	Limit  int               `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Incidents per page; a few more when several begin at one instant"`
}

func (d *Dashboard) healingEvents(ctx context.Context, in *eventsInput) (*answer[IncidentList], error) {
	// The database keeps microseconds, the healer nanoseconds: without cutting,
	// an incident that moved from one to the other would be older than itself.
	q := api.IncidentQuery{
		Rule: in.Rule, Class: in.Class, Unit: in.Unit, State: in.State, Open: in.Open,
		Since: in.Since, Before: in.Before.Truncate(time.Microsecond), Limit: in.Limit,
	}
	incidents, source, err := d.remembered(ctx, q)
	if errors.Is(err, errBusy) {
		return nil, later()
	}
	if err != nil {
		d.opts.Log.Warn("incidents unread", "err", err)
		return nil, huma.Error503ServiceUnavailable("Neither the database nor the healer can be reached.")
	}
	if q.Before.IsZero() {
		incidents = d.freshen(incidents, q)
	}
	list := IncidentList{Events: incidents, Source: source, Timestamp: time.Now().UTC()}
	if list.Events == nil {
		list.Events = []api.Incident{}
	}
	if n := len(incidents); n >= in.Limit {
		next := incidents[n-1].FaultAt.Truncate(time.Microsecond)
		list.Next = &next
	}
	return &answer[IncidentList]{list}, nil
}

// remembered asks the database, which keeps everything, or else the healer.
func (d *Dashboard) remembered(ctx context.Context, q api.IncidentQuery) (found []api.Incident, source string, err error) {
	if d.opts.Database != nil && d.databaseUp() {
		err := d.query(ctx, askWithin, func(ctx context.Context) (err error) {
			found, err = d.opts.Database.Incidents(ctx, q)
			return err
		})
		if err == nil || errors.Is(err, errBusy) || ctx.Err() != nil {
			return found, "database", err
		}
		d.opts.Log.Warn("incidents unread from database", "err", err)
	}
	if d.opts.Healer == nil {
		return nil, "", fmt.Errorf("no healer to ask")
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	found, err = d.opts.Healer.Incidents(ctx, q)
	return found, "healer", err
}

// freshen puts what is in memory over the newest page, since the database
// learns of an incident a little later than we do.
func (d *Dashboard) freshen(found []api.Incident, q api.IncidentQuery) []api.Incident {
	d.mu.Lock()
	fresh := d.kept()
	d.mu.Unlock()
	for _, i := range found {
		if !slices.ContainsFunc(fresh, func(f api.Incident) bool { return f.ID == i.ID }) {
			fresh = append(fresh, i)
		}
	}
	return newest(slices.DeleteFunc(fresh, func(i api.Incident) bool { return !asked(q, i) }), q.Limit)
}

// asked says whether q asks for this incident.
func asked(q api.IncidentQuery, i api.Incident) bool {
	return (q.Rule == "" || q.Rule == i.Rule) && (q.Class == "" || q.Class == i.Class) &&
		(q.Unit == "" || q.Unit == i.Unit) && (q.State == "" || q.State == i.State) &&
		(!q.Open || i.ClosedAt == nil) && !i.FaultAt.Before(q.Since) && (q.Before.IsZero() || i.FaultAt.Before(q.Before))
}

// newest sorts incidents, newest first, and cuts them where the database would:
// to the microsecond, and not between those of one instant.
func newest(incidents []api.Incident, limit int) []api.Incident {
	slices.SortFunc(incidents, func(a, b api.Incident) int {
		return cmp.Or(instant(b).Compare(instant(a)), cmp.Compare(b.ID, a.ID))
	})
	end := min(limit, len(incidents))
	for end > 0 && end < len(incidents) && instant(incidents[end]).Equal(instant(incidents[end-1])) {
		end++
	}
	return incidents[:end]
}

func instant(i api.Incident) time.Time { return i.FaultAt.Truncate(time.Microsecond) }

func (d *Dashboard) healingStatus(ctx context.Context, _ *struct{}) (*answer[api.HealerStatus], error) {
	status, err := askHealer(ctx, d, Healer.Status)
	if err != nil {
		return nil, err
	}
	return &answer[api.HealerStatus]{status}, nil
}

func (d *Dashboard) healingProbes(ctx context.Context, _ *struct{}) (*answer[ProbeList], error) {
	probes, err := askHealer(ctx, d, Healer.Probes)
	if err != nil {
		return nil, err
	}
	if probes == nil {
		probes = []api.ProbeResult{}
	}
	return &answer[ProbeList]{ProbeList{probes, time.Now().UTC()}}, nil
}

type explanationInput struct {
	ID string `path:"id" maxLength:"100" example:"20260301T100000-17" doc:"Of the incident"`
}

func (d *Dashboard) healingExplanation(ctx context.Context, in *explanationInput) (*answer[Explanation], error) {
	text, err := askHealer(ctx, d, func(h Healer, ctx context.Context) (string, error) { return h.Explain(ctx, in.ID) })
	if err != nil {
		return nil, err
	}
	return &answer[Explanation]{Explanation{text, time.Now().UTC()}}, nil
}

// askHealer asks the healer something that only it knows. Its error is what to
// answer; OnHealer has logged why the healer is away.
func askHealer[T any](ctx context.Context, d *Dashboard, ask func(Healer, context.Context) (T, error)) (found T, err error) {
	const away = "The healer cannot be reached."
	if d.opts.Healer == nil {
		return found, huma.Error503ServiceUnavailable(away)
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	found, err = ask(d.opts.Healer, ctx)
	var unknown interface{ NotFound() bool }
	switch {
	case errors.As(err, &unknown) && unknown.NotFound():
		return found, huma.Error404NotFound("The healer does not remember this.")
	case err != nil:
		return found, huma.Error503ServiceUnavailable(away)
	}
	return found, nil
}

type statisticsInput struct {
	Since time.Time `query:"since" example:"2026-03-01T00:00:00Z" doc:"Only incidents whose fault_at is at this time or later; 30 days when absent"`
}

func (d *Dashboard) healingStatistics(ctx context.Context, in *statisticsInput) (*answer[FaultStatisticsList], error) {
	now := time.Now().UTC()
	list := FaultStatisticsList{Since: in.Since, Statistics: []api.FaultStatistics{}, Timestamp: now}
	if list.Since.IsZero() {
		list.Since = now.Add(-statisticsBack)
	}
	err := d.chronicled(ctx, func(ctx context.Context) error {
		found, err := d.opts.Database.HealingStatistics(ctx, list.Since)
		list.Statistics = append(list.Statistics, found...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &answer[FaultStatisticsList]{list}, nil
}

type rebootsInput struct {
	Limit int `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Reboots, newest first"`
}

func (d *Dashboard) healingReboots(ctx context.Context, in *rebootsInput) (*answer[RebootList], error) {
	list := RebootList{Reboots: []api.Reboot{}, Timestamp: time.Now().UTC()}
	err := d.chronicled(ctx, func(ctx context.Context) error {
		found, err := d.opts.Database.Reboots(ctx, in.Limit)
		list.Reboots = append(list.Reboots, found...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &answer[RebootList]{list}, nil
}

// chronicled asks the database something that only it knows, and returns what
// to answer when that went wrong.
func (d *Dashboard) chronicled(ctx context.Context, do func(context.Context) error) error {
	if d.opts.Database == nil || !d.databaseUp() {
		return huma.Error503ServiceUnavailable("This needs the database, which cannot be reached.")
	}
	err := d.query(ctx, queryWithin, do)
	switch {
	case errors.Is(err, errBusy):
		return later()
	case err != nil:
		d.opts.Log.Warn("healing unread from database", "err", err)
		return huma.Error503ServiceUnavailable("This could not be read from the database.")
	}
	return nil
}
