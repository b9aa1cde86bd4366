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
			if r.Code != "service-restarted" && !busy(r.Code, r.Subject) {
				return fmt.Errorf("%s %s", r.Code, r.Subject)
			}
		}
		return nil
	})
}

// busyRule is the healer's about a processor that has too much to do.
const busyRule = "cpu-overload"

// busy says whether a reason is that the processor has much to do. It is the host's,
// which these tests keep busy, or an emulated one, which is slow.
func busy(code, subject string) bool { return code == "cpu-high" || subject == busyRule }
