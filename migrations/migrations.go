// Package migrations holds the numbered steps that bring a database to the
// schema this program works with.
//
// It only embeds the files; package postgres runs them. A step that was
// released is never edited, a new one is added. There are no steps backwards:
// a program runs on the schema of the release after it, and an update that is
// rolled back restores its database snapshot.
package migrations

import "embed"

// FS holds the migrations in goose's format.
//
//go:embed *.sql
var FS embed.FS
