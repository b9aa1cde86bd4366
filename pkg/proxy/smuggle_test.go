package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// The rows are requests that two readers could split differently, so that a
// second request hides in the first: behind us it would be one that nobody
// looked at. Each is refused, or arrives as exactly one request, rewritten by us.
// "HIDDEN" is the path of the one that must never arrive.
func TestNothingIsSmuggledBehindUs(t *testing.T) {
	const broken = -1 // a body that ends in nonsense: refused, or cut off
	const hidden = "GET /webhook/HIDDEN HTTP/1.1\r\nHost: arasul.local\r\n\r\n"
	post := "POST /n8n/webhook/x HTTP/1.1\r\nHost: arasul.local\r\n"
	tests := []struct {
		name, request string
		want          int    // status of the first answer
		body          string // that arrives when the status is 200
	}{
		{"length and chunks", post + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, 200, ""},
		{"chunks and length", post + "Transfer-Encoding: chunked\r\nContent-Length: 100\r\n\r\n1\r\nx\r\n0\r\n\r\n", 200, "x"},
		{"two lengths", post + "Content-Length: 0\r\nContent-Length: 50\r\n\r\n" + hidden, 400, ""},
		{"two lengths in one", post + "Content-Length: 0, 50\r\n\r\n" + hidden, 400, ""},
		{"length with a sign", post + "Content-Length: +5\r\n\r\nhello", 400, ""},
		{"length below zero", post + "Content-Length: -1\r\n\r\n" + hidden, 400, ""},
		{"length in hexadecimal", post + "Content-Length: 0x5\r\n\r\nhello", 400, ""},
		{"length with a space in it", post + "Content-Length: 5 0\r\n\r\nhello", 400, ""},
		{"length too large for a number", post + "Content-Length: 99999999999999999999\r\n\r\n", 400, ""},
		{"empty length", post + "Content-Length: \r\n\r\n" + hidden, 400, ""},
		{"space before the colon", post + "Content-Length : 50\r\n\r\n" + hidden, 400, ""},
		{"space before the colon of chunked", post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + hidden, 400, ""},
		{"tab before the colon", post + "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n" + hidden, 400, ""},
		{"folded header", post + "X-A: b\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n" + hidden, 200, ""},
		{"folded value", post + "Transfer-Encoding:\r\n chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n", 200, ""},
		{"first header line folded", "POST /n8n/webhook/x HTTP/1.1\r\n Host: arasul.local\r\n\r\n" + hidden, 400, ""},
		{"unknown coding", post + "Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\nhello", 501, ""},
		{"coding in capitals", post + "Transfer-Encoding: CHUNKED\r\n\r\n1\r\nx\r\n0\r\n\r\n", 200, "x"},
		{"two codings", post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + hidden, 501, ""},
		{"two coding headers", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + hidden, 501, ""},
		{"coding behind a vertical tab", post + "Transfer-Encoding: \x0bchunked\r\nContent-Length: 0\r\n\r\n" + hidden, 400, ""},
		{"coding of HTTP/1.0", "POST /n8n/webhook/x HTTP/1.0\r\nHost: arasul.local\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 200, "0\r\n\r\n"},
		{"bare line feeds", "POST /n8n/webhook/x HTTP/1.1\nHost: arasul.local\nContent-Length: 5\n\nhello", 200, "hello"},
		{"bare carriage return in a header", post + "X-A: b\rTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n" + hidden, 400, ""},
		{"bare carriage return in the request line", "POST /n8n/webhook/x\rHTTP/1.1\r\nHost: arasul.local\r\n\r\n" + hidden, 400, ""},
		{"NUL in a header", post + "X-A: b\x00c\r\n\r\n" + hidden, 400, ""},
		{"chunk with a sign", post + "Transfer-Encoding: chunked\r\n\r\n+1\r\nx\r\n0\r\n\r\n" + hidden, broken, ""},
		{"chunk in 0x", post + "Transfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n" + hidden, broken, ""},
		{"chunk size overflow", post + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx\r\n0\r\n\r\n" + hidden, broken, ""},
		{"chunk that ends elsewhere", post + "Transfer-Encoding: chunked\r\n\r\n1\r\nxyz\r\n0\r\n\r\n" + hidden, broken, ""},
		{"chunk line ended by a bare line feed", post + "Transfer-Encoding: chunked\r\n\r\n1\nx\n0\n\n" + hidden, broken, ""},
		{"chunk extension with a bare line feed", post + "Transfer-Encoding: chunked\r\n\r\n1;a\nb\r\nx\r\n0\r\n\r\n" + hidden, broken, ""},
		{"chunk with an extension", post + "Transfer-Encoding: chunked\r\n\r\n1;a=\"b\"\r\nx\r\n0\r\n\r\n", 200, "x"},
		{"body of a GET", "GET /n8n/webhook/x HTTP/1.1\r\nHost: arasul.local\r\nContent-Length: 5\r\n\r\nhello", 200, "hello"},
		{"body of a GET in chunks", "GET /n8n/webhook/x HTTP/1.1\r\nHost: arasul.local\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", 200, "x"},
		{"other host in the request line", "GET http://evil.example/n8n/webhook/x HTTP/1.1\r\nHost: arasul.local\r\n\r\n", 421, ""},
		{"our host in the request line, other in the header", "GET http://arasul.local/n8n/webhook/x HTTP/1.1\r\nHost: evil.example\r\n\r\n", 200, ""},
		{"two hosts", "GET /n8n/webhook/x HTTP/1.1\r\nHost: arasul.local\r\nHost: evil.example\r\n\r\n", 400, ""},
		{"user in the host", "GET /n8n/webhook/x HTTP/1.1\r\nHost: arasul.local@evil.example\r\n\r\n", 400, ""},
		{"no version", "GET /n8n/webhook/x\r\n\r\n" + hidden, 400, ""},
		{"unknown version", "GET /n8n/webhook/x HTTP/1.9\r\nHost: arasul.local\r\n\r\n", 200, ""},
		{"HTTP/2 without TLS", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 421, ""},
		{"space in the path", "GET /n8n/webhook/x HIDDEN HTTP/1.1\r\nHost: arasul.local\r\n\r\n", 400, ""},
		{"upgrade that is none, with a body", post + "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello", 200, "hello"},
		{"upgrade to HTTP/2", post + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n", 200, ""},
	}
	var mu sync.Mutex
	arrived := map[string][]string{} // bodies by path
	h := newHouse(t, map[string]http.HandlerFunc{n8n: func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			body = []byte("cut off")
		}
		mu.Lock()
		defer mu.Unlock()
		arrived[r.RequestURI] = append(arrived[r.RequestURI], string(body))
	}})
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := fmt.Sprintf("/webhook/x%d", i)
			h.proxy.allowance = newAllowance()
			first := 0
			if statuses := exchange(t, h.address, strings.ReplaceAll(tt.request, "/webhook/x", path)); len(statuses) > 0 {
				first = statuses[0]
			}
			mu.Lock()
			defer mu.Unlock()
			got := arrived[path]
			switch {
			case tt.want == broken:
				if first < 400 && first != 0 || len(got) > 1 || len(got) == 1 && got[0] != "cut off" {
					t.Errorf("status %d, arrived: %q", first, got)
				}
			case first != tt.want:
				t.Errorf("status %d, want %d", first, tt.want)
			case tt.want == 200 && (len(got) != 1 || got[0] != tt.body), tt.want != 200 && len(got) > 0:
				t.Errorf("arrived: %q", got)
			}
		})
	}
	for path := range arrived {
		if strings.Contains(path, "HIDDEN") {
			t.Errorf("%s arrived", path)
		}
	}
}

// exchange sends bytes, then one more request, and returns the statuses of all
// that comes back until the other end hangs up or says nothing more.
func exchange(t *testing.T, address, request string) (statuses []int) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
	// The last request has the connection end, unless it was taken for a body.
	go io.WriteString(conn, request+"GET /nothing HTTP/1.1\r\nHost: arasul.local\r\nConnection: close\r\n\r\n")
	in := bufio.NewReader(conn)
	for {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return statuses
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		statuses = append(statuses, resp.StatusCode)
	}
}

// A request that follows another on the same connection is looked at like any.
func TestSecondRequestOfAConnectionIsLookedAt(t *testing.T) {
	h := newHouse(t, nil)
	got := exchange(t, h.address, "GET /n8n/webhook/x HTTP/1.1\r\nHost: arasul.local\r\n\r\nGET /n8n/rest/users HTTP/1.1\r\nHost: arasul.local\r\n\r\nGET /internal/authz HTTP/1.1\r\nHost: arasul.local\r\n\r\nGET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")
	if len(got) != 5 || got[0] != 200 || got[1] != 401 || got[2] != 404 || got[3] != 421 {
		t.Errorf("statuses %v", got)
	}
}
