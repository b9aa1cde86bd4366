// Package update takes the machine from one release to the next, all of it or
// nothing of it, whatever happens meanwhile.
//
// A transaction is a list of steps, each with what it does and what undoes it.
// What has been begun and what is done stands in a journal on disk, written ahead
// of each step, so that the same program, started again after a power cut, reads
// there how far it came and goes on. Both Do and Undo of a step may be called
// when it was begun before, any number of times.
//
//	            Do of each step, in order                  the last of them
//	forward ───────────────────────────────► … ─────────► done: committed ──► after it,
//	   │                                                                      what may be lost
//	   │  a step failed, was begun three times,                                    │
//	   │  the machine was booted five times, or                                    ▼
//	   │  somebody cancelled                                                   ended
//	   ▼                                                                           ▲
//	  back ──── Undo of each step that was begun, the newest first ───────────────┤
//	   │                                                                           │
//	   └──── an Undo failed three times ──► stuck: somebody has to look ──────────┘
//
// A transaction that turned back never turns forward again, and one that
// committed never turns back: the record of the commit is the point of no return,
// and every step ahead of it keeps what its Undo needs until then. Power may fail
// as often as it likes while it goes back; what counts there is errors. A copy of the
// database that cannot be removed is no error that counts, and a journal that cannot be
// read is one that leaves nothing to try.
//
// Next is the decision, a pure function of the journal. Engine carries it out.
//
// It does not read bundles, does not know systemd, podman or dpkg, and starts no
// goroutine: what the steps do is introduced by the updater's wiring.
package update
