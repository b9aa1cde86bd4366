package api

import "time"

// DatabaseHealth is how PostgreSQL does, as the dashboard finds it.
type DatabaseHealth struct {
	Status           Status     `json:"status" enum:"up,degraded" doc:"degraded: slow, or almost out of connections"`
	Reason           string     `json:"reason,omitempty" doc:"Why it is not up, in words"`
	Latency          float64    `json:"latency_seconds" doc:"For the smallest question there is; more than 0.15 is slow"`
	Version          string     `json:"version" example:"15.14" doc:"PostgreSQL's"`
	SizeBytes        int64      `json:"size_bytes" doc:"All that the database takes on disk"`
	ConnectionsUsed  int        `json:"connections_used" doc:"By everybody"`
	ConnectionsMax   int        `json:"connections_max"`
	MigrationVersion int64      `json:"migration_version" example:"6" doc:"Number of the newest migration that has run"`
	OldestSampleDay  *time.Time `json:"oldest_sample_day,omitempty" doc:"The first day of which there are samples; absent before the first"`
	Time             time.Time  `json:"timestamp"`
}
