package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/go-chi/chi/v5"
	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/auth"
)

const maxBody = 16 << 10

type peerKey struct{}

// WithPeer notes in the context of a connection whether root is at the other
// end, as the kernel says. Give it to the server as its ConnContext.
func WithPeer(ctx context.Context, conn net.Conn) context.Context {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return ctx
	}
	var peer *unix.Ucred
	if raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }) != nil || err != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, peer.Uid == 0)
}

func isRoot(ctx context.Context) bool {
	root, _ := ctx.Value(peerKey{}).(bool)
	return root
}

// internal mounts what is not for clients: the proxy answers 404 to them itself.
func (d *Dashboard) internal(r chi.Router) {
	r.Get("/internal/authz", d.authz)
	r.Group(func(r chi.Router) {
		r.Use(onlyConsole)
		r.Post("/internal/console/setup-code", d.consoleAnswer("auth.setup-code", d.consoleSetupCode))
		r.Post("/internal/console/unlock", d.consoleAnswer("auth.unlock", d.consoleUnlock))
		r.Post("/internal/console/passwd", d.consoleAnswer("auth.password", d.consolePassword))
		r.Post("/internal/console/logout-all", d.consoleAnswer("auth.logout-all", d.consoleLogoutAll))
		r.Post("/internal/console/totp-off", d.consoleAnswer("auth.totp-disable", d.consoleFactorOff))
		r.Post("/internal/console/note", d.consoleNote)
		r.Get("/internal/console/sessions", d.consoleAnswer("", d.consoleSessions))
	})
}

// onlyConsole is for root on the machine. Nobody else learns what is here.
func onlyConsole(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if who(r.Context()).User != console {
			problem(w, http.StatusNotFound, "There is nothing at this path.")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// consoleAnswer answers with what do returns, as JSON, and keeps action in the
// audit.
func (d *Dashboard) consoleAnswer(action string, do func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if d.opts.Gate == nil {
			writeError(w, noKeys())
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		answer, err := do(r)
		if err != nil {
			writeError(w, d.authError(r.Context(), action, err))
			return
		}
		if action != "" {
			d.audit(r.Context(), action, admin, api.ResultSuccess, "")
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	}
}

// done is the answer that something was.
type done struct {
	Done      bool      `json:"done"`
	Timestamp time.Time `json:"timestamp"`
}

func doneNow() done { return done{true, time.Now().UTC()} }

func (d *Dashboard) consoleSetupCode(r *http.Request) (any, error) {
	type setupCode struct {
		Code      string     `json:"code"`
		ExpiresAt *time.Time `json:"expires_at,omitempty"`
		Done      bool       `json:"done"`
		Timestamp time.Time  `json:"timestamp"`
	}
	code, expires, err := d.opts.Gate.NewSetupCode(r.Context())
	if errors.Is(err, auth.ErrExists) {
		return setupCode{Done: true, Timestamp: time.Now().UTC()}, nil
	}
	return setupCode{Code: code, ExpiresAt: &expires, Timestamp: time.Now().UTC()}, err
}

func (d *Dashboard) consoleUnlock(r *http.Request) (any, error) {
	return doneNow(), d.opts.Gate.Unlock(r.Context())
}

func (d *Dashboard) consolePassword(r *http.Request) (any, error) {
	var in struct {
		Password string `json:"password"`
	}
	body := json.NewDecoder(r.Body)
	body.DisallowUnknownFields()
	if body.Decode(&in) != nil { // its error may quote the password
		return nil, problemOf(http.StatusBadRequest, "bad-request", `The body must be {"password": "…"}.`)
	}
	if err := d.opts.Gate.Reset(r.Context(), in.Password); err != nil {
		return nil, err
	}
	d.sessionsChanged(r.Context())
	return doneNow(), nil
}

func (d *Dashboard) consoleLogoutAll(r *http.Request) (any, error) {
	if _, err := d.opts.Gate.EndAll(r.Context(), admin); err != nil {
		return nil, err
	}
	d.sessionsChanged(r.Context())
	return doneNow(), nil
}

func (d *Dashboard) consoleFactorOff(r *http.Request) (any, error) {
	return doneNow(), d.opts.Gate.DropFactor(r.Context())
}

func (d *Dashboard) consoleSessions(r *http.Request) (any, error) {
	all, err := d.opts.Gate.Sessions(r.Context(), admin)
	return sessionList(all, ""), err
}

// noteAction is the form of what console commands say they did; what accounts
// are about is said by the dashboard itself.
var noteAction = regexp.MustCompile(`^(heal|disk|db|images|models|objects|workflows|setup|bootstrap|update|config)\.[a-z-]{1,40}$`)

// consoleNote keeps in the audit what a command on the console did.
func (d *Dashboard) consoleNote(w http.ResponseWriter, r *http.Request) {
	var n api.AuditNote
	body := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	body.DisallowUnknownFields()
	if err := body.Decode(&n); err != nil || !noteAction.MatchString(n.Action) ||
		!slices.Contains([]api.Result{api.ResultSuccess, api.ResultRefused, api.ResultFailed}, n.Result) {
		writeError(w, problemOf(http.StatusBadRequest, "bad-request", "This is no note for the audit."))
		return
	}
	d.audit(r.Context(), n.Action, n.Subject, n.Result, n.Detail)
	w.WriteHeader(http.StatusNoContent)
}
