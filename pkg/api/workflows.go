package api

import "time"

// Execution is one run of a workflow in n8n.
type Execution struct {
	Number          int64      `json:"number" doc:"In which order they became known here"`
	ID              string     `json:"id" doc:"n8n's own, unique"`
	WorkflowID      string     `json:"workflow_id"`
	Workflow        string     `json:"workflow" doc:"Its name when it ran"`
	Status          string     `json:"status" enum:"running,waiting,success,error,crashed,canceled" doc:"n8n's word"`
	Mode            string     `json:"mode" example:"webhook" doc:"What started it, n8n's word"`
	Started         *time.Time `json:"started_at,omitempty" doc:"Absent when n8n did not get to it"`
	Ended           *time.Time `json:"ended_at,omitempty"`
	DurationSeconds *float64   `json:"duration_seconds,omitempty"`
	Error           string     `json:"error,omitempty" doc:"n8n's message, at most 1,000 characters"`
	FailedNode      string     `json:"failed_node,omitempty"`
	Source          string     `json:"source" enum:"hook,reconciled" doc:"Whether n8n told it when it happened, or its database afterwards"`
}

// ExecutionQuery asks for runs. Empty fields do not matter.
type ExecutionQuery struct {
	Status   string
	Workflow string // its id
	Before   int64  // the number that the page before ended with
	Limit    int
}
