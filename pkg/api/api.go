// Package api holds the words our processes exchange as JSON: what the
// metrics daemon and the healer say on their sockets, what the dashboard
// passes on, what the page and the command line read.
//
// It does not move bytes and it decides nothing. Field names are the
// contract: they carry their unit, and a field is never renamed, only added.
package api

import "time"

// Status says how well a unit or a check does.
type Status string

// The four states a check can report.
const (
	Up       Status = "up"       // doing its work
	Degraded Status = "degraded" // working, but somebody should know: starting, restarting, slow
	Down     Status = "down"     // not doing its work
	Unknown  Status = "unknown"  // nobody has looked yet, or looking failed
)

// Overall is the one word at the top of the page.
type Overall string

// The three levels of Overall, worst last.
const (
	OK       Overall = "OK"
	Warning  Overall = "WARNING"
	Critical Overall = "CRITICAL"
)

// Sample is one look at the host. Ratios run from 0 to 1. A nil pointer means
// that this machine cannot say (no sensor, a kernel without PSI), never zero.
type Sample struct {
	Time time.Time `json:"timestamp"`

	CPURatio   float64 `json:"cpu_ratio" doc:"Busy share of all cores since the sample before, 0 to 1"`
	CPUCores   int     `json:"cpu_cores" doc:"Cores online"`
	Load1      float64 `json:"load1" doc:"Load average over one minute"`
	UptimeSecs float64 `json:"uptime_seconds" doc:"Seconds since the kernel started"`

	MemoryTotalBytes uint64 `json:"memory_total_bytes"`
	MemoryUsedBytes  uint64 `json:"memory_used_bytes" doc:"MemTotal less MemAvailable"`
	SwapTotalBytes   uint64 `json:"swap_total_bytes"`
	SwapUsedBytes    uint64 `json:"swap_used_bytes"`

	DiskTotalBytes uint64  `json:"disk_total_bytes" doc:"Size of the file system that holds /var/lib/arasul"`
	DiskUsedBytes  uint64  `json:"disk_used_bytes"`
	DiskReadBps    float64 `json:"disk_read_bytes_per_second" doc:"All whole disks together"`
	DiskWriteBps   float64 `json:"disk_write_bytes_per_second"`

	NetworkReceiveBps  float64 `json:"network_receive_bytes_per_second" doc:"All interfaces but loopback and container bridges"`
	NetworkTransmitBps float64 `json:"network_transmit_bytes_per_second"`

	TemperatureCelsius  *float64 `json:"temperature_celsius,omitempty" doc:"Hottest thermal zone; absent without a sensor"`
	PressureCPURatio    *float64 `json:"pressure_cpu_ratio,omitempty" doc:"PSI some avg10, 0 to 1; absent when the kernel has no PSI"`
	PressureMemoryRatio *float64 `json:"pressure_memory_ratio,omitempty"`
	PressureIORatio     *float64 `json:"pressure_io_ratio,omitempty"`

	Services []ServiceSample `json:"services,omitempty" doc:"What each of our services uses, by name of unit; absent in histories, and without control groups of version 2"`
}

// ServiceSample is one look at the control group of one of our services, all
// of its processes together. A nil pointer means that the kernel does not
// count it there (no memory controller, no PSI), never zero.
type ServiceSample struct {
	Unit                string   `json:"unit" example:"arasul-metrics.service"`
	CPURatio            float64  `json:"cpu_ratio" doc:"Share of all cores since the sample before, 0 to 1"`
	CPUSecondsTotal     float64  `json:"cpu_seconds_total" doc:"Processor time since the unit was started"`
	MemoryBytes         *uint64  `json:"memory_bytes,omitempty" doc:"memory.current: what is charged to the unit, page cache included"`
	OOMKillsTotal       *uint64  `json:"oom_kills_total,omitempty" doc:"Processes that the kernel killed for want of memory since the unit was started"`
	PressureCPURatio    *float64 `json:"pressure_cpu_ratio,omitempty" doc:"PSI some avg10, 0 to 1"`
	PressureMemoryRatio *float64 `json:"pressure_memory_ratio,omitempty"`
	PressureIORatio     *float64 `json:"pressure_io_ratio,omitempty"`
}

// ServicePoint is what a service used in one stretch of the past: averages of
// CPU and memory, maxima of the rest. CPUSecondsTotal is not kept.
type ServicePoint struct {
	Time time.Time `json:"timestamp" doc:"Of the first sample of the stretch"`
	ServiceSample
}

// Service is one of our units as systemd sees it, with our verdict.
type Service struct {
	Name        string     `json:"name" example:"metrics" doc:"Short name: the unit without arasul- and suffix"`
	Unit        string     `json:"unit" example:"arasul-metrics.service"`
	Description string     `json:"description"`
	Status      Status     `json:"status" enum:"up,degraded,down,unknown"`
	Reason      string     `json:"reason,omitempty" doc:"Why it is not up, in words"`
	LoadState   string     `json:"load_state"`
	ActiveState string     `json:"active_state"`
	SubState    string     `json:"sub_state"`
	Result      string     `json:"result" doc:"systemd's result of the last run: success, exit-code, signal, watchdog, …"`
	Restarts    uint32     `json:"restarts" doc:"systemd's NRestarts since the unit was last started by hand"`
	MainPID     uint32     `json:"main_pid"`
	Since       *time.Time `json:"since,omitempty" doc:"When the active state began"`
}

// Incident is one stretch of trouble with one unit, from the first fault to
// the proof that it is over.
type Incident struct {
	ID          string        `json:"id"`
	Unit        string        `json:"unit"`
	Fault       Fault         `json:"fault" enum:"crashed,hung,exited,failed,start-limit,oom-killed,unresponsive"`
	Detail      string        `json:"detail" doc:"What was seen, in words"`
	State       IncidentState `json:"state" enum:"open,acting,verifying,resolved,exhausted"`
	Failures    []Failure     `json:"failures" doc:"The faults seen while it was open, oldest first; the newest 50"`
	Count       int           `json:"failure_count" doc:"All faults counted while it was open"`
	FaultAt     time.Time     `json:"fault_at" doc:"When systemd says it happened"`
	DetectedAt  time.Time     `json:"detected_at" doc:"When the healer knew"`
	ActedAt     *time.Time    `json:"acted_at,omitempty" doc:"When the first repair began, systemd's own restart included"`
	RecoveredAt *time.Time    `json:"recovered_at,omitempty" doc:"When the unit was up again"`
	VerifiedAt  *time.Time    `json:"verified_at,omitempty" doc:"When the repair was proven"`
	ClosedAt    *time.Time    `json:"closed_at,omitempty"`
	Actions     []Action      `json:"actions"`
}

// Failure is one fault of an incident: when it happened and when we knew.
type Failure struct {
	Fault      Fault     `json:"fault"`
	Detail     string    `json:"detail"`
	At         time.Time `json:"at" doc:"When systemd says it happened"`
	DetectedAt time.Time `json:"detected_at" doc:"When the healer knew"`
}

// Fault says what kind of trouble an incident is about.
type Fault string

// The faults that the healer can name.
const (
	Crashed      Fault = "crashed"      // killed by a signal, or dumped core
	Hung         Fault = "hung"         // the unit watchdog fired
	Exited       Fault = "exited"       // left with a status other than zero
	Failed       Fault = "failed"       // could not be started
	StartLimit   Fault = "start-limit"  // systemd gave up restarting it
	OOMKilled    Fault = "oom-killed"   // the kernel ran out of memory
	Unresponsive Fault = "unresponsive" // runs, but its probe fails
)

// IncidentState is where an incident is in its life; see package heal.
type IncidentState string

// The states of an incident.
const (
	IncidentOpen      IncidentState = "open"
	IncidentActing    IncidentState = "acting"
	IncidentVerifying IncidentState = "verifying"
	IncidentResolved  IncidentState = "resolved"
	IncidentExhausted IncidentState = "exhausted"
)

// Action is one attempt at repair within an incident.
type Action struct {
	Attempt    int        `json:"attempt"`
	Kind       string     `json:"action" enum:"systemd-restart,restart,stop-start" doc:"systemd-restart is systemd's own Restart="`
	Reason     string     `json:"reason"`
	StartedAt  time.Time  `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at,omitempty"`
	Outcome    string     `json:"outcome" enum:"running,helped,failed,refused" doc:"Did it help"`
	Error      string     `json:"error,omitempty"`
}

// HealerStatus is what the healer says about itself.
type HealerStatus struct {
	Mode        string    `json:"mode" enum:"act,shadow"`
	Maintenance bool      `json:"maintenance"`
	LastCheck   time.Time `json:"last_check"`
	Open        int       `json:"open_incidents"`
	Mirrored    bool      `json:"mirrored" doc:"Every event has reached PostgreSQL"`
	Timestamp   time.Time `json:"timestamp"`
}

// SystemStatus is the answer to "is all well?".
type SystemStatus struct {
	Status    Overall   `json:"status" enum:"OK,WARNING,CRITICAL"`
	Reasons   []Reason  `json:"reasons" doc:"Why it is not OK, worst first; empty when it is"`
	Healing   bool      `json:"healing" doc:"A repair is under way"`
	Hostname  string    `json:"hostname"`
	Version   string    `json:"version"`
	UptimeS   float64   `json:"uptime_seconds" doc:"Since the kernel started; 0 before the first sample"`
	Timestamp time.Time `json:"timestamp"`
}

// Reason is one thing that keeps the appliance from being OK. Code is stable
// and is what the page translates; Message is its English form.
type Reason struct {
	Severity Overall `json:"severity" enum:"WARNING,CRITICAL"`
	Code     string  `json:"code" enum:"service-down,service-needs-help,service-stopped,service-restarting,service-restarted,database-unreachable,temperature-high,cpu-high,disk-high,metrics-stale,healer-unreachable,healer-paused"`
	Subject  string  `json:"subject,omitempty" doc:"The unit or the thing it is about"`
	Message  string  `json:"message"`
}

// Event is one message of the live stream. Exactly one field but Type is set.
type Event struct {
	Type     string        `json:"type" enum:"sample,services,incident,status"`
	Sample   *Sample       `json:"sample,omitempty"`
	Services []Service     `json:"services,omitempty"`
	Incident *Incident     `json:"incident,omitempty"`
	Status   *SystemStatus `json:"status,omitempty"`
}
