// Package heal decides what to do about units that fail, and remembers it.
//
// Deciding is Reduce, a pure function: from policy, state, an observation and
// the time it makes the next state and the commands to run. It looks at
// nothing, does nothing and waits for nothing, so that yesterday's observations
// can be run again through tomorrow's policy. Healer is the loop around it: it
// feeds Reduce, hands its commands to systemd, keeps the state in a file and
// mirrors it to PostgreSQL.
//
// It does not talk to D-Bus or to a database itself: the daemon's wiring
// introduces the eyes, the hands and the mirror.
//
// An incident is one stretch of trouble with one unit:
//
//	fault
//	  │                         fault again
//	  ▼                      ┌───────────────┐
//	open ──── systemd ────► acting ──up──► verifying ──stayed up──► resolved
//	  │       restarts       ▲                │
//	  │                      │                │ fault again
//	  └── failed, or too ────┘◄───────────────┘
//	      slow: next rung    │
//	                         └── no rung or budget left ──► exhausted
//	                                         (from the top after retry)
//
// systemd's own restart always comes first: the healer steps in when the unit
// has failed for good or systemd took longer than grace. One command runs at a
// time, for the unit that is earliest in start order, because what others
// depend on has to stand first. What systemd is busy with, a start or a stop, is
// left to systemd and the unit's own time limits. A unit that an operator stopped
// is left alone: it is inactive and nothing is queued, which no fault leaves
// behind while Restart= is set.
package heal
