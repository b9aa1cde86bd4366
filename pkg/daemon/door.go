package daemon

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// closedOnce is a listener that may be closed again.
type closedOnce struct {
	net.Listener
	once sync.Once
	err  error
}

func (c *closedOnce) Close() error {
	c.once.Do(func() { c.err = c.Listener.Close() })
	return c.err
}

// newcomers counts the connections whose first request no handler has yet.
type newcomers struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	none  chan struct{} // closed when the last has asked or left; nil: nobody waits
}

// watch has the server tell of its connections.
func (n *newcomers) watch(s *http.Server) {
	s.ConnState = func(c net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			n.came(c)
		case http.StateActive:
			// It has sent something, but a shutdown in this instant drops it: the
			// server looks whether it is shutting down between here and the handler.
		default:
			n.gone(c)
		}
	}
	type key struct{}
	inContext, handler := s.ConnContext, s.Handler
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if inContext != nil {
			ctx = inContext(ctx, c)
		}
		return context.WithValue(ctx, key{}, c)
	}
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(key{}).(net.Conn); ok {
			n.gone(c)
		}
		handler.ServeHTTP(w, r)
	})
}

func (n *newcomers) came(c net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conns == nil {
		n.conns = make(map[net.Conn]struct{})
	}
	n.conns[c] = struct{}{}
}

func (n *newcomers) gone(c net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
	if n.none != nil && len(n.conns) == 0 {
		close(n.none)
		n.none = nil
	}
}

// wait returns when there is none left, or after a while: some never ask, such
// as those that browsers open in advance.
func (n *newcomers) wait(most time.Duration) {
	none := make(chan struct{})
	n.mu.Lock()
	if len(n.conns) == 0 {
		n.mu.Unlock()
		return
	}
	n.none = none
	n.mu.Unlock()
	patience := time.NewTimer(most)
	defer patience.Stop()
	select {
	case <-none:
	case <-patience.C:
	}
}
