// Package proxy is the appliance's door to the network: it decides which
// requests are for us, hands them to the dashboard's unix socket, and says
// something friendly while the dashboard restarts.
//
// It answers only to names that are ours, so that a page elsewhere cannot reach
// us through a name that it points here (DNS rebinding), and what a client
// claims about itself in headers never arrives behind it. It does not cache,
// log requests, or know who is asking; TLS, sessions and the routes to other
// services are yet to come.
package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"time"
)

const (
	maxBody      = 1 << 20          // bytes of a request body
	bodyWithin   = 30 * time.Second // for a request body to arrive
	headerWithin = 10 * time.Second // for the dashboard to begin an answer
	healthWithin = time.Second      // for the dashboard's own health
	patience     = 2 * time.Second  // with a dashboard that restarts
	retryEvery   = 50 * time.Millisecond
)

// Options says where the dashboard is and which names are ours.
type Options struct {
	Dashboard string // path of its unix socket
	// Hosts returns the names that we answer to, besides localhost and all IP
	// addresses. A name of one label counts with .local, too. It is called for
	// each request.
	Hosts func() []string
	Log   *slog.Logger
}

// Proxy serves the network side.
type Proxy struct {
	opts     Options
	upstream http.RoundTripper
	handler  http.Handler
}

// New prepares a proxy. It does not connect.
func New(opts Options) *Proxy {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Hosts == nil {
		opts.Hosts = func() []string { return nil }
	}
	p := &Proxy{opts: opts, upstream: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", opts.Dashboard)
		},
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       90 * time.Second,
		ResponseHeaderTimeout: headerWithin,
		DisableCompression:    true, // pass on what the client asked for
	}}
	toDashboard := &httputil.ReverseProxy{
		Rewrite:      rewrite,
		Transport:    patient{p.upstream},
		ErrorHandler: p.failed,
		ErrorLog:     slog.NewLogLogger(opts.Log.Handler(), slog.LevelDebug),
	}
	dashboard := limitBody(toDashboard)
	p.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !ours(r.Host, opts.Hosts()):
			answer(w, r, http.StatusMisdirectedRequest)
		case r.Method == http.MethodConnect: // this is no way out
			answer(w, r, http.StatusMethodNotAllowed)
		case r.URL.Path == "/health":
			p.health(w, r)
		default:
			dashboard.ServeHTTP(w, r)
		}
	})
	return p
}

// Handler answers the network. Serve it with limits on headers and idle
// connections, but without a deadline for writing, which would cut streams.
func (p *Proxy) Handler() http.Handler { return p.handler }

// claims are headers in which a proxy tells those behind it who is asking. A
// client that sends them lies; rewrite also drops all whose name begins with
// one of claimPrefixes.
var (
	claims        = []string{"Forwarded", "Client-Ip", "True-Client-Ip", "Via"}
	claimPrefixes = []string{"X-Forwarded", "X-Real-", "X-Client-", "X-Cluster-", "X-Original-", "X-Rewrite-", "X-Auth-", "X-Remote-", "Remote-", "Cf-"}
)

// rewrite turns a request from the network into one to the dashboard, which
// sees the host that was asked for and the address it came from.
func rewrite(r *httputil.ProxyRequest) {
	for _, name := range claims {
		r.Out.Header.Del(name)
	}
	for name := range r.Out.Header {
		// Some readers take X_Forwarded_For for X-Forwarded-For.
		spelled := strings.ReplaceAll(strings.ToLower(name), "_", "-")
		for _, prefix := range claimPrefixes {
			if strings.HasPrefix(spelled, strings.ToLower(prefix)) {
				delete(r.Out.Header, name)
			}
		}
	}
	r.Out.URL.Scheme = "http"
	r.Out.URL.Host = "dashboard" // for connection reuse; Out.Host stays what was asked for
	r.SetXForwarded()
}

// limitBody refuses bodies that are too large or too slow.
func limitBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > maxBody {
			answer(w, r, http.StatusRequestEntityTooLarge)
			return
		}
		if r.ContentLength != 0 {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyWithin))
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		}
		next.ServeHTTP(w, r)
	})
}

// patient tries again for a moment when the dashboard does not answer: it is
// being restarted. Only what can be asked twice is: reading, without a body.
type patient struct{ next http.RoundTripper }

func (p patient) RoundTrip(r *http.Request) (*http.Response, error) {
	deadline := time.Now().Add(patience)
	for {
		resp, err := p.next.RoundTrip(r)
		repeatable := (r.Method == http.MethodGet || r.Method == http.MethodHead) && (r.Body == nil || r.Body == http.NoBody)
		if err == nil || !repeatable || !time.Now().Before(deadline) {
			return resp, err
		}
		wait := time.NewTimer(retryEvery)
		select {
		case <-wait.C:
		case <-r.Context().Done():
			wait.Stop()
			return nil, err
		}
	}
}

// failed answers in place of a dashboard that did not. When the request has
// ended there is nothing to say, and the connection goes: returning would make
// it a 200 without a body.
func (p *Proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	var tooLarge *http.MaxBytesError
	switch {
	case r.Context().Err() != nil: // the client has left, or we stop
		panic(http.ErrAbortHandler)
	case errors.As(err, &tooLarge):
		answer(w, r, http.StatusRequestEntityTooLarge)
	default:
		p.opts.Log.Warn("no answer from dashboard", "err", err, "path", r.URL.Path)
		w.Header().Set("Retry-After", "2")
		answer(w, r, http.StatusServiceUnavailable)
	}
}

// Health is what the proxy says about itself. That it says so at all means that
// it lives; the dashboard may not.
type Health struct {
	Status    string    `json:"status"`    // up
	Dashboard string    `json:"dashboard"` // up or down
	Timestamp time.Time `json:"timestamp"`
}

func (p *Proxy) health(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		answer(w, r, http.StatusMethodNotAllowed)
		return
	}
	h := Health{Status: "up", Dashboard: "down", Timestamp: time.Now().UTC()}
	ctx, cancel := context.WithTimeout(r.Context(), healthWithin)
	defer cancel()
	if req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://dashboard/api/health", nil); err == nil {
		if resp, err := p.upstream.RoundTrip(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				h.Dashboard = "up"
			}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_ = json.NewEncoder(w).Encode(h)
}
