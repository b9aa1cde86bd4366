package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/atomicfile"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/stable"
)

// Where images are kept, and what is said of them.
const (
	KeptDir   = "/var/lib/arasul/images"
	StatePath = "/run/arasul/images/images.json"
)

// Podman is podman's storage.
type Podman interface {
	Version(ctx context.Context) (string, error)
	// Size returns the size of an image in bytes, and whether it is there.
	Size(ctx context.Context, id string) (bytes int64, present bool, err error)
	Tag(ctx context.Context, id, name string) error
}

// Source is where images come from. What it returns is in podman's storage, and
// durable.
type Source interface {
	Load(ctx context.Context, path string) (id string, err error)
	Pull(ctx context.Context, reference string, progress io.Writer) (id string, err error)
}

// Store is the images of the applications on this machine.
type Store struct {
	Podman Podman
	Source Source
	Images config.Images

	Env, Kept, State string // paths; empty: [EnvPath], [KeptDir], [StatePath]
}

// errUnknown says which there are.
var errUnknown = errors.New("there is no application of this name: " + strings.Join(Names(), ", "))

// Look returns the images of all applications, and writes that down for those who
// may not ask podman.
func (s *Store) Look(ctx context.Context) (api.Images, error) {
	all := api.Images{Images: []api.Image{}, Time: time.Now().UTC()}
	chosen, err := Chosen(s.env())
	if err != nil {
		return all, err
	}
	all.Podman, err = s.Podman.Version(ctx)
	installed := err == nil
	for _, a := range Applications {
		i, err := s.look(ctx, a, chosen[a.Variable], installed)
		if err != nil {
			return all, err
		}
		all.Images = append(all.Images, i)
	}
	text, err := json.MarshalIndent(all, "", "\t")
	if err != nil {
		return all, err
	}
	if err := os.MkdirAll(filepath.Dir(s.state()), 0o755); err != nil { //nolint:gosec // for all to read
		return all, err
	}
	return all, atomicfile.Write(s.state(), append(text, '\n'), 0o644)
}

func (s *Store) look(ctx context.Context, a Application, id string, installed bool) (api.Image, error) {
	st := Storage{Podman: installed, Kept: s.isKept(id)}
	if installed && id != "" {
		var err error
		if st.SizeBytes, st.Present, err = s.Podman.Size(ctx, id); err != nil {
			return api.Image{}, err
		}
	}
	return Judge(a, s.Images, id, st), nil
}

// Ready says whether an application can be started. An image that was chosen and
// is gone is loaded again from its archive, when one is kept.
func (s *Store) Ready(ctx context.Context, name string) (api.Image, error) {
	a, ok := Called(name)
	if !ok {
		return api.Image{}, fmt.Errorf("%q: %w", name, errUnknown)
	}
	all, err := s.Look(ctx)
	if err != nil {
		return api.Image{}, err
	}
	i := pick(all, a)
	if i.Reason == "" || i.Present || !i.Kept {
		return i, nil
	}
	id, err := s.Source.Load(ctx, s.keptPath(i.ID))
	switch {
	case err != nil:
		return i, fmt.Errorf("restoring the image of %s from its archive: %w", name, err)
	case id != i.ID:
		return i, fmt.Errorf("the archive kept for %s holds the image %s and not %s", name, id, i.ID)
	}
	if all, err = s.Look(ctx); err != nil {
		return i, err
	}
	return pick(all, a), nil
}

func pick(all api.Images, a Application) api.Image {
	for _, i := range all.Images {
		if i.Name == a.Name {
			return i
		}
	}
	return api.Image{Name: a.Name}
}

// Load takes the image of an application from an archive, and keeps a copy of
// that to repair it from, when keep is set. It does not restart anything.
func (s *Store) Load(ctx context.Context, name, path string, keep bool) (api.Image, error) {
	a, ok := Called(name)
	if !ok {
		return api.Image{}, fmt.Errorf("%q: %w", name, errUnknown)
	}
	id, err := s.Source.Load(ctx, path)
	if err != nil {
		return api.Image{}, err
	}
	if keep {
		if err := s.keep(path, id); err != nil {
			return api.Image{}, fmt.Errorf("keeping a copy of %s: %w (load it with --no-keep to go without)", path, err)
		}
	}
	return s.choose(ctx, a, id)
}

// Pull fetches the image of an application from its registry.
func (s *Store) Pull(ctx context.Context, name string, progress io.Writer) (api.Image, error) {
	a, ok := Called(name)
	if !ok {
		return api.Image{}, fmt.Errorf("%q: %w", name, errUnknown)
	}
	id, err := s.Source.Pull(ctx, a.Reference(s.Images), progress)
	if err != nil {
		return api.Image{}, err
	}
	return s.choose(ctx, a, id)
}

// choose makes an image the one that is run from the next start on.
func (s *Store) choose(ctx context.Context, a Application, id string) (api.Image, error) {
	digits := strings.TrimPrefix(id, "sha256:")
	if len(digits) < 12 {
		return api.Image{}, fmt.Errorf("%q is not the ID of an image", id)
	}
	pin := "localhost/arasul/" + strings.ToLower(a.Variable) + ":" + digits[:12]
	if err := s.Podman.Tag(ctx, id, pin); err != nil {
		return api.Image{}, fmt.Errorf("pinning the image: %w", err)
	}
	if err := Choose(s.env(), a.Variable, id); err != nil {
		return api.Image{}, fmt.Errorf("choosing the image: %w", err)
	}
	if err := s.forgetArchives(); err != nil {
		return api.Image{}, err
	}
	all, err := s.Look(ctx)
	return pick(all, a), err
}

// keep copies an archive to where images are kept, whole or not at all.
func (s *Store) keep(path, id string) (err error) {
	if err := os.MkdirAll(s.kept(), 0o700); err != nil {
		return err
	}
	from, err := os.Open(path) //nolint:gosec // the file that root named
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	free, err := stable.Free(s.kept())
	if err != nil {
		return err
	}
	if info.Size() > free/2 {
		return fmt.Errorf("it has %d bytes, and more than half of the %d that are free would go", info.Size(), free)
	}
	to, err := os.CreateTemp(s.kept(), ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		_ = to.Close()
		if err != nil {
			_ = os.Remove(to.Name())
		}
	}()
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	if err := to.Sync(); err != nil {
		return err
	}
	if err := os.Rename(to.Name(), s.keptPath(id)); err != nil {
		return err
	}
	dir, err := os.Open(s.kept())
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// forgetArchives removes archives of images that are not run any more.
func (s *Store) forgetArchives() error {
	chosen, err := Chosen(s.env())
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(s.kept())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, id := range chosen {
		wanted[filepath.Base(s.keptPath(id))] = true
	}
	for _, e := range entries {
		if !wanted[e.Name()] {
			if err := os.Remove(filepath.Join(s.kept(), e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) isKept(id string) bool {
	if !ValidID(id) {
		return false
	}
	info, err := os.Stat(s.keptPath(id))
	return err == nil && info.Mode().IsRegular()
}

func (s *Store) keptPath(id string) string {
	return filepath.Join(s.kept(), strings.TrimPrefix(id, "sha256:")+".oci")
}

func (s *Store) env() string   { return or(s.Env, EnvPath) }
func (s *Store) kept() string  { return or(s.Kept, KeptDir) }
func (s *Store) state() string { return or(s.State, StatePath) }

func or(path, otherwise string) string {
	if path != "" {
		return path
	}
	return otherwise
}
