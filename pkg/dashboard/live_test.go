package dashboard

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/arasul/arasul/pkg/api"
)

func dialLive(t *testing.T, socket, origin string) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	return websocket.Dial(t.Context(), "ws://arasul.local/api/metrics/live-stream", &websocket.DialOptions{
		HTTPClient: client, HTTPHeader: http.Header{"Origin": {origin}},
	})
}

func next(t *testing.T, conn *websocket.Conn) api.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, msg, err := conn.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var e api.Event
	if err := json.Unmarshal(msg, &e); err != nil {
		t.Fatal(err)
	}
	return e
}

// Proves METRICS-3 in part: live over a WebSocket.
func TestLiveStreamBeginsWithThePresentAndGoesOn(t *testing.T) {
	d := newDashboard(t, Options{Interval: time.Hour})
	d.OnSample(api.Sample{CPUCores: 1})
	d.OnServices([]api.Service{{Name: "a", Status: api.Up}})
	d.OnIncident(incident("1", time.Now()))
	conn, _, err := dialLive(t, listen(t, d), "http://arasul.local")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	for _, want := range []string{"status", "sample", "services", "incident"} {
		if e := next(t, conn); e.Type != want {
			t.Fatalf("got %s, want %s", e.Type, want)
		}
	}
	d.OnSample(api.Sample{CPUCores: 2})
	if e := next(t, conn); e.Type != "sample" || e.Sample.CPUCores != 2 {
		t.Errorf("got %+v", e)
	}
	d.OnServices([]api.Service{{Name: "a", Status: api.Up}}) // nothing new
	d.OnServices([]api.Service{{Name: "a", Unit: "arasul-a.service", Status: api.Down}})
	if e := next(t, conn); e.Type != "services" || e.Services[0].Status != api.Down {
		t.Errorf("got %+v", e)
	}
	if e := next(t, conn); e.Type != "status" || e.Status.Status != api.Critical || e.Status.Reasons[0].Code != "service-down" {
		t.Errorf("got %+v", e)
	}
	acting := incident("1", time.Now())
	acting.State = api.IncidentActing
	d.OnIncident(acting)
	if e := next(t, conn); e.Type != "incident" || e.Incident.State != api.IncidentActing {
		t.Errorf("got %+v", e)
	}
	if e := next(t, conn); e.Type != "status" || !e.Status.Healing {
		t.Errorf("got %+v", e)
	}
}

func TestForeignOriginsGetNoLiveStream(t *testing.T) {
	socket := listen(t, newDashboard(t, Options{}))
	for _, origin := range []string{
		"http://evil.example", "http://arasul.local.evil.example", "http://evil.example/arasul.local",
		"http://arasul.local@evil.example", "http://arasul.local:8080", "null", "file://", "::",
	} {
		conn, resp, err := dialLive(t, socket, origin)
		if err == nil {
			conn.CloseNow()
			t.Errorf("Origin %q was let in", origin)
		} else if resp == nil || resp.StatusCode != http.StatusForbidden {
			t.Errorf("Origin %q: %v", origin, err)
		}
	}
}

func TestPageThatTalksBackIsClosed(t *testing.T) {
	conn, _, err := dialLive(t, listen(t, newDashboard(t, Options{})), "http://arasul.local")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	next(t, conn)
	if err := conn.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.Read(t.Context()); err == nil {
		t.Error("still open")
	}
}

func TestTooManyPagesAreTurnedAway(t *testing.T) {
	d := newDashboard(t, Options{})
	d.sockets = make(chan struct{}, 1)
	socket := listen(t, d)
	first, _, err := dialLive(t, socket, "http://arasul.local")
	if err != nil {
		t.Fatal(err)
	}
	defer first.CloseNow()
	_, resp, err := dialLive(t, socket, "http://arasul.local")
	if err == nil || resp == nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("the second got in: %v", err)
	}
}

// One client takes a part of the places, not those of the others. Who it is, our
// proxy says.
func TestOneClientCannotTakeAllPlacesOfPages(t *testing.T) {
	d := newDashboard(t, Options{})
	from := func(address string) (leave func(), ok bool) {
		r := httptest.NewRequest("GET", "/api/metrics/live-stream", nil)
		r.Header.Set("X-Forwarded-For", address)
		return d.enter(visitor(r))
	}
	for n := range maxSocketsEach {
		if _, ok := from(fmt.Sprintf("2001:db8::%x", n)); !ok { // it can have as many as it likes
			t.Fatalf("page %d of one client was turned away", n)
		}
	}
	if _, ok := from("2001:db8::ffff"); ok {
		t.Error("one client has more pages than its share")
	}
	for range 2 * maxSocketsEach { // come and gone
		leave, ok := from("192.0.2.7")
		if !ok {
			t.Fatal("another client was turned away")
		}
		leave()
	}
	if len(d.sockets) != maxSocketsEach || len(d.pages) != 1 {
		t.Errorf("%d places taken by %d clients", len(d.sockets), len(d.pages))
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/api/metrics/live-stream", nil)
	r.Header.Set("Upgrade", "websocket")
	r.Header.Set("X-Forwarded-For", "2001:db8::1")
	if d.Handler().ServeHTTP(w, r); w.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d", w.Code)
	}
}

// pipes is a listener whose connections are in memory, so that fake time can
// pass while one of them blocks.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p pipes) Addr() net.Addr { return &net.UnixAddr{} }
func (p pipes) Close() error   { close(p.done); return nil }

// handshake serves d in the bubble of a synctest and opens a WebSocket by hand.
func handshake(t *testing.T, d *Dashboard) (conn net.Conn, in *bufio.Reader, stop func()) {
	t.Helper()
	l := pipes{make(chan net.Conn), make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	server := &http.Server{Handler: d.Handler(), BaseContext: func(net.Listener) context.Context { return ctx }}
	go func() { _ = server.Serve(l) }()
	conn, theirs := net.Pipe()
	l.conns <- theirs
	go io.WriteString(conn, "GET /api/metrics/live-stream HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n")
	in = bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v %v", resp, err)
	}
	return conn, in, func() {
		cancel()
		_ = server.Close()
		_ = conn.Close()
	}
}

// A page that stops reading costs its buffer and ten seconds, not more; pages
// that keep reading are not held up by it.
func TestSlowPageIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDashboard(t, Options{Interval: time.Hour})
		_, _, stop := handshake(t, d)
		defer stop()
		synctest.Wait()
		if len(d.sockets) != 1 {
			t.Fatalf("%d sockets", len(d.sockets))
		}
		begin := time.Now()
		for n := range 1000 {
			d.OnSample(api.Sample{CPUCores: n})
		}
		if time.Since(begin) != 0 {
			t.Error("telling waited for the slow page")
		}
		time.Sleep(writeWithin + time.Second)
		synctest.Wait()
		if len(d.sockets) != 0 {
			t.Error("the slow page is still there")
		}
	})
}

// A machine that was switched off does not say goodbye.
func TestPageThatAnswersNoPingIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDashboard(t, Options{Interval: time.Hour})
		_, in, stop := handshake(t, d)
		defer stop()
		go io.Copy(io.Discard, in) // reads, but never answers
		time.Sleep(pingEvery - time.Second)
		synctest.Wait()
		if len(d.sockets) != 1 {
			t.Error("dropped before the first ping")
		}
		time.Sleep(writeWithin + 10*time.Second)
		synctest.Wait()
		if len(d.sockets) != 0 {
			t.Error("still there")
		}
	})
}

// Rules about time hold without anything being told, a change is published
// once, and the status repeats so that pages can tell quiet from dead.
func TestRunPublishesOnlyChangesAndASignOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDashboard(t, Options{Interval: 5 * time.Second})
		d.OnSample(api.Sample{})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- d.Run(ctx) }()
		events, leave := d.hub.Subscribe()
		<-events // what was last, again
		var got []string
		begin := time.Now()
		for time.Since(begin) < 45*time.Second {
			var e api.Event
			if err := json.Unmarshal(<-events, &e); err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%v %s", time.Since(begin), e.Status.Status))
		}
		leave()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		want := []string{"15s OK", "16s WARNING", "31s WARNING", "46s WARNING"}
		if !slices.Equal(got, want) {
			t.Errorf("got %s, want %s", strings.Join(got, ", "), strings.Join(want, ", "))
		}
	})
}

func TestRunWaitsForOpenPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDashboard(t, Options{})
		_, in, stop := handshake(t, d)
		go io.Copy(io.Discard, in)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- d.Run(ctx) }()
		cancel()
		synctest.Wait()
		if len(ended) != 0 {
			t.Error("ended before its page")
		}
		stop()
		synctest.Wait()
		if len(ended) != 1 {
			t.Error("still running without pages")
		}
	})
}
