package dashboard

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/arasul/arasul/pkg/api"
)

// Inspector looks at the database from where we stand.
type Inspector interface {
	Health(ctx context.Context) (api.DatabaseHealth, error)
}

// Certificates says what browsers see of this machine when they ask for host;
// empty: its own name.
type Certificates interface {
	Show(host string) api.Certificates
}

// SystemHealth is Health with what the healer's probes saw.
type SystemHealth struct {
	Health
	Probes []api.ProbeResult `json:"probes" doc:"The last look at each service that is probed; empty while the healer is away"`
}

// AIServices are the language models and who runs them.
type AIServices struct {
	Services   []AIService `json:"services"`
	LLM        *api.Engine `json:"llm,omitempty" doc:"Absent while the gateway is away"`
	Embeddings *api.Engine `json:"embeddings,omitempty"`
	Timestamp  time.Time   `json:"timestamp"`
}

// AIService is one Ollama.
type AIService struct {
	Name   string      `json:"name" example:"llm"`
	Unit   string      `json:"unit" example:"arasul-llm.service"`
	Status api.Status  `json:"status" enum:"up,degraded,down,unknown" doc:"The worse of what systemd and the probe say"`
	Reason string      `json:"reason,omitempty" example:"not installed" doc:"Why it is not up, in words"`
	Models []api.Model `json:"models" doc:"What it has loaded, as the healer last saw; at most 16"`
}

// aiUnits are the units that run an Ollama.
var aiUnits = []string{"arasul-llm.service", "arasul-embeddings.service"}

func (d *Dashboard) systemOperations(a huma.API) {
	get(a, "system-network", "system", "/api/system/network", "How is the machine connected", d.network, 401, 503)
	get(a, "system-health", "system", "/api/system/health", "How do all parts do, with what their probes say", d.systemHealth, 401, 503)
	get(a, "database-health", "system", "/api/database/health", "How does the database do", d.databaseHealth, 401, 503)
	get(a, "services-ai", "services", "/api/services/ai", "How do the language models do", d.ai, 401)
	get(a, "certificates", "system", "/api/certificates", "What browsers see of this machine, and what they have to trust", d.certificates, 401, 503)
}

func (d *Dashboard) network(ctx context.Context, _ *struct{}) (*answer[api.Network], error) {
	const away = "The daemon that sees the network cannot be reached."
	if d.opts.Network == nil {
		return nil, huma.Error503ServiceUnavailable(away)
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	var n api.Network
	if err := d.opts.Network.GetJSON(ctx, "/network", &n); err != nil {
		d.opts.Log.Debug("network not asked for", "err", err)
		return nil, huma.Error503ServiceUnavailable(away)
	}
	return &answer[api.Network]{n}, nil
}

func (d *Dashboard) systemHealth(ctx context.Context, _ *struct{}) (*answer[SystemHealth], error) {
	health, err := d.health(ctx, nil)
	if err != nil {
		return nil, err
	}
	h := SystemHealth{Health: health.Body, Probes: []api.ProbeResult{}}
	if probes, err := askHealer(ctx, d, Healer.Probes); err == nil && probes != nil {
		h.Probes = probes
	}
	if slices.ContainsFunc(h.Probes, func(p api.ProbeResult) bool { return p.Status == api.Down || p.Status == api.Degraded }) {
		h.Status = api.Degraded
	}
	return &answer[SystemHealth]{h}, nil
}

func (d *Dashboard) databaseHealth(ctx context.Context, _ *struct{}) (*answer[api.DatabaseHealth], error) {
	if d.opts.Inspector == nil || !d.databaseUp() {
		return nil, huma.Error503ServiceUnavailable("The database cannot be reached.")
	}
	var h api.DatabaseHealth
	err := d.query(ctx, askWithin, func(ctx context.Context) (err error) {
		h, err = d.opts.Inspector.Health(ctx)
		return err
	})
	switch {
	case errors.Is(err, errBusy):
		return nil, later()
	case err != nil:
		d.opts.Log.Warn("database not looked at", "err", err)
		return nil, huma.Error503ServiceUnavailable("The database does not answer.")
	}
	return &answer[api.DatabaseHealth]{h}, nil
}

func (d *Dashboard) ai(ctx context.Context, _ *struct{}) (*answer[AIServices], error) {
	list := AIServices{Services: []AIService{}, Timestamp: time.Now().UTC()}
	probes, err := askHealer(ctx, d, Healer.Probes)
	for _, unit := range aiUnits {
		list.Services = append(list.Services, d.aiService(unit, probes, err == nil))
	}
	if d.opts.Gateway != nil {
		var both api.AI
		ctx, cancel := context.WithTimeout(ctx, askWithin)
		defer cancel()
		if err := d.opts.Gateway.GetJSON(ctx, "/status", &both); err == nil {
			list.LLM, list.Embeddings = &both.LLM, &both.Embeddings
		}
	}
	return &answer[AIServices]{list}, nil
}

// aiService joins what systemd and the probe say about a unit.
func (d *Dashboard) aiService(unit string, probes []api.ProbeResult, asked bool) AIService {
	s := AIService{Name: shortName(unit), Unit: unit, Status: api.Unknown, Reason: "not installed", Models: []api.Model{}}
	d.mu.Lock()
	i := slices.IndexFunc(d.seen.Services, func(s api.Service) bool { return s.Unit == unit })
	switch {
	case d.seen.Services == nil:
		s.Reason = "not looked at yet"
	case i >= 0:
		s.Status, s.Reason = d.seen.Services[i].Status, d.seen.Services[i].Reason
	}
	d.mu.Unlock()
	if i < 0 || s.Status != api.Up {
		return s
	}
	switch i := slices.IndexFunc(probes, func(p api.ProbeResult) bool { return p.Unit == unit }); {
	case !asked:
		s.Status, s.Reason = api.Unknown, "it runs, and the healer, which looks at it, cannot be reached"
	case i < 0:
		s.Status, s.Reason = api.Unknown, "it runs, and has not been looked at yet"
	default:
		s.Status, s.Reason = probes[i].Status, probes[i].Detail
		s.Models = append(s.Models, probes[i].Models...)
	}
	return s
}

func (d *Dashboard) certificates(context.Context, *struct{}) (*answer[api.Certificates], error) {
	if d.opts.Certificates == nil {
		return nil, huma.Error503ServiceUnavailable("The certificates cannot be read right now.")
	}
	return &answer[api.Certificates]{d.opts.Certificates.Show("")}, nil
}
