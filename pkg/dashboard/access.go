package dashboard

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/auth"
)

// level says for whom a route is.
type level int

const (
	forAdmin level = iota // what is not on the list
	forLocal              // for the local network, if the configuration does not say otherwise
	forAll
)

// open is what needs no login. It changes nothing and reveals states and
// figures only; whatever is not here is the admin's.
var open = map[string]level{
	"GET /api/health":                     forAll,
	"GET /api/auth/status":                forAll,
	"GET /api/auth/password-requirements": forAll,
	"POST /api/auth/setup":                forAll, // takes the setup code
	"POST /api/auth/login":                forAll,

	"GET /api/system/status":           forLocal,
	"GET /api/system/info":             forLocal,
	"GET /api/metrics/live":            forLocal,
	"GET /api/metrics/ping":            forLocal,
	"GET /api/metrics/history":         forLocal,
	"GET /api/metrics/live-stream":     forLocal,
	"GET /metrics":                     forLocal,
	"GET /api/gpu":                     forLocal,
	"GET /api/services":                forLocal,
	"GET /api/services/ai":             forLocal,
	"GET /api/images":                  forLocal,
	"GET /api/services/{name}":         forLocal,
	"GET /api/self-healing/events":     forLocal,
	"GET /api/self-healing/statistics": forLocal,
	"GET /api/self-healing/reboots":    forLocal,
	"GET /api/self-healing/probes":     forLocal,
	"GET /api/self-healing/status":     forLocal,
	"GET /api/openapi.json":            forLocal,
}

const (
	sessionWithin = 1500 * time.Millisecond // the proxy waits two seconds

	recheckEvery = 10 * time.Second
	noteEvery    = 10 * time.Minute // the same refusal, in the audit
	maxNoted     = 1000
)

// admission is what lives as long as the dashboard does.
type admission struct {
	mu      sync.Mutex
	changed chan struct{}        // closed when a session was ended
	noted   map[string]time.Time // refusals that are in the audit already
}

// SetAccess takes who may read states and figures: "local", everybody in the
// local network, or "admin".
func (d *Dashboard) SetAccess(status string) {
	d.adminOnly.Store(status != "local")
	d.admission.tell()
}

// access lets in who may. It stands between the router and the handlers, so that
// it judges the route that was found, and not a path that could be read in two ways.
func (d *Dashboard) access(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := r.Context().Value(identityKey{}).(*identity)
		if id == nil {
			problem(w, http.StatusInternalServerError, "It is not known who asks.")
			return
		}
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		id.level = open[method+" "+chi.RouteContext(r.Context()).RoutePattern()]
		if err := d.admit(r.Context(), id, method); err != nil {
			d.noteRefusal(r.Context(), method+" "+r.URL.Path, err)
			writeError(w, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// admit says whether id may do what it was asked for, and finds out its session
// where that matters.
func (d *Dashboard) admit(ctx context.Context, id *identity, method string) error {
	switch {
	case id.level == forAll:
		return nil
	case id.User == console && method == http.MethodGet:
		return nil
	case id.level == forLocal && id.Local && !d.adminOnly.Load():
		return nil
	}
	return d.authenticate(ctx, id)
}

// authenticate finds the session of id. The error is an answer.
func (d *Dashboard) authenticate(ctx context.Context, id *identity) error {
	if d.opts.Gate == nil {
		return noKeys()
	}
	if id.token == "" || !id.Secure {
		return unauthenticated()
	}
	if !d.databaseUp() {
		return unavailable() // at once: a server that hangs would keep the proxy waiting
	}
	address := ""
	if id.Address.IsValid() {
		address = id.Address.String()
	}
	ctx, cancel := context.WithTimeout(ctx, sessionWithin)
	defer cancel()
	s, err := d.opts.Gate.Session(ctx, id.token, address)
	switch {
	case errors.Is(err, auth.ErrCredentials):
		return unauthenticated()
	case err != nil:
		d.opts.Log.Warn("session unread", "err", err)
		return unavailable()
	}
	id.User, id.Session, id.session = s.User, s.ID, s
	return nil
}

// whileAdmitted returns a context for an answer that goes on: it ends when
// whoever asked may not ask any more. That the database is away ends nothing,
// since without it no session can be ended either.
func (d *Dashboard) whileAdmitted(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	id := who(ctx)
	go func() {
		tick := time.NewTicker(recheckEvery)
		defer tick.Stop()
		for {
			// Before the look, so that no change is missed; and a look at once, since
			// the session may have ended after it let this request in.
			changed := d.admission.next()
			again := id
			var answer huma.StatusError
			if err := d.admit(ctx, &again, http.MethodGet); errors.As(err, &answer) && answer.GetStatus() == http.StatusUnauthorized {
				cancel()
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-changed:
			case <-tick.C:
			}
		}
	}()
	return ctx, cancel
}

// sessionsChanged tells the proxy, with this answer, and our own streams that a
// session was ended.
func (d *Dashboard) sessionsChanged(ctx context.Context) {
	if out := who(ctx).out; out != nil {
		out.Set("Arasul-Sessions-Changed", "1")
	}
	d.admission.tell()
}

func (a *admission) tell() {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *admission) next() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed
}

// first says whether this has not been noted for a while.
func (a *admission) first(what string, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at, ok := a.noted[what]; ok && now.Sub(at) < noteEvery {
		return false
	}
	if len(a.noted) >= maxNoted {
		clear(a.noted)
	}
	a.noted[what] = now
	return true
}

// noteRefusal keeps in the audit that somebody showed a token that does not
// count. A page whose session is over asks on and on; it is noted now and then.
func (d *Dashboard) noteRefusal(ctx context.Context, what string, err error) {
	var answer huma.StatusError
	id := who(ctx)
	if id.token == "" || !errors.As(err, &answer) || answer.GetStatus() != http.StatusUnauthorized ||
		!d.admission.first("access "+id.Address.String(), time.Now()) {
		return
	}
	d.audit(ctx, "auth.access", what, api.ResultRefused, "the session is over, or the token is not one of ours")
}
