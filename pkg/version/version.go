// Package version says which build this is.
package version

// Version is the Debian version of the package, set by the linker
// (-X github.com/arasul/arasul/pkg/version.Version=…).
var Version = "dev"
