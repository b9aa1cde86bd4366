package proxy

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Proves AUTH-5: each class has its rate, and says when to come again.
func TestEachClassHasItsRate(t *testing.T) {
	for _, tt := range []struct {
		method, uri string
		most        int
		window      time.Duration
	}{
		{"POST", "/api/auth/login", 5, 15 * time.Minute},
		{"POST", "/api/auth/setup", 5, 15 * time.Minute},
		{"POST", "/api/auth/change-password", 5, time.Minute},
		{"DELETE", "/api/auth/sessions/1", 5, time.Minute},
		{"GET", "/api/auth/me", 60, time.Minute},
		{"GET", "/api/auth/login", 60, time.Minute},
		{"POST", "/api/llm/chat", 10, time.Second},
		{"POST", "/models/api/chat", 10, time.Second},
		{"POST", "/embeddings/api/embed", 10, time.Second},
		{"GET", "/api/metrics/live", 20, time.Second},
		{"GET", "/metrics", 20, time.Second},
		{"POST", "/n8n/webhook/x", 100, time.Minute},
		{"GET", "/n8n/form/x", 100, time.Minute},
		{"GET", "/api/services", 100, time.Minute},
		{"GET", "/assets/x.js", 3000, time.Minute},
		{"GET", "/n8n/static/x.js", 3000, time.Minute},
		{"GET", "/minio/static/x.js", 3000, time.Minute},
	} {
		t.Run(tt.method+tt.uri, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := New(Options{})
				for _, u := range p.upstreams { // nobody is asked in this bubble
					u.proxy.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
						w := httptest.NewRecorder()
						w.WriteHeader(http.StatusUnauthorized)
						resp := w.Result()
						resp.Request = r
						return resp, nil
					})
				}
				p.gate.ask = roundTripper(func(*http.Request) (*http.Response, error) {
					w := httptest.NewRecorder()
					w.Header().Set("Remote-User", "admin")
					return w.Result(), nil
				})
				ask := func(address string) *httptest.ResponseRecorder {
					r := httptest.NewRequest(tt.method, "http://localhost"+tt.uri, nil)
					r.RemoteAddr = address
					r.Header.Set("Authorization", "Bearer good")
					w := httptest.NewRecorder()
					p.serve(w, r)
					return w
				}
				time.Sleep(tt.window/3 + time.Millisecond) // a window begins when it likes
				passed := 0
				var w *httptest.ResponseRecorder
				for w = ask("192.0.2.1:1"); w.Code != http.StatusTooManyRequests; w = ask("192.0.2.1:1") {
					passed++
				}
				if passed != tt.most {
					t.Errorf("%d passed, want %d", passed, tt.most)
				}
				wait, err := strconv.Atoi(w.Header().Get("Retry-After"))
				if err != nil || wait < 1 || time.Duration(wait)*time.Second > 2*tt.window || w.Header().Get("Content-Type") != "application/problem+json" || !strings.Contains(w.Body.String(), "urn:arasul:problem:too-many-requests") {
					t.Errorf("Retry-After %q, %s", w.Header().Get("Retry-After"), w.Body)
				}
				if w := ask("192.0.2.2:1"); w.Code == http.StatusTooManyRequests {
					t.Error("another client is held up")
				}
				time.Sleep(time.Duration(wait) * time.Second)
				if w := ask("192.0.2.1:2"); w.Code == http.StatusTooManyRequests {
					t.Errorf("after the %d s it was told, it is refused again", wait)
				}
			})
		})
	}
}

// Who knows the password is not held up by having used it.
func TestLoginThatSucceedsIsNotCounted(t *testing.T) {
	var status int
	h := newHouse(t, map[string]http.HandlerFunc{dashboard: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }})
	log := func(s int) int {
		status = s
		resp, _ := h.ask(t, "POST", "/api/auth/login", "")
		return resp.StatusCode
	}
	for range 20 {
		if got := log(200); got != 200 {
			t.Fatalf("status %d", got)
		}
	}
	for range 5 {
		if got := log(401); got != 401 {
			t.Fatalf("status %d", got)
		}
	}
	if got := log(200); got != http.StatusTooManyRequests {
		t.Errorf("after five failures: status %d", got)
	}
}

func TestClientsOfOneNetworkCountTogether(t *testing.T) {
	l := newLimiter(5, time.Minute)
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
	for i := range 6 {
		client := Client(netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", i)))
		if wait := l.take(w, r, client); (wait > 0) != (i == 5) {
			t.Errorf("%d: wait %v", i, wait)
		}
	}
	if l.take(w, r, Client(netip.MustParseAddr("2001:db8:0:1::1"))) > 0 {
		t.Error("another network is held up")
	}
	if l.take(w, r, Client(netip.MustParseAddr("::ffff:192.0.2.1"))) > 0 || l.take(w, r, Client(netip.MustParseAddr("192.0.2.1"))) > 0 {
		t.Error("IPv4 is held up")
	}
}

// A hundred thousand addresses take no more memory than a few thousand, those
// that were there first are still counted each by itself, and the others
// together do not get more than their share.
func TestManyAddressesTakeLittleMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(5, 15*time.Minute)
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
		first := netip.MustParseAddr("192.0.2.1")
		l.take(w, r, first)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		passed := 0
		for i := range 100_000 {
			if l.take(w, r, netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})) == 0 {
				passed++
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 || len(l.counter.now.own) > maxCounts {
			t.Errorf("%d bytes, %d counts", grown, len(l.counter.now.own))
		}
		if most := maxCounts + 5*shared; passed > most {
			t.Errorf("%d passed, want at most %d", passed, most)
		}
		for i := range 5 {
			if wait := l.take(w, r, first); (wait > 0) != (i == 4) {
				t.Errorf("the first client's %d: wait %v", i+2, wait)
			}
		}
		time.Sleep(31 * time.Minute) // all is forgotten
		if l.take(w, r, netip.MustParseAddr("10.1.1.1")) > 0 {
			t.Error("still held up")
		}
		if len(l.counter.now.own) != 1 || len(l.counter.before.own) != 0 {
			t.Error("still remembered")
		}
	})
}

func TestRequestsOfOneClientAtOnceAreLimited(t *testing.T) {
	var c crowd
	c.most = 2
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i, who := range []netip.Addr{a, a, a, b} {
		if in := c.enter(who); in != (i != 2) {
			t.Errorf("the %d.: %v", i+1, in)
		}
	}
	c.leave(a)
	if !c.enter(a) {
		t.Error("a place is lost")
	}
	for _, who := range []netip.Addr{a, a, b} {
		c.leave(who)
	}
	if len(c.in) != 0 {
		t.Errorf("remembers %v", c.in)
	}
}

func TestLongRequestsAreFew(t *testing.T) {
	held := make(chan struct{})
	h := newHouse(t, map[string]http.HandlerFunc{n8n: func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-held:
		case <-r.Context().Done():
		}
	}})
	h.proxy.allowance.long.most = 3
	done := make(chan int)
	for range 3 {
		go func() {
			resp, _ := h.ask(t, "POST", "/n8n/webhook/x", "")
			done <- resp.StatusCode
		}()
	}
	eventually(t, "three under way", func() bool { return h.count(n8n) == 3 })
	if resp, _ := h.ask(t, "POST", "/n8n/webhook/x", ""); resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("the fourth: status %d", resp.StatusCode)
	}
	if resp, _ := h.ask(t, "GET", "/api/health", ""); resp.StatusCode != 200 {
		t.Errorf("a short one: status %d", resp.StatusCode)
	}
	close(held)
	for range 3 {
		if got := <-done; got != 200 {
			t.Errorf("status %d", got)
		}
	}
	if resp, _ := h.ask(t, "POST", "/n8n/webhook/x", ""); resp.StatusCode != 200 {
		t.Errorf("afterwards: status %d", resp.StatusCode)
	}
}

// The proxy's own check and the machine's root come through the unix socket.
func TestNobodyIsCountedOnTheUnixSocket(t *testing.T) {
	p := New(Options{Dashboard: board(t, echo(dashboard))})
	for range 200 {
		r := httptest.NewRequest("GET", "http://localhost/api/health", nil)
		r.RemoteAddr = "@"
		w := httptest.NewRecorder()
		p.serve(w, r)
		if w.Code != 200 || !strings.Contains(w.Body.String(), `"X-Forwarded-For":["127.0.0.1"]`) || !strings.Contains(w.Body.String(), `"X-Forwarded-Proto":["https"]`) {
			t.Fatalf("status %d, %s", w.Code, w.Body)
		}
	}
}
