package proxy

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// limitToldEvery is how often the log hears that connections are turned away.
const limitToldEvery = time.Minute

// Limit lets in at most total connections at a time, and at most perAddress
// from one address, so that one client cannot take them all from the others.
// What is over is closed at once. What counts as one address is Client's to say.
func Limit(l *net.TCPListener, total, perAddress int, log *slog.Logger) net.Listener {
	return &limited{TCPListener: l, total: total, perAddress: perAddress, log: log, open: make(map[netip.Addr]int)}
}

type limited struct {
	*net.TCPListener
	total, perAddress int
	log               *slog.Logger

	mu   sync.Mutex
	all  int
	open map[netip.Addr]int
	told time.Time
}

// Accept returns the next connection that is within the limits.
func (l *limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptTCP()
		if err != nil {
			return nil, err
		}
		remote, _ := conn.RemoteAddr().(*net.TCPAddr)
		addr := Client(remote.AddrPort().Addr())
		if !l.enter(addr) {
			_ = conn.Close()
			continue
		}
		return &counted{TCPConn: conn, leave: sync.OnceFunc(func() { l.leave(addr) })}, nil
	}
}

func (l *limited) enter(addr netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all < l.total && l.open[addr] < l.perAddress {
		l.all++
		l.open[addr]++
		return true
	}
	if now := time.Now(); now.Sub(l.told) >= limitToldEvery {
		l.told = now
		reason := "too many from this address"
		if l.all >= l.total {
			reason = "too many in all"
		}
		l.log.Warn("connections turned away", "addr", addr, "reason", reason)
	}
	return false
}

func (l *limited) leave(addr netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.open[addr]--; l.open[addr] == 0 {
		delete(l.open, addr)
	}
}

// counted is a connection that has its place until it is closed. It stays a
// TCP connection to those who copy to it.
type counted struct {
	*net.TCPConn
	leave func()
}

func (c *counted) Close() error {
	defer c.leave()
	return c.TCPConn.Close()
}

// Client is what addr counts as where clients are limited. A host can have all
// addresses of an IPv6 network of 64 bits, so these count as one.
func Client(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		if network, err := addr.Prefix(64); err == nil {
			return network.Addr()
		}
	}
	return addr
}
