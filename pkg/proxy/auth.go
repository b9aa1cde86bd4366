package proxy

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	authPath        = "/internal/authz"
	authWithin      = 2 * time.Second
	sessionsChanged = "Arasul-Sessions-Changed"
	maxRefusal      = 64 * kilobyte // of a refusal's body
)

// gate asks the dashboard whether a request may pass, as Traefik's ForwardAuth
// does, and remembers the answer for a moment. Without an answer nobody passes.
type gate struct {
	ask     http.RoundTripper
	log     *slog.Logger
	permits permits
	flights singleflight.Group
	crowd   audience
	changed chan struct{} // sessions did: look at those who are in
}

// refusal is the dashboard's no, in its own words.
type refusal struct {
	status int
	header http.Header
	body   []byte
}

// enquiry is what the dashboard is told about a request: never its body, never
// a header that says who it is.
type enquiry struct {
	credential credential
	anonymous  bool // shows nothing at all
	header     http.Header
}

// enquire reads off a request what is asked about it.
func enquire(r *http.Request) enquiry {
	client, scheme := origin(r)
	h := http.Header{}
	for _, name := range []string{"Accept", "Accept-Language", "Sec-Fetch-Mode", "Sec-Fetch-Dest", "User-Agent", "Authorization"} {
		if v := r.Header.Get(name); v != "" {
			h.Set(name, v)
		}
	}
	h["Cookie"] = slices.Clone(r.Header["Cookie"])
	keepCookies(h, dashboard)
	h.Set("X-Forwarded-For", client)
	h.Set("X-Forwarded-Proto", scheme)
	h.Set("X-Forwarded-Host", r.Host)
	h.Set("X-Forwarded-Method", r.Method)
	h.Set("X-Forwarded-Uri", r.URL.RequestURI())
	cookies, authorization := h.Get("Cookie"), h.Get("Authorization")
	return enquiry{
		credential: sha256.Sum256([]byte(strconv.Itoa(len(cookies)) + " " + cookies + authorization)),
		anonymous:  cookies == "" && authorization == "",
		header:     h,
	}
}

// admit says whether a request may pass. Exactly one of the first two and err
// tells: a permit, a refusal or an error. Sessions that changed since generation
// may make a permit void.
func (g *gate) admit(ctx context.Context, e enquiry) (yes permit, no *refusal, generation uint64, err error) {
	if e.anonymous {
		_, no, err = g.request(ctx, e)
		if err == nil && no == nil {
			err = errors.New("somebody was let in who showed nothing")
		}
		return permit{}, no, 0, err
	}
	yes, known, generation := g.permits.get(e.credential)
	if known {
		return yes, nil, generation, nil
	}
	// The files of a page come all at once: one of them asks. A yes is the same
	// for all of them, a no says where to go from here, so the others ask for
	// themselves. Nobody joins an enquiry that began before sessions changed.
	var asked bool
	flight := g.flights.DoChan(fmt.Sprintf("%x %d", e.credential, generation), func() (any, error) {
		asked = true
		return g.decide(context.WithoutCancel(ctx), e, generation)
	})
	select {
	case <-ctx.Done():
		return permit{}, nil, generation, ctx.Err()
	case result := <-flight:
		d, _ := result.Val.(decision)
		if result.Err == nil && d.no != nil && !asked {
			d, result.Err = g.decide(ctx, e, generation)
		}
		return d.yes, d.no, generation, result.Err
	}
}

type decision struct {
	yes permit
	no  *refusal
}

func (g *gate) decide(ctx context.Context, e enquiry, generation uint64) (decision, error) {
	yes, no, err := g.request(ctx, e)
	switch {
	case err != nil:
	case no != nil:
		g.permits.forget(e.credential)
	default:
		g.permits.put(e.credential, yes, generation)
	}
	return decision{yes, no}, err
}

// request asks the dashboard. Only a 200 that names somebody is a yes. What
// tells the client how to go on is a no; anything else is the dashboard's
// trouble and an error.
func (g *gate) request(ctx context.Context, e enquiry) (yes permit, no *refusal, err error) {
	ctx, cancel := context.WithTimeout(ctx, authWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://dashboard"+authPath, nil)
	if err != nil {
		return permit{}, nil, err
	}
	req.Header = e.header.Clone() // the transport may still read it when we have gone on
	resp, err := g.ask.RoundTrip(req)
	if err != nil {
		return permit{}, nil, fmt.Errorf("asking the dashboard: %w", err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		yes = permit{user: resp.Header.Get("Remote-User"), groups: resp.Header.Get("Remote-Groups")}
		if yes.user == "" {
			return permit{}, nil, errors.New("asking the dashboard: it names nobody")
		}
		return yes, nil, nil
	case http.StatusFound, http.StatusSeeOther, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests:
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
		if err != nil {
			return permit{}, nil, fmt.Errorf("asking the dashboard: %w", err)
		}
		return permit{}, &refusal{resp.StatusCode, resp.Header, body}, nil
	default:
		return permit{}, nil, fmt.Errorf("asking the dashboard: %s", resp.Status)
	}
}

// say passes the dashboard's no on to the client. It leads nowhere but to paths
// of our own.
func (no *refusal) say(w http.ResponseWriter, r *http.Request) {
	doNotDrain(w, r)
	h := w.Header()
	for _, name := range []string{"Content-Type", "Content-Security-Policy", "Retry-After", "Set-Cookie", "Vary", "Www-Authenticate", "X-Content-Type-Options", "Referrer-Policy"} {
		if v := no.header.Values(name); len(v) > 0 {
			h[name] = v
		}
	}
	h.Set("Cache-Control", "no-store")
	if to := no.header.Get("Location"); strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "//") && !strings.ContainsAny(to, "\\\r\n\t") {
		h.Set("Location", to)
	}
	w.WriteHeader(no.status)
	_, _ = w.Write(no.body)
}

// purge forgets who was let in, and has those looked at who are in: the
// dashboard said that sessions changed.
func (g *gate) purge() {
	g.permits.purge()
	g.look()
}

// look has recheck done soon.
func (g *gate) look() {
	select {
	case g.changed <- struct{}{}:
	default: // it will be
	}
}
