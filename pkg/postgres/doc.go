// Package postgres keeps what should outlive a reboot and be asked for in SQL:
// the samples of the last days and the story of every incident.
//
// It has three parts. [Init] and [Exec] run a private instance of the
// distribution's PostgreSQL server: one unix socket, no TCP, no password.
// [Provision] creates roles and database, migrates the schema and grants each
// daemon what it needs. [Open] gives a daemon its two connections.
//
// Who may be whom is decided by the kernel: the server asks it for the user at
// the other end of the socket (peer authentication) and looks up in
// [ServerOptions.Peers] which role that user may take.
//
//	arasul_owner      owns the schema; nobody can log in as it
//	arasul-metrics    adds samples; creates and drops partitions through functions
//	arasul-healer     adds and updates incidents
//	arasul-dashboard  reads; keeps the admin, his sessions, and the audit, which it cannot change
//
// The package does not retry, queue or spool: a daemon works without a
// database and knows itself what to keep until it is back. Every call returns
// within ten seconds, whatever the server does. It does not take a data
// directory from one major version to the next either.
package postgres
