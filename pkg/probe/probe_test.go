package probe

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// short is a limit for services that are not to answer in time.
const short = 50 * time.Millisecond

// long is a limit that no test reaches.
const long = 20 * time.Second

// serve answers on TCP until the test ends.
func serve(t *testing.T, h http.HandlerFunc) (address string) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// statuses answers each path with its status; others with 404.
func statuses(of map[string]int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		status := of[r.URL.Path]
		if status == 0 {
			status = http.StatusNotFound
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
	}
}

// expect compares status and the beginning of the detail.
func expect(t *testing.T, r api.ProbeResult, status api.Status, detail string) {
	t.Helper()
	if r.Status != status || !strings.HasPrefix(r.Detail, detail) || (detail == "") != (r.Detail == "") {
		t.Errorf("it is %s, %q; want %s, %q", r.Status, r.Detail, status, detail)
	}
	if r.Time.IsZero() || r.Duration <= 0 || r.Unit != "" {
		t.Errorf("time %s, duration %g s and unit %q", r.Time, r.Duration, r.Unit)
	}
}

// Proves HEAL-9.
func TestEachServiceIsAskedForItsPath(t *testing.T) {
	for name, test := range map[string]struct {
		probe  func(address string) func(context.Context) api.ProbeResult
		has    map[string]int
		status api.Status
		detail string
	}{
		"proxy":                       {Proxy, map[string]int{"/health": 200}, api.Up, ""},
		"proxy that redirects":        {Proxy, map[string]int{"/health": 301}, api.Down, "answers GET /health with 301 Moved Permanently instead of 200"},
		"dashboard":                   {Dashboard, map[string]int{"/api/health": 200}, api.Up, ""},
		"dashboard that fails":        {Dashboard, map[string]int{"/api/health": 500}, api.Down, "answers GET /api/health with 500 Internal Server Error instead of 200"},
		"metrics":                     {Metrics, map[string]int{"/ping": 204}, api.Up, ""},
		"something else than metrics": {Metrics, map[string]int{"/ping": 200}, api.Down, "answers GET /ping with 200 OK instead of 204"},
		"n8n":                         {N8N, map[string]int{"/healthz": 200, "/healthz/readiness": 200}, api.Up, ""},
		"n8n without its database":    {N8N, map[string]int{"/healthz": 200, "/healthz/readiness": 503}, api.Degraded, "its database is away, or it is still starting"},
		"n8n with an odd readiness":   {N8N, map[string]int{"/healthz": 200}, api.Degraded, "answers GET /healthz/readiness with 404 Not Found instead of 200"},
		"n8n that is unavailable":     {N8N, map[string]int{"/healthz": 503}, api.Down, "answers GET /healthz with 503 Service Unavailable instead of 200"},
		"MinIO":                       {MinIO, map[string]int{"/minio/health/live": 200, "/minio/health/cluster": 200}, api.Up, ""},
		"MinIO without a drive":       {MinIO, map[string]int{"/minio/health/live": 200, "/minio/health/cluster": 503}, api.Degraded, "it cannot write"},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, test.probe(serve(t, statuses(test.has)))(t.Context()), test.status, test.detail)
		})
	}
}

// Proves HEAL-9.
func TestAServiceBehindAUnixSocketIsAskedThere(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	probe := Metrics(socket)
	expect(t, probe(t.Context()), api.Down, "nothing listens on "+socket)

	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: l, Config: &http.Server{Handler: statuses(map[string]int{"/ping": 204})}}
	s.Start()
	defer s.Close()
	expect(t, probe(t.Context()), api.Up, "")
}

func TestNobodyListeningIsSaidInWords(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	expect(t, N8N(address)(t.Context()), api.Down, "nothing listens on "+address)
}

func TestASocketThatMayNotBeOpenedTellsNothing(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may open everything")
	}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Chmod(socket, 0); err != nil {
		t.Fatal(err)
	}
	expect(t, Metrics(socket)(t.Context()), api.Unknown, "not allowed to connect to "+socket)
}

// A stopped process still has its socket: the kernel takes the connection.
func TestAServiceThatDoesNotAnswerIsDownAtTheLimit(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := look(l.Addr().String(), short, step{path: "/health"})(t.Context())
	expect(t, r, api.Down, "no answer to GET /health within ")
	if r.Duration < short.Seconds() {
		t.Errorf("it gave up after %g s", r.Duration)
	}
}

func TestAnAnswerThatDoesNotEndIsNoAnswer(t *testing.T) {
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	expect(t, look(address, short, step{path: "/health"})(t.Context()), api.Down, "no answer to GET /health within ")
}

func TestAServiceThatAnswersLateIsDegraded(t *testing.T) {
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ready" {
			<-r.Context().Done()
		}
	})
	r := look(address, short, step{path: "/health"}, step{path: "/ready"})(t.Context())
	expect(t, r, api.Degraded, "no answer to GET /ready within ")
}

func TestSlowIsAnAnswerAfterHalfTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for took, want := range map[time.Duration]api.Status{
			time.Second:             api.Up,
			1001 * time.Millisecond: api.Degraded,
			3 * time.Second:         api.Down,
		} {
			d := &door{address: "there", host: "there", http: http.Client{Transport: &http.Transport{
				DisableKeepAlives: true,
				DialContext: func(context.Context, string, string) (net.Conn, error) {
					ours, theirs := net.Pipe()
					go func() {
						defer theirs.Close()
						if _, err := http.ReadRequest(bufio.NewReader(theirs)); err != nil {
							return
						}
						time.Sleep(took)
						fmt.Fprint(theirs, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
					}()
					return ours, nil
				},
			}}}
			r := d.look(2*time.Second, step{path: "/health"})(t.Context())
			if r.Status != want || r.Duration != min(took, 2*time.Second).Seconds() {
				t.Errorf("after %s it is %s (%s), looked for %g s; want %s", took, r.Status, r.Detail, r.Duration, want)
			}
		}
		time.Sleep(long) // until those who answer have done so
	})
}

func TestLookingEndsWithItsContext(t *testing.T) {
	address := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })

	ctx, cancel := context.WithTimeout(t.Context(), short)
	defer cancel()
	expect(t, look(address, long, step{path: "/"})(ctx), api.Down, "no answer to GET / within ")

	ctx, stop := context.WithCancel(t.Context())
	stop()
	expect(t, look(address, long, step{path: "/"})(ctx), api.Unknown, "looking was interrupted")
}

// A connection that is kept may die between two looks, and not even know it.
func TestEachLookHasAConnectionOfItsOwn(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	var opened atomic.Int32
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	probe := look(s.Listener.Addr().String(), long, step{path: "/"})
	for range 3 {
		expect(t, probe(t.Context()), api.Up, "")
	}
	if asked.Load() != 3 || opened.Load() != 3 {
		t.Errorf("%d requests on %d connections; want 3 on 3", asked.Load(), opened.Load())
	}
}

// Rows are what a broken or hostile service may send.
func TestWhatIsAnsweredIsBounded(t *testing.T) {
	for name, test := range map[string]struct {
		answer string
		status api.Status
		detail string
	}{
		"an endless body":        {"HTTP/1.1 200 OK\r\n\r\n…", api.Up, ""},
		"endless headers":        {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*maxBody) + "\r\n\r\n", api.Down, `Get "http://`},
		"no HTTP":                {strings.Repeat("\x00\xff", 1000) + "\r\n\r\n", api.Down, `Get "http://`},
		"nothing":                {"", api.Down, "the connection ended before the answer to GET /"},
		"less than was promised": {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", api.Down, "the connection ended before the answer to GET /"},
		"an odd status":          {"HTTP/1.1 299 \r\n\r\n", api.Down, "answers GET / with 299"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				_, _ = http.ReadRequest(bufio.NewReader(conn))
				answer, endless := strings.CutSuffix(test.answer, "…")
				_, err = fmt.Fprint(conn, answer)
				for endless && err == nil {
					_, err = fmt.Fprint(conn, "and so on ")
				}
			}()
			r := look(l.Addr().String(), long, step{path: "/"})(t.Context())
			expect(t, r, test.status, test.detail)
			if len(r.Detail) > 300 {
				t.Errorf("the detail has %d bytes", len(r.Detail))
			}
		})
	}
}

// A proxy in the environment is for the way out; what is looked at is here.
func TestNoProxyOfTheEnvironmentIsUsed(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	d := doorAt("192.0.2.1:80") // the environment does not count for loopback
	if d.http.Transport.(*http.Transport).Proxy != nil {
		t.Error("it would ask a proxy")
	}
}
