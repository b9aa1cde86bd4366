package dashboard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/auth"
)

// Me is the one who asks.
type Me struct {
	Username          string    `json:"username"`
	Session           string    `json:"session" doc:"Its id"`
	CreatedAt         time.Time `json:"created_at" doc:"Of the session"`
	ExpiresAt         time.Time `json:"expires_at" doc:"Of the session"`
	TOTPEnabled       bool      `json:"totp_enabled"`
	RecoveryCodesLeft int       `json:"recovery_codes_left"`
	PasswordChangedAt time.Time `json:"password_changed_at"`
	Timestamp         time.Time `json:"timestamp"`
}

// SessionItem is one session.
type SessionItem struct {
	ID         string    `json:"id"`
	Address    string    `json:"address,omitempty" doc:"Where it was used last; absent on the machine itself"`
	UserAgent  string    `json:"user_agent,omitempty" doc:"What the client called itself at the login"`
	Kind       string    `json:"kind" enum:"cookie,bearer" doc:"A browser's, or a program's"`
	CreatedAt  time.Time `json:"created_at"`
	LastUsedAt time.Time `json:"last_used_at" doc:"To the minute"`
	ExpiresAt  time.Time `json:"expires_at"`
	Current    bool      `json:"current" doc:"It is the one that asks"`
}

// SessionList is all sessions that run.
type SessionList struct {
	Sessions  []SessionItem `json:"sessions" doc:"The one used last first"`
	Timestamp time.Time     `json:"timestamp"`
}

// AuditList is one page of the audit.
type AuditList struct {
	Events    []api.AuditEvent `json:"events" doc:"Newest first"`
	Next      int64            `json:"next,omitempty" doc:"Value of before for the next page; absent on the last"`
	Timestamp time.Time        `json:"timestamp"`
}

// Enrolment is a second factor that waits for its first code.
type Enrolment struct {
	Secret    string    `json:"secret" doc:"To type into an authenticator app"`
	URI       string    `json:"uri" doc:"The same for a QR code (otpauth)"`
	Timestamp time.Time `json:"timestamp"`
}

// RecoveryCodes let one in without the app, each once. They are shown once.
type RecoveryCodes struct {
	RecoveryCodes []string  `json:"recovery_codes"`
	Timestamp     time.Time `json:"timestamp"`
}

func (d *Dashboard) accountOperations(a huma.API) {
	get(a, "me", "auth", "/api/auth/me", "Who am I", d.me, 503)
	get(a, "sessions", "auth", "/api/auth/sessions", "All sessions that run", d.sessions, 503)
	huma.Register(a, huma.Operation{
		OperationID: "end-session", Method: http.MethodDelete, Path: "/api/auth/sessions/{id}", Summary: "End a session",
		Tags: []string{"auth"}, DefaultStatus: http.StatusNoContent, Errors: []int{404, 503},
	}, d.endSession)
	huma.Register(a, huma.Operation{
		OperationID: "end-other-sessions", Method: http.MethodDelete, Path: "/api/auth/sessions", Summary: "End all sessions but this one",
		Tags: []string{"auth"}, DefaultStatus: http.StatusNoContent, Errors: []int{503},
	}, d.endOtherSessions)
	change(a, "change-password", "/api/auth/change-password", "Set a new password and end all other sessions", http.StatusNoContent, d.changePassword, 403, 429, 503)
	change(a, "totp-enroll", "/api/auth/totp/enroll", "Begin to set up a second factor", http.StatusOK, d.enroll, 403, 409, 429, 503)
	change(a, "totp-confirm", "/api/auth/totp/confirm", "Turn the second factor on with its first code", http.StatusOK, d.confirm, 403, 409, 429, 503)
	change(a, "totp-disable", "/api/auth/totp/disable", "Turn the second factor off", http.StatusNoContent, d.disable, 403, 409, 429, 503)
	get(a, "audit", "auth", "/api/audit", "Who did what", d.auditEvents, 503)
}

func (d *Dashboard) me(ctx context.Context, _ *struct{}) (*answer[Me], error) {
	s, err := d.session(ctx)
	if err != nil {
		return nil, err
	}
	a, err := d.opts.Gate.Account(ctx, s.User)
	if err != nil {
		return nil, d.authError(ctx, "", err)
	}
	return &answer[Me]{Me{
		Username: s.User, Session: s.ID, CreatedAt: s.CreatedAt, ExpiresAt: s.ExpiresAt,
		TOTPEnabled: a.Factor.Secret != nil, RecoveryCodesLeft: len(a.Factor.Recovery),
		PasswordChangedAt: a.PasswordChangedAt.UTC(), Timestamp: time.Now().UTC(),
	}}, nil
}

func sessionList(all []auth.Session, current string) SessionList {
	list := SessionList{Sessions: []SessionItem{}, Timestamp: time.Now().UTC()}
	for _, s := range all {
		kind := "cookie"
		if s.Bearer {
			kind = "bearer"
		}
		list.Sessions = append(list.Sessions, SessionItem{
			ID: s.ID, Address: s.Address, UserAgent: s.Agent, Kind: kind,
			CreatedAt: s.CreatedAt.UTC(), LastUsedAt: s.LastUsedAt.UTC(), ExpiresAt: s.ExpiresAt.UTC(), Current: s.ID == current,
		})
	}
	return list
}

func (d *Dashboard) sessions(ctx context.Context, _ *struct{}) (*answer[SessionList], error) {
	if d.opts.Gate == nil {
		return nil, noKeys()
	}
	all, err := d.opts.Gate.Sessions(ctx, admin)
	if err != nil {
		return nil, d.authError(ctx, "", err)
	}
	return &answer[SessionList]{sessionList(all, who(ctx).Session)}, nil
}

type sessionInput struct {
	ID string `path:"id" maxLength:"64" example:"0f8b6c1e9d2a4b7c" doc:"Of the session"`
}

func (d *Dashboard) endSession(ctx context.Context, in *sessionInput) (*left, error) {
	s, err := d.session(ctx)
	if err != nil {
		return nil, err
	}
	if err := d.opts.Gate.End(ctx, s.User, in.ID); err != nil {
		return nil, d.authError(ctx, "auth.session-end", err)
	}
	d.sessionsChanged(ctx)
	d.audit(ctx, "auth.session-end", in.ID, api.ResultSuccess, "")
	return &left{}, nil
}

func (d *Dashboard) endOtherSessions(ctx context.Context, _ *struct{}) (*left, error) {
	s, err := d.session(ctx)
	if err != nil {
		return nil, err
	}
	ended, err := d.opts.Gate.EndOthers(ctx, s.User, s.ID)
	if err != nil {
		return nil, d.authError(ctx, "auth.sessions-end", err)
	}
	d.sessionsChanged(ctx)
	d.audit(ctx, "auth.sessions-end", s.User, api.ResultSuccess, fmt.Sprintf("%d others ended", ended))
	return &left{}, nil
}

type passwordInput struct {
	Body struct {
		Current string `json:"current_password" maxLength:"1024"`
		New     string `json:"new_password" maxLength:"1024"`
	}
}

func (d *Dashboard) changePassword(ctx context.Context, in *passwordInput) (*left, error) {
	s, err := d.session(ctx)
	if err != nil {
		return nil, err
	}
	if !who(ctx).Secure {
		return nil, insecure()
	}
	device, _, err := d.opts.Gate.ChangePassword(ctx, s, in.Body.Current, in.Body.New, d.client(ctx, s.Bearer))
	if err != nil {
		return nil, d.authError(ctx, "auth.password", err)
	}
	d.sessionsChanged(ctx)
	d.audit(ctx, "auth.password", s.User, api.ResultSuccess, "")
	if s.Bearer {
		return &left{}, nil
	}
	return &left{[]http.Cookie{deviceToken(device)}}, nil
}

type enrollInput struct {
	Body struct {
		Password string `json:"password" maxLength:"1024"`
	}
}

func (d *Dashboard) enroll(ctx context.Context, in *enrollInput) (*answer[Enrolment], error) {
	s, err := d.session(ctx)
	if err != nil {
		return nil, err
	}
	secret, uri, err := d.opts.Gate.Enroll(ctx, s, in.Body.Password, d.client(ctx, s.Bearer))
	if err != nil {
		return nil, d.authError(ctx, "auth.totp-enroll", err)
	}
	d.audit(ctx, "auth.totp-enroll", s.User, api.ResultSuccess, "")
	return &answer[Enrolment]{Enrolment{secret, uri, time.Now().UTC()}}, nil
}

type confirmInput struct {
	Body struct {
		Code string `json:"code" maxLength:"16" example:"123456"`
	}
}

func (d *Dashboard) confirm(ctx context.Context, in *confirmInput) (*answer[RecoveryCodes], error) {
	s, err := d.session(ctx)
	if err != nil {
		return nil, err
	}
	codes, ended, err := d.opts.Gate.Confirm(ctx, s, in.Body.Code, d.client(ctx, s.Bearer))
	if err != nil {
		return nil, d.authError(ctx, "auth.totp-confirm", err)
	}
	if ended > 0 {
		d.sessionsChanged(ctx)
	}
	d.audit(ctx, "auth.totp-confirm", s.User, api.ResultSuccess, "")
	return &answer[RecoveryCodes]{RecoveryCodes{codes, time.Now().UTC()}}, nil
}

type disableInput struct {
	Body struct {
		Password string `json:"password" maxLength:"1024"`
		Code     string `json:"code" maxLength:"64" doc:"Of the authenticator app, or a recovery code"`
	}
}

func (d *Dashboard) disable(ctx context.Context, in *disableInput) (*left, error) {
	s, err := d.session(ctx)
	if err != nil {
		return nil, err
	}
	if err := d.opts.Gate.Disable(ctx, s, in.Body.Password, in.Body.Code, d.client(ctx, s.Bearer)); err != nil {
		return nil, d.authError(ctx, "auth.totp-disable", err)
	}
	d.audit(ctx, "auth.totp-disable", s.User, api.ResultSuccess, "")
	return &left{}, nil
}

type auditInput struct {
	Action string     `query:"action" maxLength:"100" pattern:"^[a-z.-]*$" example:"auth.login" doc:"Only this action, or those below it: auth finds auth.login"`
	Result api.Result `query:"result" enum:"success,refused,failed" doc:"Only events that ended so"`
	Since  time.Time  `query:"since" example:"2026-03-01T00:00:00Z" doc:"Only events at this time or later"`
	Before int64      `query:"before" minimum:"0" example:"4711" doc:"Only events before the one of this id; next of the page before asks for the one after it"`
	Limit  int        `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Events per page"`
}

func (d *Dashboard) auditEvents(ctx context.Context, in *auditInput) (*answer[AuditList], error) {
	list := AuditList{Events: []api.AuditEvent{}, Timestamp: time.Now().UTC()}
	if d.opts.Audit == nil {
		return nil, huma.Error503ServiceUnavailable("There is no audit.")
	}
	err := d.query(ctx, queryWithin, func(ctx context.Context) error {
		events, err := d.opts.Audit.Events(ctx, api.AuditQuery{
			Action: in.Action, Result: in.Result, Since: in.Since, Before: in.Before, Limit: in.Limit + 1,
		})
		list.Events = append(list.Events, events...)
		return err
	})
	if errors.Is(err, errBusy) {
		return nil, later()
	}
	if err != nil {
		d.opts.Log.Warn("audit unread", "err", err)
		return nil, problemOf(http.StatusServiceUnavailable, "database-away", "The database is away.")
	}
	if len(list.Events) > in.Limit {
		list.Events = list.Events[:in.Limit]
		list.Next = list.Events[in.Limit-1].ID
	}
	return &answer[AuditList]{list}, nil
}
