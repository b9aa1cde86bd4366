package mdns

import (
	"net"
	"net/netip"
	"path"
	"slices"
)

// maxAddrs bounds the addresses announced per link. Avahi takes 32 records in
// one group, and a link with many IPv6 privacy addresses has more than anyone
// needs.
const maxAddrs = 16

// hidden are the interfaces of containers, virtual machines and tunnels: their
// addresses mean nothing to the people in the room.
var hidden = []string{"lo", "docker*", "veth*", "br-*", "cni*", "podman*", "tailscale*", "virbr*"}

// link is one network interface and what it can be reached by.
type link struct {
	name  string
	index int
	nets  []netip.Prefix // addresses with their networks, sorted
}

func (l link) equal(m link) bool {
	return l.name == m.name && l.index == m.index && slices.Equal(l.nets, m.nets)
}

// addrs are the addresses worth announcing: IPv4 and routable IPv6. A
// link-local IPv6 address, which browsers cannot use without a zone, is only
// named when there is nothing else.
func (l link) addrs() []netip.Addr {
	var good, local []netip.Addr
	for _, p := range l.nets {
		if a := p.Addr(); a.Is6() && a.IsLinkLocalUnicast() {
			local = append(local, a)
		} else {
			good = append(good, a)
		}
	}
	if len(good) == 0 {
		good = local
	}
	return good[:min(len(good), maxAddrs)]
}

// onLink reports whether a is a neighbour on l.
func (l link) onLink(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return a.IsLinkLocalUnicast() || slices.ContainsFunc(l.nets, func(p netip.Prefix) bool { return p.Contains(a) })
}

// wanted decides by name and flags whether to announce on an interface. Only
// and an empty only are the owner's list and its absence.
func wanted(name string, flags net.Flags, only []string) bool {
	if flags&net.FlagUp == 0 || flags&net.FlagMulticast == 0 || flags&net.FlagLoopback != 0 {
		return false
	}
	if len(only) > 0 {
		return slices.Contains(only, name)
	}
	return !Hidden(name)
}

// Hidden says whether an interface is one whose addresses are nobody's to use.
func Hidden(name string) bool {
	return slices.ContainsFunc(hidden, func(pattern string) bool {
		ok, _ := path.Match(pattern, name)
		return ok
	})
}

// usable lists the links to announce on: wanted, and with an address.
func usable(only []string) ([]link, error) {
	ifaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var links []link
	for _, i := range ifaces {
		if !wanted(i.Name, i.Flags, only) {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // gone since it was listed
		}
		l := link{name: i.Name, index: i.Index, nets: prefixes(addrs)}
		if len(l.nets) > 0 {
			links = append(links, l)
		}
	}
	return links, nil
}

// prefixes converts interface addresses, sorted so that two looks compare.
func prefixes(addrs []net.Addr) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, ok := netip.AddrFromSlice(n.IP)
		if !ok || ip.IsLoopback() {
			continue
		}
		ones, _ := n.Mask.Size()
		out = append(out, netip.PrefixFrom(ip.Unmap(), ones))
	}
	slices.SortFunc(out, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	return out
}

// ownAddrs are all addresses of this machine, hidden interfaces included: none
// of them can belong to another machine that claims our name.
func ownAddrs() map[netip.Addr]bool {
	own := make(map[netip.Addr]bool)
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return own
	}
	for _, p := range prefixes(addrs) {
		own[p.Addr()] = true
	}
	return own
}
