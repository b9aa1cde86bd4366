package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

const (
	patience   = 2 * time.Second // with a dashboard that restarts
	retryEvery = 50 * time.Millisecond
	dialWithin = 2 * time.Second
)

// upstream is one of those behind us.
type upstream struct {
	name     string
	target   func() string // its address on loopback; "" if this machine has none
	network  string
	probe    string // the path that says whether it is up
	updating func() *api.UpdateRun
	log      *slog.Logger

	transport http.RoundTripper
	proxy     *httputil.ReverseProxy

	seen atomic.Bool // it has answered since we started
	gone atomic.Bool // it did not, the last time
}

// kind is what upstreams differ in.
type kind struct {
	probe string
	idle  time.Duration // how long a connection that nobody uses is kept
	begin time.Duration // for an answer to begin
}

// kinds holds, for each upstream, how long it needs. Idle is shorter than what
// it allows itself, so that none is closed just when a request is put on it: a
// POST cannot be sent again. Node's is 5 s, MinIO's 30 s.
var kinds = map[string]kind{
	// A new password is hashed and compared with the last ones, which takes a busy
	// machine many seconds.
	dashboard: {"/api/health", 90 * time.Second, 30 * time.Second},
	n8n:       {"/healthz", 4 * time.Second, 10 * time.Minute}, // a webhook may answer when its workflow ends
	console:   {"/", 20 * time.Second, time.Minute},
	storage:   {"/minio/health/live", 20 * time.Second, 5 * time.Minute},
	// A cold model takes up to five minutes to load, and a long answer that is
	// not streamed as long to write.
	llm:        {"/api/version", 90 * time.Second, 15 * time.Minute},
	embeddings: {"/api/version", 90 * time.Second, 15 * time.Minute},
	assistant:  {"/api/health", 90 * time.Second, 15 * time.Minute},
}

// buffers are what answers are copied through.
type buffers struct{ sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.Pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, 32*kilobyte)
}

func (b *buffers) Put(p []byte) { b.Pool.Put(&p) }

var copyBuffers buffers

func (p *Proxy) newUpstream(name, network string, target func() string) *upstream {
	k := kinds[name]
	u := &upstream{name: name, network: network, target: target, probe: k.probe, updating: p.opts.Updating, log: p.opts.Log}
	dial := &net.Dialer{Timeout: dialWithin}
	u.transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if to := target(); to != "" {
				return dial.DialContext(ctx, network, to)
			}
			return nil, syscall.ECONNREFUSED
		},
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       k.idle,
		ResponseHeaderTimeout: k.begin,
		DisableCompression:    true, // pass on what the client asked for
	}
	var way = u.transport
	if name == dashboard || name == assistant {
		way = patient{way}
	}
	u.proxy = &httputil.ReverseProxy{
		Rewrite:        u.rewrite,
		Transport:      way,
		ModifyResponse: func(resp *http.Response) error { p.answered(u, resp); return nil },
		ErrorHandler:   u.failed,
		BufferPool:     &copyBuffers,
		// What has no length, such as a token stream, is passed on as it
		// comes; the rest may wait a moment for company.
		FlushInterval: 100 * time.Millisecond,
		ErrorLog:      slog.NewLogLogger(p.opts.Log.Handler(), slog.LevelDebug),
	}
	return u
}

// host is the upstream's part of a URL: it keeps connections apart when the
// configuration moves it.
func (u *upstream) host() string {
	if to := u.target(); u.network == "tcp" && to != "" {
		return to
	}
	return u.name
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

// answered looks at an answer before the client does.
func (p *Proxy) answered(u *upstream, resp *http.Response) {
	u.seen.Store(true)
	if u.gone.Swap(false) {
		u.log.Info("upstream answers again", "name", u.name)
	}
	v := visitOf(resp.Request)
	if u.name == dashboard || u.name == assistant {
		if resp.Header.Get(sessionsChanged) != "" {
			p.gate.purge()
		}
		if v.succeeded != nil && resp.StatusCode < http.StatusBadRequest {
			v.succeeded()
		}
	}
	tame(resp, v.route)
}

// failed answers in place of an upstream that did not. When the request has
// ended there is nothing to say, and the connection goes: returning would make
// it a 200 without a body.
func (u *upstream) failed(w http.ResponseWriter, r *http.Request, err error) {
	var large *http.MaxBytesError
	var network net.Error
	switch {
	case visitOf(r).body.slow():
		answer(w, r, tooSlow, u.name)
		return
	case r.Context().Err() != nil: // the client has left, its session is over, or we stop
		panic(http.ErrAbortHandler)
	case errors.As(err, &large):
		answer(w, r, tooLarge, u.name)
		return
	case visitOf(r).body.garbled():
		answer(w, r, badBody, u.name)
		return
	}
	if !u.gone.Swap(true) {
		u.log.Warn("no answer from upstream", "name", u.name, "err", err, "path", r.URL.Path)
	}
	refused := errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT)
	run := u.updating()
	switch {
	case run != nil:
		say(w, r, updating, u.name, run)
	case refused && !u.seen.Load() && u.name != dashboard:
		answer(w, r, absent, u.name)
	case errors.As(err, &network) && network.Timeout():
		answer(w, r, late, u.name)
	default:
		answer(w, r, away, u.name)
	}
}
