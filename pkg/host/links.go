package host

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

const (
	maxRoutes     = 1 << 20 // bytes of a table of routes
	maxInterfaces = 64
	maxAddresses  = 32 // of one interface
)

// Network looks at the interfaces that lead out of the machine, whether there is
// a way out of the local network, and whether there is a name server to ask. It
// asks nobody. It needs netlink for the addresses.
func Network() (api.Network, error) {
	n := api.Network{Interfaces: []api.Interface{}, Time: time.Now().UTC()}
	interfaces, err := net.Interfaces()
	if err != nil {
		return n, err
	}
	leads := outward("/")
	for _, i := range interfaces {
		if !leads(i.Name) || len(n.Interfaces) == maxInterfaces {
			continue
		}
		addresses, err := i.Addrs()
		if err != nil {
			continue // gone since it was listed
		}
		found := api.Interface{Name: i.Name, Up: i.Flags&net.FlagUp != 0 && i.Flags&net.FlagRunning != 0, Addresses: prefixes(addresses)}
		if found.Up || len(found.Addresses) > 0 {
			n.Interfaces = append(n.Interfaces, found)
		}
	}
	n.DefaultRoute = defaultRoute("/")
	n.DNS = nameServer("/")
	n.Internet = n.DefaultRoute && n.DNS
	return n, nil
}

// prefixes writes addresses with their prefix lengths, those that mean nothing
// outside of the link last.
func prefixes(addresses []net.Addr) []string {
	var list []netip.Prefix
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLoopback() {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b netip.Prefix) int {
		if la, lb := a.Addr().IsLinkLocalUnicast(), b.Addr().IsLinkLocalUnicast(); la != lb {
			if la {
				return 1
			}
			return -1
		}
		return a.Addr().Compare(b.Addr())
	})
	out := []string{}
	for _, p := range list[:min(len(list), maxAddresses)] {
		out = append(out, p.String())
	}
	return out
}

// defaultRoute reports whether a route to everywhere leads through an interface
// other than the loopback.
func defaultRoute(root string) bool {
	const nowhere4, nowhere6 = "00000000", "00000000000000000000000000000000"
	return anyLine(filepath.Join(root, "proc/self/net/route"), func(f []string) bool {
		return len(f) >= 8 && f[1] == nowhere4 && f[7] == nowhere4 && f[0] != "lo"
	}) || anyLine(filepath.Join(root, "proc/self/net/ipv6_route"), func(f []string) bool {
		return len(f) >= 10 && f[0] == nowhere6 && f[1] == "00" && f[9] != "lo"
	})
}

// nameServer reports whether a name server is configured: systemd-resolved's own
// address says nothing about that, its upstream does.
func nameServer(root string) bool {
	real := func(f []string) bool {
		if len(f) < 2 || f[0] != "nameserver" {
			return false
		}
		a, err := netip.ParseAddr(f[1])
		return err == nil && a != netip.AddrFrom4([4]byte{127, 0, 0, 53}) && a != netip.AddrFrom4([4]byte{127, 0, 0, 54})
	}
	return anyLine(filepath.Join(root, "etc/resolv.conf"), real) || anyLine(filepath.Join(root, "run/systemd/resolve/resolv.conf"), real)
}

// anyLine reports whether a line of the file, split at blanks, is wanted. A file
// that is not there has none.
func anyLine(path string, wanted func(fields []string) bool) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, maxRoutes))
	for lines.Scan() {
		if wanted(strings.Fields(lines.Text())) {
			return true
		}
	}
	return false
}
