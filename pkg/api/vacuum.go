package api

import "time"

// Vacuum is what a vacuum of the database did.
type Vacuum struct {
	Time     time.Time       `json:"timestamp" doc:"When it ended"`
	Dropped  int             `json:"dropped_partitions" doc:"Days of samples that were given up for their room; a day has two partitions"`
	KeptDays int             `json:"kept_days,omitempty" doc:"Days of samples that were kept; absent when there was room enough"`
	Tables   []VacuumedTable `json:"tables"`
}

// VacuumedTable is one table of the database.
type VacuumedTable struct {
	Table       string  `json:"table" example:"samples_20261123"`
	BeforeBytes int64   `json:"before_bytes" doc:"On the disk, with indexes"`
	AfterBytes  int64   `json:"after_bytes"`
	DeadBefore  int64   `json:"dead_rows_before" doc:"By the server's estimate"`
	DeadAfter   int64   `json:"dead_rows_after"`
	Duration    float64 `json:"duration_seconds"`
	Error       string  `json:"error,omitempty" doc:"Why it was not vacuumed"`
}
