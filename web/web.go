// Package web holds the built page of the dashboard: index.html and hashed
// assets, each with a .br and a .gz sibling.
//
// It does not serve them; that is the dashboard's task. Without a build the
// file system is empty but for a marker, so that Go code compiles without Node.
package web

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

// Dist returns the built page, rooted where index.html lies. index.html is
// absent when the page was not built; files under assets/ carry a hash of
// their content in their name and never change.
func Dist() fs.FS {
	sub, err := fs.Sub(dist, "dist")
	if err != nil {
		panic("web: " + err.Error()) // only an invalid literal above can cause it
	}
	return sub
}
