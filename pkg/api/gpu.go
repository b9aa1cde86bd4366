package api

import "time"

// GPUBackend says through what a GPU is seen.
type GPUBackend string

// The back ends. None is no error: most machines have no GPU.
const (
	GPUNone   GPUBackend = "none"
	GPUNVML   GPUBackend = "nvml"   // NVIDIA's library: cards, and Jetson Thor
	GPUJetson GPUBackend = "jetson" // sysfs: Jetson up to Orin
)

// GPUStatus is one look at all GPUs, with the verdict on them.
type GPUStatus struct {
	Time     time.Time    `json:"timestamp"`
	Backend  GPUBackend   `json:"backend" enum:"none,nvml,jetson"`
	Reason   string       `json:"reason,omitempty" doc:"Why there is no GPU to see, in words"`
	GPUs     []GPU        `json:"gpus"`
	Problems []GPUProblem `json:"problems" doc:"What is wrong now; empty when nothing is"`
	Caps     []GPUCap     `json:"caps" doc:"Limits that we set and will take back"`
}

// GPU is one GPU at one moment. Ratios run from 0 to 1. A nil pointer means
// that this GPU cannot say, never zero.
type GPU struct {
	ID     string `json:"id" example:"00000000:65:00.0" doc:"PCI address, or the device's name on a Jetson"`
	Name   string `json:"name"`
	Driver string `json:"driver,omitempty" example:"L4T 36.4.3" doc:"Version of the driver"`

	UtilisationRatio *float64 `json:"utilisation_ratio,omitempty" doc:"Share of time with work on the GPU"`

	MemoryUnified    bool    `json:"memory_unified" doc:"The GPU has no memory of its own: total is the machine's"`
	MemoryTotalBytes *uint64 `json:"memory_total_bytes,omitempty"`
	MemoryUsedBytes  *uint64 `json:"memory_used_bytes,omitempty" doc:"Held for the GPU, by all processes"`

	TemperatureCelsius *float64 `json:"temperature_celsius,omitempty"`
	SlowdownCelsius    *float64 `json:"slowdown_celsius,omitempty" doc:"Where the board begins to slow itself down"`
	PowerWatts         *float64 `json:"power_watts,omitempty" doc:"On a Jetson: of the rail that feeds the GPU"`

	ClockHertz       *uint64 `json:"clock_hertz,omitempty"`
	ClockMaxHertz    *uint64 `json:"clock_max_hertz,omitempty" doc:"The fastest the GPU can run"`
	MemoryClockHertz *uint64 `json:"memory_clock_hertz,omitempty"`

	Throttle  []string     `json:"throttle" doc:"Why it runs slower than it could: power-cap, hw-slowdown, sw-thermal, hw-thermal, power-brake, clock-limit"`
	Processes []GPUProcess `json:"processes" doc:"At most 256"`

	ECCUncorrectedTotal *uint64     `json:"ecc_uncorrected_total,omitempty" doc:"Since the driver was loaded"`
	Recovery            GPURecovery `json:"recovery,omitempty" enum:"none,restart,reset,drain,reboot" doc:"What the driver itself asks for; absent when it cannot say"`
}

// GPUProcess is one process that holds memory for the GPU.
type GPUProcess struct {
	PID         uint32  `json:"pid"`
	Name        string  `json:"name,omitempty"`
	MemoryBytes *uint64 `json:"memory_bytes,omitempty"`
}

// GPURecovery is what helps a GPU, least costly first.
type GPURecovery string

// The recoveries that NVIDIA's driver and its Xid catalogue name.
const (
	RecoverNothing GPURecovery = "none"
	RecoverRestart GPURecovery = "restart" // the program that used the GPU
	RecoverReset   GPURecovery = "reset"   // the GPU
	RecoverDrain   GPURecovery = "drain"   // stop giving it work; reset it then
	RecoverReboot  GPURecovery = "reboot"  // the machine
)

// GPUProblem is something wrong with a GPU at this moment.
type GPUProblem struct {
	GPU      string         `json:"gpu"`
	Kind     GPUProblemKind `json:"kind" enum:"memory,hang,temperature,fault"`
	Level    GPULevel       `json:"level" enum:"warning,critical,limit"`
	Since    time.Time      `json:"since"`
	Recovery GPURecovery    `json:"recovery,omitempty" enum:"restart,reset,drain,reboot" doc:"For a fault: what helps"`
	Message  string         `json:"message" doc:"What was seen, in words"`
}

// GPUProblemKind is what sort of problem a GPU has.
type GPUProblemKind string

// The kinds of problems.
const (
	GPUMemory      GPUProblemKind = "memory"      // CUDA is about to run out of it
	GPUHang        GPUProblemKind = "hang"        // busy, and nothing comes out
	GPUTemperature GPUProblemKind = "temperature" // close to where the board slows down
	GPUFault       GPUProblemKind = "fault"       // the driver reports an error of the GPU
)

// GPULevel is how bad a problem is.
type GPULevel string

// The levels of a problem, worst last.
const (
	GPUWarning  GPULevel = "warning"
	GPUCritical GPULevel = "critical"
	GPUAtLimit  GPULevel = "limit"
)

// GPUEvent is something that happened to a GPU, or was done to it.
type GPUEvent struct {
	Time     time.Time    `json:"timestamp" doc:"Of the first, when it happened several times"`
	GPU      string       `json:"gpu,omitempty"`
	Kind     GPUEventKind `json:"kind" enum:"xid,ecc,lost,recovery,problem,cleared,cap,uncap,reset,backend"`
	Code     uint64       `json:"code,omitempty" doc:"The Xid's number"`
	Recovery GPURecovery  `json:"recovery,omitempty" enum:"restart,reset,drain,reboot"`
	Count    int          `json:"count" doc:"How often within ten minutes"`
	Message  string       `json:"message"`
}

// GPUEventKind is what sort of thing happened.
type GPUEventKind string

// The kinds of events: the first four come from the driver.
const (
	GPUEventXid      GPUEventKind = "xid"
	GPUEventECC      GPUEventKind = "ecc"
	GPUEventLost     GPUEventKind = "lost"
	GPUEventRecovery GPUEventKind = "recovery"
	GPUEventProblem  GPUEventKind = "problem"
	GPUEventCleared  GPUEventKind = "cleared"
	GPUEventCap      GPUEventKind = "cap"
	GPUEventUncap    GPUEventKind = "uncap"
	GPUEventReset    GPUEventKind = "reset"
	GPUEventBackend  GPUEventKind = "backend"
)

// GPULimit is the one setting of a GPU that makes it run cooler: the highest
// clock of a Jetson, in hertz, or the power of a card, in milliwatts.
type GPULimit struct {
	Unit  string   `json:"unit" enum:"hertz,milliwatts"`
	Now   uint64   `json:"now"`
	Min   uint64   `json:"min"`
	Full  uint64   `json:"full" doc:"Without any cap"`
	Steps []uint64 `json:"steps,omitempty" doc:"The only values it takes, ascending; empty: any from min to full"`
}

// GPUCap is a limit that we lowered, and what it was before.
type GPUCap struct {
	GPU    string      `json:"gpu"`
	Level  GPUCapLevel `json:"level" enum:"light,deep,lowest"`
	Unit   string      `json:"unit" enum:"hertz,milliwatts"`
	Value  uint64      `json:"value"`
	Before uint64      `json:"before" doc:"What taking the cap back restores"`
	Since  time.Time   `json:"since"`
}

// GPUCapLevel is how far a GPU is held back.
type GPUCapLevel string

// The levels of a cap.
const (
	CapLight  GPUCapLevel = "light"  // 80 % of full
	CapDeep   GPUCapLevel = "deep"   // 50 % of full
	CapLowest GPUCapLevel = "lowest" // the least that the GPU takes
)
