// Package migrations holds the numbered steps that bring a database to the
// schema this program works with.
//
// It only embeds the files; package postgres runs them. A step that was
// released is never edited, a new one is added. There are no steps backwards:
// a program runs on the schema of the release after it, and an update that is
// rolled back restores its database snapshot.
package migrations

import (
	"embed"
	"strconv"
	"strings"
)

// FS holds the migrations in goose's format.
//
//go:embed *.sql
var FS embed.FS

// Latest is the number of the newest step: the version of the schema that this
// program brings.
func Latest() int {
	latest := 0
	entries, _ := FS.ReadDir(".") // it is in the program
	for _, e := range entries {
		number, _, _ := strings.Cut(e.Name(), "_")
		if n, err := strconv.Atoi(number); err == nil {
			latest = max(latest, n)
		}
	}
	return latest
}
