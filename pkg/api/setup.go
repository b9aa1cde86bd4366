package api

import "time"

// Answers are what the owner is asked once, in the terminal or on the page.
// What is empty stays as it is, or gets its default.
type Answers struct {
	Name           string `json:"name,omitempty" example:"arasul" doc:"The machine is found as NAME.local: a to z, 0 to 9, hyphen"`
	Interface      string `json:"interface,omitempty" example:"eth0" doc:"Announce on this one only; empty: on all"`
	LLMModel       string `json:"llm_model,omitempty" example:"llama3.2:3b"`
	EmbeddingModel string `json:"embedding_model,omitempty" example:"nomic-embed-text"`
	N8NLicence     bool   `json:"n8n_licence,omitempty" doc:"The licence of n8n was read and accepted"`
	MinIOUser      string `json:"minio_user,omitempty" doc:"Access key of the object store's root, 3 to 20 characters; empty: arasul"`
	MinIOPassword  string `json:"minio_password,omitempty" doc:"Its secret key, 8 to 40 characters; empty: a random one"`
}

// Setup is how far the appliance has come on its way to being ready.
type Setup struct {
	Done    bool      `json:"done" doc:"It was set up once, and there is nothing left that only the owner can do"`
	Answers Answers   `json:"answers" doc:"In force; secrets are left out"`
	Choices Choices   `json:"choices"`
	Report  *Report   `json:"report,omitempty" doc:"Of the newest run of arasul bootstrap; absent before the first"`
	Time    time.Time `json:"timestamp"`
}

// Choices are what can be answered on this machine.
type Choices struct {
	Interfaces      []Interface   `json:"interfaces"`
	LLMModels       []ModelChoice `json:"llm_models" doc:"Those that fit this machine first"`
	EmbeddingModels []ModelChoice `json:"embedding_models"`
}

// ModelChoice is a model that can be fetched, or is there.
type ModelChoice struct {
	Name        string `json:"name" example:"llama3.2:3b"`
	SizeBytes   int64  `json:"size_bytes" doc:"To fetch"`
	MemoryBytes int64  `json:"memory_bytes" doc:"While it is loaded, about"`
	Fits        bool   `json:"fits" doc:"This machine has the memory and the room for it"`
	Installed   bool   `json:"installed"`
}

// Report is what arasul bootstrap did, or arasul doctor found.
type Report struct {
	Mode     string     `json:"mode" enum:"bootstrap,doctor" doc:"doctor changes nothing"`
	State    string     `json:"state" enum:"running,ok,warning,failed"`
	Version  string     `json:"version"`
	Machine  string     `json:"machine" example:"NVIDIA Jetson AGX Orin Developer Kit, JetPack 6.1"`
	Steps    []Step     `json:"steps" doc:"In the order in which they are taken"`
	Started  time.Time  `json:"started_at"`
	Ended    *time.Time `json:"ended_at,omitempty"`
	Seconds  float64    `json:"duration_seconds"`
	Attempts int        `json:"attempts" doc:"Runs of bootstrap on this machine, this one included"`
}

// Step is one thing that has to be true of a machine that is ready.
type Step struct {
	ID         string   `json:"id" example:"models"`
	Title      string   `json:"title" example:"Models"`
	Needs      []string `json:"needs,omitempty" doc:"Steps that have to be well before this one is tried"`
	State      string   `json:"state" enum:"pending,running,ok,changed,warning,failed,skipped" doc:"ok: nothing was to do; changed: something was done; skipped: a step that it needs failed, or it does not apply"`
	Detail     string   `json:"detail,omitempty" doc:"What was found or done, in words"`
	Error      string   `json:"error,omitempty"`
	Suggestion string   `json:"suggestion,omitempty" doc:"How to recover: what to do, and the command for it"`
	Done       int64    `json:"done,omitempty" doc:"Of a long step, in bytes"`
	Total      int64    `json:"total,omitempty"`
	Seconds    float64  `json:"duration_seconds"`
}
