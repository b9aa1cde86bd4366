// Package issue puts a text above the login prompt of the screens and serial
// lines that are attached to the machine: a file in /run/issue.d, which agetty
// reads.
//
// It does not print to a console, it does not reach people who come in over the
// network, and a machine without a login prompt loses nothing by it.
package issue

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/atomicfile"
)

// Where things lie on an installed machine.
const (
	Path   = "/run/issue.d/arasul.issue"
	Reload = "/run/agetty.reload" // agetty prints its prompt anew when this file is touched
)

// maxBytes bounds the file: a screen has 25 lines.
const maxBytes = 8 << 10

// File is our part of the text.
type File struct{ Path, Reload string }

// Text is what is shown now, as it was given to Show; empty when nothing is.
func (f File) Text() (string, error) {
	info, err := os.Stat(f.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", err
	case info.Size() > maxBytes:
		return "", fmt.Errorf("%s: %d bytes, the limit is %d", f.Path, info.Size(), maxBytes)
	}
	text, err := os.ReadFile(f.Path)
	return strings.ReplaceAll(string(text), `\\`, `\`), err
}

// Show replaces the text, which only root and so agetty can read, and has the
// prompts printed anew where nobody has begun to log in.
func (f File) Show(text string) error {
	if len(text) > maxBytes {
		return fmt.Errorf("%d bytes are too many for a screen", len(text))
	}
	// A backslash would ask agetty to put something in its place.
	text = strings.ReplaceAll(text, `\`, `\\`)
	if err := atomicfile.Write(f.Path, []byte(text), 0o600); err != nil {
		return fmt.Errorf("writing %s: %w", f.Path, err)
	}
	f.reload()
	return nil
}

// Clear removes the text.
func (f File) Clear() error {
	err := os.Remove(f.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	f.reload()
	return nil
}

// reload does what "agetty --reload" does. Without it the text appears with the
// next prompt, so what it says does not matter.
func (f File) reload() {
	now := time.Now()
	_ = os.Chtimes(f.Reload, now, now)
}
