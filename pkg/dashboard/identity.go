package dashboard

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/auth"
)

// The users there are.
const (
	admin   = auth.Admin
	console = "console" // root on the machine, past the proxy
)

const (
	sessionCookie = "__Host-arasul"
	deviceCookie  = "__Host-arasul-device"

	maxAgent    = 200 // bytes of a client's name that are kept
	maxDetail   = 500
	auditWithin = 2 * time.Second
)

// AuditTrail keeps what was done, and gives it back. Nothing takes it away
// again but age.
type AuditTrail interface {
	Record(ctx context.Context, e api.AuditEvent) error
	Events(ctx context.Context, q api.AuditQuery) ([]api.AuditEvent, error)
}

// identity is who asks.
type identity struct {
	User    string     // admin, console, or empty: not known, or not asked yet
	Session string     // its id; empty without one
	Address netip.Addr // the client's; invalid for who comes past the proxy
	Agent   string     // what the client calls itself, made harmless
	Secure  bool       // over TLS, or on the machine
	Local   bool       // from an address that only the local network has

	session auth.Session
	token   string // what the client shows us
	device  string // the cookie of a device that we may know
	level   level  // what it was let in for
	out     http.Header
}

// identify finds out all that can be known without asking the database. Only
// our proxy, root and we ourselves can open the socket, and the proxy deletes
// what clients claim to be; so its word is good, and without it this is the
// machine itself.
func (d *Dashboard) identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := &identity{Agent: harmless(r.UserAgent(), maxAgent), out: w.Header(), Secure: true, Local: true}
		if from, proxied := r.Header["X-Forwarded-For"]; proxied {
			addr, err := netip.ParseAddr(strings.Join(from, ","))
			if err == nil {
				id.Address = addr.Unmap()
			}
			id.Local = local(id.Address)
			id.Secure = r.Header.Get("X-Forwarded-Proto") == "https"
		} else if isRoot(r.Context()) {
			id.User = console
		}
		if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
			id.token = strings.TrimSpace(token)
		} else if c, err := r.Cookie(sessionCookie); err == nil {
			id.token = c.Value
		}
		if c, err := r.Cookie(deviceCookie); err == nil {
			id.device = c.Value
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), identityKey{}, id)))
	})
}

// local says whether an address is one that no router of the internet forwards.
func local(a netip.Addr) bool {
	return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast()
}

type identityKey struct{}

// who returns the identity that the request of ctx has.
func who(ctx context.Context) identity {
	who, _ := ctx.Value(identityKey{}).(*identity)
	if who == nil {
		return identity{}
	}
	return *who
}

// audit keeps that whoever asks did action to subject, or tried. It outlives
// the client, and says so in the journal where the database is away. Action is
// a constant; subject and detail are made harmless here, but are never a secret.
func (d *Dashboard) audit(ctx context.Context, action, subject string, result api.Result, detail string) {
	who := who(ctx)
	e := api.AuditEvent{
		At: time.Now().UTC(), Actor: who.User, Action: action, Subject: harmless(subject, maxAgent),
		UserAgent: who.Agent, Result: result, Detail: harmless(detail, maxDetail),
	}
	if who.Address.IsValid() {
		e.Address = who.Address.String()
	}
	if d.opts.Audit == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditWithin)
	defer cancel()
	if err := d.opts.Audit.Record(ctx, e); err != nil {
		d.opts.Log.Error("audit event not kept", "err", err, "action", e.Action, "name", e.Subject, "addr", e.Address, "reason", string(e.Result))
	}
}

// harmless cuts s to most bytes, between characters, and takes out what could
// end a line, move a cursor or turn the direction of the text.
func harmless(s string, most int) string {
	s = strings.ToValidUTF8(s[:min(len(s), most+utf8.UTFMax)], "\uFFFD")
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
	for len(s) > most {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}
