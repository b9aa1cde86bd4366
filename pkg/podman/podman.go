// Package podman is our hand on podman: which images it has, loading and pulling
// them, giving them names.
//
// It calls the program, whose command line is the one interface that podman 3 to
// 5 have in common. An image is what its ID says. Loading is made durable here,
// because podman does not: it syncs what it notes down and not the files of the
// image, which are empty after a power cut.
//
// It runs no containers, and does not decide which image is right.
package podman

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Program is podman.
const Program = "/usr/bin/podman"

const (
	askWithin  = 30 * time.Second // podman waits for its own locks
	loadWithin = 30 * time.Minute
	maxOutput  = 1 << 20
)

// ErrAbsent says that podman is not installed.
var ErrAbsent = errors.New("podman is not installed: sudo apt install podman")

// Client calls podman. The zero value calls Program.
type Client struct {
	Path string
}

func (c Client) path() string {
	if c.Path != "" {
		return c.Path
	}
	return Program
}

// Installed says whether there is a podman.
func (c Client) Installed() bool {
	_, err := os.Stat(c.path())
	return err == nil
}

// Version returns podman's version, as 4.3.1.
func (c Client) Version(ctx context.Context) (string, error) {
	out, err := c.ask(ctx, "version", "--format", "{{.Client.Version}}")
	return strings.TrimSpace(string(out)), err
}

// Image is one in podman's storage.
type Image struct {
	ID   string // sha256:…
	Size int64  // bytes
	Arch string
	Tags []string
}

// Image looks up an image by ID or name. There is none: nil.
func (c Client) Image(ctx context.Context, name string) (*Image, error) {
	out, err := c.ask(ctx, "image", "inspect", name)
	var exit *exec.ExitError
	if errors.As(err, &exit) && missing(exit.Stderr) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []struct {
		ID           string `json:"Id"`
		Size         int64
		Architecture string
		RepoTags     []string
	}
	if err := json.Unmarshal(out, &all); err != nil || len(all) == 0 {
		return nil, fmt.Errorf("podman described the image %s in a way that is not understood: %w", name, err)
	}
	i := all[0]
	return &Image{ID: withPrefix(i.ID), Size: i.Size, Arch: i.Architecture, Tags: i.RepoTags}, nil
}

// missing: podman 3 says "unable to find", later ones "no such image" or "image
// not known".
func missing(said []byte) bool {
	text := strings.ToLower(string(said))
	return strings.Contains(text, "no such image") || strings.Contains(text, "image not known") || strings.Contains(text, "unable to find")
}

func withPrefix(id string) string {
	id = strings.TrimSpace(id)
	if id != "" && !strings.HasPrefix(id, "sha256:") {
		id = "sha256:" + id
	}
	return id
}

// Load loads the archive at path, in any form that podman knows, and returns the
// ID of its image, which is then durable. It fails when there is more than one
// image in it.
func (c Client) Load(ctx context.Context, path string) (id string, err error) {
	ctx, cancel := context.WithTimeout(ctx, loadWithin)
	defer cancel()
	out, err := c.run(ctx, nil, "load", "--quiet", "--input", path)
	if err != nil {
		return "", fmt.Errorf("loading %s: %w", path, err)
	}
	var names []string
	for line := range strings.Lines(string(out)) {
		if _, name, ok := strings.Cut(line, ": "); ok && strings.HasPrefix(line, "Loaded image") {
			names = append(names, strings.Split(strings.TrimSpace(name), ",")...)
		}
	}
	if len(names) != 1 {
		return "", fmt.Errorf("%s has to hold one image, and holds %d", path, len(names))
	}
	return c.settle(ctx, names[0])
}

// Pull fetches an image from its registry and returns its ID. What podman says
// meanwhile goes to progress, line by line.
func (c Client) Pull(ctx context.Context, reference string, progress io.Writer) (id string, err error) {
	out, err := c.run(ctx, progress, "pull", reference)
	if err != nil {
		return "", fmt.Errorf("fetching %s: %w", reference, err)
	}
	lines := strings.Fields(string(out))
	if len(lines) == 0 {
		return "", fmt.Errorf("podman fetched %s and did not say what", reference)
	}
	return c.settle(ctx, lines[len(lines)-1])
}

// settle returns the ID of an image that has just come, once it is on disk.
func (c Client) settle(ctx context.Context, name string) (string, error) {
	i, err := c.Image(ctx, name)
	if err != nil {
		return "", err
	}
	if i == nil {
		return "", fmt.Errorf("podman said that it has %s now, and does not find it", name)
	}
	if err := c.Sync(ctx); err != nil {
		return "", err
	}
	return i.ID, nil
}

// Sync makes all that is in podman's storage durable.
func (c Client) Sync(ctx context.Context) error {
	out, err := c.ask(ctx, "info", "--format", "{{.Store.GraphRoot}}")
	if err != nil {
		return err
	}
	root, err := os.Open(strings.TrimSpace(string(out)))
	if err != nil {
		return fmt.Errorf("opening podman's storage: %w", err)
	}
	defer root.Close()
	if err := unix.Syncfs(int(root.Fd())); err != nil {
		return fmt.Errorf("syncing podman's storage: %w", err)
	}
	return nil
}

// Tag gives an image another name, which keeps it from being removed as unused.
func (c Client) Tag(ctx context.Context, id, name string) error {
	_, err := c.ask(ctx, "tag", id, name)
	return err
}

// Remove removes an image that no container uses.
func (c Client) Remove(ctx context.Context, id string) error {
	_, err := c.ask(ctx, "rmi", "--force", strings.TrimPrefix(id, "sha256:"))
	return err
}

// Save writes an image to an archive at path.
func (c Client) Save(ctx context.Context, id, path string) error {
	ctx, cancel := context.WithTimeout(ctx, loadWithin)
	defer cancel()
	if _, err := c.run(ctx, nil, "save", "--quiet", "--format", "oci-archive", "--output", path, strings.TrimPrefix(id, "sha256:")); err != nil {
		return fmt.Errorf("saving the image: %w", err)
	}
	return nil
}

func (c Client) ask(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	return c.run(ctx, nil, args...)
}

// run calls podman. What it prints on standard error goes to progress too, and in
// short into the error.
func (c Client) run(ctx context.Context, progress io.Writer, args ...string) ([]byte, error) {
	if !c.Installed() {
		return nil, ErrAbsent
	}
	cmd := exec.CommandContext(ctx, c.path(), args...) //nolint:gosec // podman, and no shell
	var out, said bounded
	cmd.Stdout, cmd.Stderr = &out, &said
	if progress != nil {
		cmd.Stderr = io.MultiWriter(&said, progress)
	}
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if err == nil {
		return out.Bytes(), nil
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("podman %s: %w", args[0], ctx.Err())
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		exit.Stderr = said.Bytes()
		return nil, fmt.Errorf("podman %s: %s: %w", args[0], lastLine(said.String()), exit)
	}
	return nil, fmt.Errorf("podman %s: %w", args[0], err)
}

// lastLine is where podman says what was wrong.
func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	last := strings.TrimPrefix(lines[len(lines)-1], "Error: ")
	return last[:min(len(last), 500)]
}

// bounded keeps the first megabyte of what is written to it.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if room := maxOutput - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}

// Size returns the size of an image in bytes, and whether it is there.
func (c Client) Size(ctx context.Context, id string) (bytes int64, present bool, err error) {
	i, err := c.Image(ctx, id)
	if err != nil || i == nil {
		return 0, false, err
	}
	return i.Size, true, nil
}
