package heal

import (
	"testing"

	"github.com/arasul/arasul/pkg/api"
)

// Proves API: a service that the owner has switched off is no trouble, while
// one that merely stands still is down.
func TestServiceThatIsSwitchedOffIsNotDown(t *testing.T) {
	for _, tt := range []struct {
		unit   api.Unit
		want   api.Status
		reason string
	}{
		{api.Unit{LoadState: "loaded", FileState: "enabled", ActiveState: "inactive"}, api.Down, "stopped"},
		{api.Unit{LoadState: "loaded", FileState: "disabled", ActiveState: "inactive"}, api.Unknown, "switched off (disabled)"},
		{api.Unit{LoadState: "masked", FileState: "masked-runtime", ActiveState: "inactive"}, api.Unknown, "switched off (masked-runtime)"},
		{api.Unit{LoadState: "loaded", FileState: "disabled", ActiveState: "inactive", Job: 7}, api.Degraded, "waiting to be started"},
		{api.Unit{LoadState: "loaded", FileState: "disabled", ActiveState: "active"}, api.Up, ""},
		{api.Unit{LoadState: "loaded", FileState: "disabled", ActiveState: "failed", Result: "exit-code", ExitStatus: 3}, api.Down, "exited with status 3"},
	} {
		if status, reason := Judge(tt.unit); status != tt.want || reason != tt.reason {
			t.Errorf("%+v is %s (%s), want %s (%s)", tt.unit, status, reason, tt.want, tt.reason)
		}
	}
}
