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

type eventsInput struct {
	Limit  int       `query:"limit" minimum:"1" maximum:"200" default:"50"`
	Before time.Time `query:"before" doc:"Only incidents whose fault_at is before this time; next of the page before"`
}

func (d *Dashboard) healingEvents(ctx context.Context, in *eventsInput) (*answer[IncidentList], error) {
	// The database keeps microseconds, the healer nanoseconds: without cutting,
	// an incident that moved from one to the other would be older than itself.
	q := api.IncidentQuery{Before: in.Before.Truncate(time.Microsecond), Limit: in.Limit}
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
	const away = "The healer cannot be reached."
	if d.opts.Healer == nil {
		return nil, huma.Error503ServiceUnavailable(away)
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	status, err := d.opts.Healer.Status(ctx)
	if err != nil {
		return nil, huma.Error503ServiceUnavailable(away) // OnHealer has logged why
	}
	return &answer[api.HealerStatus]{status}, nil
}
