package dashboard

import (
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Problem is an RFC 9457 problem, with the time that every answer of ours has.
type Problem struct {
	huma.ErrorModel
	Timestamp time.Time `json:"timestamp"`
}

// huma makes its own errors, and their schema, by this variable only.
func init() {
	plain := huma.NewError
	huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
		p := &Problem{Timestamp: time.Now().UTC()}
		if m, ok := plain(status, message, errs...).(*huma.ErrorModel); ok {
			p.ErrorModel = *m
		}
		return p
	}
}

// problemOf is a problem that a program can tell from others.
func problemOf(status int, kind, detail string) *Problem {
	return &Problem{
		huma.ErrorModel{Type: "urn:arasul:problem:" + kind, Status: status, Title: http.StatusText(status), Detail: detail},
		time.Now().UTC(),
	}
}

func unauthenticated() error {
	return huma.ErrorWithHeaders(problemOf(http.StatusUnauthorized, "login-required", "This needs a login."),
		http.Header{"Www-Authenticate": {`Bearer realm="arasul"`}})
}

func unavailable() error {
	return huma.ErrorWithHeaders(problemOf(http.StatusServiceUnavailable, "database-away", "The database is away, so nobody can be let in."),
		http.Header{"Retry-After": {"5"}})
}

func noKeys() error {
	return problemOf(http.StatusServiceUnavailable, "keys-missing",
		"Nobody can be let in: the keys of this machine are missing. See: systemctl status arasul-secrets.service")
}

func insecure() error {
	return problemOf(http.StatusForbidden, "https-required", "Passwords are taken over HTTPS only.")
}

func locked(until time.Time) error {
	seconds := max(1, int(math.Ceil(time.Until(until).Seconds())))
	return huma.ErrorWithHeaders(problemOf(http.StatusTooManyRequests, "locked", "There were too many failed attempts."),
		http.Header{"Retry-After": {strconv.Itoa(seconds)}})
}

// writeError answers with an error as huma would.
func writeError(w http.ResponseWriter, err error) {
	var with huma.HeadersError
	if errors.As(err, &with) {
		for key, values := range with.GetHeaders() {
			w.Header()[key] = values
		}
	}
	var answer huma.StatusError
	if !errors.As(err, &answer) {
		answer = huma.NewError(http.StatusInternalServerError, "Something went wrong.")
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(answer.GetStatus())
	_ = json.NewEncoder(w).Encode(answer)
}

// withoutValues takes what was sent out of the answer that it was wrong: it may
// be a password.
func withoutValues(_ huma.Context, _ string, v any) (any, error) {
	if e, ok := v.(*Problem); ok {
		for _, d := range e.Errors {
			if d.Location == "body" && d.Value != nil {
				d.Message = "this is not the JSON that is expected here"
			}
			d.Value = nil
		}
	}
	return v, nil
}
