package api

import (
	"strings"
	"time"
)

// Unit is one systemd unit as the manager describes it, in systemd's own
// words. It is what the healer decides on and what it records for replay.
type Unit struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	LoadState   string `json:"load_state"`   // loaded, not-found, masked, …
	FileState   string `json:"file_state"`   // systemd's UnitFileState: enabled, disabled, static, masked, …; empty without a file
	ActiveState string `json:"active_state"` // active, activating, deactivating, inactive, failed, reloading
	SubState    string `json:"sub_state"`    // running, auto-restart, dead, …
	Result      string `json:"result"`       // success, signal, watchdog, exit-code, start-limit-hit, …
	OneShot     bool   `json:"oneshot,omitempty"`

	InvocationID string `json:"invocation_id"` // changes with every start; empty when never started
	Restarts     uint32 `json:"restarts"`      // NRestarts
	MainPID      uint32 `json:"main_pid"`
	Job          uint32 `json:"job,omitempty"` // id of the queued job; 0 when there is none

	ExitCode   int32 `json:"exit_code,omitempty"`   // how the main process ended: CLD_EXITED 1, CLD_KILLED 2, CLD_DUMPED 3
	ExitStatus int32 `json:"exit_status,omitempty"` // its exit status, or the signal

	// Zero when it has not happened since boot.
	StateChange time.Time `json:"state_change"` // of SubState
	ActiveEnter time.Time `json:"active_enter"` // when it last became active
	ActiveExit  time.Time `json:"active_exit"`  // when it last ceased to be
	Started     time.Time `json:"started"`      // main process
	Exited      time.Time `json:"exited"`       // main process of the run before, until the next one starts
}

// SwitchedOff says whether the owner has disabled or masked the unit, so that
// no boot starts it.
func (u Unit) SwitchedOff() bool {
	return u.FileState == "disabled" || strings.HasPrefix(u.FileState, "masked")
}
