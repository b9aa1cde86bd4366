// Package dashboard answers the HTTP API, keeps open pages up to date over a
// WebSocket, serves the page itself, and shows the same state to Prometheus.
//
// It is told what happens (OnSample, OnServices, OnIncident, OnHealer,
// OnDatabase), keeps the newest of it in memory, and judges by one rule whether
// all is well. It answers from that memory, so that it keeps answering with the
// database, the healer and the metrics gone; only history needs the database.
//
// It says who may ask: what is not on the open list of access.go is the admin's
// (AUTH-6). What it lets in or refuses, and what the admin changes, goes into the
// audit. Whether a password is right is package auth's to say.
//
// It does not measure, repair or fetch anything. Which host names are ours, and
// how often somebody may ask, is the proxy's business.
package dashboard

import (
	"context"
	"encoding/json"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/auth"
	"github.com/arasul/arasul/pkg/stream"
)

// History reads samples kept in the database: those of [from, to), oldest
// first, thinned out to at most maxPoints.
type History interface {
	History(ctx context.Context, from, to time.Time, maxPoints int) ([]api.Sample, error)
}

// Incidents lists the incidents that q asks for, newest first: q.Limit of them,
// and those whose fault happened at the same instant as the last one's.
type Incidents interface {
	Incidents(ctx context.Context, q api.IncidentQuery) ([]api.Incident, error)
}

// Chronicle is what the database keeps of the healing.
type Chronicle interface {
	Incidents
	Reboots(ctx context.Context, limit int) ([]api.Reboot, error)
	HealingStatistics(ctx context.Context, since time.Time) ([]api.FaultStatistics, error)
}

// Healer answers from the healer's own memory. An error of Explain that has a
// method NotFound says with it whether the healer does not know the incident.
type Healer interface {
	Incidents
	Status(ctx context.Context) (api.HealerStatus, error)
	Probes(ctx context.Context) ([]api.ProbeResult, error)
	Explain(ctx context.Context, incident string) (string, error)
}

// Options says whom to ask. Hostname, Kernel and Interval should be set; the
// rest may be nil, and what depends on it answers 503.
type Options struct {
	Hostname string
	Kernel   string        // release, as of uname -r
	Interval time.Duration // between samples; three without one are a fault

	Web      fs.FS     // the built page, rooted where index.html lies
	History  History   // from the database
	Database Chronicle // from the database
	Healer   Healer
	GPU      Asker // the GPU daemon
	Network  Asker // the mDNS daemon, which sees the network
	Logs     Logs  // the daemon that reads the journal

	Gateway     Gateway       // to the models
	Workflows   WorkflowStore // in the database
	Setup       SetupFiles
	ImagesState string // path of what is known of the container images

	Updater      Updater       // nil: there is none
	UpdateEnded  func() string // which of its transactions ended last; nil: nobody says
	Restarter    Restarter     // the healer, over D-Bus
	Inspector    Inspector     // the database
	Certificates Certificates  // what the proxy serves with

	Gate  *auth.Gate // who may come in; nil: nobody
	Audit AuditTrail // in the database; nil: nothing is kept
	Log   *slog.Logger
}

// Dashboard holds what it was told and serves it. Its methods may be called
// from several goroutines.
type Dashboard struct {
	opts    Options
	page    page
	handler http.Handler
	router  chi.Routes
	spec    []byte

	document *huma.OpenAPI // what spec was written from

	hub     stream.Hub
	sockets chan struct{} // one token per open WebSocket
	queries chan struct{} // one token per query that somebody out there asked for

	follows   chan struct{} // one token per page that follows the journal
	downloads chan struct{} // one token per download
	wished    chan struct{} // a token when a client began something with releases

	adminOnly atomic.Bool // nothing is open without a login
	admission admission

	mu        sync.Mutex // guards what follows, and the order of what the hub is given
	seen      Observed
	incidents map[string]api.Incident
	counted   tally
	known     struct{ healer, database bool } // has anybody told us yet?
	verdict   verdict
	toldAt    time.Time          // when the verdict was last published
	pages     map[netip.Addr]int // open WebSockets by client
}

// New prepares a dashboard that has been told nothing yet. It reads the page
// into memory; an error means that it could not.
func New(opts Options) (*Dashboard, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Interval <= 0 {
		opts.Interval = 5 * time.Second
	}
	if opts.UpdateEnded == nil {
		opts.UpdateEnded = func() string { return "" }
	}
	page, err := loadPage(opts.Web)
	if err != nil {
		return nil, err
	}
	d := &Dashboard{
		opts:      opts,
		page:      page,
		sockets:   make(chan struct{}, maxSockets),
		queries:   make(chan struct{}, maxQueries),
		follows:   make(chan struct{}, maxLogFollows),
		downloads: make(chan struct{}, 1),
		wished:    make(chan struct{}, 1),
		pages:     make(map[netip.Addr]int),
		incidents: make(map[string]api.Incident),
		seen:      Observed{Since: time.Now(), Interval: opts.Interval},
		verdict:   verdict{Status: api.OK, Reasons: []api.Reason{}},
		admission: admission{changed: make(chan struct{}), noted: make(map[string]time.Time)},
	}
	if err := d.routes(); err != nil {
		return nil, err
	}
	return d, nil
}

// Handler answers everything the dashboard has to say. Serve it with limits on
// headers and idle connections, but without a deadline for writing, which would
// cut the live stream; and with a base context that ends when Run's does.
func (d *Dashboard) Handler() http.Handler { return d.handler }

// Run judges once a second, since some rules are about time, until ctx ends;
// then it waits for the open WebSockets, which end with the server's context.
func (d *Dashboard) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			d.mu.Lock()
			d.judge(now)
			d.mu.Unlock()
		case <-ctx.Done():
			for range cap(d.sockets) {
				d.sockets <- struct{}{}
			}
			return ctx.Err()
		}
	}
}

// Spec returns the OpenAPI document of the API, generated from its handlers.
func Spec() ([]byte, error) {
	d, err := New(Options{})
	if err != nil {
		return nil, err
	}
	return d.spec, nil
}

func (d *Dashboard) routes() error {
	r := chi.NewRouter()
	r.Use(secure, d.identify, d.sameSite, onlyJSON, middleware.GetHead)
	var doc *huma.OpenAPI
	r.Group(func(r chi.Router) {
		r.Use(d.access) // whoever adds a route adds it here
		r.Group(func(r chi.Router) {
			r.Use(middleware.Compress(5, "application/json"))
			doc = d.operations(r)
		})
		r.Get("/api/metrics/live-stream", d.live)
		doc.AddOperation(liveOperation(doc.Components.Schemas))
		d.chatRoutes(r, doc)
		d.updateRoutes(r, doc)
		r.Get("/api/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(d.spec)
		})
		doc.AddOperation(specOperation())
		r.Get("/api/docs", d.docs)
		doc.AddOperation(docsOperation())
		r.Method(http.MethodGet, "/metrics", d.scrape())
		doc.AddOperation(scrapeOperation())
	})
	d.internal(r)
	r.NotFound(d.servePage)
	r.MethodNotAllowed(d.methodNotAllowed)
	secured(doc)
	complete(doc)
	d.document = doc
	d.handler, d.router = r, r

	var err error
	d.spec, err = json.MarshalIndent(doc, "", "  ")
	d.spec = append(d.spec, '\n')
	return err
}

// The page loads nothing from elsewhere and has neither inline scripts nor
// inline styles, so an injected one does nothing.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"font-src 'self'; connect-src 'self'; manifest-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// secure sets the headers that every answer carries.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentSecurityPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		if isAPI(r.URL.Path) {
			h.Set("Cache-Control", "no-store")
		}
		next.ServeHTTP(w, r)
	})
}

func isAPI(path string) bool { return path == "/api" || strings.HasPrefix(path, "/api/") }

// methodNotAllowed names the methods that are, as RFC 9110 wants.
func (d *Dashboard) methodNotAllowed(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if r.URL.RawPath != "" {
		path = r.URL.RawPath
	}
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		if d.router.Match(chi.NewRouteContext(), method, path) {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 || allowed[0] == http.MethodGet {
		allowed = append([]string{http.MethodGet, http.MethodHead}, allowed[min(1, len(allowed)):]...)
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	detail := "This takes " + strings.Join(allowed, ", ") + " only."
	if allowed[len(allowed)-1] == http.MethodHead {
		detail = "This can only be read."
	}
	problem(w, http.StatusMethodNotAllowed, detail)
}

// problem answers with an RFC 9457 document, in the form huma gives them.
func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(huma.NewError(status, detail))
}
