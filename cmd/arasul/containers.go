package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/container"
	"github.com/arasul/arasul/pkg/podman"
)

// cdiFile is what arasul-cdi.service makes.
const cdiFile = "/run/cdi/arasul.yaml"

// images are the container images of this machine.
type images struct{ podman podman.Client }

func (i images) store(cfg *config.Config) *container.Store {
	return &container.Store{Podman: i.podman, Source: i.podman, Images: cfg.Images}
}

func (i images) Look(ctx context.Context, cfg *config.Config) (api.Images, error) {
	return i.store(cfg).Look(ctx)
}

func (i images) Load(ctx context.Context, cfg *config.Config, name, path string, keep bool) (api.Image, error) {
	return i.store(cfg).Load(ctx, name, path, keep)
}

func (i images) Pull(ctx context.Context, cfg *config.Config, name string, progress io.Writer) (api.Image, error) {
	return i.store(cfg).Pull(ctx, name, progress)
}

// Ready is what a container's unit asks before it starts.
func (i images) Ready(ctx context.Context, cfg *config.Config, name string) (api.Image, error) {
	return i.store(cfg).Ready(ctx, name)
}

// Exec becomes podman, which runs the application.
func (i images) Exec(ctx context.Context, cfg *config.Config, name string) error {
	a, ok := container.Called(name)
	if !ok {
		return fmt.Errorf("there is no application %s", name)
	}
	h, err := i.host(ctx, cfg, a)
	if err != nil {
		return err
	}
	args := append([]string{podman.Program}, container.Args(a, h)...)
	return unix.Exec(podman.Program, args, os.Environ())
}

// host finds out what the arguments of podman depend on.
func (i images) host(ctx context.Context, cfg *config.Config, a container.Application) (h container.Host, err error) {
	h.Config = cfg
	chosen, err := container.Chosen(container.EnvPath)
	if err != nil {
		return h, err
	}
	if h.Image = chosen[a.Variable]; h.Image == "" {
		return h, fmt.Errorf("no image was chosen for %s: arasul images list", a.Name)
	}
	text, err := i.podman.Version(ctx)
	if err != nil {
		return h, err
	}
	if _, err := fmt.Sscanf(text, "%d.%d", &h.Podman.Major, &h.Podman.Minor); err != nil {
		return h, fmt.Errorf("podman has a version %q that is not understood", text)
	}
	if h.UID, h.GID, err = ids(a.User); err != nil {
		return h, err
	}
	if h.Secrets, err = handOver(a, h.UID, h.GID); err != nil {
		return h, err
	}
	if a.GPU {
		h.GPU, h.JetPack = gpuAccess(h.Podman), jetPack("/etc/nv_tegra_release")
		for _, name := range []string{"video", "render"} {
			if g, err := user.LookupGroup(name); err == nil {
				if id, err := strconv.Atoi(g.Gid); err == nil {
					h.Groups = append(h.Groups, id)
				}
			}
		}
	}
	if link, err := os.Readlink("/etc/localtime"); err == nil {
		_, h.Timezone, _ = strings.Cut(link, "zoneinfo/")
	}
	return h, nil
}

func ids(name string) (uid, gid int, err error) {
	u, err := user.Lookup(name)
	if err != nil {
		return 0, 0, err
	}
	if uid, err = strconv.Atoi(u.Uid); err == nil {
		gid, err = strconv.Atoi(u.Gid)
	}
	return uid, gid, err
}

// gpuAccess says how containers can get at the GPUs of this machine.
func gpuAccess(v container.Version) container.GPU {
	if _, err := os.Stat(cdiFile); err == nil && v.AtLeast(4, 1) {
		return container.CDI
	}
	if _, err := os.Stat(container.NVIDIARuntime); err == nil && !v.AtLeast(4, 1) {
		return container.Runtime
	}
	return container.NoGPU
}

var l4t = regexp.MustCompile(`^# R(\d+) `)

// jetPack is the release of JetPack that Ollama has libraries for.
func jetPack(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	switch m := l4t.FindSubmatch(text); {
	case m == nil:
	case string(m[1]) == "35":
		return 5
	case string(m[1]) == "36":
		return 6
	}
	return 0
}

// handOver gives an application its secrets, as files that its user alone can
// read, in memory. systemd's own copies are root's.
func handOver(a container.Application, uid, gid int) (dir string, err error) {
	if len(a.Secrets) == 0 {
		return "", nil
	}
	from := os.Getenv("CREDENTIALS_DIRECTORY")
	if from == "" {
		return "", errors.New("the unit was not given its credentials")
	}
	dir = "/run/arasul/containers/" + a.Name
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	for _, name := range a.Secrets {
		secret, err := os.ReadFile(filepath.Join(from, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // the application says what it lacks
		}
		if err != nil {
			return "", fmt.Errorf("reading credential: %w", err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, secret, 0o400); err != nil {
			return "", err
		}
		if err := os.Chown(path, uid, gid); err != nil {
			return "", err
		}
	}
	return dir, os.Chown(dir, uid, gid)
}

// limits writes the drop-ins that limit the applications to their part of this
// machine. systemd calls it whenever it reads its units.
func limits(dir string) error {
	var memory unix.Sysinfo_t
	if err := unix.Sysinfo(&memory); err != nil {
		return err
	}
	total := memory.Totalram * uint64(memory.Unit)
	for unit, text := range container.DropIns(runtime.NumCPU(), total) {
		folder := filepath.Join(dir, unit+".d")
		if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // units are for all to read
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, "10-limits.conf"), []byte(text), 0o644); err != nil { //nolint:gosec // as above
			return err
		}
	}
	return nil
}
