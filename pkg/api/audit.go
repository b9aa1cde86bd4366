package api

import "time"

// Result says how something that the audit keeps ended.
type Result string

// The three results.
const (
	ResultSuccess Result = "success"
	ResultRefused Result = "refused" // we said no
	ResultFailed  Result = "failed"  // we said yes, and it did not work
)

// AuditEvent is one thing that somebody did, or tried.
type AuditEvent struct {
	ID        int64     `json:"id"`
	At        time.Time `json:"at"`
	Actor     string    `json:"actor" doc:"admin, console (root on the machine), or empty: nobody we know"`
	Action    string    `json:"action" doc:"What, as a word with dots" example:"auth.login"`
	Subject   string    `json:"subject,omitempty" doc:"To what: a unit, a session, a file"`
	Address   string    `json:"address,omitempty" doc:"The client's, as the proxy saw it; absent on the machine itself"`
	UserAgent string    `json:"user_agent,omitempty" doc:"What the client calls itself"`
	Result    Result    `json:"result" enum:"success,refused,failed"`
	Detail    string    `json:"detail,omitempty" doc:"Why, in words"`
}

// AuditNote is what a command on the console did, for the audit.
type AuditNote struct {
	Action  string `json:"action" example:"disk.clean"`
	Subject string `json:"subject,omitempty"`
	Result  Result `json:"result"`
	Detail  string `json:"detail,omitempty"`
}

// AuditQuery asks for events. Empty fields do not matter.
type AuditQuery struct {
	Action string // this one, or those below it: auth finds auth.login
	Result Result
	Since  time.Time // at or after it
	Before int64     // the id that the page before ended with
	Limit  int
}
