package dashboard

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/proxy"
)

// Proves PROXY-3 in part: the live stream passes through the proxy, and only
// for pages that came through it, too.
func TestLiveStreamThroughTheProxy(t *testing.T) {
	d := newDashboard(t, Options{Interval: time.Hour})
	server := httptest.NewServer(proxy.New(proxy.Options{
		Dashboard: listen(t, d),
		Hosts:     func() []string { return []string{"arasul"} },
	}).Handler())
	defer server.Close()
	dial := func(origin string) (*websocket.Conn, *http.Response, error) {
		return websocket.Dial(t.Context(), "ws"+server.URL[len("http"):]+"/api/metrics/live-stream", &websocket.DialOptions{
			Host: "arasul.local", HTTPHeader: http.Header{"Origin": {origin}},
		})
	}
	conn, _, err := dial("http://arasul.local")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if e := next(t, conn); e.Type != "status" {
		t.Errorf("got %+v", e)
	}
	d.OnSample(api.Sample{CPUCores: 3})
	for e := next(t, conn); e.Type != "sample" || e.Sample.CPUCores != 3; e = next(t, conn) {
		if e.Type != "status" {
			t.Fatalf("got %+v", e)
		}
	}
	if _, resp, err := dial("http://evil.example"); err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("a foreign page got in: %v", err)
	}
}
