package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/arasul/arasul/pkg/atomicfile"
)

// EnvPath is where it stands which image each application runs.
const EnvPath = "/var/lib/arasul/images.env"

const maxEnv = 64 << 10

const envHead = `# Which container image each application runs, by its ID. Written by
# "arasul images pull" and "arasul images load".
`

// Chosen reads images.env: the ID of the image of each variable. A missing file
// is an empty one.
func Chosen(path string) (map[string]string, error) {
	text, err := readEnv(path)
	if err != nil {
		return nil, err
	}
	chosen := map[string]string{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, id, ok := strings.Cut(line, "=")
		if !ok || !ValidID(id) {
			return nil, fmt.Errorf("%s:%d: %q is not NAME=sha256:… with 64 hexadecimal digits", path, n, line)
		}
		chosen[name] = id
	}
	return chosen, nil
}

// Choose sets the image of a variable in images.env, and leaves all else there as
// it is.
func Choose(path, variable, id string) error {
	if !ValidID(id) {
		return fmt.Errorf("%q is not the ID of an image", id)
	}
	text, err := readEnv(path)
	if err != nil {
		return err
	}
	if text == "" {
		text = envHead
	}
	var out strings.Builder
	found := false
	for line := range strings.Lines(text) {
		if name, _, ok := strings.Cut(line, "="); ok && strings.TrimSpace(name) == variable {
			if found {
				continue
			}
			line, found = variable+"="+id, true
		}
		out.WriteString(strings.TrimSuffix(line, "\n") + "\n")
	}
	if !found {
		out.WriteString(variable + "=" + id + "\n")
	}
	return atomicfile.Write(path, []byte(out.String()), 0o644)
}

func readEnv(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", err
	case info.Size() > maxEnv:
		return "", fmt.Errorf("%s: %d bytes, the limit is %d", path, info.Size(), maxEnv)
	}
	data, err := os.ReadFile(path) //nolint:gosec // a path of ours
	return string(data), err
}

// ValidID says whether s is the ID of an image.
func ValidID(s string) bool {
	digits, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(digits) == 64 && strings.Trim(digits, "0123456789abcdef") == ""
}
