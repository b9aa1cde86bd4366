package dashboard

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/danielgtaylor/huma/v2"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/proxy"
)

const (
	maxSockets     = 256              // open WebSockets
	maxSocketsEach = 32               // of one client
	writeWithin    = 10 * time.Second // one message to one page
	pingEvery      = 30 * time.Second
)

// live lets a page of our own origin in, and feeds it until it goes.
func (d *Dashboard) live(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		w.Header().Set("Upgrade", "websocket")
		problem(w, http.StatusUpgradeRequired, "This is a WebSocket.")
		return
	}
	if id := who(r.Context()); id.Secure && strings.HasPrefix(strings.ToLower(r.Header.Get("Origin")), "http://") && id.Address.IsValid() {
		problem(w, http.StatusForbidden, "This came from a page without TLS.") // which anybody on the way may have written
		return
	}
	leave, ok := d.enter(visitor(r))
	if !ok {
		problem(w, http.StatusServiceUnavailable, "Too many pages are open.")
		return
	}
	defer leave()
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	// Reading answers pings and notices the end. Pages have nothing to say here,
	// so a message ends it, too. (CloseRead would then wait 15 s for itself.)
	ctx, cancel := d.whileAdmitted(r.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		defer cancel()
		_, _, _ = conn.Reader(ctx)
	}()
	d.feed(ctx, conn)
	_ = conn.CloseNow()
	<-gone
}

// visitor is who asks, as our proxy says, which removes what others claim. All
// that come past the proxy, on the socket itself, are one.
func visitor(r *http.Request) netip.Addr {
	addr, err := netip.ParseAddr(r.Header.Get("X-Forwarded-For"))
	if err != nil {
		return netip.Addr{}
	}
	return proxy.Client(addr)
}

// enter takes a place for one more WebSocket, if there is one, until leave.
func (d *Dashboard) enter(who netip.Addr) (leave func(), ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pages[who] >= maxSocketsEach {
		return nil, false
	}
	select {
	case d.sockets <- struct{}{}:
	default:
		return nil, false
	}
	d.pages[who]++
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.pages[who]--; d.pages[who] == 0 {
			delete(d.pages, who)
		}
		<-d.sockets
	}, true
}

// feed keeps one page up to date: first what is known, then events as they
// happen. A page that does not keep up, or does not answer a ping, is dropped;
// it comes back by itself and starts from the present.
func (d *Dashboard) feed(ctx context.Context, conn *websocket.Conn) {
	begin, events, leave := d.join()
	defer leave()
	for _, e := range begin {
		msg, err := json.Marshal(e)
		if err != nil || write(ctx, conn, msg) != nil {
			return
		}
	}
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case msg, ok := <-events:
			if !ok {
				_ = conn.Close(websocket.StatusTryAgainLater, "too slow")
				return
			}
			if write(ctx, conn, msg) != nil {
				return
			}
		case <-ping.C:
			within, cancel := context.WithTimeout(ctx, writeWithin)
			err := conn.Ping(within)
			cancel()
			if err != nil {
				return
			}
		}
	}
}

func write(ctx context.Context, conn *websocket.Conn, msg []byte) error {
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	return conn.Write(ctx, websocket.MessageText, msg)
}

// liveOperation describes live, which OpenAPI has no word for, as the upgrade
// that it begins with and the messages that follow.
func liveOperation(schemas huma.Registry) *huma.Operation {
	event := schemas.Schema(reflect.TypeFor[api.Event](), true, "Event")
	return &huma.Operation{
		OperationID: "live-stream",
		Method:      http.MethodGet,
		Path:        "/api/metrics/live-stream",
		Tags:        []string{"metrics"},
		Summary:     "Events as they happen",
		Description: "A WebSocket. Each text message is an Event: first the present status, sample, services and " +
			"recent incidents, then changes; the status is repeated at least every 15 seconds. The server pings. " +
			"Connections of another origin are refused, slow ones are closed.",
		Responses: map[string]*huma.Response{
			"101": {Description: "The messages", Content: map[string]*huma.MediaType{"application/json": {Schema: event}}},
			"403": {Description: "The Origin is not ours"},
			"426": {Description: "Not a WebSocket handshake"},
			"503": {Description: "Too many pages are open"},
		},
	}
}
