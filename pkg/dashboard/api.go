package dashboard

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/version"
)

const (
	maxPoints   = 1000            // of a history
	askWithin   = time.Second     // the healer, the GPU daemon, or the database for incidents
	queryWithin = 5 * time.Second // the database for a history
	// The database has two connections for us. One stays free for asking whether
	// the database is there: a crowd must not make it look gone.
	maxQueries    = 1
	queryPatience = 2 * time.Second
)

// errBusy says that others were asking the database all the time.
var errBusy = errors.New("too many queries at once")

// query runs do when it is its turn, for which it waits for queryPatience. It is
// not cancelled when the client leaves: that would cost a connection.
func (d *Dashboard) query(ctx context.Context, limit time.Duration, do func(context.Context) error) error {
	patience := time.NewTimer(queryPatience)
	defer patience.Stop()
	select {
	case d.queries <- struct{}{}:
	case <-patience.C:
		return errBusy
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-d.queries }()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	return do(ctx)
}

// later is the answer to those for whom errBusy came back.
func later() error {
	return huma.ErrorWithHeaders(huma.Error503ServiceUnavailable("The database is busy."), http.Header{"Retry-After": {"2"}})
}

// answer is a huma response with nothing but a body.
type answer[T any] struct{ Body T }

// Component says how one part that we depend on does.
type Component struct {
	Status api.Status `json:"status" enum:"up,down,unknown"`
	Reason string     `json:"reason,omitempty" doc:"Why it is not up, in words"`
}

// Health is the answer of a dashboard that lives.
type Health struct {
	Status     api.Status `json:"status" enum:"up,degraded" doc:"degraded when a component is not up"`
	Version    string     `json:"version"`
	Components struct {
		Database Component `json:"database"`
		Healer   Component `json:"healer"`
		Metrics  Component `json:"metrics"`
	} `json:"components"`
	Timestamp time.Time `json:"timestamp"`
}

// SystemInfo says what machine this is. Sizes are absent before the first sample.
type SystemInfo struct {
	Hostname         string    `json:"hostname"`
	Version          string    `json:"version"`
	Kernel           string    `json:"kernel" doc:"Release, as of uname -r"`
	CPUCores         int       `json:"cpu_cores,omitempty"`
	MemoryTotalBytes uint64    `json:"memory_total_bytes,omitempty"`
	DiskTotalBytes   uint64    `json:"disk_total_bytes,omitempty"`
	Timestamp        time.Time `json:"timestamp"`
}

// Ping says that samples are coming.
type Ping struct {
	SampleTime time.Time `json:"sample_timestamp" doc:"Of the newest sample"`
	AgeSeconds float64   `json:"age_seconds" doc:"Since it arrived"`
	Timestamp  time.Time `json:"timestamp"`
}

// SampleList is a stretch of the past.
type SampleList struct {
	From      time.Time    `json:"from"`
	To        time.Time    `json:"to"`
	Samples   []api.Sample `json:"samples" doc:"Oldest first, at most 1,000"`
	Timestamp time.Time    `json:"timestamp"`
}

// ServiceList is the state of all our units.
type ServiceList struct {
	Services  []api.Service `json:"services"`
	Timestamp time.Time     `json:"timestamp"`
}

// ServiceDetail is the state of one unit.
type ServiceDetail struct {
	api.Service
	Timestamp time.Time `json:"timestamp"`
}

// operations mounts the API on r and returns its description.
func (d *Dashboard) operations(r chi.Router) *huma.OpenAPI {
	config := huma.DefaultConfig("Arasul", "1")
	config.Info.Description = "State, figures and self-healing of this appliance. Errors are RFC 9457 problems."
	config.CreateHooks = nil // no $schema in answers
	config.DocsPath = ""     // the built-in pages load from the internet
	config.OpenAPIPath = ""  // one document, at a path we describe
	config.SchemasPath = ""
	config.Transformers = []huma.Transformer{withoutValues}
	config.Components.SecuritySchemes = securitySchemes()
	a := humachi.New(r, config)

	get(a, "health", "system", "/api/health", "Is the dashboard alive, and what is missing", d.health)
	get(a, "system-status", "system", "/api/system/status", "Is all well", d.systemStatus)
	get(a, "system-info", "system", "/api/system/info", "What machine is this", d.systemInfo)
	get(a, "metrics-live", "metrics", "/api/metrics/live", "The newest sample", d.metricsLive, 503)
	get(a, "gpu", "metrics", "/api/gpu", "All GPUs, and what is wrong with them", d.gpu, 503)
	get(a, "metrics-ping", "metrics", "/api/metrics/ping", "Are samples coming", d.metricsPing, 503)
	get(a, "metrics-history", "metrics", "/api/metrics/history", "Samples of the past", d.metricsHistory, 503)
	d.healingOperations(a)
	get(a, "services", "services", "/api/services", "All services", d.services)
	get(a, "service", "services", "/api/services/{name}", "One service", d.service, 404)
	d.systemOperations(a)
	d.restartOperation(a)
	d.aiOperations(a)
	d.imageOperations(a)
	d.workflowOperations(a)
	d.setupOperations(a)
	d.logOperations(a)
	d.authOperations(a)
	d.accountOperations(a)
	return a.OpenAPI()
}

func get[I, O any](a huma.API, id, tag, path, summary string, handle func(context.Context, *I) (*answer[O], error), errors ...int) {
	huma.Register(a, huma.Operation{
		OperationID: id, Method: http.MethodGet, Path: path, Summary: summary, Tags: []string{tag}, Errors: errors,
	}, handle)
}

func (d *Dashboard) health(context.Context, *struct{}) (*answer[Health], error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	h := Health{Status: api.Up, Version: version.Version, Timestamp: now.UTC()}
	h.Components.Database = reach(d.known.database, d.seen.DatabaseErr)
	h.Components.Healer = reach(d.known.healer, d.seen.HealerErr)
	switch {
	case d.seen.Stale(now):
		h.Components.Metrics = Component{api.Down, "no samples are coming in"}
	case d.seen.Sample == nil:
		h.Components.Metrics = Component{api.Unknown, "no sample yet"}
	default:
		h.Components.Metrics = Component{Status: api.Up}
	}
	for _, c := range []Component{h.Components.Database, h.Components.Healer, h.Components.Metrics} {
		if c.Status != api.Up {
			h.Status = api.Degraded
		}
	}
	return &answer[Health]{h}, nil
}

func reach(known bool, err error) Component {
	switch {
	case !known:
		return Component{api.Unknown, "not asked yet"}
	case err != nil:
		return Component{api.Down, "cannot be reached"}
	}
	return Component{Status: api.Up}
}

func (d *Dashboard) systemStatus(context.Context, *struct{}) (*answer[api.SystemStatus], error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &answer[api.SystemStatus]{d.status(time.Now())}, nil
}

func (d *Dashboard) systemInfo(context.Context, *struct{}) (*answer[SystemInfo], error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := SystemInfo{Hostname: d.opts.Hostname, Version: version.Version, Kernel: d.opts.Kernel, Timestamp: time.Now().UTC()}
	if s := d.seen.Sample; s != nil {
		i.CPUCores, i.MemoryTotalBytes, i.DiskTotalBytes = s.CPUCores, s.MemoryTotalBytes, s.DiskTotalBytes
	}
	return &answer[SystemInfo]{i}, nil
}

func (d *Dashboard) metricsLive(context.Context, *struct{}) (*answer[api.Sample], error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seen.Sample == nil {
		return nil, huma.Error503ServiceUnavailable("There is no sample yet.")
	}
	return &answer[api.Sample]{*d.seen.Sample}, nil
}

func (d *Dashboard) metricsPing(context.Context, *struct{}) (*answer[Ping], error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if d.seen.Sample == nil || d.seen.Stale(now) {
		return nil, huma.Error503ServiceUnavailable("No samples are coming in.")
	}
	return &answer[Ping]{Ping{d.seen.Sample.Time, now.Sub(d.seen.SampleAt).Seconds(), now.UTC()}}, nil
}

type historyInput struct {
	Range string `query:"range" enum:"1h,24h,7d" default:"1h" doc:"How far back"`
}

func (d *Dashboard) metricsHistory(ctx context.Context, in *historyInput) (*answer[SampleList], error) {
	if d.opts.History == nil || !d.databaseUp() {
		return nil, huma.Error503ServiceUnavailable("The history needs the database, which cannot be reached.")
	}
	back := map[string]time.Duration{"1h": time.Hour, "24h": 24 * time.Hour, "7d": 7 * 24 * time.Hour}[in.Range]
	to := time.Now().UTC()
	from := to.Add(-back)
	var samples []api.Sample
	err := d.query(ctx, queryWithin, func(ctx context.Context) (err error) {
		samples, err = d.opts.History.History(ctx, from, to, maxPoints)
		return err
	})
	if errors.Is(err, errBusy) {
		return nil, later()
	}
	if err != nil {
		d.opts.Log.Warn("history unread", "err", err)
		return nil, huma.Error503ServiceUnavailable("The history could not be read from the database.")
	}
	if samples == nil {
		samples = []api.Sample{}
	}
	return &answer[SampleList]{SampleList{from, to, samples, to}}, nil
}

// gpu passes on what the GPU daemon says. Which programs use a GPU is not for
// everybody in the local network.
func (d *Dashboard) gpu(ctx context.Context, _ *struct{}) (*answer[api.GPUStatus], error) {
	const away = "The GPU daemon cannot be reached."
	if d.opts.GPU == nil {
		return nil, huma.Error503ServiceUnavailable(away)
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	var s api.GPUStatus
	if err := d.opts.GPU.GetJSON(ctx, "/live", &s); err != nil {
		d.opts.Log.Debug("gpu daemon not asked", "err", err)
		return nil, huma.Error503ServiceUnavailable(away)
	}
	for i := range s.GPUs {
		s.GPUs[i].Processes = []api.GPUProcess{}
	}
	return &answer[api.GPUStatus]{s}, nil
}

func (d *Dashboard) services(context.Context, *struct{}) (*answer[ServiceList], error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	services := d.seen.Services
	if services == nil {
		services = []api.Service{}
	}
	return &answer[ServiceList]{ServiceList{services, time.Now().UTC()}}, nil
}

type serviceInput struct {
	Name string `path:"name" example:"metrics" doc:"Short name, as in services"`
}

func (d *Dashboard) service(_ context.Context, in *serviceInput) (*answer[ServiceDetail], error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.seen.Services {
		if s.Name == in.Name {
			return &answer[ServiceDetail]{ServiceDetail{s, time.Now().UTC()}}, nil
		}
	}
	return nil, huma.Error404NotFound("There is no service of that name.")
}

// databaseUp says whether asking the database is worth the wait.
func (d *Dashboard) databaseUp() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.seen.DatabaseErr == nil
}

func docsOperation() *huma.Operation {
	html := map[string]*huma.MediaType{"text/html": {Schema: &huma.Schema{Type: huma.TypeString}}}
	return &huma.Operation{
		OperationID: "docs", Method: http.MethodGet, Path: "/api/docs", Tags: []string{"system"},
		Summary:     "This document, as a page",
		Description: "It comes with the appliance and loads nothing from elsewhere. What is tried out there is done with the session of the browser.",
		Responses:   map[string]*huma.Response{"200": {Description: "The page", Content: html}, "404": {Description: "This build has no page"}},
	}
}

func specOperation() *huma.Operation {
	return &huma.Operation{
		OperationID: "openapi", Method: http.MethodGet, Path: "/api/openapi.json", Tags: []string{"system"},
		Summary:   "This document",
		Responses: map[string]*huma.Response{"200": {Description: "OpenAPI 3.1", Content: map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Type: huma.TypeObject}}}}},
	}
}
