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

	DiskTotalBytes uint64  `json:"disk_total_bytes" doc:"What services can use of the file system that holds /var/lib/arasul, as df counts: without what is kept for root"`
	DiskUsedBytes  uint64  `json:"disk_used_bytes"`
	DiskReadBps    float64 `json:"disk_read_bytes_per_second" doc:"All whole disks together"`
	DiskWriteBps   float64 `json:"disk_write_bytes_per_second"`

	NetworkReceiveBps  float64 `json:"network_receive_bytes_per_second" doc:"All interfaces but loopback and container bridges"`
	NetworkTransmitBps float64 `json:"network_transmit_bytes_per_second"`

	TemperatureCelsius  *float64 `json:"temperature_celsius,omitempty" doc:"Hottest thermal zone; absent without a sensor"`
	TripCelsius         *float64 `json:"trip_celsius,omitempty" doc:"Where the board begins to slow itself down: the lowest passive trip point of its thermal zones"`
	PressureCPURatio    *float64 `json:"pressure_cpu_ratio,omitempty" doc:"PSI some avg10, 0 to 1; absent when the kernel has no PSI"`
	PressureMemoryRatio *float64 `json:"pressure_memory_ratio,omitempty"`
	PressureIORatio     *float64 `json:"pressure_io_ratio,omitempty"`

	// All GPUs together: the most of each, the sum of memory and power.
	GPUUtilisationRatio   *float64 `json:"gpu_utilisation_ratio,omitempty" doc:"Share of time with work on the GPU, 0 to 1: of the busiest; absent without a GPU"`
	GPUMemoryTotalBytes   *uint64  `json:"gpu_memory_total_bytes,omitempty" doc:"Of all GPUs together; on a Jetson the machine's"`
	GPUMemoryUsedBytes    *uint64  `json:"gpu_memory_used_bytes,omitempty" doc:"Held for all GPUs together"`
	GPUTemperatureCelsius *float64 `json:"gpu_temperature_celsius,omitempty" doc:"Of the hottest"`
	GPUPowerWatts         *float64 `json:"gpu_power_watts,omitempty" doc:"Of all GPUs together"`

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
	Restartable bool       `json:"restartable" doc:"The healer looks after it, and restarts it for who asks"`
}

// Incident is one stretch of trouble, from the first fault to the proof that
// it is over: with one unit, or with the machine as a whole.
type Incident struct {
	ID          string        `json:"id"`
	Rule        string        `json:"rule" example:"down" doc:"Which rule of the policy it is about; down: a unit is not up; request: somebody asked for a restart"`
	Class       Class         `json:"class" enum:"A,B,C"`
	Policy      string        `json:"policy" doc:"First 12 digits of the SHA-256 of the policy in force when it was opened"`
	Unit        string        `json:"unit,omitempty" doc:"The unit in trouble; absent when it is the machine"`
	Fault       Fault         `json:"fault" enum:"crashed,hung,exited,failed,start-limit,oom-killed,unresponsive,measured,requested"`
	Detail      string        `json:"detail" doc:"What was seen, in words"`
	State       IncidentState `json:"state" enum:"open,suppressed,acting,verifying,holding,resolved,exhausted"`
	Cause       string        `json:"cause,omitempty" doc:"While suppressed: what is waited for, a unit that this one needs"`
	Failures    []Failure     `json:"failures" doc:"The faults seen while it was open, oldest first; the newest 50"`
	Count       int           `json:"failure_count" doc:"All faults counted while it was open"`
	FaultAt     time.Time     `json:"fault_at" doc:"When it happened: systemd's time, or of the first reading beyond the limit"`
	DetectedAt  time.Time     `json:"detected_at" doc:"When the healer knew"`
	ActedAt     *time.Time    `json:"acted_at,omitempty" doc:"When the first repair began, systemd's own restart included"`
	RecoveredAt *time.Time    `json:"recovered_at,omitempty" doc:"When the unit was up again, or the readings were"`
	VerifiedAt  *time.Time    `json:"verified_at,omitempty" doc:"When the repair was proven"`
	ClosedAt    *time.Time    `json:"closed_at,omitempty"`
	Actions     []Action      `json:"actions"`
}

// Class says how serious a rule is.
type Class string

// The classes of rules. What spec HEAL calls D, a reboot, is an action.
const (
	ClassService  Class = "A" // a unit is not up
	ClassOverload Class = "B" // too much of something, nothing is broken yet
	ClassCritical Class = "C" // the appliance does not do its work, or is about not to
)

// IncidentQuery says which incidents are asked for. Fields that are zero leave
// it open; Limit never is.
type IncidentQuery struct {
	Rule   string
	Class  Class
	Unit   string
	State  IncidentState
	Open   bool      // only those that are not over
	Since  time.Time // whose fault happened then or later
	Before time.Time // whose fault happened earlier
	Limit  int       // as many, and those of the same instant as the last
}

// Failure is one fault of an incident: when it happened and when we knew.
type Failure struct {
	Fault      Fault     `json:"fault"`
	Detail     string    `json:"detail"`
	At         time.Time `json:"at" doc:"When it happened"`
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
	Measured     Fault = "measured"     // the readings that the rule names are beyond its limits
	Requested    Fault = "requested"    // none: somebody asked for a restart
)

// IncidentState is where an incident is in its life; see package heal.
type IncidentState string

// The states of an incident.
const (
	IncidentOpen       IncidentState = "open"
	IncidentSuppressed IncidentState = "suppressed" // what it needs is in trouble itself
	IncidentActing     IncidentState = "acting"
	IncidentVerifying  IncidentState = "verifying"
	IncidentHolding    IncidentState = "holding" // over, and what was done against it is yet to be taken back
	IncidentResolved   IncidentState = "resolved"
	IncidentExhausted  IncidentState = "exhausted"
)

// Action is one attempt at repair within an incident, or the taking back of one.
type Action struct {
	Attempt    int        `json:"attempt"`
	Kind       string     `json:"action" example:"restart" doc:"What was done: one of the actions in docs/healing.md; systemd-restart is systemd's own Restart="`
	Unit       string     `json:"unit,omitempty" doc:"What it was done to; absent when it is the machine"`
	Reason     string     `json:"reason"`
	StartedAt  time.Time  `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at,omitempty"`
	Outcome    string     `json:"outcome" enum:"running,helped,failed,refused,undone" doc:"Did it help; undone: a measure that was taken back in good order"`
	Error      string     `json:"error,omitempty"`
}

// Reading is one number that a detector can look at.
type Reading struct {
	Metric string    `json:"metric" example:"cpu_ratio"`
	Of     string    `json:"of,omitempty" example:"arasul-llm.service" doc:"Whose, where there are several"`
	Value  float64   `json:"value"`
	Time   time.Time `json:"timestamp"`
}

// ProbeResult is what one look of a probe at one unit came to.
type ProbeResult struct {
	Unit     string    `json:"unit" example:"arasul-proxy.service"`
	Status   Status    `json:"status" enum:"up,degraded,down,unknown"`
	Detail   string    `json:"detail,omitempty" doc:"Why it is not up, in words"`
	Duration float64   `json:"duration_seconds"`
	Time     time.Time `json:"timestamp"`
	Models   []Model   `json:"models,omitempty" doc:"Of an Ollama: what it has loaded"`
}

// Model is a language model that an Ollama has loaded.
type Model struct {
	Name     string `json:"name" example:"llama3.1:8b"`
	Bytes    int64  `json:"bytes" doc:"What it takes, wherever it lies"`
	GPUBytes int64  `json:"gpu_bytes" doc:"What of it lies on the GPU; 0: it runs on the CPU"`
	Context  int    `json:"context_tokens" doc:"How much of a conversation it remembers"`
}

// KernelEvent is one line of the kernel's log that means trouble.
type KernelEvent struct {
	Time   time.Time       `json:"timestamp"`
	Kind   KernelEventKind `json:"kind" enum:"oom-kill,io-error,filesystem-error,hung-task,gpu-xid,gpu-error"`
	Device string          `json:"device,omitempty" example:"sda" doc:"Block device, PCI address or control group, as far as the line names one"`
	Code   uint64          `json:"code,omitempty" doc:"The Xid's number"`
	Text   string          `json:"text" doc:"The line, at most 256 bytes"`
}

// KernelEventKind is what sort of trouble a line tells of.
type KernelEventKind string

// The kinds of kernel events.
const (
	KernelOOMKill         KernelEventKind = "oom-kill"
	KernelIOError         KernelEventKind = "io-error"
	KernelFilesystemError KernelEventKind = "filesystem-error"
	KernelHungTask        KernelEventKind = "hung-task"
	KernelXid             KernelEventKind = "gpu-xid"
	KernelGPUError        KernelEventKind = "gpu-error" // nvgpu, on a Jetson
)

// Reboot is one restart of the machine that the healer asked for.
type Reboot struct {
	BootID      string     `json:"boot_id" doc:"The kernel's, of the boot that was ended"`
	Rule        string     `json:"rule"`
	Incident    string     `json:"incident"`
	Reason      string     `json:"reason"`
	RequestedAt time.Time  `json:"requested_at"`
	BootedAt    *time.Time `json:"booted_at,omitempty" doc:"When the healer ran again"`
	ValidatedAt *time.Time `json:"validated_at,omitempty" doc:"When it was judged whether the reason had gone"`
	Helped      *bool      `json:"helped,omitempty"`
}

// HealerStatus is what the healer says about itself.
type HealerStatus struct {
	Mode        string     `json:"mode" enum:"act,shadow"`
	Maintenance bool       `json:"maintenance"`
	Policy      string     `json:"policy" doc:"First 12 digits of the SHA-256 of the policy in force"`
	Lease       *Lease     `json:"lease,omitempty" doc:"Somebody asked for hands off for a while"`
	BreakerOpen *time.Time `json:"breaker_open_until,omitempty" doc:"Too much was done in too short a time: nothing more is done until then"`
	LastCheck   time.Time  `json:"last_check"`
	Open        int        `json:"open_incidents"`
	Mirrored    bool       `json:"mirrored" doc:"Every event has reached PostgreSQL"`
	LostEvents  uint64     `json:"lost_events" doc:"Events that had no room left while PostgreSQL was away; since the healer's start"`
	Units       []string   `json:"units,omitempty" doc:"That it looks after"`
	Timestamp   time.Time  `json:"timestamp"`
}

// Lease keeps the healer's hands off for a while: the updater's.
type Lease struct {
	Holder string    `json:"holder" example:"updater"`
	Until  time.Time `json:"until"`
}

// FaultStatistics says how one kind of fault was dealt with. Seconds are
// percentiles over its incidents.
type FaultStatistics struct {
	Rule     string     `json:"rule"`
	Fault    Fault      `json:"fault"`
	Count    int        `json:"count" doc:"Incidents"`
	Resolved int        `json:"resolved"`
	Detect   Percentile `json:"detect_seconds" doc:"From the fault until the healer knew"`
	Repair   Percentile `json:"repair_seconds" doc:"From the fault until the unit, or the readings, were well again"`
}

// Percentile is a distribution in three numbers.
type Percentile struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
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
	Code     string  `json:"code" enum:"service-down,service-needs-help,service-stopped,service-restarting,service-restarted,database-unreachable,temperature-high,cpu-high,disk-high,metrics-stale,healer-unreachable,healer-paused,healer-breaker,incident-open,incident-exhausted"`
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
