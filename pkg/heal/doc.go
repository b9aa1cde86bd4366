// Package heal decides what to do about units that fail and about what is
// measured, and remembers it.
//
// Deciding is Reduce, a pure function: from policy, state, an observation and
// the time it makes the next state and the command to run. It looks at nothing,
// does nothing and waits for nothing, so that yesterday's observations can be run
// again through tomorrow's policy. Healer is the loop around it: it feeds Reduce,
// has its commands carried out, keeps the state in a file and hands what happened
// to PostgreSQL through a queue on disk.
//
// It does not talk to D-Bus, to a database or to a service itself: the daemon's
// wiring introduces the eyes, the senses, the probes, the hands and the mirror.
//
// An incident is one stretch of trouble: with one unit that is not up (the rule
// "down"), or with what a rule of the policy measures.
//
//	fault, or the rule's detectors fire
//	  │
//	  ▼          a rung is taken           the unit is up, or
//	open ─────────────────────► acting ─── it was done ───────► verifying
//	 │ ▲ ▲                        │                              │      │
//	 │ │ └── it did not help: ◄───┘◄──── again, or no better ────┘      │
//	 │ │     the next rung                                              │ it helped
//	 │ │                                                                ▼
//	 │ └─ suppressed: a unit that this one needs is not well       holding, while a
//	 │                                                             measure is in force
//	 └── no rung or budget left ──► exhausted                           │ taken back
//	        (from the top after retry)     └── well by itself ─────► resolved
//
// systemd's own restart always comes first: the healer steps in when a unit has
// failed for good, does not answer its probe, or systemd took longer than grace.
// What systemd is busy with, a start or a stop, is left to systemd and the unit's
// own time limits. A unit that an operator stopped is left alone: it is inactive
// and nothing is queued, which no fault leaves behind while Restart= is set.
//
// One command runs at a time. What keeps the hands off, in this order: a command
// under way, maintenance, a lease, the breaker; then for one incident a unit that
// it needs, a unit that somebody stopped, an action that twice did not last, a
// cooldown, a budget, and for a reboot the configuration and its limits. What was
// done and has to be taken back is taken back whatever the breaker says.
//
// What an operator asks for (Request) is an incident of its own, too: open until
// it is its turn, acting, verifying, resolved. It has no ladder: what does not
// come up is from then on the rule "down".
//
// Time is what the caller says. Readings and commands carry the monotonic clock
// of the process, so that a clock that is set is no hour that has passed.
package heal
