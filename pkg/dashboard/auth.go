package dashboard

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/auth"
)

// AuthStatus is what a page needs to know before anybody has logged in.
type AuthStatus struct {
	Available     bool      `json:"available" doc:"One can log in now: the database is there, and so are the keys"`
	SetupNeeded   bool      `json:"setup_needed" doc:"There is no admin yet: the setup code on the console makes one"`
	Authenticated bool      `json:"authenticated" doc:"The session that was sent runs"`
	Secure        bool      `json:"secure" doc:"This came over HTTPS; a login needs it"`
	StatusOpen    bool      `json:"status_open" doc:"States and figures may be read from here without a login"`
	Timestamp     time.Time `json:"timestamp"`
}

// Login is a session that has begun.
type Login struct {
	Username  string    `json:"username"`
	Session   string    `json:"session" doc:"Its id"`
	ExpiresAt time.Time `json:"expires_at"`
	Token     string    `json:"token,omitempty" doc:"For the header Authorization: Bearer; with bearer: true only"`
	Timestamp time.Time `json:"timestamp"`
}

// PasswordRequirements are what a new password must have.
type PasswordRequirements struct {
	MinLength int       `json:"min_length" doc:"Characters"`
	MaxBytes  int       `json:"max_bytes" doc:"In UTF-8, where a letter such as ä takes two"`
	Upper     bool      `json:"upper"`
	Lower     bool      `json:"lower"`
	Digit     bool      `json:"digit"`
	Special   bool      `json:"special" doc:"A character that is neither letter nor digit; a blank is one"`
	History   int       `json:"history" doc:"That many of the last passwords may not come again"`
	Timestamp time.Time `json:"timestamp"`
}

// entered is the answer to a login, with its cookies.
type entered struct {
	SetCookie []http.Cookie `header:"Set-Cookie"`
	Body      Login
}

// left is the answer to what ends or changes sessions.
type left struct {
	SetCookie []http.Cookie `header:"Set-Cookie"`
}

func (d *Dashboard) authOperations(a huma.API) {
	get(a, "auth-status", "auth", "/api/auth/status", "Can one log in, and is one", d.authStatus)
	get(a, "password-requirements", "auth", "/api/auth/password-requirements", "What a new password must have", d.passwordRequirements)
	change(a, "setup", "/api/auth/setup", "The first login: make the admin with the setup code", http.StatusOK, d.setup, 401, 403, 409, 429, 503)
	change(a, "login", "/api/auth/login", "Log in", http.StatusOK, d.login, 401, 403, 429, 503)
	change(a, "logout", "/api/auth/logout", "End this session", http.StatusNoContent, d.logout, 503)
	change(a, "logout-all", "/api/auth/logout-all", "End all sessions", http.StatusNoContent, d.logoutAll, 503)
}

// change registers what is posted.
func change[I, O any](a huma.API, id, path, summary string, status int, handle func(context.Context, *I) (*O, error), errors ...int) {
	huma.Register(a, huma.Operation{
		OperationID: id, Method: http.MethodPost, Path: path, Summary: summary, Tags: []string{"auth"},
		DefaultStatus: status, Errors: errors, MaxBodyBytes: maxBody,
	}, handle)
}

func (d *Dashboard) authStatus(ctx context.Context, _ *struct{}) (*answer[AuthStatus], error) {
	id := who(ctx)
	s := AuthStatus{Secure: id.Secure, StatusOpen: id.Local && !d.adminOnly.Load(), Timestamp: time.Now().UTC()}
	if d.opts.Gate != nil && d.databaseUp() {
		ctx, cancel := context.WithTimeout(ctx, sessionWithin)
		defer cancel()
		ready, err := d.opts.Gate.Ready(ctx)
		s.Available, s.SetupNeeded = err == nil, err == nil && !ready
		s.Authenticated = d.authenticate(ctx, &id) == nil
	}
	return &answer[AuthStatus]{s}, nil
}

func (d *Dashboard) passwordRequirements(context.Context, *struct{}) (*answer[PasswordRequirements], error) {
	return &answer[PasswordRequirements]{PasswordRequirements{
		MinLength: auth.MinLength, MaxBytes: auth.MaxBytes, Upper: true, Lower: true, Digit: true, Special: true,
		History: auth.Remember, Timestamp: time.Now().UTC(),
	}}, nil
}

// client is who asks, as package auth wants to know him. The session that he has
// already is ended by a new one, so it is looked up.
func (d *Dashboard) client(ctx context.Context, bearer bool) auth.Client {
	id := who(ctx)
	if id.Session == "" && id.token != "" {
		_ = d.authenticate(ctx, &id) // no session is no error here
	}
	return auth.Client{Address: id.Address, Agent: id.Agent, Device: id.device, Session: id.Session, Bearer: bearer}
}

type setupInput struct {
	Body struct {
		Code     string `json:"code" maxLength:"64" example:"7KQ2-M9XD-4TRA" doc:"From the console of the machine"`
		Password string `json:"password" maxLength:"1024" doc:"The new one; see password-requirements"`
		Bearer   bool   `json:"bearer,omitempty" doc:"Answer with a token instead of a cookie"`
	}
}

func (d *Dashboard) setup(ctx context.Context, in *setupInput) (*entered, error) {
	return d.letIn(ctx, "auth.setup", in.Body.Bearer, func(from auth.Client) (auth.Entry, error) {
		return d.opts.Gate.Setup(ctx, in.Body.Code, in.Body.Password, from)
	})
}

type loginInput struct {
	Body struct {
		Username string `json:"username,omitempty" maxLength:"64" default:"admin"`
		Password string `json:"password" maxLength:"1024"`
		TOTP     string `json:"totp,omitempty" maxLength:"64" example:"123456" doc:"Code of the authenticator app, or a recovery code"`
		Bearer   bool   `json:"bearer,omitempty" doc:"Answer with a token instead of a cookie"`
	}
}

func (d *Dashboard) login(ctx context.Context, in *loginInput) (*entered, error) {
	return d.letIn(ctx, "auth.login", in.Body.Bearer, func(from auth.Client) (auth.Entry, error) {
		return d.opts.Gate.Login(ctx, in.Body.Username, in.Body.Password, in.Body.TOTP, from)
	})
}

// letIn lets somebody in, if try does.
func (d *Dashboard) letIn(ctx context.Context, action string, bearer bool, try func(auth.Client) (auth.Entry, error)) (*entered, error) {
	if d.opts.Gate == nil {
		return nil, noKeys()
	}
	if !who(ctx).Secure {
		return nil, insecure()
	}
	if !d.databaseUp() {
		return nil, unavailable()
	}
	e, err := try(d.client(ctx, bearer))
	if err != nil {
		return nil, d.authError(ctx, action, err)
	}
	if e.Ended {
		d.sessionsChanged(ctx)
	}
	d.audit(as(ctx, e.Session), action, e.Session.ID, api.ResultSuccess, "")
	out := &entered{Body: Login{Username: e.Session.User, Session: e.Session.ID, ExpiresAt: e.Session.ExpiresAt, Timestamp: time.Now().UTC()}}
	if bearer {
		out.Body.Token = e.Token
		return out, nil
	}
	out.SetCookie = []http.Cookie{cookie(sessionCookie, e.Token, time.Until(e.Session.ExpiresAt)), deviceToken(e.Device)}
	return out, nil
}

// as is the context of somebody who has just come in.
func as(ctx context.Context, s auth.Session) context.Context {
	id := who(ctx)
	id.User, id.Session, id.session = s.User, s.ID, s
	return context.WithValue(ctx, identityKey{}, &id)
}

func (d *Dashboard) logout(ctx context.Context, _ *struct{}) (*left, error) {
	s, err := d.session(ctx)
	if err != nil {
		return nil, err
	}
	if err := d.opts.Gate.End(ctx, s.User, s.ID); err != nil && !errors.Is(err, auth.ErrNotFound) {
		return nil, d.authError(ctx, "auth.logout", err)
	}
	d.sessionsChanged(ctx)
	d.audit(ctx, "auth.logout", s.ID, api.ResultSuccess, "")
	return &left{[]http.Cookie{cookie(sessionCookie, "", -1)}}, nil
}

func (d *Dashboard) logoutAll(ctx context.Context, _ *struct{}) (*left, error) {
	s, err := d.session(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := d.opts.Gate.EndAll(ctx, s.User); err != nil {
		return nil, d.authError(ctx, "auth.logout-all", err)
	}
	d.sessionsChanged(ctx)
	d.audit(ctx, "auth.logout-all", s.User, api.ResultSuccess, "")
	return &left{[]http.Cookie{cookie(sessionCookie, "", -1)}}, nil
}

// session is the one that the request belongs to. Root on the machine has none.
func (d *Dashboard) session(ctx context.Context) (auth.Session, error) {
	s := who(ctx).session
	if s.ID == "" {
		return s, unauthenticated()
	}
	if d.opts.Gate == nil {
		return s, noKeys()
	}
	return s, nil
}

// cookie makes one that no script and no other site can read. A life below zero
// deletes it.
func cookie(name, value string, life time.Duration) http.Cookie {
	seconds := -1
	if life > 0 {
		seconds = int(life.Seconds())
	}
	return http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: seconds, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}

func deviceToken(token string) http.Cookie { return cookie(deviceCookie, token, auth.DeviceLife) }

// authError keeps a refusal in the audit and makes an answer of it.
func (d *Dashboard) authError(ctx context.Context, action string, err error) error {
	var lock *auth.LockedError
	var weak *auth.WeakError
	var answer huma.StatusError
	refused := func(why string) {
		if action != "" {
			d.audit(ctx, action, "", api.ResultRefused, why)
		}
	}
	switch {
	case errors.As(err, &lock):
		if d.admission.first("locked "+who(ctx).Address.String(), time.Now()) {
			refused(lock.Error())
		}
		return locked(lock.Until)
	case errors.Is(err, auth.ErrCodeRequired):
		refused(err.Error())
		return problemOf(http.StatusUnauthorized, "totp-required", "The code of your authenticator app is needed, too.")
	case errors.Is(err, auth.ErrCredentials):
		refused(err.Error())
		status := http.StatusUnauthorized
		if who(ctx).Session != "" {
			status = http.StatusForbidden // the session is good, what was typed is not
		}
		return problemOf(status, "invalid-credentials", "What you typed is wrong.")
	case errors.As(err, &weak):
		refused(weak.Error())
		p := problemOf(http.StatusUnprocessableEntity, "weak-password", "The password is too weak.")
		for _, w := range weak.Weaknesses {
			p.Errors = append(p.Errors, &huma.ErrorDetail{Location: "password", Message: string(w)})
		}
		return p
	case errors.Is(err, auth.ErrExists):
		refused("it is there already")
		return problemOf(http.StatusConflict, "exists", "This is there already.")
	case errors.Is(err, auth.ErrNoFactor):
		refused(err.Error())
		return problemOf(http.StatusConflict, "no-factor", "There is no second factor to do this with.")
	case errors.Is(err, auth.ErrNotFound):
		return problemOf(http.StatusNotFound, "not-found", "There is nothing of this name.")
	case errors.Is(err, auth.ErrBusy):
		return huma.ErrorWithHeaders(problemOf(http.StatusServiceUnavailable, "busy", "Too many want to log in at once."), http.Header{"Retry-After": {"5"}})
	case errors.As(err, &answer):
		return err
	}
	d.opts.Log.Warn("login impossible", "err", err, "action", action)
	return unavailable()
}
