package heal

import "slices"

// The actions that a rung can name. docs/healing.md says what each does.
const (
	ActionRestart        = "restart"       // clear the start limit, restart
	ActionStopStart      = "stop-start"    // stop, wait until gone, start
	ActionStop           = "stop"          // taken back by start
	ActionPause          = "pause"         // freeze all processes; taken back by resume
	ActionUnload         = "unload-models" // the LLM forgets its models and gives their memory back
	ActionReset          = "reset-session" // the LLM drops what it works on and loads its models anew
	ActionCap            = "cap-clocks"    // hold the GPU back; taken back by uncap-clocks
	ActionResetGPU       = "reset-gpu"     // stop its users, reset it, start them
	ActionHardRestart    = "hard-restart"  // all application services, in dependency order
	ActionCleanup        = "cleanup"       // free disk space
	ActionVacuum         = "vacuum"        // drop old samples and give the database's space back
	ActionReboot         = "reboot"        // only where the configuration allows it
	ActionStart          = "start"         // takes stop back; never in a ladder
	ActionResume         = "resume"        // takes pause back; never in a ladder
	ActionUncap          = "uncap-clocks"  // takes cap-clocks back; never in a ladder
	ActionForget         = "forget-failures"
	ActionSystemdRestart = "systemd-restart" // Restart= of the unit, which systemd does by itself
)

// action is what the policy language knows about an action.
type action struct {
	unit  bool   // it is done to a unit
	undo  string // what takes it back
	stops bool   // it stops units before it starts them again
}

// actions are those that a rung may name.
var actions = map[string]action{
	ActionRestart:     {unit: true},
	ActionStopStart:   {unit: true, stops: true},
	ActionStop:        {unit: true, undo: ActionStart},
	ActionPause:       {unit: true, undo: ActionResume},
	ActionUnload:      {unit: true},
	ActionReset:       {unit: true},
	ActionCap:         {undo: ActionUncap},
	ActionResetGPU:    {stops: true},
	ActionHardRestart: {stops: true},
	ActionCleanup:     {},
	ActionVacuum:      {},
	ActionReboot:      {},
}

// Actions names everything that hands must be able to do.
func Actions() []string {
	names := []string{ActionStart, ActionResume, ActionUncap, ActionForget}
	for name := range actions {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
