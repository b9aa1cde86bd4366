//go:build machine || box

package proof

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// addresses counts those given out: no two visitors share one, so that what one
// did to the limits of his address does not meet another.
var addresses atomic.Uint32

// nextNeighbour is the next address in the owner's network.
func nextNeighbour() netip.Addr {
	n := addresses.Add(1)
	return netip.AddrFrom4([4]byte{10, 99, byte(n >> 8), byte(n)})
}

// client is the browsers in the owner's network: each connection is another
// one's, so that asking often does not meet the limits for one. Lasting ones
// keep their connection. Whether the certificate is good is for the tests of
// the door; these also ask while there is none.
func (b *bed) client(lasting bool) *http.Client {
	b.t.Helper()
	transport := &http.Transport{
		DisableKeepAlives: !lasting,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
	}
	if filepath.Base(b.script) == "machine" { // the box is behind a forwarded port
		transport.DialContext = func(ctx context.Context, _, addr string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return b.dialFrom(ctx, nextNeighbour(), port)
		}
	}
	b.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// host is the machine's address in its network.
func (b *bed) host() string {
	b.t.Helper()
	u, err := url.Parse(b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	return u.Hostname()
}

// dialFrom connects to a port of the machine, from any address. The machine's
// network leads nowhere, so who comes from far away comes from inside its
// namespace, in which whole networks count as local.
func (b *bed) dialFrom(ctx context.Context, from netip.Addr, port string) (conn net.Conn, err error) {
	to := b.host()
	if from.Is6() {
		to = homeSix
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}, Control: freely}
	err = b.inItsNetwork(func() (err error) {
		conn, err = d.DialContext(ctx, "tcp", net.JoinHostPort(to, port))
		return err
	})
	return conn, err
}

// homeSix is an address of the machine, where a test gave it one.
const homeSix = "2001:db8:77::2"

// freely lets a socket have an address that no interface has.
func freely(network, _ string, c syscall.RawConn) (err error) {
	level, option := unix.SOL_IP, unix.IP_FREEBIND
	if strings.HasSuffix(network, "6") {
		level, option = unix.SOL_IPV6, unix.IPV6_FREEBIND
	}
	if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, 1) }); e != nil {
		return e
	}
	return err
}

// inItsNetwork does something on a thread that has the network of the machine.
// The thread is given up afterwards.
func (b *bed) inItsNetwork(do func() error) error {
	leader, err := os.ReadFile(filepath.Join("/run/arasul-testbed/machine", b.name, "leader"))
	if err != nil {
		return err
	}
	pid, _, _ := strings.Cut(strings.TrimSpace(string(leader)), " ")
	network, err := os.Open("/proc/" + pid + "/ns/net")
	if err != nil {
		return err
	}
	defer network.Close()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		err := unix.Setns(int(network.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			err = do()
		}
		done <- err
	}()
	return <-done
}
