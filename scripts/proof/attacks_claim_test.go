//go:build machine

package proof

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// forgedIdentity says what only the proxy may say, in all spellings that some
// program takes for the same.
func forgedIdentity(t *testing.T, b *bed) {
	for _, name := range []string{
		"Remote-User", "remote-user", "Remote_User", "REMOTE_USER", "X-Remote-User", "X-Forwarded-User", "X-Forwarded_User",
		"X-Auth-Request-User", "X-Webauth-User", "X-Authenticated-User", "X-Arasul-User", "Remote-Groups", "X-User", "User",
	} {
		for _, path := range []string{"/api/auth/me", "/api/audit", "/n8n/rest/settings", "/models/api/tags", "/minio/"} {
			b.neighbour().want(http.StatusUnauthorized, "GET", path, nil, name, "admin")
		}
		// A header named in Connection is dropped on the way: ours must be set after that.
		b.neighbour().want(http.StatusUnauthorized, "GET", "/api/auth/me", nil, name, "admin", "Connection", "close, X-Forwarded-For, X-Forwarded-Proto, "+name)
	}
	b.neighbour().want(http.StatusUnauthorized, "GET", "/api/auth/me", nil, "Authorization", "Basic YWRtaW46YWRtaW4=")
}

// claimedAddresses are headers with which a client says where it is.
func claimedAddresses(address string) [][]string {
	return [][]string{
		{"X-Forwarded-For", address},
		{"X-Forwarded-For", address + ", " + address},
		{"X_Forwarded_For", address},
		{"X-Real-IP", address},
		{"X-Real-Ip", address},
		{"Forwarded", "for=" + address + ";proto=https;host=arasul.local"},
		{"True-Client-IP", address},
		{"CF-Connecting-IP", address},
		{"X-Client-IP", address},
		{"X-Cluster-Client-IP", address},
		{"X-Forwarded-For", address, "Connection", "X-Forwarded-For"},
		{"Connection", "X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto"},
	}
}

// forgedAddress says to be near, or the machine itself.
func forgedAddress(t *testing.T, b *bed) {
	stranger := b.stranger()
	for _, near := range []string{"127.0.0.1", "::1", "10.99.0.1", "[::1]:80", "@", ""} {
		for _, claim := range claimedAddresses(near) {
			stranger.want(http.StatusUnauthorized, "GET", "/api/system/status", nil, claim...)
			stranger.want(http.StatusNotFound, "GET", "/internal/console/sessions", nil, claim...)
			stranger = b.stranger()
		}
	}
	// What is written down is where they are.
	for _, claim := range claimedAddresses("127.0.0.1") {
		stranger.ask("POST", "/api/auth/login", credentials("Wrong-1-password"), append(claim, "User-Agent", "forger")...)
	}
	if e := b.audited(b.admin(), "login", "refused"); e.Address != stranger.from.String() || e.UserAgent != "forger" {
		t.Errorf("the audit says %+v, it was %s", e, stranger.from)
	}
}

// forgedAddressAgainstTheLimits is another client with each guess, to hear him.
func forgedAddressAgainstTheLimits(t *testing.T, b *bed) {
	attacker, looked := b.neighbour(), 0
	for n := range 4 * triesOfOneAddress {
		claims := claimedAddresses("10.1.1." + string(rune('0'+n%10)))
		r := attacker.ask("POST", "/api/auth/login", credentials("Wrong-1-password"), claims[n%len(claims)]...)
		if r.status == http.StatusUnauthorized {
			looked++
		}
	}
	if looked > triesOfOneAddress {
		t.Errorf("%d passwords were looked at, want at most %d", looked, triesOfOneAddress)
	}
}

// theConsoleFromOutside must not even seem to be there.
func theConsoleFromOutside(t *testing.T, b *bed) {
	admin := b.admin()
	for _, method := range []string{"GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"} {
		for _, path := range []string{"/internal/authz", "/internal/console/sessions", "/internal/console/setup-code", "/internal/console/passwd", "/internal/", "/internal"} {
			b.neighbour().want(http.StatusNotFound, method, path, nil)
			admin.moved().want(http.StatusNotFound, method, path, nil)
		}
	}
}

// theConsoleAsAnotherUser is a daemon of ours that was taken over, on the machine.
func theConsoleAsAnotherUser(t *testing.T, b *bed) {
	ask := func(user, path string, args ...string) string {
		command := []string{"runuser", "-u", user, "--", "curl", "--silent", "--max-time", "5",
			"--output", "/dev/null", "--write-out", "%{http_code}", "--unix-socket", "/run/arasul/dashboard.sock", "http://dashboard" + path}
		out, _, _ := b.try(append(command, args...)...)
		return out // 000: it cannot even connect
	}
	const sessions, passwd = "/internal/console/sessions", "/internal/console/passwd"
	if got := ask("root", sessions); got != "200" {
		t.Fatalf("root at the console: %s, so this proves nothing", got)
	}
	for _, user := range []string{"arasul-proxy", "arasul-metrics", "nobody"} {
		for _, path := range []string{sessions, passwd, "/internal/console/setup-code", "/internal/console/unlock"} {
			for _, method := range []string{"GET", "POST"} {
				if got := ask(user, path, "--request", method, "--json", `{"password":"Taken-1-over!"}`); got != "404" && got != "000" && got != "405" {
					t.Errorf("%s %s as %s: %s", method, path, user, got)
				}
			}
		}
	}
	// Through the proxy's socket root is a client like any other.
	out := b.run("curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--unix-socket", "/run/arasul/proxy.sock", "http://localhost"+sessions)
	if out != "404" {
		t.Errorf("%s through the proxy's socket: %s", sessions, out)
	}
	if got := ask("root", sessions, "--header", "X-Forwarded-For: 127.0.0.1"); got != "404" {
		t.Errorf("a request that came through a proxy counts as the console: %s", got)
	}
}

// Of what a public address may see, nothing tells how the machine does.
func aPublicAddress(t *testing.T, b *bed) {
	stranger := b.stranger()
	for _, path := range []string{
		"/metrics", "/api/system/status", "/api/system/info", "/api/metrics/live", "/api/metrics/history?range=1h", "/api/metrics/ping",
		"/api/services", "/api/services/proxy", "/api/self-healing/events", "/api/self-healing/status", "/api/openapi.json",
	} {
		stranger.want(http.StatusUnauthorized, "GET", path, nil)
	}
	if err := stranger.stream("/api/metrics/live-stream", home); err == nil {
		t.Error("the live stream is open to a public address")
	}
	for _, path := range []string{"/health", "/api/auth/status", "/api/auth/password-requirements", "/"} {
		b.stranger().want(http.StatusOK, "GET", path, nil)
	}
	inside := b.stranger().login()
	inside.want(http.StatusOK, "GET", "/metrics", nil)
	inside.want(http.StatusOK, "GET", "/api/system/status", nil)
	if err := inside.stream("/api/metrics/live-stream", home); err != nil {
		t.Errorf("the live stream of one who is logged in: %v", err)
	}
}

// stream opens a WebSocket as a page of origin does, and reads one message.
func (v *visitor) stream(path, origin string) error {
	v.b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	conn, err := v.socket(ctx, path, origin)
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	_, _, err = conn.Read(ctx)
	return err
}

func (v *visitor) socket(ctx context.Context, path, origin string) (*websocket.Conn, error) {
	v.b.t.Helper()
	header := http.Header{}
	if origin != "" {
		header.Set("Origin", origin)
	}
	if v.bearer != "" {
		header.Set("Authorization", "Bearer "+v.bearer)
	}
	client := *v.client
	client.Timeout = 0 // it would cut the connection
	conn, _, err := websocket.Dial(ctx, strings.Replace(home, "https", "wss", 1)+path, &websocket.DialOptions{HTTPClient: &client, HTTPHeader: header})
	if err == nil {
		conn.SetReadLimit(1 << 20)
	}
	return conn, err
}

// theLocalNetworkWithoutALogin sees how the machine does, and no more.
func theLocalNetworkWithoutALogin(t *testing.T, b *bed) {
	v := b.neighbour()
	for _, path := range []string{"/api/system/status", "/api/metrics/live", "/api/services", "/metrics"} {
		v.want(http.StatusOK, "GET", path, nil)
	}
	for _, path := range []string{
		"/api/auth/me", "/api/auth/sessions", "/api/audit", "/api/logs", "/api/logs/stream", "/api/logs/download",
		"/api/docs", "/api/system/network", "/api/database/health",
		"/n8n/", "/n8n/rest/settings", "/minio/", "/models/api/tags", "/embeddings/api/tags",
	} {
		b.neighbour().want(http.StatusUnauthorized, "GET", path, nil)
	}
	b.neighbour().want(http.StatusNotFound, "GET", "/n8n/metrics", nil)
	for _, change := range [][2]string{
		{"POST", "/api/services/metrics/restart"}, {"POST", "/api/auth/logout-all"}, {"POST", "/api/auth/change-password"},
		{"DELETE", "/api/auth/sessions/1"}, {"POST", "/api/auth/totp/enroll"}, {"DELETE", "/models/api/delete"}, {"POST", "/models/api/pull"},
	} {
		b.neighbour().want(http.StatusUnauthorized, change[0], change[1], map[string]any{})
	}
}
