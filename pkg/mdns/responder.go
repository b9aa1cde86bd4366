package mdns

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// RFC 6762: port and groups of section 3, times of sections 6.7 and 10.
const (
	port      = 5353
	hostTTL   = 120 // seconds
	legacyTTL = 10  // seconds, for those who asked by plain DNS
	flush     = 1 << 15
	maxPacket = 9000
)

var (
	group4 = &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: port}
	group6 = &net.UDPAddr{IP: net.ParseIP("ff02::fb"), Port: port}
)

// responder answers questions for a few host names with the addresses of the
// link they came from, and notices when another machine uses one of them.
type responder struct {
	names    []string // with the final dot
	links    []link
	socks    []*sock
	mine     atomic.Bool   // probed: answer and defend
	bye      atomic.Bool   // going away: answer no more
	defended atomic.Int64  // when last, in Unix nanoseconds
	conflict chan struct{} // one message when a name is another's
}

// sock is port 5353 in one family.
type sock struct {
	read  func([]byte) (n, ifIndex int, from net.Addr, err error)
	write func(b []byte, ifIndex int, to net.Addr) // nil: to the group
	close func() error
}

// listen opens port 5353, beside others who share it, in each family that has
// it on one of ifaces. Both missing is an error.
func listen(labels []string, links []link, ifaces []net.Interface) (*responder, error) {
	r := &responder{links: links, conflict: make(chan struct{}, 1)}
	for _, label := range labels {
		r.names = append(r.names, label+".local.")
	}
	s4, err4 := listen4(ifaces)
	s6, err6 := listen6(ifaces)
	if err4 != nil && err6 != nil {
		return nil, errors.Join(err4, err6)
	}
	for _, s := range []*sock{s4, s6} {
		if s != nil {
			r.socks = append(r.socks, s)
		}
	}
	return r, nil
}

// listen4 binds to the group, which Go turns into the wildcard address with
// SO_REUSEADDR.
func listen4(ifaces []net.Interface) (*sock, error) {
	conn, err := net.ListenUDP("udp4", group4)
	if err != nil {
		return nil, err
	}
	p := ipv4.NewPacketConn(conn)
	err = errors.Join(p.SetControlMessage(ipv4.FlagInterface, true), p.SetMulticastTTL(255), p.SetTTL(255), p.SetMulticastLoopback(true))
	joined := 0
	for _, i := range ifaces {
		if p.JoinGroup(&i, group4) == nil {
			joined++
		}
	}
	if joined == 0 {
		err = errors.Join(err, errors.New("no interface takes part in IPv4 multicast"))
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &sock{
		read: func(b []byte) (int, int, net.Addr, error) {
			n, cm, from, err := p.ReadFrom(b)
			if cm == nil {
				cm = &ipv4.ControlMessage{}
			}
			return n, cm.IfIndex, from, err
		},
		write: func(b []byte, ifIndex int, to net.Addr) {
			if to == nil {
				to = group4
			}
			// Lost like any datagram if it fails.
			_ = p.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = p.WriteTo(b, &ipv4.ControlMessage{IfIndex: ifIndex}, to)
		},
		close: conn.Close,
	}, nil
}

// listen6 is listen4 for IPv6: the only way over a cable without DHCP.
func listen6(ifaces []net.Interface) (*sock, error) {
	conn, err := net.ListenUDP("udp6", group6)
	if err != nil {
		return nil, err
	}
	p := ipv6.NewPacketConn(conn)
	err = errors.Join(p.SetControlMessage(ipv6.FlagInterface, true), p.SetMulticastHopLimit(255), p.SetHopLimit(255), p.SetMulticastLoopback(true))
	joined := 0
	for _, i := range ifaces {
		if p.JoinGroup(&i, group6) == nil {
			joined++
		}
	}
	if joined == 0 {
		err = errors.Join(err, errors.New("no interface takes part in IPv6 multicast"))
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &sock{
		read: func(b []byte) (int, int, net.Addr, error) {
			n, cm, from, err := p.ReadFrom(b)
			if cm == nil {
				cm = &ipv6.ControlMessage{}
			}
			return n, cm.IfIndex, from, err
		},
		write: func(b []byte, ifIndex int, to net.Addr) {
			if to == nil {
				to = group6
			}
			_ = p.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = p.WriteTo(b, &ipv6.ControlMessage{IfIndex: ifIndex}, to)
		},
		close: conn.Close,
	}, nil
}

// close ends serve.
func (r *responder) close() {
	for _, s := range r.socks {
		_ = s.close()
	}
}

// serve reads from s until it is closed or fails. It returns the error instead
// of reading on: a dead socket fails at once, each time.
func (r *responder) serve(s *sock) error {
	buf := make([]byte, maxPacket)
	for {
		n, ifIndex, from, err := s.read(buf)
		if err != nil {
			return err
		}
		udp, ok := from.(*net.UDPAddr)
		i := slices.IndexFunc(r.links, func(l link) bool { return l.index == ifIndex })
		if !ok || i < 0 {
			continue
		}
		var m dns.Msg
		if m.Unpack(buf[:n]) != nil {
			continue
		}
		reply := r.react(&m, r.links[i], udp.AddrPort())
		if reply == nil {
			continue
		}
		if b, err := reply.Pack(); err == nil {
			if udp.Port == port {
				from = nil // answered to all, so that all caches agree
			}
			s.write(b, ifIndex, from)
		}
	}
}

// react decides about one message heard on l: what to answer, if anything, and
// whether the name is contested. Only neighbours are answered, and only they
// contest a name, with a response from the port of responders (RFC 6762, section
// 6). Zeroconf, which shares the port, is less strict about whom it answers.
func (r *responder) react(m *dns.Msg, l link, from netip.AddrPort) *dns.Msg {
	if r.bye.Load() || !l.onLink(from.Addr()) {
		return nil
	}
	if m.Response {
		if from.Port() != port {
			return nil
		}
		return r.contest(append(m.Answer, m.Extra...), l, true)
	}
	if !r.mine.Load() {
		r.contest(m.Ns, l, false) // somebody probes for our name while we do
		return nil
	}
	legacy := from.Port() != port
	var reply *dns.Msg
	for _, q := range m.Question {
		i := slices.IndexFunc(r.names, func(name string) bool { return strings.EqualFold(q.Name, name) })
		if i < 0 || q.Qclass&^flush != dns.ClassINET && q.Qclass != dns.ClassANY {
			continue
		}
		if q.Qtype != dns.TypeA && q.Qtype != dns.TypeAAAA && q.Qtype != dns.TypeANY {
			continue
		}
		if legacy {
			reply = r.records(r.names[i], l, q.Qtype, legacyTTL, 0)
			reply.Id, reply.Question = m.Id, []dns.Question{q}
			return reply
		}
		one := r.records(r.names[i], l, q.Qtype, hostTTL, flush)
		switch {
		case reply == nil:
			reply = one
		case reply.Answer[0].Header().Name != one.Answer[0].Header().Name: // else it is there as an additional record
			reply.Answer = append(reply.Answer, one.Answer...)
			reply.Extra = append(reply.Extra, one.Extra...)
		}
	}
	return reply
}

// contest looks for records that give one of our names to another machine:
// answered if it says so, not if it only probes as we do. One that answers while
// we probe had the name before us. Of two that claim it at the same time the one
// with the later address keeps it (RFC 6762, section 8.2); if that is ours, the
// reply says so again.
func (r *responder) contest(rrs []dns.RR, l link, answered bool) *dns.Msg {
	own := ownAddrs()
	for _, name := range r.names {
		theirs := claimed(rrs, name)
		if !slices.ContainsFunc(theirs, func(a netip.Addr) bool { return !own[a] }) {
			continue // not about us, or our own voice, or another responder of this machine
		}
		slices.SortFunc(theirs, netip.Addr.Compare)
		mine := r.mine.Load()
		if later := slices.CompareFunc(l.addrs(), theirs, netip.Addr.Compare) > 0; later && (mine || !answered) {
			now := time.Now().UnixNano()
			if !mine || now-r.defended.Swap(now) < int64(time.Second) {
				return nil
			}
			return r.records(name, l, dns.TypeANY, hostTTL, flush)
		}
		select {
		case r.conflict <- struct{}{}:
		default:
		}
		return nil
	}
	return nil
}

// claimed are the addresses that records give to name.
func claimed(rrs []dns.RR, name string) []netip.Addr {
	var list []netip.Addr
	for _, rr := range rrs {
		h := rr.Header()
		if h.Ttl == 0 || !strings.EqualFold(h.Name, name) {
			continue
		}
		var ip net.IP
		switch rr := rr.(type) {
		case *dns.A:
			ip = rr.A
		case *dns.AAAA:
			ip = rr.AAAA
		}
		if a, ok := netip.AddrFromSlice(ip); ok {
			list = append(list, a.Unmap())
		}
	}
	return list
}

// records is a response for name with the addresses of l that qtype asks for, the
// others as additional records, and the statement that there are no more
// (section 6.1: without it a client waits in vain for the family we lack).
func (r *responder) records(name string, l link, qtype uint16, ttl uint32, class uint16) *dns.Msg {
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}, Compress: true}
	head := func(t uint16) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: t, Class: dns.ClassINET | class, Ttl: ttl}
	}
	var types []uint16
	for _, a := range l.addrs() {
		var rr dns.RR = &dns.A{Hdr: head(dns.TypeA), A: a.AsSlice()}
		if a.Is6() {
			rr = &dns.AAAA{Hdr: head(dns.TypeAAAA), AAAA: a.AsSlice()}
		}
		t := rr.Header().Rrtype
		if !slices.Contains(types, t) {
			types = append(types, t)
		}
		if qtype == t || qtype == dns.TypeANY {
			m.Answer = append(m.Answer, rr)
		} else {
			m.Extra = append(m.Extra, rr)
		}
	}
	nsec := &dns.NSEC{Hdr: head(dns.TypeNSEC), NextDomain: name, TypeBitMap: types}
	if len(m.Answer) == 0 {
		m.Answer = []dns.RR{nsec}
	} else if ttl > 0 {
		m.Extra = append(m.Extra, nsec)
	}
	return m
}

// probe asks on all links whether somebody has the names, and says which
// records we would give them.
func (r *responder) probe() {
	for _, l := range r.links {
		for _, name := range r.names {
			m := &dns.Msg{}
			m.SetQuestion(name, dns.TypeANY)
			m.Id, m.RecursionDesired = 0, false
			m.Ns = r.records(name, l, dns.TypeANY, hostTTL, 0).Answer
			r.send(m, l)
		}
	}
}

// announce tells all links our addresses, or goodbye when ttl is zero.
func (r *responder) announce(ttl uint32) {
	r.mine.Store(true)
	for _, l := range r.links {
		for _, name := range r.names {
			r.send(r.records(name, l, dns.TypeANY, ttl, flush), l)
		}
	}
}

func (r *responder) send(m *dns.Msg, l link) {
	b, err := m.Pack()
	if err != nil {
		return // cannot be: the names are valid labels, the rest is ours
	}
	for _, s := range r.socks {
		s.write(b, l.index, nil)
	}
}
