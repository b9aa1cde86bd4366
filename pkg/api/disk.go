package api

import "time"

// DiskCleanup is what a clean-up of the disk did, or would do.
type DiskCleanup struct {
	Time        time.Time  `json:"timestamp" doc:"When it ended"`
	Path        string     `json:"path" example:"/var/lib/arasul" doc:"The file system that holds this"`
	DryRun      bool       `json:"dry_run" doc:"Nothing was touched"`
	TotalBytes  uint64     `json:"total_bytes"`
	BeforeBytes uint64     `json:"used_before_bytes"`
	AfterBytes  uint64     `json:"used_after_bytes" doc:"Measured; in a dry run what would be left"`
	TargetRatio float64    `json:"target_ratio" doc:"Nothing more is removed once less than this is used, 0 to 1"`
	Reached     bool       `json:"target_reached"`
	Steps       []DiskStep `json:"steps" doc:"In the order in which they were taken, the most harmless first"`
}

// DiskStep is one place that was cleaned up, or passed over.
type DiskStep struct {
	Name       string   `json:"step" example:"logs"`
	FreedBytes uint64   `json:"freed_bytes"`
	Files      int      `json:"files" doc:"Files removed"`
	Paths      []string `json:"paths,omitempty" doc:"In a dry run, the files that would go; the first 1000"`
	Skipped    string   `json:"skipped,omitempty" doc:"Why nothing was done, in words"`
	Error      string   `json:"error,omitempty" doc:"What went wrong; what was freed nevertheless counts"`
}
