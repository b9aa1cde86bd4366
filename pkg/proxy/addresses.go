package proxy

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
)

// addressesEvery is how often the machine's addresses are looked at.
const addressesEvery = 5 * time.Second

// TellAddresses writes the machine's addresses to the file at path, one in a
// line, whenever they have changed, until ctx ends. The signer of our
// certificate, which waits for the file to change, would have to wake up itself
// for this. Addresses that come and go within a few seconds are not told.
func TellAddresses(ctx context.Context, path string, list func() ([]netip.Addr, error), log *slog.Logger) error {
	before, _ := os.ReadFile(path) //nolint:gosec // the path is a constant of the wiring
	told, last := string(before), "\x00"
	tick := time.NewTicker(addressesEvery)
	defer tick.Stop()
	for {
		addrs, err := list()
		text := oneALine(addrs)
		if err == nil && text != told && (text == last || told == "") {
			if err = os.WriteFile(path, []byte(text), 0o644); err == nil { //nolint:gosec // addresses are no secret, and the path unit looks at them
				told = text
			}
		}
		if err != nil {
			log.Warn("cannot tell of the addresses", "err", err)
		}
		last = text
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// oneALine lists addresses in an order that does not depend on the kernel's.
func oneALine(addrs []netip.Addr) string {
	addrs = slices.Clone(addrs)
	slices.SortFunc(addrs, netip.Addr.Compare)
	var b strings.Builder
	for _, a := range slices.Compact(addrs) {
		b.WriteString(a.String() + "\n")
	}
	return b.String()
}
