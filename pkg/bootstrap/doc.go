// Package bootstrap takes a machine step by step to where it is ready, and says
// of each step what was found, what was done and what a person can do.
//
// A step has a check, which looks and changes nothing, and where the machine can
// help itself a fix. bootstrap runs both, doctor the checks alone:
//
//	pending ──► running ── check: well ─────────────────────────► ok
//	   │           │   ├── check: worth knowing ────────────────► warning
//	   │           │   ├── check: does not apply here ──────────► skipped
//	   │           │   ├── check: the owner said no ────────────► warning, and what needs it is skipped
//	   │           │   └── check: wrong ── no fix, or doctor ───► failed
//	   │           │                   └── fix ── check: well ──► changed
//	   │           │                         └── anything else ─► failed
//	   └── a step that it needs is not well ────────────────────► skipped
//
// Steps are taken one after the other in the order of the plan. What failed keeps
// only those back that need it, so that one run tells all that is wrong and a
// consequence is not blamed. To resume is to run again: what is well is ok at
// once. A run that is interrupted leaves the rest pending.
//
// It knows what a machine that is ready is made of, and reaches nothing by
// itself: the wiring gives it the edges. It does not ask anybody anything; that
// is arasul setup.
package bootstrap
