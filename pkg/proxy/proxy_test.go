package proxy

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

// board serves h on a unix socket until the test ends.
func board(t *testing.T, h http.HandlerFunc) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, l, h)
	return socket
}

func serve(t *testing.T, l net.Listener, h http.HandlerFunc) {
	t.Helper()
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
}

// front serves a proxy on loopback until the test ends.
func front(t *testing.T, opts Options) (address string) {
	t.Helper()
	server := httptest.NewServer(New(opts).Handler())
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// raw sends a request byte by byte as written and returns the answer.
func raw(t *testing.T, address, request string) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	go io.WriteString(conn, request)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp, string(body)
}

// The rows are what a page elsewhere, or a client of its own, might put there.
func TestOnlyOurNamesAreAnswered(t *testing.T) {
	names := []string{"arasul", "box", "ki.example.com", "Other.Local.", ""}
	tests := []struct {
		host string
		want bool
	}{
		{"arasul", true}, {"arasul.local", true}, {"ARASUL.local", true}, {"arasul.local.", true}, {"arasul.local:80", true},
		{"box", true}, {"box.local:8080", true}, {"ki.example.com", true}, {"other.local", true},
		{"localhost", true}, {"localhost:80", true}, {"127.0.0.1", true}, {"192.168.1.7:80", true},
		{"[::1]", true}, {"[::1]:80", true}, {"[fe80::1%eth0]:80", true}, {"[fd00::7]", true},

		{"", false}, {".", false}, {":80", false}, {".local", false},
		{"evil.example", false}, {"evil.local", false},
		{"arasul-2.local", true}, {"arasul-999.local", true}, {"arasul-1.local", false}, {"arasul-02.local", false}, {"arasul-1000.local", false}, {"arasul-2", false}, {"arasul-2x.local", false},
		{"arasul.evil.example", false}, {"arasul.local.evil.example", false}, {"evil-arasul.local", false}, {"xarasul", false},
		{"ki.example.com.local", false}, {"example.com", false}, {"x.ki.example.com", false},
		{"localhost.evil.example", false}, {"127.0.0.1.evil.example", false}, {"127.0.0.1.nip.io", false},
		{"127.1", false}, {"0x7f000001", false}, {"2130706433", false}, {"0177.0.0.1", false},
		{"localhost:80@evil.example", false}, {"evil.example#localhost", false}, {"localhost:123456", false}, {"localhost:", true},
		{"[evil.example]", false}, {"[::1", false}, {"[::1]evil.example", false}, {"::1]", false}, {"[127.0.0.1]", false},
	}
	for _, tt := range tests {
		if got := ours(tt.host, names); got != tt.want {
			t.Errorf("Host %q: %v", tt.host, got)
		}
	}
}

func TestForeignNamesNeverReachTheDashboard(t *testing.T) {
	socket := board(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s reached the dashboard", r.Host) })
	address := front(t, Options{Dashboard: socket, Hosts: func() []string { return []string{"arasul"} }})
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
		"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n",
		"GET http://evil.example/ HTTP/1.1\r\nHost: arasul.local\r\n\r\n",
		"GET / HTTP/1.0\r\n\r\n",
		"CONNECT evil.example:443 HTTP/1.1\r\nHost: arasul.local\r\n\r\n",
		"GET /api/metrics/live-stream HTTP/1.1\r\nHost: evil.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	} {
		if resp, body := raw(t, address, request); resp.StatusCode != http.StatusMisdirectedRequest || !strings.Contains(body, "arasul.local") {
			t.Errorf("%q: status %d, %q", request, resp.StatusCode, body)
		}
	}
	if resp, _ := raw(t, address, "CONNECT 192.0.2.1:443 HTTP/1.1\r\nHost: 192.0.2.1:443\r\n\r\n"); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("CONNECT: status %d", resp.StatusCode)
	}
	for _, request := range []string{ // refused before the proxy sees them
		"GET / HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: arasul.local\r\nHost: evil.example\r\n\r\n",
	} {
		if resp, _ := raw(t, address, request); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: status %d", request, resp.StatusCode)
		}
	}
}

// The rows are headers by which a client pretends to be somebody else, and the
// ways to get them past a proxy.
func TestClientsCannotSpeakForTheProxy(t *testing.T) {
	socket := board(t, func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"host": r.Host, "header": r.Header})
	})
	address := front(t, Options{Dashboard: socket, Hosts: func() []string { return []string{"arasul"} }})
	for _, attack := range []string{
		"X-Forwarded-For: 192.0.2.66",
		"x-forwarded-for: 192.0.2.66\r\nX-Forwarded-For: 192.0.2.66",
		"X-Forwarded-For: 192.0.2.66\r\nConnection: X-Forwarded-For",
		"Connection: X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto",
		"X_Forwarded_For: 192.0.2.66",
		"X-Forwarded-Host: evil.example-192.0.2.66",
		"X-Forwarded-Proto: 192.0.2.66",
		"X-Forwarded-Prefix: 192.0.2.66",
		"X-Forwarded-User: 192.0.2.66",
		"X-Forwarded: 192.0.2.66",
		"Forwarded: for=192.0.2.66",
		"X-Real-IP: 192.0.2.66",
		"X-Client-IP: 192.0.2.66",
		"Client-IP: 192.0.2.66",
		"True-Client-IP: 192.0.2.66",
		"CF-Connecting-IP: 192.0.2.66",
		"X-Cluster-Client-IP: 192.0.2.66",
		"X-Original-URL: /192.0.2.66",
		"X-Rewrite-URL: /192.0.2.66",
		"Remote-User: 192.0.2.66",
		"Remote_User: 192.0.2.66",
		"X-Remote-User: 192.0.2.66",
		"X-Auth-Request-User: 192.0.2.66",
		"Proxy-Authorization: 192.0.2.66",
		"Keep-Alive: 192.0.2.66",
		"X-Custom: 192.0.2.66\r\nConnection: close, X-Custom",
	} {
		_, body := raw(t, address, "GET /api HTTP/1.1\r\nHost: arasul.local\r\n"+attack+"\r\n\r\n")
		var got struct {
			Host   string
			Header http.Header
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatalf("%q: %v in %q", attack, err, body)
		}
		if strings.Contains(body, "192.0.2.66") {
			t.Errorf("%q arrived: %s", attack, body)
		}
		for name, want := range map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "arasul.local", "X-Forwarded-Proto": "http"} {
			if v := got.Header[name]; len(v) != 1 || v[0] != want {
				t.Errorf("%q: %s is %q, want %q", attack, name, v, want)
			}
		}
		if got.Host != "arasul.local" {
			t.Errorf("%q: Host is %q", attack, got.Host)
		}
	}
}

func TestRequestsPassUnchanged(t *testing.T) {
	socket := board(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Answer", "yes")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.RequestURI, r.Header.Get("Accept-Encoding"), body)
	})
	resp, body := raw(t, front(t, Options{Dashboard: socket}),
		"POST /a%2fb/?q=1%3B2&r HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: br\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
	if resp.StatusCode != http.StatusTeapot || resp.Header.Get("X-Answer") != "yes" || !strings.HasPrefix(body, "POST /a%2fb/?q=1%3B2&r ") || !strings.HasSuffix(body, "br hello") {
		t.Errorf("status %d, %q", resp.StatusCode, body)
	}
}

// Proves PROXY-3 in part: request size limits.
func TestLargeBodiesAreRefused(t *testing.T) {
	socket := board(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	})
	address := front(t, Options{Dashboard: socket})
	for name, request := range map[string]string{
		"announced": fmt.Sprintf("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", apiBody+1),
		"chunked":   fmt.Sprintf("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s", 2*apiBody, strings.Repeat("x", 2*apiBody)),
	} {
		if resp, _ := raw(t, address, request); resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: status %d", name, resp.StatusCode)
		}
	}
	request := fmt.Sprintf("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", apiBody, strings.Repeat("x", apiBody))
	if resp, _ := raw(t, address, request); resp.StatusCode != http.StatusOK {
		t.Errorf("at the limit: status %d", resp.StatusCode)
	}
}

// Proves PROXY-3 in part: WebSockets pass through.
func TestWebSocketPassesThrough(t *testing.T) {
	socket := board(t, func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.CloseNow()
		kind, msg, err := conn.Read(r.Context())
		if err == nil {
			err = conn.Write(r.Context(), kind, append(msg, " back"...))
		}
		if err != nil {
			t.Error(err)
		}
	})
	address := front(t, Options{Dashboard: socket})
	conn, _, err := websocket.Dial(t.Context(), "ws://"+address+"/any", &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"http://" + address}}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if err := conn.Write(t.Context(), websocket.MessageText, []byte("there and")); err != nil {
		t.Fatal(err)
	}
	if _, msg, err := conn.Read(t.Context()); err != nil || string(msg) != "there and back" {
		t.Errorf("got %q, %v", msg, err)
	}
}

// Proves PROXY-3 in part: streams pass through as they come.
func TestStreamIsNotHeldBack(t *testing.T) {
	heard := make(chan struct{})
	socket := board(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "first\n")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-heard:
			io.WriteString(w, "second\n")
		case <-r.Context().Done():
		}
	})
	resp, err := http.Get("http://" + front(t, Options{Dashboard: socket}) + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	if !lines.Scan() || lines.Text() != "first" {
		t.Fatalf("got %q", lines.Text())
	}
	close(heard)
	if !lines.Scan() || lines.Text() != "second" {
		t.Errorf("got %q", lines.Text())
	}
}

// Proves HEAL-9: the proxy answers for itself, whatever the dashboard does.
func TestHealthSaysWhetherTheDashboardAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		answer http.HandlerFunc // nil: nobody listens
		want   string
	}{
		"up":    {func(http.ResponseWriter, *http.Request) {}, "up"},
		"ill":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "down"},
		"hangs": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "down"},
		"gone":  {nil, "down"},
	} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "none")
			if tt.answer != nil {
				socket = board(t, tt.answer)
			}
			begin := time.Now()
			resp, body := raw(t, front(t, Options{Dashboard: socket}), "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
			var h Health
			if err := json.Unmarshal([]byte(body), &h); err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != 200 || h.Status != "up" || h.Dashboard != tt.want || h.Timestamp.IsZero() {
				t.Errorf("status %d, %+v", resp.StatusCode, h)
			}
			if took := time.Since(begin); took > 3*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// roundTripper is a dashboard of the test's making.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestOnlyReadingIsTriedAgain(t *testing.T) {
	for _, tt := range []struct {
		method, body string
		again        bool
	}{{"GET", "", true}, {"HEAD", "", true}, {"POST", "", false}, {"DELETE", "", false}, {"GET", "x", false}} {
		synctest.Test(t, func(t *testing.T) {
			begin, attempts := time.Now(), 0
			r := httptest.NewRequest(tt.method, "/", nil)
			if tt.body != "" {
				r = httptest.NewRequest(tt.method, "/", strings.NewReader(tt.body))
			}
			_, err := patient{roundTripper(func(*http.Request) (*http.Response, error) {
				attempts++
				return nil, errors.New("gone")
			})}.RoundTrip(r)
			if err == nil || (attempts > 1) != tt.again {
				t.Errorf("%s %q: %d attempts, %v", tt.method, tt.body, attempts, err)
			}
			if took := time.Since(begin); took > patience || tt.again && took < patience {
				t.Errorf("%s: gave up after %v", tt.method, took)
			}
		})
	}
}

func TestPatienceEndsWhenTheClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r := httptest.NewRequestWithContext(ctx, "GET", "/", nil)
		_, err := patient{roundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("gone") })}.RoundTrip(r)
		if took := time.Since(begin); err == nil || took != time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}

// A proxy that stops ends the requests under way. None of them may look as if
// it had been answered.
func TestRequestThatEndsUnansweredIsNoSuccess(t *testing.T) {
	asked := make(chan struct{})
	socket := board(t, func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	})
	ctx, stop := context.WithCancel(t.Context())
	server := httptest.NewUnstartedServer(New(Options{Dashboard: socket}).Handler())
	server.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	server.Start()
	defer server.Close()
	go func() { <-asked; stop() }()
	resp, err := server.Client().Post(server.URL, "text/plain", strings.NewReader("x")) // which is not tried again
	if err == nil {
		_ = resp.Body.Close()
		t.Errorf("answered %s", resp.Status)
	}
}

// Proves PROXY-4 in part: a restart of the dashboard costs a moment, no error.
// One connection is dropped with the request in hand, as by a kill; then
// nobody listens; then the dashboard is back.
func TestRestartCostsAMomentNotAnError(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	old, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		conn, err := old.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = http.ReadRequest(bufio.NewReader(conn))
		_ = old.Close()
		_ = conn.Close()
	}()
	address := front(t, Options{Dashboard: socket})
	answered := make(chan string)
	go func() {
		_, body := raw(t, address, "GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
		answered <- body
	}()
	<-killed
	back, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, back, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "back") })
	if got := <-answered; got != "back" {
		t.Errorf("got %q", got)
	}
}

// Proves PROXY-4 in part: a friendly page instead of a bare 502.
func TestFriendlyPageWhileTheDashboardIsAway(t *testing.T) {
	p := New(Options{Dashboard: filepath.Join(t.TempDir(), "none")})
	tests := []struct {
		name, path, accept, language, kind string
		want, wantNot                      []string
	}{
		{"English", "/", "text/html,*/*", "en-US,en;q=0.9,de;q=0.8", "text/html; charset=utf-8", []string{`<html lang="en">`, "One moment", `http-equiv="refresh"`}, []string{"<script", "Moment bitte"}},
		{"German", "/", "text/html,*/*", "de-DE,de;q=0.9,en;q=0.8", "text/html; charset=utf-8", []string{`<html lang="de">`, "Einen Moment bitte", `http-equiv="refresh"`}, []string{"<script", "One moment"}},
		{"another language", "/x", "text/html", "fr", "text/html; charset=utf-8", []string{"One moment"}, nil},
		{"the API", "/api/health", "text/html", "de", "application/problem+json", []string{`"status":503`, `"title":"Service Unavailable"`, `"detail":`}, []string{"<"}},
		{"a program", "/", "*/*", "", "application/problem+json", []string{`"status":503`}, []string{"<"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", tt.path, nil)
			r.Header.Set("Accept", tt.accept)
			r.Header.Set("Accept-Language", tt.language)
			w := httptest.NewRecorder()
			p.upstreams[dashboard].failed(w, r, errors.New("dial unix: no such file"))
			h := w.Header()
			if w.Code != http.StatusServiceUnavailable || h.Get("Retry-After") != "2" || h.Get("Content-Type") != tt.kind || h.Get("Cache-Control") != "no-store" {
				t.Errorf("status %d, %v", w.Code, h)
			}
			for _, s := range tt.want {
				if !strings.Contains(w.Body.String(), s) {
					t.Errorf("no %q in %s", s, w.Body)
				}
			}
			for _, s := range append(tt.wantNot, "dial unix") {
				if strings.Contains(w.Body.String(), s) {
					t.Errorf("%q in %s", s, w.Body)
				}
			}
			if tt.kind == "application/problem+json" && !json.Valid(w.Body.Bytes()) {
				t.Errorf("not JSON: %s", w.Body)
			}
			// The policy allows the style that is in the page, and no other.
			if found := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(w.Body.String()); found != nil {
				sum := sha256.Sum256([]byte(found[1]))
				if csp := h.Get("Content-Security-Policy"); !strings.Contains(csp, base64.StdEncoding.EncodeToString(sum[:])) || strings.Contains(csp, "unsafe") {
					t.Errorf("the policy %q does not allow the style", csp)
				}
			}
		})
	}
}

func TestEveryAnswerHasWordsInBothLanguages(t *testing.T) {
	for _, a := range replies {
		if a.status < 400 || a.kind == "" || a.en.Title == "" || a.de.Title == "" || a.en.Text == "" || a.de.Text == "" {
			t.Errorf("%+v", a)
		}
	}
	for name := range kinds {
		if p := parts[name]; p[0] == "" || p[1] == "" {
			t.Errorf("no words for %s", name)
		}
	}
}

func TestGermanIsPreferredWhenItWeighsMore(t *testing.T) {
	for accept, want := range map[string]bool{
		"": false, "de": true, "DE-at": true, "de,en": true, "en,de": false, "en;q=0.5, de;q=0.6": true,
		"de;q=0": false, "de;q=x": false, "fr, de;q=0.1": true, "nl": false, ";;;,,=": false,
	} {
		if got := prefersGerman(accept); got != want {
			t.Errorf("%q: %v", accept, got)
		}
	}
}
