// Package gpu decides what the state of the GPUs means, and carries out what is
// asked for them: hold them back, let them go, reset one.
//
//	            ┌── Jetson's sysfs: load file there? ──► jetson
//	none ──────►┤ no
//	 ▲  every   └── NVML: starts, and no name has "(nvgpu)"? ──► nvml
//	 │  10 s        no: none, with the reason
//	 └── three samples in a row failed, or a GPU is being reset
//
// No choice is for good: drivers come up long after boot, and go. NVML on a
// Jetson up to Orin starts, names the GPU "Orin (nvgpu)" and knows nothing else,
// which is why its success proves nothing.
//
// A problem needs three of the last five samples to begin and to end, and ends
// below where it began, so that neither one spike nor a value at the edge moves
// anything. A hang needs to know how many tokens were produced (PUT /tokens): a
// GPU at 100 % is a GPU at work, and without that knowledge there is no verdict.
//
// A cap is written to disk before it is set, with the value that was there
// before, so that a crash in between loses neither:
//
//	write {before, value} ──► set value ──► … ──► set before ──► forget
//	          │ crash: limit is not value, forget   │ crash: limit is before, forget
//
// The package does not decide when to cap, to reset or to restart: the healer
// does, and it stops the units that use the GPU before it asks for a reset. It
// does not touch hardware either: Backend is what cmd introduces it to.
package gpu
