package daemon

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestMain runs the tests, or is the child that systemd would have started.
func TestMain(m *testing.M) {
	if os.Getenv("DAEMON_TEST_CHILD") != "listeners" {
		os.Exit(m.Run())
	}
	listeners, err := Listeners("http")
	if err != nil {
		fmt.Println(err)
		return
	}
	other, _ := Listeners("other")
	for _, l := range append(listeners, other...) {
		fmt.Println(l.Addr().Network(), l.Addr())
	}
}

// startActivated runs Listeners in a process that got sockets of the given
// names from its parent, and returns what it found.
func startActivated(t *testing.T, names ...string) string {
	t.Helper()
	// LISTEN_PID is known only after the fork.
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0"`, os.Args[0])
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "DAEMON_TEST_CHILD=listeners", fmt.Sprintf("LISTEN_FDS=%d", len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	for i := range names {
		l, err := net.Listen("unix", fmt.Sprintf("%s/%d", t.TempDir(), i))
		if err != nil {
			t.Fatal(err)
		}
		f, err := l.(*net.UnixListener).File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close(); l.Close() })
		cmd.ExtraFiles = append(cmd.ExtraFiles, f)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

func TestListenersAreFoundByName(t *testing.T) {
	found := startActivated(t, "http", "other", "http")
	lines := strings.Split(strings.TrimSpace(found), "\n")
	if len(lines) != 3 || !strings.HasSuffix(lines[0], "/0") || !strings.HasSuffix(lines[1], "/2") || !strings.HasSuffix(lines[2], "/1") {
		t.Errorf("found %q, want the first and the third socket, then the second", lines)
	}
}

func TestMissingSocketNamesTheSocketUnit(t *testing.T) {
	for _, names := range [][]string{nil, {"other"}} {
		if got := startActivated(t, names...); !strings.Contains(got, `no socket named "http": start the .socket unit`) {
			t.Errorf("with sockets %q: %q", names, got)
		}
	}
}

func TestUnixSocketReplacesALeftoverAndHasItsMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := ListenUnix(path, 0o660)
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("mode %v, want a socket with 0660", st.Mode())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket was left behind: %v", err)
	}
}

func TestUnixSocketThatCannotBeIsAnError(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{full, filepath.Join(t.TempDir(), "missing", "s")} {
		if l, err := ListenUnix(path, 0o660); err == nil {
			l.Close()
			t.Errorf("listening on %s worked", path)
		}
	}
}

// A server is Serve on a unix socket, with a client of it.
type server struct {
	t      *testing.T
	client http.Client
	stop   context.CancelFunc
	ended  chan error
}

func serve(t *testing.T, h http.HandlerFunc) *server {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := ListenUnix(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	s := &server{t: t, stop: stop, ended: make(chan error, 1)}
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }}
	s.client = http.Client{Transport: transport, Timeout: 10 * time.Second}
	go func() { s.ended <- Serve(ctx, l, h) }()
	t.Cleanup(func() { transport.CloseIdleConnections(); stop() })
	return s
}

func (s *server) get() (*http.Response, error) { return s.client.Get("http://localhost/") }

func (s *server) wantEnd(within time.Duration) {
	s.t.Helper()
	select {
	case err := <-s.ended:
		if !errors.Is(err, context.Canceled) {
			s.t.Errorf("ended with %v, want the context's error", err)
		}
	case <-time.After(within):
		s.t.Errorf("still serving after %s", within)
	}
}

func TestOpenRequestIsAnsweredBeforeTheEnd(t *testing.T) {
	arrived, proceed := make(chan struct{}), make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-proceed
		io.WriteString(w, "done")
	})
	answer := make(chan string, 1)
	go func() {
		resp, err := s.get()
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		answer <- string(body)
	}()
	<-arrived
	s.stop()
	time.AfterFunc(20*time.Millisecond, func() { close(proceed) })
	if got := <-answer; got != "done" {
		t.Errorf("the open request got %q", got)
	}
	s.wantEnd(3 * time.Second)
	if _, err := s.get(); !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after the end: %v", err)
	}
}

// Proves PROXY-4 in part: between its first byte and its handler a request is
// still one that a shutdown loses.
func TestNewcomerHasAskedWhenItsHandlerBegins(t *testing.T) {
	var n newcomers
	waiting := func() int { n.mu.Lock(); defer n.mu.Unlock(); return len(n.conns) }
	began := -1
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { began = waiting() })}
	n.watch(server)
	for _, end := range []http.ConnState{http.StateIdle, http.StateHijacked, http.StateClosed} {
		c, other := net.Pipe()
		defer c.Close()
		defer other.Close()
		server.ConnState(c, http.StateNew)
		server.ConnState(c, http.StateActive)
		if got := waiting(); got != 1 {
			t.Errorf("%d wait after the first byte, want 1", got)
		}
		if end == http.StateClosed { // a request that could not be read
			server.ConnState(c, end)
		} else {
			r := httptest.NewRequestWithContext(server.ConnContext(t.Context(), c), "GET", "/", http.NoBody)
			server.Handler.ServeHTTP(httptest.NewRecorder(), r)
			if began != 0 {
				t.Errorf("%d wait in the handler, want 0", began)
			}
			server.ConnState(c, end)
		}
		if got := waiting(); got != 0 {
			t.Errorf("%d wait at the end, want 0", got)
		}
	}
}

func TestStreamsEndAtOnce(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	resp, err := s.get()
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	s.stop()
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Errorf("the stream ended with %v", err)
	}
	s.wantEnd(3 * time.Second)
}

func TestOversizedHeadersAreRefused(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the handler was called") })
	req, err := http.NewRequest(http.MethodGet, "http://localhost/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Long", strings.Repeat("x", 70<<10))
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %s", resp.Status)
	}
}

func TestListenerThatFailsIsAnError(t *testing.T) {
	l, err := ListenUnix(filepath.Join(t.TempDir(), "s"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := Serve(t.Context(), l, nil); err == nil || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("got %v, want an error that names the address", err)
	}
}

// A client that dribbles its headers must not hold a connection for long.
func TestSlowHeadersAreCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, end := servePipe(t, func(http.ResponseWriter, *http.Request) { t.Error("the handler was called") })
		defer end()
		start, cut := time.Now(), make(chan time.Duration, 1)
		go func() {
			_, _ = io.Copy(io.Discard, c)
			cut <- time.Since(start)
		}()
		for _, err := io.WriteString(c, "GET / HTTP/1.1\r\n"); err == nil; _, err = io.WriteString(c, "X: y\r\n") {
			time.Sleep(time.Second)
		}
		if got := <-cut; got != 5*time.Second {
			t.Errorf("cut off after %s, want 5s", got)
		}
	})
}

// A handler that never ends holds the daemon up for five seconds.
func TestGraceHasAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		arrived, never := make(chan struct{}), make(chan struct{})
		defer close(never)
		c, end := servePipe(t, func(http.ResponseWriter, *http.Request) { close(arrived); <-never })
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: pipe\r\n\r\n")
		<-arrived
		start := time.Now()
		if err := end(); !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
		if got := time.Since(start); got != shutdownGrace {
			t.Errorf("ended after %s, want %s", got, shutdownGrace)
		}
		_, _ = io.Copy(io.Discard, c) // ends, because the connection was closed
	})
}

// servePipe serves one connection over a pipe, so that time can be the
// bubble's. The returned function stops and waits.
func servePipe(t *testing.T, h http.HandlerFunc) (net.Conn, func() error) {
	t.Helper()
	ours, theirs := net.Pipe()
	l := &oneConn{conns: make(chan net.Conn, 1)}
	l.conns <- theirs
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, l, h) }()
	t.Cleanup(func() { ours.Close() })
	return ours, func() error { stop(); return <-ended }
}

// oneConn is a listener with one connection.
type oneConn struct{ conns chan net.Conn }

func (l *oneConn) Accept() (net.Conn, error) {
	if c, open := <-l.conns; open {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error   { close(l.conns); return nil }
func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func TestServeEndsWhenItsSocketIsRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.sock")
	l, err := ListenUnix(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- Serve(t.Context(), l, http.NotFoundHandler()) }()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "the socket was removed") {
			t.Errorf("got %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("goes on serving nobody")
	}
}

func TestServeTLSSpeaksHTTP2AndDoesNotLogHandshakesThatFail(t *testing.T) {
	trust, cert := selfSigned(t)
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(before)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- ServeTLS(ctx, l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }),
			&tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }})
	}()
	stranger := http.Client{Transport: &http.Transport{}}
	if _, err := stranger.Get("https://" + l.Addr().String()); err == nil {
		t.Error("a client that does not trust us is content")
	}
	friend := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}, ForceAttemptHTTP2: true}}
	resp, err := friend.Get("https://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(body) != "HTTP/2.0" {
		t.Errorf("spoke %s", body)
	}
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	if log.Len() > 0 {
		t.Errorf("logged:\n%s", &log)
	}
}

func selfSigned(t *testing.T) (*x509.CertPool, tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(c)
	return pool, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
