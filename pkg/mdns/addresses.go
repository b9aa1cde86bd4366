package mdns

import "net/netip"

// Addresses are those by which people in the network reach this machine, on
// these interfaces or, when only is empty, on all but containers' and tunnels'.
// IPv4 comes first; IPv6 is named where there is no IPv4.
func Addresses(only []string) ([]netip.Addr, error) {
	links, err := usable(only)
	if err != nil {
		return nil, err
	}
	var four, six []netip.Addr
	for _, l := range links {
		for _, a := range l.addrs() {
			switch {
			case a.Is4():
				four = append(four, a)
			case !a.IsLinkLocalUnicast():
				six = append(six, a)
			}
		}
	}
	if len(four) > 0 {
		return four, nil
	}
	return six, nil
}
