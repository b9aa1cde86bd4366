package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

// Proves PROXY-3: forward authentication, with Traefik's semantics.
func TestDashboardIsToldWhatIsAsked(t *testing.T) {
	h := newHouse(t, nil)
	var got *http.Request
	h.proxy.gate.ask = roundTripper(func(r *http.Request) (*http.Response, error) {
		got = r
		w := httptest.NewRecorder()
		w.WriteHeader(http.StatusUnauthorized)
		return w.Result(), nil
	})
	resp, _ := h.ask(t, "PUT", "/n8n/a%2Fb?x=1&next=//evil", "X-Forwarded-For: 192.0.2.66\r\nX-Forwarded-Uri: /n8n/webhook/\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https\r\nRemote-User: admin\r\nAccept: text/html\r\nSec-Fetch-Mode: navigate\r\nCookie: n8n-auth=secret; __Host-arasul=tok\r\nCookie: token=x; __Host-arasul-device=d\r\nAuthorization: Bearer b\r\nContent-Length: 4\r\nX-Other: 1\r\n")
	want := http.Header{
		"Accept": {"text/html"}, "Sec-Fetch-Mode": {"navigate"}, "Authorization": {"Bearer b"}, "Cookie": {"__Host-arasul=tok; __Host-arasul-device=d"},
		"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"arasul.local"}, "X-Forwarded-Method": {"PUT"}, "X-Forwarded-Uri": {"/n8n/a%2Fb?x=1&next=//evil"},
	}
	if got == nil || got.Method != "GET" || got.URL.Path != authPath || got.Body != nil || fmt.Sprint(got.Header) != fmt.Sprint(want) {
		t.Errorf("asked %+v, status %d", got, resp.StatusCode)
	}
}

func TestUpstreamLearnsWhoItIsFromTheDashboardAlone(t *testing.T) {
	h := newHouse(t, nil)
	for _, who := range []string{loggedIn, "Authorization: Bearer good\r\n", "Authorization: bearer  good\r\n"} {
		_, s := h.ask(t, "GET", "/n8n/x", who+"Remote-User: root\r\nremote_user: root\r\nRemote-Groups: wheel\r\nRemote-Email: x\r\nX-Secret: mine\r\nX-Auth-User: root\r\n")
		if v := s.Header.Values("Remote-User"); len(v) != 1 || v[0] != "admin" || s.Header.Get("Remote-Groups")+s.Header.Get("Remote-Email")+s.Header.Get("X-Auth-User") != "" || s.Header.Get("X-Secret") != "mine" {
			t.Errorf("%q: %v", who, s.Header)
		}
		if s.Header.Get("Authorization")+s.Header.Get("Cookie") != "" {
			t.Errorf("%q: the token arrived: %v", who, s.Header)
		}
	}
	// Where nobody is asked, nobody is named, and what is n8n's own passes.
	_, s := h.ask(t, "GET", "/n8n/webhook/x", "Remote-User: admin\r\nAuthorization: Bearer of-the-workflow\r\nCookie: __Host-arasul=good; mine=1\r\n")
	if s.Header.Get("Remote-User") != "" || s.Header.Get("Authorization") != "Bearer of-the-workflow" || s.Header.Get("Cookie") != "mine=1" {
		t.Errorf("%v", s.Header)
	}
	if _, s = h.ask(t, "GET", "/n8n/x", loggedIn+"Authorization: Basic eA==\r\n"); s.Header.Get("Authorization") != "Basic eA==" {
		t.Errorf("%v", s.Header)
	}
}

// The rows are answers that are not a yes.
func TestNobodyPassesWithoutAYes(t *testing.T) {
	answers := map[string]struct {
		answer http.HandlerFunc // nil: no answer
		want   int
		to     string
	}{
		"no":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, 401, ""},
		"forbidden": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, 403, ""},
		"go and log in": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/?next=/n8n/")
			w.WriteHeader(303)
		}, 303, "/?next=/n8n/"},
		"go elsewhere": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "https://evil.example/")
			w.WriteHeader(303)
		}, 303, ""},
		"go elsewhere, shorter": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "//evil.example/")
			w.WriteHeader(303)
		}, 303, ""},
		"go elsewhere, backward": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", `/\evil.example/`)
			w.WriteHeader(303)
		}, 303, ""},
		"too often":    {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Retry-After", "7"); w.WriteHeader(429) }, 429, ""},
		"yes, but who": {func(http.ResponseWriter, *http.Request) {}, 503, ""},
		"empty yes": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Remote-User", "admin")
			w.WriteHeader(204)
		}, 503, ""},
		"not found": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, 503, ""},
		"broken": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Remote-User", "admin")
			w.WriteHeader(500)
		}, 503, ""},
		"without its database": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, 503, ""},
		"none":                 {nil, 503, ""},
	}
	for name, tt := range answers {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, nil)
			h.proxy.gate.ask = roundTripper(func(r *http.Request) (*http.Response, error) {
				if tt.answer == nil {
					return nil, errors.New("gone")
				}
				w := httptest.NewRecorder()
				tt.answer(w, r)
				return w.Result(), nil
			})
			for _, uri := range []string{"/n8n/", "/minio/", "/models/", "/embeddings/"} {
				resp, s := h.ask(t, "GET", uri, loggedIn)
				if resp.StatusCode != tt.want || resp.Header.Get("Location") != tt.to || s.Upstream != "" {
					t.Errorf("%s: status %d to %q", uri, resp.StatusCode, resp.Header.Get("Location"))
				}
			}
		})
	}
}

func TestDashboardThatHangsLetsNobodyIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{ask: roundTripper(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}), changed: make(chan struct{}, 1)}
		begin := time.Now()
		r := httptest.NewRequest("GET", "/n8n/", nil)
		r.Header.Set("Authorization", "Bearer good")
		if yes, no, _, err := g.admit(t.Context(), enquire(r)); err == nil || no != nil || yes.user != "" {
			t.Errorf("%v %v %v", yes, no, err)
		}
		if took := time.Since(begin); took != authWithin {
			t.Errorf("took %v", took)
		}
	})
}

// A page of n8n is hundreds of files.
func TestOnePageAsksOnce(t *testing.T) {
	h := newHouse(t, nil)
	h.slow = make(chan struct{})
	var pages sync.WaitGroup
	for range 50 {
		pages.Go(func() {
			if resp, _ := h.ask(t, "GET", "/n8n/x", loggedIn); resp.StatusCode != 200 {
				t.Errorf("status %d", resp.StatusCode)
			}
		})
	}
	eventually(t, "asked", func() bool { return h.count("authz") > 0 })
	close(h.slow)
	pages.Wait()
	if n := h.count("authz"); n > 3 { // those that came late may have found the flight over and the permit there
		t.Errorf("asked %d times", n)
	}
	before := h.count("authz")
	h.ask(t, "GET", "/n8n/x", "Cookie: __Host-arasul=other\r\n") // is another
	h.ask(t, "GET", "/n8n/x", "Cookie: __Host-arasul=other\r\n") // a no is not remembered
	h.ask(t, "GET", "/n8n/x", "")
	if n := h.count("authz") - before; n != 3 {
		t.Errorf("asked %d times about three others", n)
	}
}

// Each is sent back to the page that it asked for, also when several ask at once.
func TestRefusalIsNotShared(t *testing.T) {
	h := newHouse(t, nil)
	h.slow = make(chan struct{})
	var asking sync.WaitGroup
	for i := range 10 {
		asking.Go(func() {
			uri := fmt.Sprintf("/n8n/%d", i)
			resp, _ := h.ask(t, "GET", uri, "Accept: text/html\r\nCookie: __Host-arasul=over\r\n")
			if resp.StatusCode != 303 || resp.Header.Get("Location") != "/?next="+uri {
				t.Errorf("%s: status %d to %s", uri, resp.StatusCode, resp.Header.Get("Location"))
			}
		})
	}
	eventually(t, "asked", func() bool { return h.count("authz") > 0 })
	close(h.slow)
	asking.Wait()
}

func TestPermitEndsAfterFiveSecondsOrWithTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p permits
		var a, b credential
		b[0] = 1
		_, _, generation := p.get(a)
		p.put(a, permit{user: "admin"}, generation)
		if _, ok, _ := p.get(b); ok {
			t.Error("another got it")
		}
		time.Sleep(permitFor - 1)
		if _, ok, _ := p.get(a); !ok {
			t.Error("gone too soon")
		}
		time.Sleep(time.Nanosecond)
		if _, ok, _ := p.get(a); ok {
			t.Error("older than 5 s")
		}
		p.put(a, permit{user: "admin"}, generation)
		p.purge()
		if _, ok, _ := p.get(a); ok {
			t.Error("survived the purge")
		}
		p.put(a, permit{user: "admin"}, generation) // the answer was on its way
		if _, ok, _ := p.get(a); ok {
			t.Error("an answer from before the purge counts")
		}
	})
}

func TestPermitsAreBounded(t *testing.T) {
	var p permits
	for i := range 10 * maxPermits {
		p.put(credential{byte(i), byte(i >> 8), byte(i >> 16)}, permit{user: "admin"}, 0)
	}
	if len(p.all) > maxPermits {
		t.Errorf("%d permits", len(p.all))
	}
}

// A logout passes through the proxy, which believes nothing that it knew.
func TestLogoutIsImmediate(t *testing.T) {
	h := newHouse(t, map[string]http.HandlerFunc{dashboard: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(sessionsChanged, "1")
	}})
	if resp, _ := h.ask(t, "GET", "/n8n/", loggedIn); resp.StatusCode != 200 {
		t.Fatalf("status %d", resp.StatusCode)
	}
	h.end("good")
	resp, _ := h.ask(t, "POST", "/api/auth/logout", loggedIn)
	if resp.Header.Get(sessionsChanged) != "" {
		t.Error("the client hears of it")
	}
	if resp, _ := h.ask(t, "GET", "/n8n/", loggedIn); resp.StatusCode != 401 {
		t.Errorf("status %d after the logout", resp.StatusCode)
	}
}

// Whoever comes after the logout does not join an enquiry from before it.
func TestEnquiryFromBeforeTheLogoutServesNobodyElse(t *testing.T) {
	h := newHouse(t, map[string]http.HandlerFunc{dashboard: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(sessionsChanged, "1")
	}})
	h.slow = make(chan struct{})
	ask := func(status chan<- int) {
		got := exchange(t, h.address, "GET /n8n/x HTTP/1.1\r\nHost: arasul.local\r\n"+loggedIn+"\r\n")
		status <- append(got, 0)[0] // 0: cut
	}
	before, after := make(chan int, 1), make(chan int, 1)
	go ask(before)
	eventually(t, "asked", func() bool { return h.count("authz") == 1 })
	h.end("good")
	h.ask(t, "POST", "/api/auth/logout", loggedIn)
	go ask(after)
	eventually(t, "asked again", func() bool { return h.count("authz") == 2 })
	close(h.slow)
	if got := <-after; got != 401 {
		t.Errorf("after the logout: status %d", got)
	}
	<-before // passes, or is cut when the session is looked at again
}

// Nobody but the dashboard can have the cache emptied, nor keep it from that.
func TestOthersCannotSayThatSessionsChanged(t *testing.T) {
	h := newHouse(t, map[string]http.HandlerFunc{n8n: func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(sessionsChanged, "1")
		echo(n8n)(w, r)
	}})
	for range 3 {
		resp, s := h.ask(t, "GET", "/n8n/", loggedIn+sessionsChanged+": 1\r\n")
		if resp.Header.Get(sessionsChanged)+s.Header.Get(sessionsChanged) != "" {
			t.Error("the header passes")
		}
	}
	if n := h.count("authz"); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// chat serves a WebSocket that repeats what it hears.
func chat(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.CloseNow()
		for {
			kind, msg, err := conn.Read(r.Context())
			if err != nil || conn.Write(r.Context(), kind, msg) != nil {
				return
			}
		}
	}
}

// drip streams a line when it is told to.
func drip(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	for {
		if _, err := io.WriteString(w, "{}\n"); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (h *house) dial(ctx context.Context, uri, token, origin string) (*websocket.Conn, *http.Response, error) {
	return websocket.Dial(ctx, "ws://"+h.address+uri, &websocket.DialOptions{Host: "arasul.local", HTTPHeader: http.Header{
		"Cookie": {sessionCookie + "=" + token}, "Origin": {origin},
	}})
}

func TestOpenConnectionsEndWithTheSession(t *testing.T) {
	logout := func(w http.ResponseWriter, _ *http.Request) { w.Header().Set(sessionsChanged, "1") }
	h := newHouse(t, map[string]http.HandlerFunc{n8n: chat(t), llm: drip, dashboard: logout})
	h.good["other"] = true
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	say := func(conn *websocket.Conn) error {
		if err := conn.Write(ctx, websocket.MessageText, []byte("x")); err != nil {
			return err
		}
		_, _, err := conn.Read(ctx)
		return err
	}
	mine, _, err := h.dial(ctx, "/n8n/rest/push", "good", "http://arasul.local")
	if err != nil {
		t.Fatal(err)
	}
	defer mine.CloseNow()
	others, _, err := h.dial(ctx, "/n8n/rest/push", "other", "http://arasul.local")
	if err != nil {
		t.Fatal(err)
	}
	defer others.CloseNow()
	req, _ := http.NewRequestWithContext(ctx, "POST", "http://"+h.address+"/models/api/chat", strings.NewReader("{}"))
	req.Header.Set("Authorization", "Bearer good")
	stream, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	tokens := bufio.NewScanner(stream.Body)
	if err := errors.Join(say(mine), say(others)); err != nil || !tokens.Scan() {
		t.Fatal(err)
	}

	h.end("good")
	begin := time.Now()
	h.ask(t, "POST", "/api/auth/logout", loggedIn)
	for tokens.Scan() { // until it is cut
	}
	if took := time.Since(begin); took > recheckEvery/2 {
		t.Errorf("it took %v", took)
	}
	if tokens.Err() == nil {
		t.Error("the stream looks complete")
	}
	if _, _, err := mine.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("the WebSocket goes on: %v", err)
	}
	if err := say(others); err != nil {
		t.Errorf("another session's is cut, too: %v", err)
	}
	if _, resp, err := h.dial(ctx, "/n8n/rest/push", "good", "http://arasul.local"); err == nil || resp == nil || resp.StatusCode != 401 {
		t.Error("in again")
	}
	_ = others.CloseNow()
	eventually(t, "nobody is there", func() bool { return len(h.proxy.gate.crowd.bySession()) == 0 })
}

// The dashboard's word may get lost, or the session run out.
func TestSessionsThatEndSilentlyAreNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var status atomic.Int32
		status.Store(200)
		g := &gate{log: New(Options{}).opts.Log, changed: make(chan struct{}, 1), ask: roundTripper(func(*http.Request) (*http.Response, error) {
			if status.Load() == 0 {
				return nil, errors.New("away")
			}
			w := httptest.NewRecorder()
			w.Header().Set("Remote-User", "admin")
			w.WriteHeader(int(status.Load()))
			return w.Result(), nil
		})}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go func() { _ = g.watch(ctx) }()
		enter := func() context.Context {
			in, leave := context.WithCancelCause(ctx)
			g.crowd.enter(enquiry{}, leave)
			return in
		}
		in := enter()
		time.Sleep(time.Minute)
		if in.Err() != nil {
			t.Fatal("cut without a reason")
		}
		status.Store(0) // restarts
		time.Sleep(unsureFor - 5*time.Second)
		if in.Err() != nil {
			t.Fatal("cut because the dashboard restarts")
		}
		status.Store(200)
		time.Sleep(recheckEvery)
		status.Store(0)
		time.Sleep(unsureFor + recheckEvery)
		if in.Err() == nil {
			t.Error("goes on although nobody can say whether it may")
		}
		status.Store(200)
		in = enter()
		status.Store(401)
		time.Sleep(recheckEvery)
		if !errors.Is(context.Cause(in), errSignedOut) {
			t.Error("goes on although the session is over")
		}
	})
}

// The rows are what a page elsewhere makes its visitor's browser send.
func TestOtherSitesCannotActForTheirVisitor(t *testing.T) {
	h := newHouse(t, map[string]http.HandlerFunc{n8n: nil})
	for _, tt := range []struct {
		method, uri, headers string
		want                 int
	}{
		{"POST", "/n8n/rest/workflows", "Origin: http://evil.example\r\n", 403},
		{"POST", "/n8n/rest/workflows", "Origin: http://evil.example\r\nSec-Fetch-Site: cross-site\r\n", 403},
		{"POST", "/n8n/rest/workflows", "Origin: http://arasul-s3.local\r\nSec-Fetch-Site: same-site\r\n", 403},
		{"POST", "/n8n/rest/workflows", "Origin: null\r\n", 403},
		{"DELETE", "/models/api/delete", "Origin: http://arasul.local.evil.example\r\n", 403},
		{"GET", "/n8n/rest/push", "Origin: http://evil.example\r\nUpgrade: websocket\r\n", 403},
		{"GET", "/n8n/rest/push", "Origin: null\r\nUpgrade: websocket\r\n", 403},
		{"GET", "/n8n/rest/push", "Origin: http://arasul.local\r\n", 200},
		{"POST", "/n8n/rest/workflows", "Origin: http://arasul.local\r\nSec-Fetch-Site: same-origin\r\n", 200},
		{"POST", "/n8n/rest/workflows", "", 200},                                                         // a program
		{"GET", "/n8n/workflow/1", "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n", 200},    // a link
		{"POST", "/n8n/webhook/x", "Origin: http://evil.example\r\nSec-Fetch-Site: cross-site\r\n", 200}, // public
	} {
		if resp, _ := h.ask(t, tt.method, tt.uri, loggedIn+tt.headers); resp.StatusCode != tt.want {
			t.Errorf("%s %s %q: status %d, want %d", tt.method, tt.uri, tt.headers, resp.StatusCode, tt.want)
		}
	}
	if resp, _ := h.ask(t, "POST", "/n8n/rest/workflows", "Authorization: Bearer good\r\nOrigin: http://app.example\r\n"); resp.StatusCode != 200 {
		t.Errorf("with a token: status %d", resp.StatusCode)
	}
}
