package dashboard

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/arasul/arasul/pkg/api"
)

const restartWithin = 5 * time.Second // the healer decides in milliseconds

// Restarter has the healer restart a unit for an actor, and returns the id of
// the incident that keeps it. An api.Refusal is an answer.
type Restarter interface {
	Restart(ctx context.Context, unit, actor string) (incident string, err error)
}

// Restarting says that a restart was taken on.
type Restarting struct {
	Unit      string    `json:"unit" example:"arasul-metrics.service"`
	Incident  string    `json:"incident" example:"20260301T100000-17" doc:"Under which the healer keeps it: see self-healing/events"`
	Timestamp time.Time `json:"timestamp"`
}

func (d *Dashboard) restartOperation(a huma.API) {
	huma.Register(a, huma.Operation{
		OperationID: "service-restart", Method: http.MethodPost, Path: "/api/services/{name}/restart", Tags: []string{"services"},
		Summary: "Restart a service",
		Description: "The healer does it, when it is its turn, and keeps it as an incident of the rule request. The answer comes before " +
			"the service goes down, also when that is this one. 409: not now, because an update, a repair or systemd is at it. " +
			"429: it was restarted less than ten seconds ago.",
		DefaultStatus: http.StatusAccepted, Errors: []int{401, 403, 404, 409, 429, 503}, MaxBodyBytes: 1 << 10,
	}, d.restart)
}

func (d *Dashboard) restart(ctx context.Context, in *serviceInput) (*answer[Restarting], error) {
	unit := d.unitOf(in.Name)
	if unit == "" {
		return nil, huma.Error404NotFound("There is no service of that name.")
	}
	if d.opts.Restarter == nil {
		return nil, huma.Error503ServiceUnavailable("The healer cannot be reached.")
	}
	ctx, cancel := context.WithTimeout(ctx, restartWithin)
	defer cancel()
	incident, err := d.opts.Restarter.Restart(ctx, unit, cmp.Or(who(ctx).User, admin))
	var no *api.Refusal
	switch {
	case errors.As(err, &no):
		d.audit(ctx, "service.restart", unit, api.ResultRefused, no.Reason)
		return nil, refused(no)
	case err != nil:
		d.opts.Log.Warn("restart not asked for", "unit", unit, "err", err)
		d.audit(ctx, "service.restart", unit, api.ResultFailed, "the healer cannot be reached")
		return nil, huma.Error503ServiceUnavailable("The healer cannot be reached.")
	}
	d.audit(ctx, "service.restart", unit, api.ResultSuccess, "incident "+incident)
	return &answer[Restarting]{Restarting{unit, incident, time.Now().UTC()}}, nil
}

// refused is the answer to a refusal of the healer's. Its reason is a sentence
// about our own units.
func refused(r *api.Refusal) error {
	p := problemOf(http.StatusConflict, "restart-refused", "Not restarted: "+r.Reason+".")
	if r.Code != api.RefusedSoon {
		return p
	}
	p.Status, p.Title = http.StatusTooManyRequests, http.StatusText(http.StatusTooManyRequests)
	return huma.ErrorWithHeaders(p, http.Header{"Retry-After": {"10"}})
}

// unitOf is the unit of a service's short name, empty when there is none.
func (d *Dashboard) unitOf(name string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.seen.Services {
		if s.Name == name {
			return s.Unit
		}
	}
	return ""
}
