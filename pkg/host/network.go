package host

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// collectNetwork returns the bytes received and sent since the look before.
func (s *Sampler) collectNetwork(now time.Time) (received, sent uint64, err error) {
	text, err := s.netdev.read(&s.buf)
	if err != nil {
		return 0, 0, err
	}
	s.nics.begin(now)
	if err := parseNetDev(text, s.nics.add); err != nil {
		return 0, 0, fmt.Errorf("reading %s: %w", s.netdev.path, err)
	}
	received, sent = s.nics.end()
	return received, sent, nil
}

// parseNetDev calls each with the bytes received and sent by every interface
// in /proc/net/dev.
func parseNetDev(text []byte, each func(name []byte, received, sent uint64)) error {
	for number := 1; len(text) > 0; number++ {
		var line []byte
		line, text = cutLine(text)
		if number <= 2 {
			continue // the heading
		}
		// Counters may follow the colon without a blank, names may hold one.
		colon := bytes.LastIndexByte(line, ':')
		if colon < 0 {
			return badLine(number, line)
		}
		name := bytes.TrimLeft(line[:colon], " ")
		field, rest := cutField(line[colon+1:])
		received, ok1 := parseUint(field)
		field, _ = cutField(skipFields(rest, 7))
		sent, ok2 := parseUint(field)
		if !ok1 || !ok2 || len(name) == 0 || len(name) > 15 {
			return badLine(number, line)
		}
		each(name, received, sent)
	}
	return nil
}

// inward lists the names of interfaces that lead to containers and guests, or
// whose bytes pass another interface once more.
var inward = []string{
	"docker", "veth", "br-", "podman", "cni", "flannel", "virbr", "vnet",
	"tailscale", "wg", "tun", "tap", "ifb", "dummy",
}

// outward tells the interfaces to count: not the loopback, not those of
// containers, and of stacked ones (bonds, bridges, VLANs) only the lowest.
func outward(root string) func(name string) bool {
	return func(name string) bool {
		if name == "lo" {
			return false
		}
		for _, prefix := range inward {
			if strings.HasPrefix(name, prefix) {
				return false
			}
		}
		entries, _ := os.ReadDir(filepath.Join(root, "sys/class/net", name))
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), "lower_") {
				return false
			}
		}
		return true
	}
}
