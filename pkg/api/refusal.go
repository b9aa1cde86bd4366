package api

// RefusalCode says of which kind a refusal is.
type RefusalCode string

// The kinds.
const (
	RefusedUnknown RefusalCode = "unknown" // there is no such thing
	RefusedBusy    RefusalCode = "busy"    // not now, because of something else that goes on
	RefusedSoon    RefusalCode = "soon"    // it was just done
)

// Refusal is the error of a daemon that understood what it was asked, and does
// not do it.
type Refusal struct {
	Code   RefusalCode `json:"code"`
	Reason string      `json:"reason"` // a sentence without its end
}

// Error implements error.
func (r *Refusal) Error() string { return r.Reason }
