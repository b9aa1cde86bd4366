package daemon

import (
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

// newcomers counts the connections that have not asked for anything yet.
type newcomers struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	none  chan struct{} // closed when the last has asked or left; nil: nobody waits
}

func (n *newcomers) see(c net.Conn, state http.ConnState) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if state == http.StateNew {
		if n.conns == nil {
			n.conns = make(map[net.Conn]struct{})
		}
		n.conns[c] = struct{}{}
		return
	}
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
