package dpkg

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// File is what a .deb says of itself.
type File struct{ Package, Version, Architecture string }

// Describe asks dpkg-deb about the file at path.
func (Client) Describe(ctx context.Context, path string) (f File, err error) {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--show", "--showformat=${Package}\n${Version}\n${Architecture}\n", "--", path) //nolint:gosec // a file that its user named
	out, err := cmd.Output()
	if err != nil {
		said := ""
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			said = ": " + firstLine(string(exit.Stderr))
		}
		return f, fmt.Errorf("reading the package %s: %w%s", path, err, said)
	}
	lines := strings.Split(string(out), "\n")
	if len(lines) < 3 || lines[0] == "" || lines[1] == "" || lines[2] == "" {
		return f, fmt.Errorf("the package %s does not say its name, version and architecture", path)
	}
	return File{lines[0], lines[1], lines[2]}, nil
}
