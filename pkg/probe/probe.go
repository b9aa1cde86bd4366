// Package probe looks once at a service over HTTP and says what it saw: up,
// degraded or down, in words, and how long it took.
//
// A look asks one path that tells whether the service is alive; where there is
// one, it then asks another that tells whether it can do all of its work. The
// first decides between up and down, the second between up and degraded:
//
//	expected answer                            up
//	expected answer, after half of the limit   degraded: slow
//	second path: any other answer, or none     degraded
//	first path: any other answer, or none      down
//	not allowed to ask, or told to stop        unknown
//
// Each look has a connection of its own, so that one that died since the last
// look is not taken for a dead service. It does not follow redirects and knows
// no proxies. What is answered does not matter, only that it is: a body is read
// as far as 64 KiB and forgotten.
//
// It does not know when to look, how many misses are too many, and what to do
// then; nor does it fill in ProbeResult.Unit: that is the caller's.
package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// The longest that a look takes, by requirement HEAL-9.
const (
	proxyWithin     = 3 * time.Second
	dashboardWithin = time.Second
	metricsWithin   = time.Second
	gatewayWithin   = 3 * time.Second
	n8nWithin       = 2 * time.Second
	minioWithin     = time.Second
)

const maxBody = 64 << 10 // bytes of an answer that are read, and of its headers

// Each function below returns a look. The address is host:port, or the path of
// a unix socket. A look ends with its own limit, or earlier with the context.

// Proxy looks at our proxy.
func Proxy(address string) func(context.Context) api.ProbeResult {
	return look(address, proxyWithin, step{path: "/health"})
}

// Dashboard looks at our dashboard. It is up when it answers, whatever it says
// of others.
func Dashboard(address string) func(context.Context) api.ProbeResult {
	return look(address, dashboardWithin, step{path: "/api/health"})
}

// Metrics looks at our sampler.
func Metrics(address string) func(context.Context) api.ProbeResult {
	return look(address, metricsWithin, step{path: "/ping", want: http.StatusNoContent})
}

// Gateway looks at our gateway to the models.
func Gateway(address string) func(context.Context) api.ProbeResult {
	return look(address, gatewayWithin, step{path: "/status"})
}

// N8N looks at n8n. It is alive as soon as it listens, and ready when its
// database is there and migrated; for some seconds after that it still starts
// workflows, which no path tells.
func N8N(address string) func(context.Context) api.ProbeResult {
	return look(address, n8nWithin, step{path: "/healthz"},
		step{path: "/healthz/readiness", unavailable: "its database is away, or it is still starting"})
}

// MinIO looks at MinIO, which is alive as long as it answers at all, and of use
// when enough of its drives can be written to.
func MinIO(address string) func(context.Context) api.ProbeResult {
	return look(address, minioWithin, step{path: "/minio/health/live"},
		step{path: "/minio/health/cluster", unavailable: "it cannot write: a drive is away or broken, or it is still starting"})
}

// step is one GET.
type step struct {
	path        string
	want        int    // the expected status; 200 unless given
	unavailable string // what 503 means, in words
}

// look asks the steps one after the other, all of them within the limit.
func look(address string, within time.Duration, steps ...step) func(context.Context) api.ProbeResult {
	return doorAt(address).look(within, steps...)
}

func (d *door) look(within time.Duration, steps ...step) func(context.Context) api.ProbeResult {
	return func(parent context.Context) api.ProbeResult {
		start := time.Now()
		ctx, cancel := context.WithTimeout(parent, within)
		defer cancel()
		r := api.ProbeResult{Status: api.Up, Time: start.UTC()}
		for i, s := range steps {
			status, detail := s.ask(ctx, d)
			if status == api.Up {
				continue
			}
			r.Status, r.Detail = status, detail
			if i > 0 && status == api.Down {
				r.Status = api.Degraded // it is alive, as the step before has shown
			}
			if errors.Is(parent.Err(), context.Canceled) {
				r.Status, r.Detail = api.Unknown, "looking was interrupted"
			}
			break
		}
		took := time.Since(start)
		if r.Status == api.Up && took > within/2 {
			r.Status = api.Degraded
			r.Detail = fmt.Sprintf("slow: its answer took %s", round(took))
		}
		r.Duration = took.Seconds()
		return r
	}
}

// ask tells what one GET came to, in words unless the service is up.
func (s step) ask(ctx context.Context, d *door) (api.Status, string) {
	start := time.Now()
	status, err := d.get(ctx, s.path)
	switch {
	case err == nil:
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return api.Down, "nothing listens on " + d.address
	case errors.Is(err, fs.ErrPermission):
		return api.Unknown, "not allowed to connect to " + d.address
	case ctx.Err() != nil:
		return api.Down, fmt.Sprintf("no answer to GET %s within %s", s.path, round(time.Since(start)))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return api.Down, "the connection ended before the answer to GET " + s.path
	default:
		return api.Down, words(err)
	}
	want := s.want
	if want == 0 {
		want = http.StatusOK
	}
	switch {
	case status == want:
		return api.Up, ""
	case status == http.StatusServiceUnavailable && s.unavailable != "":
		return api.Degraded, s.unavailable
	default:
		return api.Down, fmt.Sprintf("answers GET %s with %d %s instead of %d", s.path, status, http.StatusText(status), want)
	}
}

// door is where a service answers.
type door struct {
	address string
	host    string // in the request
	http    http.Client
}

func doorAt(address string) *door {
	network, host := "tcp", address
	if strings.HasPrefix(address, "/") {
		network, host = "unix", "localhost"
	}
	return &door{address, host, http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, network, address)
			},
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxBody,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// get returns the status of the answer once the whole of it is there, or as much
// of it as is read.
func (d *door) get(ctx context.Context, path string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.host+path, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("User-Agent", "arasul-probe")
	resp, err := d.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxBody)); err != nil {
		return 0, err
	}
	return resp.StatusCode, nil
}

// words bounds what an error says: some repeat what the other side sent.
func words(err error) string {
	const most = 200
	text := strings.ToValidUTF8(err.Error(), "?")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + " …"
	}
	return text
}

func round(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}
