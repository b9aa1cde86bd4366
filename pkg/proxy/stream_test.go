package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// withRoutes changes the table for one test.
func withRoutes(t *testing.T, change func(*route)) {
	t.Helper()
	old := append([]route{}, routes...)
	t.Cleanup(func() { routes = old })
	changed := append([]route{}, routes...)
	for i := range changed {
		change(&changed[i])
	}
	routes = changed
}

// Proves PROXY-3 in part: each route has its own limit on bodies.
func TestEachRouteHasItsBodyLimit(t *testing.T) {
	withRoutes(t, func(r *route) {
		if r.body > kilobyte && r.to != dashboard {
			r.body = r.body / megabyte * kilobyte // the test need not send megabytes
		}
	})
	h := newHouse(t, map[string]http.HandlerFunc{console: func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }})
	for uri, limit := range map[string]int{
		"/api/x": apiBody, "/api/auth/login": 16 * kilobyte, "/": apiBody,
		"/n8n/rest/x": 16 * kilobyte, "/n8n/webhook/x": 16 * kilobyte, "/models/api/chat": 64 * kilobyte, "/embeddings/api/embed": 64 * kilobyte,
	} {
		for name, tt := range map[string]struct {
			headers string
			body    string
			want    int
		}{
			"at the limit":        {fmt.Sprintf("Content-Length: %d\r\n", limit), strings.Repeat("x", limit), 200},
			"above, as announced": {fmt.Sprintf("Content-Length: %d\r\n", limit+1), "", 413},
			"above, in chunks":    {"Transfer-Encoding: chunked\r\n", fmt.Sprintf("%x\r\n%s\r\n", limit+1, strings.Repeat("x", limit+1)), 413},
		} {
			h.proxy.allowance = newAllowance()
			resp, _ := raw(t, h.address, "POST "+uri+" HTTP/1.1\r\nHost: localhost\r\n"+loggedIn+tt.headers+"\r\n"+tt.body)
			if resp.StatusCode != tt.want {
				t.Errorf("%s %s: status %d", uri, name, resp.StatusCode)
			}
		}
	}
	size := 2 * modelBody / 8
	resp, _ := raw(t, h.address, fmt.Sprintf("PUT /minio/api/x HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %d\r\n\r\n%s", loggedIn, size, strings.Repeat("x", size)))
	if resp.StatusCode != 200 {
		t.Errorf("an upload: status %d", resp.StatusCode)
	}
}

// converse opens a connection and sends the beginning of a request.
func converse(t *testing.T, address, begin string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, begin); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// A refusal need not wait for a body that never comes.
func TestRefusalDoesNotWaitForTheBody(t *testing.T) {
	h := newHouse(t, nil)
	for _, uri := range []string{"/n8n/rest/x", "/internal/x", "/n8n/../x"} {
		_, in := converse(t, h.address, "POST "+uri+" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhe")
		begin := time.Now()
		if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode < 400 || time.Since(begin) > 3*time.Second {
			t.Errorf("%s: %v, %v after %v", uri, resp, err, time.Since(begin))
		}
	}
}

func TestSlowBodiesAreCutOff(t *testing.T) {
	withRoutes(t, func(r *route) { r.within = 50 * time.Millisecond })
	h := newHouse(t, nil)
	for _, uri := range []string{"/api/x", "/n8n/webhook/x", "/models/api/chat", "/minio/upload", "/"} {
		_, in := converse(t, h.address, "POST "+uri+" HTTP/1.1\r\nHost: localhost\r\n"+loggedIn+"Content-Length: 5\r\n\r\nhe")
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != http.StatusRequestTimeout {
			t.Errorf("%s: %v, %v", uri, resp, err)
			continue
		}
		_ = resp.Body.Close()
		if _, err := io.Copy(io.Discard, in); err != nil {
			t.Errorf("%s: the connection stays: %v", uri, err)
		}
	}
}

// An upload of any size may take any time, as long as it moves.
func TestLargeBodiesMayTakeLong(t *testing.T) {
	withRoutes(t, func(r *route) { r.within = 300 * time.Millisecond })
	h := newHouse(t, nil)
	conn, in := converse(t, h.address, "PUT /minio/upload HTTP/1.1\r\nHost: localhost\r\n"+loggedIn+"Content-Length: 20\r\n\r\n")
	begin := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range 20 {
		<-tick.C
		if _, err := io.WriteString(conn, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != 200 || time.Since(begin) < 600*time.Millisecond {
		t.Errorf("%v, %v after %v", resp, err, time.Since(begin))
	}
}

// The deadline of a body that has arrived must not end the answer: to the
// server it would look as if the client had left.
func TestAnswerMayTakeLongerThanTheBody(t *testing.T) {
	withRoutes(t, func(r *route) { r.within = 100 * time.Millisecond })
	slowly := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for range 8 {
			select {
			case <-time.After(50 * time.Millisecond):
			case <-r.Context().Done():
				return
			}
			_, _ = io.WriteString(w, "{}\n")
			_ = http.NewResponseController(w).Flush()
		}
	}
	h := newHouse(t, map[string]http.HandlerFunc{llm: slowly, dashboard: slowly})
	for _, body := range []string{"Content-Length: 2\r\n\r\n{}", "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"} {
		for _, uri := range []string{"/models/api/chat", "/api/llm/chat"} {
			resp, got := raw(t, h.address, "POST "+uri+" HTTP/1.1\r\nHost: localhost\r\n"+loggedIn+body)
			if resp.StatusCode != 200 || got != strings.Repeat("{}\n", 8) {
				t.Errorf("%s: status %d, %q", uri, resp.StatusCode, got)
			}
		}
	}
}

// Proves PROXY-3 in part: tokens and events pass as they come, from all upstreams.
func TestStreamsPassAsTheyCome(t *testing.T) {
	for _, kind := range []string{"text/event-stream", "application/x-ndjson"} {
		heard := make(chan struct{})
		stream := func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = io.WriteString(w, "first\n")
			_ = http.NewResponseController(w).Flush()
			select {
			case <-heard:
			case <-r.Context().Done():
			}
			_, _ = io.WriteString(w, "second\n")
		}
		h := newHouse(t, map[string]http.HandlerFunc{n8n: stream, llm: stream, embeddings: stream, console: stream, dashboard: stream})
		for _, uri := range []string{"/models/api/tags", "/n8n/x", "/n8n/mcp/x", "/embeddings/api/tags", "/minio/x", "/api/logs/stream"} {
			heard = make(chan struct{})
			_, in := converse(t, h.address, "GET "+uri+" HTTP/1.1\r\nHost: localhost\r\n"+loggedIn+"\r\n")
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(resp.Body)
			if !lines.Scan() || lines.Text() != "first" {
				t.Fatalf("%s: got %q", uri, lines.Text())
			}
			close(heard)
			if !lines.Scan() || lines.Text() != "second" {
				t.Errorf("%s: got %q", uri, lines.Text())
			}
			_ = resp.Body.Close()
		}
	}
}

// stuck is a connection whose other end does not read.
type stuck struct {
	http.ResponseWriter
	deadlines []time.Time
}

func (s *stuck) SetWriteDeadline(at time.Time) error {
	s.deadlines = append(s.deadlines, at)
	return nil
}
func (s *stuck) Write(p []byte) (int, error) { return len(p), nil }
func (s *stuck) FlushError() error           { return nil }

func TestEachPieceOfAnAnswerHasItsOwnDeadline(t *testing.T) {
	s := &stuck{}
	w, _ := timeWrites(s, &http.Request{ProtoMajor: 1}).(*timedWriter)
	_, _ = w.Write([]byte("x"))
	_ = w.FlushError()
	w.end()
	if len(s.deadlines) != 3 {
		t.Fatalf("%v", s.deadlines)
	}
	for _, d := range s.deadlines {
		if left := time.Until(d); left < writeWithin/2 || left > writeWithin {
			t.Errorf("%v left", left)
		}
	}
	if timeWrites(s, &http.Request{ProtoMajor: 2}) != http.ResponseWriter(s) {
		t.Error("HTTP/2 has its own")
	}
}
