// Package proxy is the appliance's door to the network: it decides which
// requests are for us, who may make them and how often, hands each to the
// program that answers it, and says something friendly while that is away.
//
// It answers only to names that are ours, so that a page elsewhere cannot reach
// us through a name that it points here (DNS rebinding), and what a client
// claims about itself in headers never arrives behind it. Who may come in is
// the dashboard's to say; the proxy asks it, keeps the answer for seconds, and
// fails closed. It does not cache content or log requests, and it knows no
// passwords and no sessions.
//
// A request goes through the files in this order:
//
//	limit.go     connections: how many
//	host.go      the name it asks for is ours
//	path.go      the path means the same to everybody
//	route.go     which upstream, on which terms: the table
//	rate.go      how often, how many at once; counter.go counts
//	models.go    what may be asked of Ollama; s3.go: of MinIO
//	auth.go      the dashboard lets it pass; cache.go remembers, live.go ends
//	             what is still open when a session does
//	stream.go    bodies and answers keep coming
//	header.go    what passes in headers, either way
//	upstream.go  those behind us; answer.go speaks for them, words.go has the words
package proxy

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/arasul/arasul/pkg/api"
)

// Options says who is behind us and which names are ours. The functions are
// called for each request, so that a configuration can change; none may be slow.
type Options struct {
	Dashboard string // path of its unix socket
	// Upstreams returns where the others are.
	Upstreams func() Upstreams
	// Hosts returns the names that we answer to, besides localhost and all IP
	// addresses. A name of one label counts with .local, too.
	Hosts func() []string
	// StorageHost returns the name of one label under which S3 is served, in
	// .local: a signature covers the host and the path, so S3 needs a name of
	// its own.
	StorageHost func() string
	// Updating is the update that is under way, nil for none, which explains why
	// somebody is away.
	Updating func() *api.UpdateRun
	// SignOn signs the admin in to n8n and returns the value of its cookie. Nil: he
	// does that himself.
	SignOn func(context.Context) (cookie string, err error)
	Log    *slog.Logger
}

// Upstreams are addresses on loopback, as host:port. An empty one is not there.
type Upstreams struct{ N8N, Console, Storage, LLM, Embeddings string }

// Proxy serves the network side.
type Proxy struct {
	opts      Options
	upstreams map[string]*upstream
	gate      *gate
	allowance *allowance
	pulse     pulse
	entry     signOn
	sameSite  *http.CrossOriginProtection
}

// New prepares a proxy. It does not connect.
func New(opts Options) *Proxy {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Hosts == nil {
		opts.Hosts = func() []string { return nil }
	}
	if opts.StorageHost == nil {
		opts.StorageHost = func() string { return "" }
	}
	if opts.Upstreams == nil {
		opts.Upstreams = func() Upstreams { return Upstreams{} }
	}
	if opts.Updating == nil {
		opts.Updating = func() *api.UpdateRun { return nil }
	}
	p := &Proxy{opts: opts, allowance: newAllowance(), sameSite: http.NewCrossOriginProtection()}
	p.upstreams = map[string]*upstream{
		dashboard:  p.newUpstream(dashboard, "unix", func() string { return opts.Dashboard }),
		n8n:        p.newUpstream(n8n, "tcp", func() string { return opts.Upstreams().N8N }),
		console:    p.newUpstream(console, "tcp", func() string { return opts.Upstreams().Console }),
		storage:    p.newUpstream(storage, "tcp", func() string { return opts.Upstreams().Storage }),
		llm:        p.newUpstream(llm, "tcp", func() string { return opts.Upstreams().LLM }),
		embeddings: p.newUpstream(embeddings, "tcp", func() string { return opts.Upstreams().Embeddings }),
		assistant:  p.newUpstream(assistant, "unix", func() string { return opts.Dashboard }),
	}
	p.entry.ask = opts.SignOn
	p.gate = &gate{ask: p.upstreams[dashboard].transport, log: opts.Log, changed: make(chan struct{}, 1)}
	return p
}

// Handler answers the network. Serve it with limits on headers and idle
// connections, but without a deadline for writing, which would cut streams.
func (p *Proxy) Handler() http.Handler { return http.HandlerFunc(p.serve) }

// Run cuts the connections of sessions that have ended, until ctx ends.
func (p *Proxy) Run(ctx context.Context) error { return p.gate.watch(ctx) }

// visit is what we know about one request.
type visit struct {
	route     *route
	permit    permit
	body      *timedBody // nil: there is none
	endpoint  string     // of S3
	succeeded func()     // what it does when the answer is one of success
}

type visitKey struct{}

func visitOf(r *http.Request) *visit {
	if v, ok := r.Context().Value(visitKey{}).(*visit); ok {
		return v
	}
	return &visit{}
}

// serve finds the row of the table for a request.
func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	v := &visit{}
	r = r.WithContext(context.WithValue(r.Context(), visitKey{}, v))
	name := p.opts.StorageHost()
	forStorage := name != "" && ours(r.Host, []string{name}) && !ours(r.Host, nil)
	switch {
	case forStorage:
		v.route = &storageRoute
	case !ours(r.Host, p.opts.Hosts()):
		answer(w, r, misdirected, "")
		return
	}
	if r.Method == http.MethodConnect || r.Method == http.MethodTrace { // this is no way out, and no mirror
		answer(w, r, notAllowed, "")
		return
	}
	if !forStorage {
		if why := crooked(r.URL); why != "" {
			p.opts.Log.Debug("request refused", "reason", why)
			answer(w, r, badPath, "")
			return
		}
		v.route = find(r.URL.Path)
		v.endpoint = p.endpoint(r, name)
	}
	switch {
	case v.route.to == "" && v.route.prefix == "/health":
		p.health(w, r)
	case v.route.to == "":
		answer(w, r, notFound, "")
	case v.route.entrance(r):
		to := url.URL{Path: r.URL.Path + "/", RawQuery: r.URL.RawQuery}
		http.Redirect(w, r, to.String(), http.StatusPermanentRedirect)
	default:
		p.pass(w, r, v)
	}
}

// endpoint is where S3 is to be found, as seen from who asks.
func (p *Proxy) endpoint(r *http.Request, name string) string {
	if name == "" {
		return ""
	}
	_, scheme := origin(r)
	return scheme + "://" + strings.ToLower(name) + ".local"
}

// pass lets a request through to its upstream, if it may.
func (p *Proxy) pass(w http.ResponseWriter, r *http.Request, v *visit) {
	t := v.route
	upgrade := r.Header.Get("Upgrade") != ""
	if client, ok := address(r); ok {
		limit := p.allowance.rates[t.of(r)]
		if wait := limit.take(w, r, client); wait > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(retryAfter(wait)))
			answer(w, r, tooMany, t.to)
			return
		}
		if t.rate == login {
			v.succeeded = func() { limit.giveBack(client) }
		}
		crowds := []*crowd{&p.allowance.all}
		if t.long || upgrade {
			crowds = append(crowds, &p.allowance.long)
		}
		for _, c := range crowds {
			if !c.enter(client) {
				w.Header().Set("Retry-After", "5")
				answer(w, r, tooManyAtOnce, t.to)
				return
			}
			defer c.leave(client)
		}
	}
	for _, may := range []func(*route, *http.Request) (reply, bool){mayAsk, p.mayFetch} {
		if no, ok := may(t, r); !ok {
			answer(w, r, no, t.to)
			return
		}
	}
	if t.login {
		left, ok := p.enter(w, &r, v, upgrade)
		if !ok {
			return
		}
		defer left()
		p.signOn(w, r, v)
	}
	if !limitBody(w, r, v) {
		answer(w, r, tooLarge, t.to)
		return
	}
	out := timeWrites(w, r)
	if timed, ok := out.(*timedWriter); ok && !upgrade {
		defer timed.end()
	}
	p.upstreams[t.to].proxy.ServeHTTP(out, r)
}

// enter has the dashboard decide whether a request may pass, and sees to it that
// it ends when the session does. It replaces the request by one that can be
// ended.
func (p *Proxy) enter(w http.ResponseWriter, r **http.Request, v *visit, upgrade bool) (left func(), ok bool) {
	if p.fromElsewhere(*r, upgrade) {
		answer(w, *r, crossSite, v.route.to)
		return nil, false
	}
	e := enquire(*r)
	yes, no, generation, err := p.gate.admit((*r).Context(), e)
	switch {
	case err != nil && (*r).Context().Err() != nil:
		panic(http.ErrAbortHandler)
	case err != nil:
		p.opts.Log.Warn("nobody is let in", "err", err)
		if run := p.opts.Updating(); run != nil {
			say(w, *r, updating, v.route.to, run)
		} else {
			answer(w, *r, unsure, v.route.to)
		}
		return nil, false
	case no != nil:
		no.say(w, *r)
		return nil, false
	case !mayChange(v.route, *r, yes):
		answer(w, *r, adminOnly, v.route.to)
		return nil, false
	}
	v.permit = yes
	ctx, leave := context.WithCancelCause((*r).Context())
	*r = (*r).WithContext(ctx)
	gone := p.gate.crowd.enter(e, leave)
	if p.gate.permits.since(generation) {
		p.gate.look() // the session may have ended while we asked
	}
	return func() { gone(); leave(nil) }, true
}

// fromElsewhere says whether a page of another site makes this request with its
// visitor's cookies: one that changes something, or opens a WebSocket.
func (p *Proxy) fromElsewhere(r *http.Request, upgrade bool) bool {
	if bearer(r.Header) != "" { // no browser adds that by itself
		return false
	}
	if p.sameSite.Check(r) != nil {
		return true
	}
	from := r.Header.Get("Origin")
	if !upgrade || from == "" {
		return false
	}
	u, err := url.Parse(from)
	_, scheme := origin(r)
	return err != nil || !strings.EqualFold(u.Host, r.Host) || u.Scheme != scheme
}
