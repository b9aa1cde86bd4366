package dashboard

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/go-chi/chi/v5"
)

var parameter = regexp.MustCompile(`\{[^}]*\}`)

// Proves AUTH-6: whoever adds a route and forgets this has made it the admin's.
func TestEveryRouteNeedsTheAdminThatIsNotOnTheOpenList(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.setUp()
	left := map[string]bool{}
	for key := range open {
		left[key] = true
	}
	err := chi.Walk(h.router, func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		level := open[method+" "+route]
		delete(left, method+" "+route)
		path := parameter.ReplaceAllString(route, "x")
		for _, client := range []struct {
			name, address string
			denied        bool
		}{
			{"local network", "192.168.1.5", level == forAdmin},
			{"link-local", "fe80::1%eth0", level == forAdmin},
			{"internet", "203.0.113.9", level != forAll},
			{"internet, mapped", "::ffff:203.0.113.9", level != forAll},
			{"nonsense", "local", level != forAll},
			{"two addresses", "192.168.1.5, 203.0.113.9", level != forAll},
		} {
			r := httptest.NewRequest(method, path, nil)
			r.Header.Set("X-Forwarded-For", client.address)
			r.Header.Set("X-Forwarded-Proto", "https")
			w := httptest.NewRecorder()
			h.Handler().ServeHTTP(w, r)
			want := 401
			if strings.HasPrefix(route, "/internal/console/") {
				want = 404
			}
			if denied := w.Code == want; denied != client.denied {
				t.Errorf("%s %s from the %s: %d", method, route, client.name, w.Code)
			}
		}
		return nil
	})
	if err != nil || len(left) > 0 {
		t.Errorf("on the open list, and no routes: %v, %v", left, err)
	}
}

// Proves AUTH-6: [access] status = "admin" closes what was open, at once.
func TestStatusCanBeClosed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	b, stranger := h.setUp(), h.from(owner)
	for _, status := range []string{"admin", "local"} {
		h.SetAccess(status)
		want := map[string]int{"local": 200, "admin": 401}[status]
		if got := stranger.send("GET", "/api/system/status", nil).code; got != want {
			t.Errorf("%s: %d", status, got)
		}
		if got := b.send("GET", "/api/system/status", nil).code; got != 200 {
			t.Errorf("%s, the admin: %d", status, got)
		}
		if got := stranger.send("GET", "/api/auth/status", nil); got.body["status_open"] != (status == "local") {
			t.Errorf("%s: %v", status, got.body)
		}
	}
}

// Proves AUTH-6: paths that mean one thing to the rule and another to the router.
func TestPathTricksOpenNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.setUp()
	for _, path := range []string{
		"/api/audit", "/api//audit", "/api/./audit", "/api/health/../audit", "/api/%61udit", "/API/audit", "/api/audit/",
		"/api/audit%00", "/api/audit;x", "/api/health%2f..%2faudit", "/internal/../api/audit", "//api/audit", "/api/services/..%2f..%2faudit",
		"/internal/console/sessions", "/internal//console/sessions", "/internal/console/../console/sessions", "/internal%2fconsole%2fsessions",
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "get"} {
			r := httptest.NewRequest(method, "http://arasul.local/", nil)
			r.URL.Path, r.URL.RawPath = path, ""
			if u, err := r.URL.Parse(path); err == nil && strings.Contains(path, "%") {
				r.URL = u
			}
			r.Header.Set("X-Forwarded-For", owner)
			w := httptest.NewRecorder()
			h.Handler().ServeHTTP(w, r)
			if w.Code < 400 {
				t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
			}
		}
	}
}

// Proves AUTH-4: what other pages make a browser send.
func TestForgedRequestsAreRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	b := h.setUp()
	const form, text = "application/x-www-form-urlencoded", "text/plain"
	for _, tt := range []struct {
		name   string
		header map[string]string
		body   any
		want   int
	}{
		{"form of another site", map[string]string{"Sec-Fetch-Site": "cross-site", "Content-Type": form}, "a=b", 403},
		{"form of another site, old browser", map[string]string{"Origin": "http://evil.example", "Content-Type": form}, "a=b", 403},
		{"form of our own origin", map[string]string{"Sec-Fetch-Site": "same-origin", "Content-Type": form}, "a=b", 415},
		{"form that looks like JSON", map[string]string{"Content-Type": text}, `{"a": "="}`, 415},
		{"body without a type", map[string]string{"Content-Type": ""}, `{}`, 415},
		{"JSON under a longer name", map[string]string{"Content-Type": "application/json-seq"}, `{}`, 415},
		{"fetch of another site", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, nil, 403},
		{"fetch of a sister host", map[string]string{"Sec-Fetch-Site": "same-site", "Origin": "https://arasul-n8n.local"}, nil, 403},
		{"fetch of a sandboxed frame", map[string]string{"Origin": "null"}, nil, 403},
		{"fetch of the same host in clear", map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "http://arasul.local"}, nil, 403},
		{"our own page", map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": "https://arasul.local"}, nil, 204},
	} {
		b.header = tt.header
		if r := b.send("POST", "/api/auth/logout", tt.body); r.code != tt.want {
			t.Errorf("%s: %d %v", tt.name, r.code, r.body)
		}
	}
	b.header = nil
	if b.me() != 401 {
		t.Error("our own page could not log out")
	}
	if got := h.audit("auth.cross-site"); len(got) != 1 { // the same one, once
		t.Errorf("audit: %q", got)
	}
}

// Proves AUTH-4 and AUTH-2 for the WebSocket: who may not read the status may not
// hear it either, and who may no longer is cut off.
func TestTheLiveStreamEndsWithTheSession(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	b := h.setUp()
	server := httptest.NewServer(h.Handler())
	defer server.Close()
	dial := func(address, origin string, cookies map[string]string) (*websocket.Conn, int) {
		header := http.Header{"X-Forwarded-For": {address}, "X-Forwarded-Proto": {"https"}}
		if origin != "" {
			header.Set("Origin", origin)
		}
		if token := cookies[sessionCookie]; token != "" {
			header.Set("Cookie", sessionCookie+"="+token)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		conn, resp, err := websocket.Dial(ctx, server.URL+"/api/metrics/live-stream", &websocket.DialOptions{HTTPHeader: header})
		if err != nil {
			return nil, resp.StatusCode
		}
		return conn, 101
	}
	if _, code := dial("203.0.113.9", "", nil); code != 401 {
		t.Errorf("a stranger from the internet: %d", code)
	}
	if _, code := dial(owner, "http://evil.example", b.cookies); code != 403 {
		t.Errorf("another page: %d", code)
	}
	abroad, code := dial("203.0.113.9", "", b.cookies)
	if code != 101 {
		t.Fatalf("the admin, abroad: %d", code)
	}
	stranger, code := dial(owner, "", nil)
	if code != 101 {
		t.Fatalf("a stranger at home: %d", code)
	}
	b.send("POST", "/api/auth/logout-all", nil)
	drain(t, abroad)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, _, err := stranger.Read(ctx); err != nil {
		t.Errorf("the stranger at home was cut off, too: %v", err)
	}
	h.SetAccess("admin")
	drain(t, stranger)
}

// Proves AUTH-3: nor does a stream begin whose session ended a moment ago, after the
// request had been let in.
func TestAStreamOfASessionThatHasJustEndedEnds(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	b := h.setUp()
	id := &identity{token: b.cookies[sessionCookie], Secure: true, level: forAdmin}
	if err := h.admit(t.Context(), id, http.MethodGet); err != nil {
		t.Fatal(err)
	}
	b.send("POST", "/api/auth/logout-all", nil)
	ctx, cancel := h.whileAdmitted(context.WithValue(t.Context(), identityKey{}, id))
	defer cancel()
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
		t.Error("the stream goes on")
	}
}

// drain reads until the other side ends it.
func drain(t *testing.T, conn *websocket.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		if _, _, err := conn.Read(ctx); err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				t.Error("the stream goes on")
			}
			return
		}
	}
}

// Proves PROXY-3 from this side: what the proxy is told.
func TestForwardAuthentication(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	b := h.setUp()
	ask := func(b *browser, method, uri string, more map[string]string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", "/internal/authz", nil)
		r.Header.Set("X-Forwarded-For", b.address)
		r.Header.Set("X-Forwarded-Proto", "https")
		r.Header.Set("X-Forwarded-Method", method)
		r.Header.Set("X-Forwarded-Uri", uri)
		for name, value := range b.cookies {
			r.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		for name, value := range more {
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		h.Handler().ServeHTTP(w, r)
		return w
	}
	if w := ask(b, "GET", "/n8n/", nil); w.Code != 200 || w.Header().Get("Remote-User") != "admin" || w.Body.Len() != 0 {
		t.Errorf("the admin: %d %v", w.Code, w.Header())
	}
	if w := ask(b, "GET", "/n8n/", map[string]string{"X-Forwarded-Proto": "http"}); w.Code != 401 {
		t.Errorf("the admin in clear: %d", w.Code)
	}
	stranger := h.from(attacker)
	if w := ask(stranger, "GET", "/n8n/", map[string]string{"Remote-User": "admin", "Accept": "application/json"}); w.Code != 401 || w.Header().Get("Remote-User") != "" {
		t.Errorf("a stranger who says that he is the admin: %d %v", w.Code, w.Header())
	}
	if w := ask(stranger, "POST", "/n8n/", map[string]string{"Accept": "text/html"}); w.Code != 401 {
		t.Errorf("a form: %d", w.Code)
	}
	if w := ask(stranger, "GET", "/n8n/x.js", map[string]string{"Accept": "text/html", "Sec-Fetch-Mode": "no-cors"}); w.Code != 401 {
		t.Errorf("a script: %d", w.Code)
	}
	for uri, want := range map[string]string{
		"/n8n/home?a=b&c": "/?next=%2Fn8n%2Fhome%3Fa%3Db%26c",
		"//evil.example":  "/?next=%2F", "///evil.example": "/?next=%2F", "/\\evil.example": "/?next=%2F", "https://evil.example/": "/?next=%2F",
		"javascript:alert(1)": "/?next=%2F", "": "/?next=%2F", "/\t/evil.example": "/?next=%2F",
	} {
		w := ask(stranger, "GET", uri, map[string]string{"Accept": "text/html", "Sec-Fetch-Mode": "navigate"})
		if w.Code != 303 || w.Header().Get("Location") != want {
			t.Errorf("to %q: %d %q", uri, w.Code, w.Header().Get("Location"))
		}
	}
}

// Proves the console: only root past the proxy is asked nothing.
func TestOnlyRootIsTheConsole(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, path := range []string{"setup-code", "unlock", "passwd", "logout-all", "totp-off", "sessions"} {
		method := "POST"
		if path == "sessions" {
			method = "GET"
		}
		viaProxy := atConsole(method, "/internal/console/"+path, nil) // a proxy that runs as root
		viaProxy.Header.Set("X-Forwarded-For", "127.0.0.1")
		other := httptest.NewRequest(method, "/internal/console/"+path, nil)
		other = other.WithContext(context.WithValue(other.Context(), peerKey{}, false))
		for _, r := range []*http.Request{viaProxy, other, httptest.NewRequest(method, "/internal/console/"+path, nil)} {
			if got := h.serve(r, nil); got.code != 404 {
				t.Errorf("%s: %d", path, got.code)
			}
		}
	}
	h.setUp()
	if code, _ := ask(t, h.Dashboard, "/api/audit"); code != 200 {
		t.Errorf("root reads the audit: %d", code)
	}
	if r := h.serve(atConsole("POST", "/api/auth/logout-all", nil), nil); r.code != 401 {
		t.Errorf("root changes through the API: %d", r.code)
	}
	if r := h.console("passwd", `{"password": "short"}`); r.code != 422 {
		t.Errorf("a weak password: %d", r.code)
	}
	if r := h.console("passwd", `{"password": "`+second+`", "x": 1}`); r.code != 400 {
		t.Errorf("a strange body: %d", r.code)
	}
}

// The kernel says who is at the other end of the socket.
func TestThePeerIsWhomTheKernelSays(t *testing.T) {
	socket := listenWith(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isRoot(r.Context()) {
			_, _ = io.WriteString(w, "root")
		}
	}))
	resp, err := unixClient(socket).Get("http://localhost/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if got := string(body) == "root"; err != nil || got != runsAsRoot() {
		t.Errorf("said %q, %v", body, err)
	}
}

// Proves AUTH-6: with the database away what is open goes on, and the rest says why.
func TestWithoutTheDatabaseNobodyComesInAndTheStatusIsThere(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	b := h.setUp()
	h.db.Exec(t, "arasul-postgres", `REVOKE ALL ON active_sessions, admin_users, login_attempts FROM "arasul-dashboard"`)
	for path, want := range map[string]int{
		"/api/health": 200, "/api/system/status": 200, "/api/auth/status": 200, "/api/auth/password-requirements": 200,
		"/api/auth/me": 503, "/api/audit": 503,
	} {
		if r := b.send("GET", path, nil); r.code != want || want == 503 && r.kind() != "database-away" {
			t.Errorf("%s: %d %v", path, r.code, r.body)
		}
	}
	if r := b.send("GET", "/api/auth/status", nil); r.body["available"] != false {
		t.Errorf("status: %v", r.body)
	}
	if r := b.login(password); r.code != 503 || r.header.Get("Retry-After") == "" {
		t.Errorf("login: %d %v", r.code, r.body)
	}
}

func TestWithoutKeysTheAnswerSaysSo(t *testing.T) {
	h := &house{Dashboard: newDashboard(t, Options{}), t: t, log: nil, said: new(bytes.Buffer)}
	if r := h.from(owner).login(password); r.code != 503 || r.kind() != "keys-missing" || !strings.Contains(r.text("detail"), "arasul-secrets.service") {
		t.Errorf("login: %d %v", r.code, r.body)
	}
	if r := h.from(owner).send("GET", "/api/system/status", nil); r.code != 200 {
		t.Errorf("status: %d", r.code)
	}
}
