package api

import "time"

// AI is how the two engines do: language models, and embeddings.
type AI struct {
	LLM        Engine    `json:"llm"`
	Embeddings Engine    `json:"embeddings"`
	Time       time.Time `json:"timestamp"`
}

// Engine is what serves one kind of model, all of its back ends together.
type Engine struct {
	Status   Status    `json:"status" enum:"up,degraded,down,unknown"`
	Reason   string    `json:"reason,omitempty" doc:"Why it is not up, and what to do about it, in words"`
	Model    string    `json:"model" doc:"Who names no model gets this one; empty when none is installed"`
	BackEnds []BackEnd `json:"back_ends" doc:"In the order of the configuration; this machine's own is local"`
	Queue    Queue     `json:"queue"`

	TokensPerSecond   *float64 `json:"tokens_per_second,omitempty" doc:"Of the answers of the last ten minutes, median; absent without one"`
	FirstTokenSeconds *float64 `json:"first_token_seconds,omitempty" doc:"From the request, waiting included, to the first token; median of the last ten minutes"`
	Requests          uint64   `json:"requests_total" doc:"Since the gateway started"`
	Failures          uint64   `json:"failures_total" doc:"Those of them that ended in an error that was not the client's"`
}

// BackEnd is one server of models.
type BackEnd struct {
	Name     string `json:"name" example:"local"`
	Kind     string `json:"kind" enum:"ollama,openai"`
	Status   Status `json:"status" enum:"up,degraded,down,unknown"`
	Reason   string `json:"reason,omitempty"`
	Running  int    `json:"running" doc:"Requests at work there"`
	Requests uint64 `json:"requests_total"`
	Failures uint64 `json:"failures_total"`
}

// Queue is who waits for an engine.
type Queue struct {
	Running int `json:"running" doc:"At work"`
	Waiting int `json:"waiting"`
	Limit   int `json:"limit" doc:"Requests that may wait; more are answered 503 with Retry-After"`
}

// InstalledModel is a model that an engine can use.
type InstalledModel struct {
	Name         string     `json:"name" example:"llama3.2:3b"`
	BackEnd      string     `json:"back_end" example:"local"`
	Kind         string     `json:"kind" enum:"chat,embedding" doc:"What it is for"`
	SizeBytes    int64      `json:"size_bytes" doc:"On disk; 0 when the back end does not say"`
	Digest       string     `json:"digest,omitempty" doc:"Of its manifest, SHA-256 in hexadecimal"`
	Parameters   string     `json:"parameters,omitempty" example:"3.2B"`
	Quantisation string     `json:"quantisation,omitempty" example:"Q4_K_M"`
	Default      bool       `json:"default" doc:"Who names no model gets this one"`
	Loaded       bool       `json:"loaded" doc:"In memory now"`
	GPURatio     *float64   `json:"gpu_ratio,omitempty" doc:"Share of it on a GPU, 0 to 1; only while it is loaded"`
	Modified     *time.Time `json:"modified_at,omitempty"`
}

// ModelTask is something that takes its time with a model: fetching it, or
// reading all of it to see that it is whole.
type ModelTask struct {
	ID         string     `json:"id"`
	Action     string     `json:"action" enum:"pull,verify,remove"`
	Model      string     `json:"model"`
	Kind       string     `json:"kind" enum:"chat,embedding"`
	State      string     `json:"state" enum:"running,done,failed,cancelled"`
	Phase      string     `json:"phase,omitempty" doc:"What it is at, in words"`
	DoneBytes  int64      `json:"done_bytes"`
	TotalBytes int64      `json:"total_bytes" doc:"0 while that is not known"`
	Error      string     `json:"error,omitempty"`
	Suggestion string     `json:"suggestion,omitempty" doc:"What to do about the error"`
	Started    time.Time  `json:"started_at"`
	Ended      *time.Time `json:"ended_at,omitempty"`
}

// ModelCheck is what reading all of a model came to.
type ModelCheck struct {
	Engine   string `json:"engine" enum:"llm,embeddings"`
	Model    string `json:"model"`
	Bytes    int64  `json:"bytes" doc:"Read"`
	Error    string `json:"error,omitempty" doc:"What is damaged; absent when it is whole"`
	Restored bool   `json:"restored" doc:"It was damaged, and is whole again"`
}

// LoadResult is how one kind of request did under load.
type LoadResult struct {
	What      string  `json:"what" enum:"llm,embeddings,workflows,page"`
	Requests  int     `json:"requests"`
	Failures  int     `json:"failures"`
	LastError string  `json:"last_error,omitempty"`
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_seconds"`
	P95       float64 `json:"p95_seconds"`
	Max       float64 `json:"max_seconds"`
}
