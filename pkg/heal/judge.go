package heal

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/api"
)

// onDemand are daemons that end when they have nothing to do.
var onDemand = map[string]bool{"arasul-updater.service": true, "arasul-apply.service": true}

// Judge says how a unit does and, when it is not up, why, in words.
func Judge(u api.Unit) (api.Status, string) {
	switch {
	case u.ActiveState == "inactive" && u.Job == 0 && u.SwitchedOff():
		return api.Unknown, "switched off (" + u.FileState + ")"
	case u.LoadState != "loaded":
		return api.Unknown, "not installed (" + u.LoadState + ")"
	case u.ActiveState == "active", u.ActiveState == "reloading":
		return api.Up, ""
	case u.ActiveState == "failed":
		return api.Down, sentence(u)
	case autoRestart(u):
		return api.Degraded, sentence(u) + ", restarting"
	case u.ActiveState == "activating":
		return api.Degraded, "starting"
	case u.ActiveState == "deactivating":
		return api.Degraded, "stopping"
	case u.Job != 0:
		return api.Degraded, "waiting to be started"
	case u.Result == skipped:
		return api.Unknown, "it has nothing to run yet"
	case (u.OneShot || onDemand[u.Name]) && u.Result == "success":
		return api.Up, ""
	default:
		return api.Down, "stopped"
	}
}

// Service is u as the page shows it.
func Service(u api.Unit) api.Service {
	status, reason := Judge(u)
	s := api.Service{
		Name:        strings.TrimSuffix(strings.TrimPrefix(u.Name, "arasul-"), ".service"),
		Unit:        u.Name,
		Description: u.Description,
		Status:      status,
		Reason:      reason,
		LoadState:   u.LoadState,
		ActiveState: u.ActiveState,
		SubState:    u.SubState,
		Result:      u.Result,
		Restarts:    u.Restarts,
		MainPID:     u.MainPID,
	}
	since := u.StateChange
	if status == api.Up && !u.OneShot {
		since = u.ActiveEnter // a reload is no new beginning
	}
	if !since.IsZero() {
		s.Since = &since
	}
	return s
}

// autoRestart reports whether systemd is about to restart u by itself. systemd
// 254 and later also say auto-restart-queued.
func autoRestart(u api.Unit) bool {
	return u.ActiveState == "activating" && strings.HasPrefix(u.SubState, "auto-restart")
}

// moving reports whether systemd is starting or stopping u, or is about to: its
// job has limits of its own (TimeoutStartSec= of the unit), and interfering
// would only make it begin again.
func moving(u api.Unit) bool {
	switch u.ActiveState {
	case "activating":
		return !autoRestart(u)
	case "deactivating":
		return true
	default:
		return u.ActiveState == "inactive" && u.Job != 0
	}
}

// skipped is systemd's result for a unit whose ExecCondition= was not met: it is not
// meant to run now, which is no fault.
const skipped = "exec-condition"

// failing reports whether u shows the end of a run that nobody asked for.
func failing(u api.Unit) bool {
	switch {
	case u.Result == skipped:
		return false
	case u.ActiveState == "failed", autoRestart(u):
		return true
	default: // on its way down, and systemd knows already that it is no orderly stop
		return u.ActiveState == "deactivating" && u.Result != "success" && u.Result != ""
	}
}

// faultOf names what happened to u.
func faultOf(u api.Unit) api.Fault {
	switch u.Result {
	case "watchdog":
		return api.Hung
	case "signal", "core-dump":
		return api.Crashed
	case "oom-kill":
		return api.OOMKilled
	case "start-limit-hit":
		return api.StartLimit
	case "exit-code", "success": // success: left although nobody asked it to
		return api.Exited
	default: // timeout, resources, protocol, …
		return api.Failed
	}
}

// sentence says in words what happened to u.
func sentence(u api.Unit) string {
	switch u.Result {
	case "watchdog":
		return "stopped answering the watchdog"
	case "signal", "core-dump":
		return "killed by " + unix.SignalName(unix.Signal(u.ExitStatus))
	case "oom-kill":
		return "killed because memory ran out"
	case "start-limit-hit":
		return "failed too often, systemd gave up"
	case "exit-code":
		if u.ExitStatus == 78 { // see package daemon
			return "refuses its configuration: arasul config check says why"
		}
		return fmt.Sprintf("exited with status %d", u.ExitStatus)
	case "success":
		return "exited without being asked to"
	case "timeout":
		return "did not start or stop in time"
	default:
		return "failed: " + u.Result
	}
}
