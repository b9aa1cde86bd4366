package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/api"
)

const (
	journalKeep = 256 << 20 // bytes
	maxPaths    = 1000      // named in a dry run, per step

	pruneUnit  = "arasul-prune.service"
	vacuumUnit = "arasul-vacuum.service"
)

// Units runs a oneshot unit to its end.
type Units interface {
	Run(ctx context.Context, unit string) error
}

// Cleaner makes room. It needs the right to remove files of root's.
type Cleaner struct {
	Units  Units
	DryRun bool // touch nothing, only say what would go

	root   string
	target float64
}

// Clean makes room until the file system of [DataDir] is less than [Target]
// full, or nothing is left to remove. The error is about the file system as a
// whole, or the end of ctx; what went wrong with a step is in the report, which
// is complete up to there in any case.
func (c *Cleaner) Clean(ctx context.Context) (api.DiskCleanup, error) {
	data := at(c.root, DataDir)
	before, err := measure(data)
	if err != nil {
		return api.DiskCleanup{}, err
	}
	r := &run{Cleaner: c, data: data, now: before}
	if r.target == 0 {
		r.target = Target
	}
	report := api.DiskCleanup{
		Path: data, DryRun: c.DryRun, TotalBytes: before.total, BeforeBytes: before.used, TargetRatio: r.target,
	}
	for _, s := range r.steps() {
		step := api.DiskStep{Name: s.name}
		switch {
		case ctx.Err() != nil:
			step.Skipped = "there was no time left"
		case r.enough():
			step.Skipped = "there is room enough"
		default:
			s.take(ctx, &step)
		}
		report.Steps = append(report.Steps, step)
	}
	report.Time, report.AfterBytes, report.Reached = time.Now().UTC(), r.now.used, r.enough()
	return report, ctx.Err()
}

// run is one clean-up.
type run struct {
	*Cleaner
	data string
	now  space
}

type step struct {
	name string
	take func(ctx context.Context, step *api.DiskStep)
}

func (r *run) steps() []step {
	cleans := func(name string, p place) step {
		return step{name, func(ctx context.Context, s *api.DiskStep) { r.clean(ctx, p, s) }}
	}
	rotated := regexp.MustCompile(`\.log[.-][0-9]+(\.gz)?$`)
	return []step{
		cleans("reserve", place{dir: filepath.Dir(reserveFile)}),
		{"apt", r.apt},
		cleans("cache", place{dir: "/var/cache/arasul", depth: maxDepth}),
		cleans("logs", place{dir: "/var/log/arasul", depth: 1, match: rotated.MatchString}),
		{"journal", r.journal},
		cleans("bundles", place{dir: DataDir + "/updates", match: suffix(".araupdate"), spare: 1}),
		{"images", r.images},
		{"database", func(ctx context.Context, s *api.DiskStep) { r.ask(ctx, vacuumUnit, s) }},
	}
}

func suffix(s string) func(string) bool {
	return func(name string) bool { return strings.HasSuffix(name, s) }
}

// enough measures and says whether the target is reached. In a dry run what
// would have been freed counts.
func (r *run) enough() bool {
	if !r.DryRun {
		if s, err := measure(r.data); err == nil {
			r.now = s
		}
	}
	return r.now.ratio() < r.target
}

// clean removes what may go from a place, oldest first, until there is room
// enough.
func (r *run) clean(ctx context.Context, p place, s *api.DiskStep) {
	t, err := openTree(at(r.root, p.dir), r.now.device)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.Skipped = p.dir + " does not exist"
		return
	case errors.Is(err, errOtherDevice):
		s.Skipped = p.dir + " is on another file system"
		return
	case err != nil:
		s.Error = err.Error()
		return
	}
	defer t.Close()
	files, err := t.files(ctx, p)
	errs := []error{err}
	for _, f := range files {
		if ctx.Err() != nil || r.enough() {
			break
		}
		if r.DryRun {
			r.now.used -= min(f.bytes, r.now.used)
			if len(s.Paths) < maxPaths {
				s.Paths = append(s.Paths, filepath.Join(p.dir, f.dir, f.name))
			}
		} else if err := t.remove(f); err != nil {
			if len(errs) < 10 {
				errs = append(errs, err)
			}
			continue
		}
		s.Files++
		s.FreedBytes += f.bytes
	}
	if err := errors.Join(errs...); err != nil {
		s.Error = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
}

// ask lets a unit free what only others may touch.
func (r *run) ask(ctx context.Context, unit string, s *api.DiskStep) {
	if r.DryRun {
		s.Skipped = "only " + unit + " can tell"
		return
	}
	before := r.now
	if err := r.Units.Run(ctx, unit); err != nil {
		s.Error = err.Error()
	}
	r.enough()
	s.FreedBytes = before.used - min(before.used, r.now.used)
}

func (r *run) images(ctx context.Context, s *api.DiskStep) {
	if _, err := os.Stat(at(r.root, "/usr/bin/podman")); err != nil {
		s.Skipped = "podman is not installed"
		return
	}
	r.ask(ctx, pruneUnit, s)
}

// apt takes apt's own lock, so as not to remove what it is about to install.
func (r *run) apt(ctx context.Context, s *api.DiskStep) {
	const dir = "/var/cache/apt/archives"
	f, err := os.OpenFile(at(r.root, dir+"/lock"), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err == nil {
		defer f.Close()
		if unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}) != nil {
			s.Skipped = "apt is at work"
			return
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		s.Error = fmt.Sprintf("taking apt's lock: %v", err)
		return
	}
	r.clean(ctx, place{dir: dir, match: suffix(".deb")}, s)
}

// journal removes what journald has archived itself, and would remove in its
// own time; those files have an @ or a ~ in their names.
func (r *run) journal(ctx context.Context, s *api.DiskStep) {
	id, err := os.ReadFile(at(r.root, "/etc/machine-id"))
	if err != nil {
		s.Error = fmt.Sprintf("looking for the journal: %v", err)
		return
	}
	name := strings.TrimSpace(string(id))
	if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(name) {
		s.Skipped = "this machine has no id"
		return
	}
	archived := regexp.MustCompile(`(@.*\.journal|\.journal~)$`)
	r.clean(ctx, place{dir: "/var/log/journal/" + name, match: archived.MatchString, keep: journalKeep}, s)
}
