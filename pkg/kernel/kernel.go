// Package kernel listens to the kernel: to the lines of its log that tell of
// trouble, and to its alarm when tasks wait too long for memory, CPU or disk.
//
// It hands on what it understands, from the moment it begins to listen, and
// keeps nothing. It does not judge what an event means, nor whose disk it is;
// it reads neither the journal nor what was said before.
//
// # Whom it believes
//
// A line counts by how it begins, and up to the last character that the kernel
// itself writes: names of processes and control groups stand in the middle of
// many lines, and anybody may choose those of his own. Fifteen characters at
// the very beginning can be a process's name too, as in "NAME[123]: segfault
// at 0", so no rule is content with so few.
//
// What root writes into /dev/kmsg is believed like the kernel's own word: it
// is how a fault is staged on a running appliance, nobody else may open the
// file for writing, and root has no need of a trick. The one stranger's text
// that gets there is what journald forwards (ForwardToKMsg=, off by default).
// It carries its sender's "[pid]: ", and is not believed.
package kernel

import "errors"

// ErrAbsent says that this machine, or this container, has nothing to listen
// to there.
var ErrAbsent = errors.New("the kernel offers none here")
