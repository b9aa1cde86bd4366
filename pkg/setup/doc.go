// Package setup decides what the owner's answers come to: whether each of them
// can be, which models fit this machine, and what is written for them.
//
// The wizard in the terminal, a file with answers and the page all give the same
// api.Answers and end here, so that none of them can set what another could not.
// An answer that is empty leaves things as they are.
//
// It writes nothing, asks nobody, and knows no password of the admin's.
package setup
