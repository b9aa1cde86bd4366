package proxy

import (
	"net/netip"
	"strconv"
	"strings"
)

// ours says whether a Host header names this machine: by one of names, as
// localhost, or by an IP address, which no foreign page can make its own. A name
// in .local counts with a number behind it too (arasul-2.local): mDNS appends
// one when another machine has the name.
func ours(hostport string, names []string) bool {
	host, ok := hostname(hostport)
	if !ok {
		return false
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	if host == "localhost" {
		return true
	}
	for _, name := range names {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		if name == "" {
			continue
		}
		if host == name {
			return true
		}
		if label, local := strings.CutSuffix(host, ".local"); local && !strings.Contains(name, ".") && numbered(label, name) {
			return true
		}
	}
	return false
}

// numbered says whether label is name, or name-2 to name-999.
func numbered(label, name string) bool {
	rest, ok := strings.CutPrefix(label, name)
	if !ok || rest == "" {
		return ok
	}
	n, err := strconv.Atoi(strings.TrimPrefix(rest, "-"))
	return err == nil && n >= 2 && n <= 999 && rest == "-"+strconv.Itoa(n)
}

// hostname takes the port, the brackets of IPv6 and the final dot from a Host
// header; false means that there is no sense in it.
func hostname(hostport string) (string, bool) {
	host, port := hostport, ""
	if rest, ok := strings.CutPrefix(hostport, "["); ok {
		if host, port, ok = strings.Cut(rest, "]"); !ok || !strings.Contains(host, ":") {
			return "", false
		}
		if port != "" && port[0] != ':' {
			return "", false
		}
		port = strings.TrimPrefix(port, ":")
	} else if h, p, ok := strings.Cut(hostport, ":"); ok {
		host, port = h, p
	}
	if strings.Trim(port, "0123456789") != "" || len(port) > 5 {
		return "", false
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host, host != ""
}
