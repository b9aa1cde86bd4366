package proxy

import (
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// lines is a log that can be written and read at the same time.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), s)
}

// limits serves connections on loopback under the limits, and hands them over.
func limits(t *testing.T, total, perAddress int) (address string, in <-chan net.Conn, log *lines) {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log = &lines{}
	l := Limit(inner.(*net.TCPListener), total, perAddress, slog.New(slog.NewTextHandler(log, nil)))
	conns, done := make(chan net.Conn, 16), make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns <- conn
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return inner.Addr().String(), conns, log
}

// dialFrom connects from an address of loopback; the test closes it.
func dialFrom(t *testing.T, from, address string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// turnedAway says whether the other end closed conn.
func turnedAway(t *testing.T, conn net.Conn) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("let in: %v", err)
	}
}

func letIn(t *testing.T, in <-chan net.Conn) net.Conn {
	t.Helper()
	select {
	case conn := <-in:
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	case <-time.After(10 * time.Second):
		t.Fatal("turned away")
		return nil
	}
}

func TestOneAddressCannotTakeAllConnections(t *testing.T) {
	address, in, log := limits(t, 16, 2)
	dialFrom(t, "127.0.0.2", address)
	first := letIn(t, in)
	dialFrom(t, "127.0.0.2", address)
	letIn(t, in)
	for range 5 {
		turnedAway(t, dialFrom(t, "127.0.0.2", address))
	}
	dialFrom(t, "127.0.0.3", address) // others are not concerned
	letIn(t, in)
	if n := log.count("connections turned away"); n != 1 {
		t.Errorf("said %d times in a minute", n)
	}
	_ = first.Close()
	_ = first.Close() // gives one place back, not two
	dialFrom(t, "127.0.0.2", address)
	letIn(t, in)
	turnedAway(t, dialFrom(t, "127.0.0.2", address))
}

func TestAllAddressesTogetherAreLimited(t *testing.T) {
	address, in, log := limits(t, 2, 2)
	dialFrom(t, "127.0.0.2", address)
	letIn(t, in)
	dialFrom(t, "127.0.0.3", address)
	letIn(t, in)
	turnedAway(t, dialFrom(t, "127.0.0.4", address))
	if log.count("too many in all") != 1 {
		t.Error("the log does not say so")
	}
}

func TestAddressesOfOneClientCountTogether(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"2001:db8::1", "2001:db8::ffff:1", true},
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"fe80::1%eth0", "fe80::1%eth0", true},
	} {
		if got := Client(netip.MustParseAddr(tt.a)) == Client(netip.MustParseAddr(tt.b)); got != tt.same {
			t.Errorf("%s and %s: same %v", tt.a, tt.b, got)
		}
	}
}
