//go:build machine || box

package proof

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// units are what must be up on every machine that booted.
var units = []string{"postgres", "metrics", "proxy", "dashboard", "mdns", "gpu", "healer"}

// well waits until everything of ours is up and the appliance says that all is
// well, or that something was repaired a short while ago.
func (b *bed) well(within time.Duration) {
	b.t.Helper()
	eventually(b.t, within, func() error {
		for _, u := range units {
			if out, _, _ := b.try("systemctl", "is-active", "arasul-"+u); strings.TrimSpace(out) != "active" {
				return fmt.Errorf("arasul-%s is %s", u, strings.TrimSpace(out))
			}
		}
		out, errOut, _ := b.try("arasul", "status", "--json")
		var answer struct {
			Status struct {
				Status  string
				Reasons []struct{ Code, Subject string }
			}
		}
		if err := json.Unmarshal([]byte(out), &answer); err != nil {
			return fmt.Errorf("%w: %s%s", err, out, errOut)
		}
		for _, r := range answer.Status.Reasons {
			switch r.Code {
			case "service-restarted", "cpu-high": // emulation is slow
			default:
				return fmt.Errorf("%s %s", r.Code, r.Subject)
			}
		}
		return nil
	})
}
