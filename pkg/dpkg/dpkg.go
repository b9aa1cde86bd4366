// Package dpkg is our hand on the package that we are: whether it is in order,
// keeping a copy of it as it is installed, and putting another in its place.
//
// It calls dpkg and dpkg-repack, which sync what they write, and waits for others
// that are at it. It does not know which package is right.
package dpkg

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // what dpkg knows conffiles by
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Package is ours.
const Package = "arasul"

const (
	maxSaid   = 64 << 10 // of what a program says: the end of it counts
	lockPause = 3 * time.Second
)

// options of dpkg. The first is against those that Debian's container images set.
// A file of /etc that somebody edited stays as it is, and nobody is asked.
var options = []string{"--no-force-unsafe-io", "--force-confdef", "--force-confold"}

// Client calls the programs. The zero value is ready to use.
type Client struct{}

// Version returns the version that is installed, empty for none.
func (Client) Version(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "dpkg-query", "--show", "--showformat=${Version}", Package).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		return "", nil
	}
	return strings.TrimSpace(string(out)), err
}

// Check says which packages are half installed. An update on top of those would
// not be able to tell its own faults.
func (Client) Check(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "dpkg", "--audit").Output()
	if err != nil {
		return fmt.Errorf("dpkg --audit: %w", err)
	}
	if said := strings.TrimSpace(string(out)); said != "" {
		return fmt.Errorf("the packages of this machine are not in order: %s (sudo dpkg --configure -a, or sudo apt --fix-broken install)", firstLine(said))
	}
	out, err = exec.CommandContext(ctx, "dpkg-query", "--show", "--showformat=${db:Status-Status}", Package).Output()
	if err != nil || string(out) != "installed" {
		return fmt.Errorf("the package %s is not installed as a whole, but %q", Package, out)
	}
	return nil
}

// Keep writes the package to path as it is installed now, without the files of /etc
// that their owner edited: those stay where they are. It does not sync.
func (Client) Keep(ctx context.Context, path string) error {
	dir := filepath.Join(filepath.Dir(path), ".repack") // always the same: a power cut leaves one
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cmd := exec.CommandContext(ctx, "dpkg-repack", "--generate", "--tag=none", Package)
	cmd.Dir = dir
	if err := run(cmd); err != nil {
		return err
	}
	made, err := filepath.Glob(filepath.Join(dir, "dpkg-repack."+Package+".*"))
	if err != nil || len(made) != 1 {
		return fmt.Errorf("dpkg-repack has made %d folders, not one", len(made))
	}
	if err := spareEdited(ctx, made[0]); err != nil {
		return err
	}
	whole := filepath.Join(dir, Package+".deb")
	// It is kept for a while only.
	if err := run(exec.CommandContext(ctx, "dpkg-deb", "-Zgzip", "-z1", "--build", made[0], whole)); err != nil { //nolint:gosec // no shell
		return err
	}
	return os.Rename(whole, path)
}

// spareEdited takes out of the package in folder root the conffiles that are not as
// they came. dpkg would take what is in the package for what its maker shipped: the
// owner's own lines would count as unedited from then on, and the next release would
// replace them. A conffile that is not in the package stays, and dpkg goes on knowing
// how it came. One that the owner removed may not be in the list either: dpkg-deb
// refuses it.
func spareEdited(ctx context.Context, root string) error {
	out, err := exec.CommandContext(ctx, "dpkg-query", "--show", "--showformat=${Conffiles}", Package).Output()
	if err != nil {
		return fmt.Errorf("dpkg-query: %w", err)
	}
	list := filepath.Join(root, "DEBIAN/conffiles")
	text, err := os.ReadFile(list) //nolint:gosec // what dpkg-repack made
	if err != nil {
		return err
	}
	kept := slices.Collect(strings.Lines(string(text)))
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line) // path, MD5, and perhaps "obsolete"
		if len(words) < 2 {
			continue
		}
		content, err := os.ReadFile(filepath.Join(root, words[0])) //nolint:gosec // as above
		if err != nil && !errors.Is(err, fs.ErrNotExist) {         // the owner may have removed it
			return err
		}
		if err == nil && fmt.Sprintf("%x", md5.Sum(content)) == words[1] { //nolint:gosec // dpkg's
			continue
		}
		if err := os.RemoveAll(filepath.Join(root, words[0])); err != nil {
			return err
		}
		kept = slices.DeleteFunc(kept, func(l string) bool { return strings.TrimSpace(l) == words[0] })
	}
	return os.WriteFile(list, []byte(strings.Join(kept, "")), 0o644) //nolint:gosec // as dpkg has it
}

// Install installs the package at path, whichever way its version goes from the
// one that is there, and whatever a call before it, or a power cut, has left.
func (Client) Install(ctx context.Context, path string) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// What was unpacked and not configured. When that fails, installing may still
	// mend it; when it does not, its words are the better ones.
	_ = patient(ctx, "--configure", "--pending")
	return patient(ctx, append(options, "--install", path)...)
}

// patient calls dpkg, and waits while another holds its lock.
func patient(ctx context.Context, args ...string) error {
	for {
		cmd := exec.CommandContext(ctx, "dpkg", args...) //nolint:gosec // no shell
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8")
		err := run(cmd)
		if err == nil || !strings.Contains(err.Error(), "lock was locked by another process") {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(lockPause):
		}
	}
}

// run runs cmd. Its error has the gist of what it said.
func run(cmd *exec.Cmd) error {
	var said tail
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd.Args[0], err, said.gist())
	}
	return nil
}

// tail keeps the end of what a program says.
type tail struct{ bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	if t.Len()+len(p) > maxSaid {
		t.Next(min(t.Len(), maxSaid/2))
	}
	if len(p) > maxSaid/2 {
		_, _ = t.Buffer.Write(p[len(p)-maxSaid/2:])
		return len(p), nil
	}
	return t.Buffer.Write(p)
}

// gist is what matters of it: the lines that speak of errors, else the last one.
func (t *tail) gist() string {
	var errs []string
	last := ""
	for line := range strings.Lines(t.String()) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if strings.Contains(line, "error") || strings.Contains(line, "returned") {
			if len(errs) == 0 && last != "" { // what the script said ahead of it
				errs = append(errs, last)
			}
			errs = append(errs, line)
		}
		last = line
	}
	if len(errs) == 0 {
		return last
	}
	return strings.Join(errs[:min(len(errs), 5)], "; ")
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
