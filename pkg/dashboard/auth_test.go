package dashboard

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"

	"github.com/arasul/arasul/migrations"
	"github.com/arasul/arasul/pkg/auth"
	"github.com/arasul/arasul/pkg/postgres/postgrestest"
)

const (
	password = "Sesam-Öffne-Dich-1"
	second   = "Karavane-zieht-fort-2"
	owner    = "192.168.1.10"
	attacker = "192.168.1.66"
)

// house is a dashboard with a real database behind it, and all that it said.
type house struct {
	*Dashboard
	t    *testing.T
	db   postgrestest.Database
	gate *auth.Gate
	log  *bytes.Buffer
	said *bytes.Buffer // every answer, with its headers
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, db: postgrestest.New(t, migrations.FS), log: new(bytes.Buffer), said: new(bytes.Buffer)}
	db := h.db.Open(t, "arasul-dashboard")
	gate, err := auth.New(auth.Options{
		Store: db, SessionKey: bytes.Repeat([]byte{1}, 32), FactorKey: bytes.Repeat([]byte{2}, 32), Machine: "box", Cost: bcrypt.MinCost,
	})
	if err != nil {
		t.Fatal(err)
	}
	h.gate = gate
	h.Dashboard = newDashboard(t, Options{
		Gate: gate, Audit: db, Healer: &recorded{},
		Log: slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	return h
}

// browser is one client behind the proxy.
type browser struct {
	h       *house
	address string
	cookies map[string]string
	header  map[string]string // instead of what it would send
}

func (h *house) from(address string) *browser {
	return &browser{h: h, address: address, cookies: map[string]string{}, header: map[string]string{}}
}

type reply struct {
	code   int
	header http.Header
	body   map[string]any
}

func (r reply) kind() string {
	kind, _ := r.body["type"].(string)
	return strings.TrimPrefix(kind, "urn:arasul:problem:")
}

func (r reply) text(key string) string { s, _ := r.body[key].(string); return s }

// send sends body as JSON, unless it is a string.
func (b *browser) send(method, path string, body any) reply {
	b.h.t.Helper()
	var raw []byte
	switch body := body.(type) {
	case nil:
	case string:
		raw = []byte(body)
	default:
		raw, _ = json.Marshal(body)
	}
	r := httptest.NewRequest(method, "https://arasul.local"+path, bytes.NewReader(raw))
	r.Header.Set("X-Forwarded-For", b.address)
	r.Header.Set("X-Forwarded-Proto", "https")
	r.Header.Set("User-Agent", "Firefox")
	if raw != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	for name, value := range b.header {
		r.Header.Set(name, value)
	}
	return b.h.serve(r, b.cookies)
}

func (h *house) serve(r *http.Request, jar map[string]string) reply {
	h.t.Helper()
	w := httptest.NewRecorder()
	h.Handler().ServeHTTP(w, r)
	fmt.Fprintln(h.said, r.Method, r.URL.Path, w.Code, w.Body)
	for name, values := range w.Header() {
		if name != "Set-Cookie" {
			fmt.Fprintln(h.said, name, values)
		}
	}
	for _, c := range w.Result().Cookies() {
		if !c.Secure || !c.HttpOnly || c.Path != "/" || c.SameSite != http.SameSiteLaxMode || c.Domain != "" || !strings.HasPrefix(c.Name, "__Host-") {
			h.t.Errorf("cookie %v", c)
		}
		if jar != nil {
			jar[c.Name] = c.Value
			if c.MaxAge < 0 {
				delete(jar, c.Name)
			}
		}
	}
	answer := reply{code: w.Code, header: w.Header()}
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &answer.body); err != nil {
			h.t.Fatalf("%s %s: %v in %q", r.Method, r.URL.Path, err, w.Body)
		}
	}
	return answer
}

func (b *browser) login(password string) reply {
	b.h.t.Helper()
	return b.send("POST", "/api/auth/login", map[string]any{"username": "admin", "password": password})
}

func (b *browser) me() int { b.h.t.Helper(); return b.send("GET", "/api/auth/me", nil).code }

func (h *house) console(path string, body string) reply {
	h.t.Helper()
	r := atConsole("POST", "/internal/console/"+path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return h.serve(r, nil)
}

// setUp makes the admin, as the owner does, and returns his browser.
func (h *house) setUp() *browser {
	h.t.Helper()
	code := h.console("setup-code", "").text("code")
	b := h.from(owner)
	if r := b.send("POST", "/api/auth/setup", map[string]any{"code": code, "password": password}); r.code != 200 {
		h.t.Fatalf("setup: %d %v", r.code, r.body)
	}
	return b
}

// Proves LOG-2: a new configuration is in the audit.
func TestReloadIsInTheAudit(t *testing.T) {
	h := newHouse(t)
	h.Reload(time.Second)
	if diff := cmp.Diff([]string{"console config.reload    success "}, h.audit("config.reload")); diff != "" {
		t.Error(diff)
	}
}

func (h *house) audit(action string) []string {
	h.t.Helper()
	conn := h.db.Connect(h.t, "arasul-dashboard")
	rows, err := conn.Query(context.Background(), `SELECT concat_ws(' ', actor, action, subject, address, user_agent, result, detail) FROM audit_events WHERE action = $1 ORDER BY id`, action)
	if err != nil {
		h.t.Fatal(err)
	}
	var events []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			h.t.Fatal(err)
		}
		events = append(events, s)
	}
	return events
}

// Proves AUTH-2: the life of an account through its API.
func TestTheOwnerComesInWithTheCodeFromTheConsole(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	if r := h.from(owner).send("GET", "/api/auth/status", nil); r.body["setup_needed"] != true || r.body["available"] != true || r.body["authenticated"] != false {
		t.Errorf("status before: %v", r.body)
	}
	code := h.console("setup-code", "").text("code")
	if len(code) != len("XXXX-XXXX-XXXX") {
		t.Fatalf("setup code %q", code)
	}
	b := h.from(owner)
	for _, step := range []struct {
		code, password string
		want           int
		kind           string
	}{
		{"0000-0000-0000", password, 401, "invalid-credentials"},
		{code, "arasul", 422, "weak-password"},
		{strings.ToLower(strings.ReplaceAll(code, "-", " ")), password, 200, ""},
		{code, password, 409, "exists"},
	} {
		r := b.send("POST", "/api/auth/setup", map[string]any{"code": step.code, "password": step.password})
		if r.code != step.want || r.kind() != step.kind {
			t.Errorf("setup with %q: %d %v", step.code, r.code, r.body)
		}
	}
	if r := h.console("setup-code", ""); r.body["done"] != true || r.body["code"] != "" {
		t.Errorf("console afterwards: %v", r.body)
	}
	if r := b.send("GET", "/api/auth/me", nil); r.code != 200 || r.text("username") != "admin" || r.body["totp_enabled"] != false {
		t.Errorf("me: %d %v", r.code, r.body)
	}
	bearer := h.from(owner)
	r := bearer.send("POST", "/api/auth/login", map[string]any{"password": password, "bearer": true})
	if r.code != 200 || r.text("token") == "" || len(bearer.cookies) != 0 {
		t.Fatalf("bearer login: %d %v", r.code, r.body)
	}
	bearer.header["Authorization"] = "Bearer " + r.text("token")
	if bearer.me() != 200 {
		t.Error("the token does not open")
	}
	list := b.send("GET", "/api/auth/sessions", nil)
	sessions, _ := list.body["sessions"].([]any)
	if len(sessions) != 2 {
		t.Fatalf("sessions: %v", list.body)
	}
	for _, s := range sessions {
		s := s.(map[string]any)
		if (s["kind"] == "cookie") != (s["current"] == true) || s["address"] != owner || s["user_agent"] != "Firefox" {
			t.Errorf("session %v", s)
		}
	}
	r = b.send("DELETE", "/api/auth/sessions/"+r.text("session"), nil)
	if r.code != 204 || r.header.Get("Arasul-Sessions-Changed") != "1" || bearer.me() != 401 {
		t.Errorf("ending a session: %d", r.code)
	}
	if r := b.send("DELETE", "/api/auth/sessions/none", nil); r.code != 404 {
		t.Errorf("ending no session: %d", r.code)
	}
	if got := h.audit("auth.session-end"); len(got) != 1 || !strings.HasPrefix(got[0], "admin auth.session-end ") {
		t.Errorf("audit: %q", got)
	}
	if got := h.audit("auth.setup"); len(got) != 4 {
		t.Errorf("audit: %q", got)
	}
	page := b.send("GET", "/api/audit?action=auth&limit=2", nil)
	if events, _ := page.body["events"].([]any); page.code != 200 || len(events) != 2 || page.body["next"] == nil {
		t.Errorf("audit: %d %v", page.code, page.body)
	}
}

// Proves AUTH-2: each row ends sessions, and what was stolen before opens nothing after it.
func TestAStolenTokenIsWorthlessAfter(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		end  func(h *house, b *browser) reply
		own  int // what the owner's own session is worth
	}{
		{"logout", func(_ *house, b *browser) reply { return b.send("POST", "/api/auth/logout", nil) }, 401},
		{"logout-all", func(_ *house, b *browser) reply { return b.send("POST", "/api/auth/logout-all", nil) }, 401},
		{"a password change elsewhere", func(h *house, _ *browser) reply {
			other := h.from(owner)
			other.login(password)
			return other.send("POST", "/api/auth/change-password", map[string]any{"current_password": password, "new_password": second})
		}, 401},
		{"a new login in its place", func(_ *house, b *browser) reply { return b.login(password) }, 200},
		{"logout-all on the console", func(h *house, _ *browser) reply { return h.console("logout-all", "") }, 401},
		{"passwd on the console", func(h *house, _ *browser) reply { return h.console("passwd", `{"password": "`+second+`"}`) }, 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			b := h.setUp()
			thief := h.from(attacker)
			thief.cookies[sessionCookie] = b.cookies[sessionCookie]
			asBearer := h.from(attacker)
			asBearer.header["Authorization"] = "Bearer " + b.cookies[sessionCookie]
			if thief.me() != 200 || asBearer.me() != 200 {
				t.Fatal("the session does not run")
			}
			r := tt.end(h, b)
			if r.code >= 300 || r.header.Get("Arasul-Sessions-Changed") != "1" {
				t.Errorf("status %d, Arasul-Sessions-Changed %q", r.code, r.header.Get("Arasul-Sessions-Changed"))
			}
			if thief.me() != 401 || asBearer.me() != 401 || b.me() != tt.own {
				t.Errorf("afterwards: thief %d and %d, owner %d", thief.me(), asBearer.me(), b.me())
			}
		})
	}
}

// Proves AUTH-2: one request ends all other sessions, and not the one that asks.
func TestEndingAllOtherSessions(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	b := h.setUp()
	others := []*browser{h.from(attacker), h.from(attacker)}
	for _, o := range others {
		if r := o.login(password); r.code != 200 {
			t.Fatalf("login: %d %v", r.code, r.body)
		}
	}
	if r := b.send("DELETE", "/api/auth/sessions", nil); r.code != 204 || r.header.Get("Arasul-Sessions-Changed") != "1" {
		t.Errorf("status %d %v", r.code, r.body)
	}
	if b.me() != 200 || others[0].me() != 401 || others[1].me() != 401 {
		t.Errorf("afterwards: %d, others %d and %d", b.me(), others[0].me(), others[1].me())
	}
}

// Proves AUTH-2: the session that changes the password goes on, the others end,
// and none of the last five comes again.
func TestChangingThePassword(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	b := h.setUp()
	known := b.cookies[deviceCookie]
	set := func(current, next string) reply {
		return b.send("POST", "/api/auth/change-password", map[string]any{"current_password": current, "new_password": next})
	}
	if r := set("wrong", second); r.code != 403 || r.kind() != "invalid-credentials" {
		t.Errorf("with a wrong one: %d %v", r.code, r.body)
	}
	if r := set(password, second); r.code != 204 || b.me() != 200 || b.cookies[deviceCookie] == known {
		t.Errorf("change: %d, the session %d", r.code, b.me())
	}
	for _, again := range []string{second, password} {
		if r := set(second, again); r.code != 422 || !strings.Contains(fmt.Sprint(r.body), "history") {
			t.Errorf("%s again: %d %v", again, r.code, r.body)
		}
	}
	last := second
	for n := range auth.Remember - 1 {
		next := fmt.Sprintf("Kamel-durch-Nadel-%d", n)
		if r := set(last, next); r.code != 204 {
			t.Fatalf("change %d: %d %v", n, r.code, r.body)
		}
		last = next
	}
	if r := set(last, password); r.code != 204 {
		t.Errorf("the sixth last: %d %v", r.code, r.body)
	}
}

// Proves LOG-2: what was done on the console with the disk, the database and the
// healer is in the audit, and nobody else can put a word in it.
func TestTheConsoleNotesWhatItDid(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.setUp()
	if r := h.console("note", `{"action": "disk.clean", "subject": "/var/lib/arasul", "result": "success"}`); r.code != 204 {
		t.Errorf("status %d %v", r.code, r.body)
	}
	for _, bad := range []string{`{"action": "auth.login", "result": "success"}`, `{"action": "disk.clean", "result": "maybe"}`, `{`, `{"action": "disk.clean", "result": "failed", "actor": "admin"}`} {
		if r := h.console("note", bad); r.code != 400 {
			t.Errorf("%s: status %d", bad, r.code)
		}
	}
	if events := h.audit("disk.clean"); len(events) != 1 || !strings.HasPrefix(events[0], "console disk.clean /var/lib/arasul ") {
		t.Errorf("got %q", events)
	}
}
