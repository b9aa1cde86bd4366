package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// serve answers on a unix socket until the test ends.
func serve(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	c := New(socket)
	t.Cleanup(func() {
		c.http.CloseIdleConnections()
		_ = server.Close()
		<-done
	})
	return c
}

func TestGetJSONDecodesAnAnswer(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"path":%q}`, r.URL.RequestURI())
	})
	var got struct{ Path string }
	if err := c.GetJSON(t.Context(), "/status?unit=a", &got); err != nil {
		t.Fatal(err)
	}
	if got.Path != "/status?unit=a" {
		t.Errorf("asked for %q", got.Path)
	}
}

func TestGetJSONRefuses(t *testing.T) {
	tests := []struct {
		name, want string
		answer     http.HandlerFunc
	}{
		{"another status", "503 Service Unavailable", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }},
		{"a redirect", "302 Found", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://example.org/", http.StatusFound)
		}},
		{"what is not JSON", "decoding /x", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }},
		{"an endless body", "over 8388608 bytes", func(w http.ResponseWriter, _ *http.Request) {
			for chunk := make([]byte, 1<<16); ; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := serve(t, tt.answer).GetJSON(t.Context(), "/x", new(any))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want it to say %q", err, tt.want)
			}
		})
	}
}

// Callers that may not import this package ask by the method.
func TestAnUnknownPathIsNotFound(t *testing.T) {
	for code, want := range map[int]bool{404: true, 410: false, 503: false} {
		err := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }).GetJSON(t.Context(), "/x", new(any))
		var answer interface{ NotFound() bool }
		if !errors.As(err, &answer) || answer.NotFound() != want {
			t.Errorf("%d: %v", code, err)
		}
	}
}

func TestMissingDaemonIsAnError(t *testing.T) {
	if err := New(filepath.Join(t.TempDir(), "none")).GetJSON(t.Context(), "/", new(any)); err == nil {
		t.Error("no error")
	}
}

func TestStreamHandsOverLinesUntilTheEnd(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "1\n22\n333") })
	var got []string
	if err := c.Stream(t.Context(), "/", func(l []byte) error { got = append(got, string(l)); return nil }); err != nil {
		t.Fatal(err)
	}
	if want := []string{"1", "22", "333"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestStreamStopsAtAnOverlongLine(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, strings.Repeat("x", MaxLine-1)+"\n"+strings.Repeat("x", MaxLine+1))
	})
	lines := 0
	err := c.Stream(t.Context(), "/", func([]byte) error { lines++; return nil })
	if !errors.Is(err, bufio.ErrTooLong) || lines != 1 {
		t.Errorf("got %d lines and %v", lines, err)
	}
}

func TestStreamEndsWithTheErrorOfItsReader(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "a\nb\n") })
	want := errors.New("enough")
	if err := c.Stream(t.Context(), "/", func([]byte) error { return want }); !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func TestStreamEndsWithItsContext(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "a\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	err := c.Stream(ctx, "/", func([]byte) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A daemon that is away is asked again after 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5,
// 5, … s; once it was back for longer than that, from the beginning.
func TestFollowBacksOffAndStartsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		start := time.Now()
		var dials []time.Duration
		c := dialing(func(context.Context) (net.Conn, error) {
			dials = append(dials, time.Since(start))
			if len(dials) != 9 {
				return nil, errors.New("nobody there")
			}
			ours, theirs := net.Pipe()
			go func() { // answers one line, lives for a minute, dies
				defer theirs.Close()
				if _, err := http.ReadRequest(bufio.NewReader(theirs)); err != nil {
					t.Error(err)
				}
				io.WriteString(theirs, "HTTP/1.1 200 OK\r\n\r\nhello\n")
				time.Sleep(time.Minute)
			}()
			return ours, nil
		})
		var states []bool
		lines := 0
		c.Follow(ctx, "/", func([]byte) error { lines++; return nil }, func(connected bool, err error) {
			states = append(states, connected)
			if connected != (err == nil) {
				t.Errorf("connected %v with %v", connected, err)
			}
			if len(states) == 3 {
				time.AfterFunc(150*time.Millisecond, cancel)
			}
		})
		ms := time.Millisecond
		want := []time.Duration{0, 100 * ms, 300 * ms, 700 * ms, 1500 * ms, 3100 * ms, 6300 * ms, 11300 * ms, 16300 * ms, 76400 * ms}
		if !slices.Equal(dials, want) {
			t.Errorf("dialled at %v, want %v", dials, want)
		}
		if !slices.Equal(states, []bool{false, true, false}) || lines != 1 {
			t.Errorf("states %v and %d lines", states, lines)
		}
	})
}
