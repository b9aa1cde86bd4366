package api

import (
	"strings"
	"time"
)

// Severity is how bad a line of a log is, in the journal's words.
type Severity string

// Severities are all of them, the worst first; the place of one is its number
// in syslog(3).
var Severities = []Severity{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}

// KernelLog is the name under which the kernel's log is asked for, as if it
// were a service.
const KernelLog = "kernel"

// LogEntry is one entry of the journal. Its message is harmless: control
// characters, line ends among them, are shown and have no effect.
type LogEntry struct {
	Time     time.Time `json:"time" doc:"When the journal took it in"`
	Unit     string    `json:"unit" example:"arasul-metrics.service" doc:"Who said it, or whom systemd says it about; kernel: the kernel"`
	Severity Severity  `json:"severity" enum:"emerg,alert,crit,err,warning,notice,info,debug"`
	Message  string    `json:"message" example:"within reach name=database" doc:"At most 16 KiB; control characters are replaced by signs for them"`
	Cursor   string    `json:"cursor" doc:"Where in the journal it stands"`
}

// LogQuery says which entries are asked for. What is zero leaves it open, but
// for Lines.
type LogQuery struct {
	Service  string    // short name of a service, or KernelLog; empty: all that is ours
	Severity Severity  // as bad as this, or worse
	Since    time.Time // not older
	Before   string    // a cursor: older than this entry
	After    string    // a cursor: newer than this entry
	Lines    int       // at most so many; of those that there are when following begins
}

// LogPage is what there was.
type LogPage struct {
	Entries []LogEntry `json:"entries" doc:"Newest first"`
	Next    string     `json:"next,omitempty" doc:"Value of before for the next page; absent when there is nothing older"`
}

// MaxLogLines is the most entries of a page.
const MaxLogLines = 1000

// IsLogCursor reports whether s has the form of a journal's cursor.
func IsLogCursor(s string) bool {
	const keys = "sibmtx"
	for i := range keys {
		part, rest, more := strings.Cut(s, ";")
		value, ok := strings.CutPrefix(part, keys[i:i+1]+"=")
		long := keys[i] == 's' || keys[i] == 'b' // 128 bits, and all of them
		switch {
		case !ok, more != (i < len(keys)-1), strings.Trim(value, "0123456789abcdef") != "":
			return false
		case long && len(value) != 32, !long && (len(value) < 1 || len(value) > 16):
			return false
		}
		s = rest
	}
	return true
}
