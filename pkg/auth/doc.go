// Package auth decides who may come in: which password is good enough, whether
// this one is right, how often may be tried, whose token is genuine and whose
// session still runs.
//
// A [Gate] ties it together. Everything it remembers is in a [Store]; the pure
// parts ([Weaknesses], [Lockout.Judge], [TOTPCode]) can be read and tested alone.
//
// There is one admin. A login goes like this, and each step may end it:
//
//	lockout     too many failures by this client → LockedError
//	attempt     written down as a failure before anything is tried, so that a
//	            hundred at once count as a hundred
//	password    one bcrypt, also for a name that nobody has → ErrCredentials
//	code        with TOTP on: none → ErrCodeRequired, a wrong or used one → ErrCredentials
//	session     a new one each time; the attempt becomes a success
//
// Failures are counted per client network (an IPv4 address, an IPv6 /64): five
// within 15 minutes lock it out for 15 minutes. Thirty from anywhere lock out
// every client that we do not know. A device that logged in before carries a
// token of its own and has its own count of five, so nobody else's failures
// keep it out; a change of password makes all devices strangers again. The
// names that were tried do not matter, so they cannot be found out by being
// locked, and they are not kept: people type passwords into the wrong field.
//
// Tokens are JWTs, but a token alone opens nothing: its session must be in the
// store, which is what ends it at once, everywhere.
//
// The package does not speak HTTP or SQL, sets no cookies, keeps no audit and
// limits no rates but attempts. It never returns or logs a password, a code or
// a hash; what it returns as a token is for the client alone.
package auth
