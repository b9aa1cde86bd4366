package stream

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestListenerGetsTheLastMessageAndAllLaterOnes(t *testing.T) {
	var h Hub
	if h.Last() != nil {
		t.Errorf("last message of a new hub: %q", h.Last())
	}
	early, cancelEarly := h.Subscribe()
	defer cancelEarly()
	h.Publish([]byte("1"))
	h.Publish([]byte("2"))
	late, cancelLate := h.Subscribe()
	defer cancelLate()
	h.PublishJSON(map[string]int{"n": 3})

	if diff := cmp.Diff([]string{"1", "2", `{"n":3}`}, waiting(early)); diff != "" {
		t.Errorf("early listener (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"2", `{"n":3}`}, waiting(late)); diff != "" {
		t.Errorf("late listener (-want +got):\n%s", diff)
	}
	if got := string(h.Last()); got != `{"n":3}` {
		t.Errorf("last message %q", got)
	}
}

func TestSlowListenerIsDroppedAndTheOthersAreNot(t *testing.T) {
	var h Hub
	slow, cancelSlow := h.Subscribe()
	defer cancelSlow() // after it was dropped: harmless
	quick, cancelQuick := h.Subscribe()
	defer cancelQuick()
	for i := range Buffer + 1 {
		h.Publish(fmt.Append(nil, i))
		if got := string(<-quick); got != fmt.Sprint(i) {
			t.Fatalf("quick listener got %q, want %d", got, i)
		}
	}
	if got := waiting(slow); len(got) != Buffer {
		t.Errorf("slow listener got %d messages, want %d", len(got), Buffer)
	}
	if _, open := <-slow; open {
		t.Error("the slow listener's channel is open")
	}
}

func TestListenersShareTheBytes(t *testing.T) {
	var h Hub
	msg := []byte("shared")
	h.Publish(msg)
	for range 100 {
		msgs, cancel := h.Subscribe()
		if got := <-msgs; &got[0] != &msg[0] {
			t.Error("the message was copied")
		}
		cancel()
	}
}

func TestCancelledListenerHearsNoMore(t *testing.T) {
	var h Hub
	msgs, cancel := h.Subscribe()
	cancel()
	cancel() // twice is harmless
	h.Publish([]byte("1"))
	if msg, open := <-msgs; open {
		t.Errorf("got %q", msg)
	}
	if len(h.subs) != 0 {
		t.Errorf("%d listeners are still known", len(h.subs))
	}
}

func TestPublishingWhatIsNotJSONPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	new(Hub).PublishJSON(func() {})
}

func TestListenersMayComeAndGoWhilePublishing(t *testing.T) {
	var h Hub
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				msgs, cancel := h.Subscribe()
				h.Publish([]byte("x"))
				<-msgs
				cancel()
			}
		})
	}
	all.Wait()
	if len(h.subs) != 0 {
		t.Errorf("%d listeners are left", len(h.subs))
	}
}

func TestClientReadsOneMessagePerLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Hub
		h.Publish([]byte(`{"n":1}`))
		c := connect(t, &h)
		resp, err := http.ReadResponse(c, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := resp.Header.Get("Content-Type"); got != "application/x-ndjson" {
			t.Errorf("content type %q", got)
		}
		lines := bufio.NewScanner(resp.Body)
		for n := 1; n <= 3; n++ {
			want := fmt.Sprintf(`{"n":%d}`, n)
			if !lines.Scan() || lines.Text() != want {
				t.Errorf("got line %q, want %q", lines.Text(), want)
			}
			time.Sleep(time.Minute) // a quiet stream is not a slow client
			h.Publish(fmt.Appendf(nil, `{"n":%d}`, n+1))
		}
	})
}

// A client that does not read any more holds nothing of ours after ten seconds.
func TestClientThatStopsReadingIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Hub
		c := connect(t, &h)
		synctest.Wait()
		h.Publish(make([]byte, 1<<20))
		time.Sleep(writeTimeout - time.Second)
		if listeners(&h) != 1 {
			t.Fatal("the client was cut off early")
		}
		time.Sleep(2 * time.Second)
		if listeners(&h) != 0 {
			t.Error("the client is still served")
		}
		if _, err := http.ReadResponse(c, nil); err == nil {
			t.Error("the connection is still open")
		}
	})
}

// A client that reads, but more slowly than is published, is let go.
func TestClientThatFallsBehindIsLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Hub
		c := connect(t, &h)
		synctest.Wait()
		for range 2 * Buffer {
			h.Publish(make([]byte, 1<<12))
			synctest.Wait()
		}
		resp, err := http.ReadResponse(c, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || len(body) == 0 {
			t.Errorf("got %d bytes and %v, want what was waiting and an orderly end", len(body), err)
		}
	})
}

// connect asks a server for the hub's stream, over a pipe so that time can be
// the bubble's. It ends with the test.
func connect(t *testing.T, h *Hub) *bufio.Reader {
	t.Helper()
	ours, theirs := net.Pipe()
	l := &oneConn{conns: make(chan net.Conn, 1)}
	l.conns <- theirs
	server := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() {
		_ = ours.Close()
		_ = server.Shutdown(context.Background()) // all clients gone, so it waits for the handler
		<-done
	})
	if _, err := io.WriteString(ours, "GET / HTTP/1.1\r\nHost: hub\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return bufio.NewReader(ours)
}

// oneConn is a listener whose connections are put into conns.
type oneConn struct {
	conns chan net.Conn
	once  sync.Once
}

func (l *oneConn) Accept() (net.Conn, error) {
	c, open := <-l.conns
	if !open {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (l *oneConn) Close() error   { l.once.Do(func() { close(l.conns) }); return nil }
func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func listeners(h *Hub) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subs)
}

// waiting takes what lies in a listener's channel.
func waiting(msgs <-chan []byte) []string {
	var out []string
	for {
		select {
		case msg, open := <-msgs:
			if !open {
				return out
			}
			out = append(out, string(msg))
		default:
			return out
		}
	}
}

func TestStreamsLeaveBeforeTheirServer(t *testing.T) {
	var h Hub
	end := make(chan struct{})
	s := httptest.NewUnstartedServer(&h)
	s.Config.BaseContext = func(net.Listener) context.Context { return WithEnd(context.Background(), end) }
	s.Start()
	defer s.Close()
	answer, err := s.Client().Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	close(end)
	if rest, err := io.ReadAll(answer.Body); err != nil || len(rest) > 0 {
		t.Errorf("read %q, %v; want the end", rest, err)
	}
}
