package mdns

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func TestInterfacesOfContainersAndTunnelsAreLeftOut(t *testing.T) {
	const up = net.FlagUp | net.FlagMulticast | net.FlagBroadcast
	for _, c := range []struct {
		name  string
		flags net.Flags
		only  []string
		want  bool
	}{
		{"eth0", up, nil, true},
		{"enp3s0", up, nil, true},
		{"wlan0", up, nil, true},
		{"br0", up, nil, true}, // a bridge of the owner's, not of docker's
		{"usb0", up, nil, true},
		{"lo", up | net.FlagLoopback, nil, false},
		{"lo", up | net.FlagLoopback, []string{"lo"}, false},
		{"docker0", up, nil, false},
		{"docker_gwbridge", up, nil, false},
		{"veth1a2b3c", up, nil, false},
		{"br-0123456789ab", up, nil, false},
		{"cni0", up, nil, false},
		{"cni-podman0", up, nil, false},
		{"podman1", up, nil, false},
		{"tailscale0", up, nil, false},
		{"virbr0", up, nil, false},
		{"eth0", net.FlagMulticast, nil, false}, // down
		{"tun0", net.FlagUp, nil, false},        // no multicast
		{"eth0", up, []string{"eth1"}, false},
		{"eth1", up, []string{"eth1"}, true},
		{"docker0", up, []string{"docker0"}, true}, // the owner said so
	} {
		if got := wanted(c.name, c.flags, c.only); got != c.want {
			t.Errorf("wanted(%q, %v, %q) = %v, want %v", c.name, c.flags, c.only, got, c.want)
		}
	}
}

func TestNamesCountUp(t *testing.T) {
	for _, c := range []struct {
		name            string
		n               int
		label, instance string
	}{
		{"arasul", 1, "arasul", "Arasul"},
		{"arasul", 2, "arasul-2", "Arasul-2"},
		{"arasul", 11, "arasul-11", "Arasul-11"},
		{"shop", 1, "shop", "Arasul-shop"},
		{"shop", 3, "shop-3", "Arasul-shop-3"},
	} {
		got := label(c.name, c.n)
		if got != c.label || instance(got) != c.instance {
			t.Errorf("candidate %d of %s: %q, %q, want %q, %q", c.n, c.name, got, instance(got), c.label, c.instance)
		}
	}
}

func TestNamesThatNoClientResolvesAreRefused(t *testing.T) {
	for _, name := range []string{"", "n8n.arasul", "Arasul", "-a", "a-", "a b", "a_b", "ä", "a\n", strings.Repeat("a", 60)} {
		if err := (Announcement{Name: name, Port: 80}).Validate(); err == nil {
			t.Errorf("name %q was accepted", name)
		}
	}
	for _, a := range []Announcement{{Name: "a"}, {Name: "a", Port: 65536}, {Name: "a", Port: 80, TXT: []string{""}}, {Name: "a", Port: 80, TXT: []string{strings.Repeat("x", 256)}}} {
		if err := a.Validate(); err == nil {
			t.Errorf("%+v was accepted", a)
		}
	}
	if err := (Announcement{Name: "arasul", Port: 80, TXT: []string{"path=/"}}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestLinkLocalIPv6IsTheLastResort(t *testing.T) {
	four, six := netip.MustParsePrefix("192.168.7.5/24"), netip.MustParsePrefix("fe80::1/64")
	if got := (link{nets: []netip.Prefix{four, six}}).addrs(); len(got) != 1 || got[0] != four.Addr() {
		t.Errorf("with IPv4: %v", got)
	}
	if got := (link{nets: []netip.Prefix{six}}).addrs(); len(got) != 1 || got[0] != six.Addr() {
		t.Errorf("alone: %v", got)
	}
}

// testLink has addresses of TEST-NET-2, which no machine owns.
var testLink = link{name: "eth0", index: 2, nets: []netip.Prefix{netip.MustParsePrefix("198.51.100.50/24")}}

var neighbour = netip.MustParseAddrPort("198.51.100.9:5353")

func question(name string, qtype uint16) *dns.Msg {
	m := new(dns.Msg).SetQuestion(name, qtype)
	m.Id = 4711
	return m
}

func address(name, addr string, ttl uint32) []dns.RR {
	return []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: ttl}, A: net.ParseIP(addr)}}
}

func TestResponderAnswersNeighboursAboutItsNameOnly(t *testing.T) {
	plain := netip.MustParseAddrPort("198.51.100.9:40000")
	for _, c := range []struct {
		about string
		m     *dns.Msg
		from  netip.AddrPort
		want  string // type of the first answer
	}{
		{"address", question("arasul.local.", dns.TypeA), neighbour, "A"},
		{"letter case", question("ARASUL.Local.", dns.TypeA), neighbour, "A"},
		{"any", question("arasul.local.", dns.TypeANY), neighbour, "A"},
		{"a family we lack", question("arasul.local.", dns.TypeAAAA), neighbour, "NSEC"},
		{"plain DNS", question("arasul.local.", dns.TypeA), plain, "A"},
		{"the alias", question("arasul-s3.local.", dns.TypeA), neighbour, "A"},
		{"another name", question("arasul-2.local.", dns.TypeA), neighbour, ""},
		{"a name below", question("n8n.arasul.local.", dns.TypeA), neighbour, ""},
		{"another type", question("arasul.local.", dns.TypeMX), neighbour, ""},
		{"from outside the network", question("arasul.local.", dns.TypeA), netip.MustParseAddrPort("203.0.113.9:5353"), ""},
		{"from outside, plain DNS", question("arasul.local.", dns.TypeA), netip.MustParseAddrPort("203.0.113.9:53"), ""},
		{"no question", new(dns.Msg), neighbour, ""},
	} {
		r := &responder{names: []string{"arasul.local.", "arasul-s3.local."}, links: []link{testLink}, conflict: make(chan struct{}, 1)}
		if r.react(c.m, testLink, c.from) != nil {
			t.Errorf("%s: answered while probing", c.about)
		}
		r.mine.Store(true)
		reply := r.react(c.m, testLink, c.from)
		got := ""
		if reply != nil {
			got = dns.TypeToString[reply.Answer[0].Header().Rrtype]
		}
		if got != c.want {
			t.Errorf("%s: answered %q, want %q", c.about, got, c.want)
		}
		if reply == nil {
			continue
		}
		h := reply.Answer[0].Header()
		if c.from == plain && (reply.Id != 4711 || len(reply.Question) != 1 || h.Ttl != legacyTTL || h.Class != dns.ClassINET) {
			t.Errorf("%s: a plain resolver would not take %v", c.about, reply)
		}
		if c.from != plain && (reply.Id != 0 || len(reply.Question) != 0 || h.Class&flush == 0) {
			t.Errorf("%s: not a multicast answer: %v", c.about, reply)
		}
	}
}

func TestOnePacketMayAskForBothNames(t *testing.T) {
	r := &responder{names: []string{"arasul.local.", "arasul-s3.local."}, links: []link{testLink}, conflict: make(chan struct{}, 1)}
	r.mine.Store(true)
	m := question("arasul.local.", dns.TypeA)
	m.Question = append(m.Question, dns.Question{Name: "arasul.local.", Qtype: dns.TypeAAAA, Qclass: dns.ClassINET},
		dns.Question{Name: "arasul-s3.local.", Qtype: dns.TypeA, Qclass: dns.ClassINET})
	reply := r.react(m, testLink, neighbour)
	var names []string
	for _, rr := range reply.Answer {
		names = append(names, rr.Header().Name)
	}
	if strings.Join(names, " ") != "arasul.local. arasul-s3.local." {
		t.Errorf("answered for %q", names)
	}
}

func TestAliasThatAnotherMachineHasTakesTheNameAlong(t *testing.T) {
	r := &responder{names: []string{"arasul.local.", "arasul-s3.local."}, links: []link{testLink}, conflict: make(chan struct{}, 1)}
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true}, Answer: address("arasul-s3.local.", "198.51.100.9", 120)}
	if r.react(m, testLink, neighbour); len(r.conflict) != 1 {
		t.Error("no conflict")
	}
	a := Announcement{Name: "arasul", Aliases: []string{S3("arasul")}}
	if got := strings.Join(a.labels(2), " "); got != "arasul-2 arasul-s3-2" {
		t.Errorf("then %s", got)
	}
}

func TestResponseFromAnotherPortTakesNoName(t *testing.T) {
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true}, Answer: address("arasul.local.", "198.51.100.99", 120)}
	for port, lost := range map[uint16]bool{5353: true, 5354: false, 40000: false} {
		r := &responder{names: []string{"arasul.local.", "arasul-s3.local."}, links: []link{testLink}, conflict: make(chan struct{}, 1)}
		r.mine.Store(true)
		if reply := r.react(m, testLink, netip.AddrPortFrom(neighbour.Addr(), port)); reply != nil || (len(r.conflict) == 1) != lost {
			t.Errorf("from port %d: lost %v, reply %v", port, len(r.conflict) == 1, reply)
		}
	}
}

func TestContestedNameGoesToOneOfTwo(t *testing.T) {
	const lower, higher = "198.51.100.9", "198.51.100.99" // ours is .50
	response := func(addr string, ttl uint32) *dns.Msg {
		return &dns.Msg{MsgHdr: dns.MsgHdr{Response: true}, Answer: address("arasul.local.", addr, ttl)}
	}
	probe := func(addr string) *dns.Msg {
		m := question("arasul.local.", dns.TypeANY)
		m.Ns = address("arasul.local.", addr, 120)
		return m
	}
	for _, c := range []struct {
		about       string
		mine        bool
		m           *dns.Msg
		lost, reply bool
	}{
		{"an answer while we probe", false, response(lower, 120), true, false},
		{"a later address probes with us", false, probe(higher), true, false},
		{"an earlier address probes with us", false, probe(lower), false, false},
		{"a probe when it is ours", true, probe(higher), false, true},
		{"a later address answers for our name", true, response(higher, 120), true, false},
		{"an earlier address answers for our name", true, response(lower, 120), false, true},
		{"a goodbye", false, response(lower, 0), false, false},
		{"another name", false, &dns.Msg{MsgHdr: dns.MsgHdr{Response: true}, Answer: address("other.local.", lower, 120)}, false, false},
		{"our own voice", true, response("127.0.0.1", 120), false, false},
	} {
		if strings.HasPrefix(c.about, "our own") { // an address that this machine really has
			own := ""
			for a := range ownAddrs() {
				if a.Is4() {
					own = a.String()
				}
			}
			if own == "" {
				continue
			}
			c.m = response(own, 120)
		}
		r := &responder{names: []string{"arasul.local.", "arasul-s3.local."}, links: []link{testLink}, conflict: make(chan struct{}, 1)}
		r.mine.Store(c.mine)
		reply := r.react(c.m, testLink, neighbour)
		if lost := len(r.conflict) == 1; lost != c.lost || (reply != nil) != c.reply {
			t.Errorf("%s: lost %v, reply %v; want %v, %v", c.about, lost, reply != nil, c.lost, c.reply)
		}
	}
}
