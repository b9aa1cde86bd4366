package api

import (
	"errors"
	"time"
)

// Update says which release is installed, what is being received or waits to be
// installed, and how far an update under way has come.
type Update struct {
	State   string        `json:"state" enum:"idle,receiving,staged,updating,stuck" doc:"stuck: neither forward nor back was possible, somebody has to look"`
	Current Installed     `json:"current"`
	Staged  *StagedBundle `json:"staged,omitempty" doc:"Received, whole or in part"`
	Run     *UpdateRun    `json:"run,omitempty" doc:"Under way, or the newest that ended"`
	Stick   *Stick        `json:"stick,omitempty" doc:"The USB stick that was plugged in last"`
	Time    time.Time     `json:"timestamp"`
}

// Stick is what came of a USB stick. Its label and the names of its files are whatever
// its owner chose.
type Stick struct {
	Label string      `json:"label,omitempty" example:"KINGSTON"`
	Error string      `json:"error,omitempty" doc:"Why it could not be read"`
	Files []StickFile `json:"files" nullable:"false" doc:"Named like releases, ten at most; none: there was nothing for this machine"`
	Time  time.Time   `json:"timestamp"`
}

// StickFile is a file on a USB stick that is named like a release.
type StickFile struct {
	Name    string   `json:"name" example:"arasul-1.4.0.araupdate"`
	Version string   `json:"version,omitempty" doc:"As its signature says; absent when it is not to be believed"`
	Taken   bool     `json:"taken" doc:"It is on this machine now"`
	Problem *Refused `json:"problem,omitempty" doc:"Why it was not taken, or not installed"`
}

// Installed is the release that this machine runs.
type Installed struct {
	Version   string    `json:"version" example:"1.4.0"`
	Sequence  uint64    `json:"sequence,omitempty" doc:"Grows from release to release; absent when it was not installed by an update"`
	Floor     uint64    `json:"floor,omitempty" doc:"No release with a lower sequence is installed"`
	Committed time.Time `json:"committed_at,omitzero"`
	Previous  string    `json:"previous,omitempty" example:"1.3.2" doc:"The version that a rollback leads to; absent: there is none"`
}

// StagedBundle is a file of a release on this machine, as far as it has come. Its
// signature is checked before anything of it is stored, every part before it is
// written.
type StagedBundle struct {
	Bundle
	ReceivedBytes int64     `json:"received_bytes" doc:"Checked and on disk; to go on from"`
	Complete      bool      `json:"complete"`
	Since         time.Time `json:"since"`
	Time          time.Time `json:"timestamp"`
}

// Bundle is what the signed manifest of a release says.
type Bundle struct {
	ID        string    `json:"bundle" doc:"SHA-256 of its manifest, in hexadecimal"`
	Version   string    `json:"version" example:"1.4.0"`
	Sequence  uint64    `json:"sequence"`
	Channel   string    `json:"channel,omitempty" example:"stable"`
	Notes     string    `json:"notes,omitempty" doc:"What is new, in words"`
	Built     time.Time `json:"built_at"`
	SizeBytes int64     `json:"size_bytes" doc:"Of the whole file"`
	Parts     []string  `json:"parts" doc:"The package and the images in it"`
	Signers   []string  `json:"signers" doc:"The first 16 digits of the SHA-256 of each key that signed it"`
	DataClass string    `json:"data_class" enum:"compatible,restore,one-way" doc:"What going back after it was committed would mean for what was stored since"`
	Problem   *Refused  `json:"problem,omitempty" doc:"Why it cannot be installed here; absent: it can"`
}

// Refused says why something was not done, and what to do about it.
type Refused struct {
	Code    string `json:"code" example:"not-newer"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// RefusedBy is what err says of a refusal, when it is one that came over HTTP with a code
// and a hint, and nil else.
func RefusedBy(err error) *Refused {
	no, ok := errors.AsType[interface {
		error
		Code() string
		Hint() string
	}](err)
	if !ok || no.Code() == "" {
		return nil
	}
	return &Refused{Code: no.Code(), Message: err.Error(), Hint: no.Hint()}
}

// UpdateRun is one transaction from one release to another.
type UpdateRun struct {
	ID       string       `json:"id" example:"20261126T101500-1"`
	Kind     string       `json:"kind" enum:"update,rollback" doc:"rollback: the admin wanted the release before back"`
	From     string       `json:"from" example:"1.3.2"`
	To       string       `json:"to" example:"1.4.0"`
	Bundle   string       `json:"bundle,omitempty"`
	Actor    string       `json:"actor" example:"admin" doc:"Who asked for it; usb: a stick"`
	Outcome  string       `json:"outcome" enum:",committed,rolled-back,stuck" doc:"Empty while it is under way"`
	Back     bool         `json:"back" doc:"It is on the way back, or went it"`
	Reason   string       `json:"reason,omitempty" doc:"Why it went back"`
	Step     string       `json:"step,omitempty" example:"install" doc:"Being done, or undone"`
	Percent  int          `json:"percent" doc:"100 only when it has ended"`
	Message  string       `json:"message,omitempty" doc:"What is being done, in words"`
	Steps    []UpdateStep `json:"steps"`
	Started  time.Time    `json:"started_at"`
	Ended    time.Time    `json:"ended_at,omitzero"`
	Cuts     int          `json:"interruptions" doc:"Times that the machine was booted meanwhile"`
	CanStop  bool         `json:"can_cancel" doc:"It can still be cancelled"`
	Downtime float64      `json:"downtime_seconds,omitempty" doc:"From the stop of services until they were proven well"`
}

// UpdateStep is one step of a transaction.
type UpdateStep struct {
	Name    string    `json:"name" enum:"preflight,keep,load,quiesce,snapshot,install,migrate,switch,start,probation,commit,cleanup"`
	State   string    `json:"state" enum:"pending,running,done,undoing,undone,failed"`
	Started time.Time `json:"started_at,omitzero"`
	Ended   time.Time `json:"ended_at,omitzero"`
}

// UpdateHistory are the transactions of this machine, the newest first.
type UpdateHistory struct {
	Runs []UpdateRun `json:"runs"`
	Time time.Time   `json:"timestamp"`
}

// ApplyUpdate asks for the staged release to be installed.
type ApplyUpdate struct {
	Bundle         string `json:"bundle" doc:"Of what was staged and looked at: another is not installed"`
	Actor          string `json:"actor,omitempty" doc:"Who asks; on the page it is the session's user"`
	AllowDowngrade bool   `json:"allow_downgrade,omitempty" doc:"To a lower sequence, not below the floor; needs a reason"`
	Force          bool   `json:"force,omitempty" doc:"Again, although this release failed here before"`
	Reason         string `json:"reason,omitempty"`
}

// UndoUpdate asks for an update under way to be cancelled, or for the release
// before to be brought back.
type UndoUpdate struct {
	Actor  string `json:"actor,omitempty"`
	Reason string `json:"reason,omitempty"`
}
