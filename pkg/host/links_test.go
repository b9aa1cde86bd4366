package host

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rootOf writes files below a new root.
func rootOf(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const (
	routeHead  = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
	localRoute = "eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
	wayOut     = "eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
	half       = "tun0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000080\t0\t0\t0\n"
	wayOut6    = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00450003     eth0\n"
	unreach6   = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n"
)

func TestAWayOutIsARouteToEverywhere(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		want  bool
	}{
		"no files":        {nil, false},
		"local only":      {map[string]string{"proc/self/net/route": routeHead + localRoute}, false},
		"IPv4":            {map[string]string{"proc/self/net/route": routeHead + localRoute + wayOut}, true},
		"half of it":      {map[string]string{"proc/self/net/route": routeHead + half}, false},
		"IPv6":            {map[string]string{"proc/self/net/ipv6_route": wayOut6}, true},
		"IPv6 to nowhere": {map[string]string{"proc/self/net/ipv6_route": unreach6}, false},
		"spoiled":         {map[string]string{"proc/self/net/route": "x\n\n\x00"}, false},
	} {
		if got := defaultRoute(rootOf(t, tt.files)); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestANameServerIsNotTheResolverItself(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		want  bool
	}{
		"no file":        {nil, false},
		"none":           {map[string]string{"etc/resolv.conf": "search lan\n# nameserver 1.1.1.1\n"}, false},
		"one":            {map[string]string{"etc/resolv.conf": "nameserver 192.168.1.1\n"}, true},
		"stub":           {map[string]string{"etc/resolv.conf": "nameserver 127.0.0.53\n"}, false},
		"stub with one":  {map[string]string{"etc/resolv.conf": "nameserver 127.0.0.53\n", "run/systemd/resolve/resolv.conf": "nameserver fe80::1%eth0\n"}, true},
		"stub without":   {map[string]string{"etc/resolv.conf": "nameserver 127.0.0.53\n", "run/systemd/resolve/resolv.conf": "search .\n"}, false},
		"local resolver": {map[string]string{"etc/resolv.conf": "nameserver 127.0.0.1\n"}, true},
		"not an address": {map[string]string{"etc/resolv.conf": "nameserver example\n"}, false},
	} {
		if got := nameServer(rootOf(t, tt.files)); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestAddressesThatReachFurtherComeFirst(t *testing.T) {
	var list []net.Addr
	for _, s := range []string{"fe80::1/64", "2001:db8::2/64", "192.168.1.20/24", "127.0.0.1/8", "169.254.1.1/16"} {
		ip, n, err := net.ParseCIDR(s)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, &net.IPNet{IP: ip, Mask: n.Mask})
	}
	want := []string{"192.168.1.20/24", "2001:db8::2/64", "169.254.1.1/16", "fe80::1/64"}
	if diff := cmp.Diff(want, prefixes(list)); diff != "" {
		t.Error(diff)
	}
}

func TestThisMachineCanBeLookedAt(t *testing.T) {
	n, err := Network()
	if err != nil || n.Internet != (n.DefaultRoute && n.DNS) || n.Time.IsZero() {
		t.Errorf("%+v, %v", n, err)
	}
	for _, i := range n.Interfaces {
		if i.Name == "lo" {
			t.Error("the loopback leads nowhere")
		}
	}
}
