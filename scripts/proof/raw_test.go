//go:build machine

package proof

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// raw sends bytes over TLS and returns the first answer.
func (v *visitor) raw(t *testing.T, request string) reply {
	t.Helper()
	return first(t, v.talk(t, "443", request))
}

// rawPlain does so on the plain port.
func (v *visitor) rawPlain(t *testing.T, request string) reply {
	t.Helper()
	return first(t, v.talk(t, "80", request))
}

// talk sends bytes and returns all that comes back until the other side hangs
// up, or says nothing for 2 s.
func (v *visitor) talk(t *testing.T, port, request string) []byte {
	t.Helper()
	conn := v.connect(t, port)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Logf("it hung up early: %v", err)
	}
	var all bytes.Buffer
	piece := make([]byte, 64<<10)
	for all.Len() < 1<<20 {
		_ = conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		n, err := conn.Read(piece)
		all.Write(piece[:n])
		if err != nil {
			break
		}
	}
	return all.Bytes()
}

// connect opens a connection, on 443 with TLS.
func (v *visitor) connect(t *testing.T, port string) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := v.dial(ctx, port)
	if err != nil {
		t.Fatal(err)
	}
	if port != "443" {
		return conn
	}
	secure := tls.Client(conn, v.b.trust())
	if err := secure.HandshakeContext(ctx); err != nil {
		t.Fatal(err)
	}
	return secure
}

// first reads one answer; hanging up without one is an answer with status 400.
func first(t *testing.T, answers []byte) reply {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answers)), nil)
	if err != nil {
		if len(answers) > 0 {
			t.Logf("no HTTP: %.200q", answers)
		}
		return reply{status: http.StatusBadRequest, body: string(answers)}
	}
	body, _ := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(body)}
}
