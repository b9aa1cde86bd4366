package dpkg

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// lacksWithin is how long apt may think; it takes a second on a slow machine.
const lacksWithin = time.Minute

// Lacks says what keeps the package at path from being installed on this machine as it
// is: another package that is missing, or stands in the way. dpkg would find that out
// when all services have been stopped. apt judges it here by what is installed alone,
// and fetches nothing. Where apt cannot be asked, nothing is known to be missing: dpkg
// has the last word.
func (Client) Lacks(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, lacksWithin)
	defer cancel()
	dir, err := os.MkdirTemp("", "arasul-lacks-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	named := filepath.Join(dir, Package+".deb") // apt knows a package by the end of its name
	if err := os.Symlink(path, named); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "apt-get", "--simulate", "--allow-downgrades", "--no-install-recommends", //nolint:gosec // no shell
		"--option=Dir::Etc::SourceList=/dev/null", "--option=Dir::Etc::SourceParts=/dev/null",
		"--option=Dir::Cache::pkgcache=", "--option=Dir::Cache::srcpkgcache=", "install", named)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	var said tail
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.WaitDelay = 5 * time.Second
	_ = cmd.Run() // what else apt dislikes about this machine is no fault of the package
	return unmet(said.String()), nil
}

// unmet is what apt says of our package, empty for nothing.
func unmet(said string) string {
	var reasons []string
	ours := false
	for line := range strings.Lines(said) {
		line = strings.TrimRight(line, "\n")
		of, reason, found := strings.Cut(line, " : ")
		switch name, _, _ := strings.Cut(strings.TrimSpace(of), ":"); {
		case found && strings.HasPrefix(line, " "):
			ours = name == Package
		case strings.HasPrefix(line, "  "): // more of the same
			reason = line
		default:
			ours = false
			if name, gone := strings.CutPrefix(line, "Remv "); gone {
				name, _, _ = strings.Cut(name, " ")
				reasons = append(reasons, name+" would have to go")
			}
		}
		if ours {
			reasons = append(reasons, strings.TrimSpace(reason))
		}
	}
	return strings.Join(reasons, "; ")
}
