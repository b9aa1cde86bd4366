package update

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/arasul/arasul/pkg/stable"
)

// Release is what a transaction leads to. Its parts lie in the staging folder,
// verified.
type Release struct {
	Version  string    `json:"version"`
	Sequence uint64    `json:"sequence"` // grows from release to release
	Floor    uint64    `json:"floor"`    // of sequences that may be installed, once this one is committed
	Bundle   string    `json:"bundle"`   // the SHA-256 of its manifest, in hexadecimal
	Package  string    `json:"package"`  // path of the .deb
	Images   []Image   `json:"images,omitempty"`
	Built    time.Time `json:"built_at"`
	OneWay   bool      `json:"one_way,omitempty"` // there is no way back after the commit

	// SHA256 of the files above, by path. One that is not listed is our own.
	SHA256 map[string]string `json:"sha256,omitempty"`
}

// Image is a container image that comes with a release.
type Image struct {
	Variable string `json:"variable"` // of images.env: LLM, N8N, …
	ID       string `json:"id"`       // sha256:…
	Archive  string `json:"archive"`  // path; empty: it is in podman's storage
}

// Current is the release that is installed.
type Current struct {
	Version   string    `json:"version"`
	Sequence  uint64    `json:"sequence"`
	Floor     uint64    `json:"floor"`
	Bundle    string    `json:"bundle,omitempty"`
	Txn       string    `json:"txn,omitempty"` // the transaction that installed it
	Committed time.Time `json:"committed_at"`
	Built     time.Time `json:"built_at"`          // the latest that is known for certain
	OneWay    bool      `json:"one_way,omitempty"` // the release before cannot read what this one stores
}

// Files are the paths that a transaction writes to.
type Files struct {
	Current string // current.json
	Images  string // images.env
	Kept    string // the folder where packages are kept for the way back
}

// Packages is dpkg.
type Packages interface {
	// Check says what is wrong with the packages of the machine, if anything.
	Check(ctx context.Context) error
	// Keep writes the package that is installed to path, which it does not sync.
	Keep(ctx context.Context, path string) error
	// Install installs the package at path, whatever state a call before it, or a
	// power cut, has left.
	Install(ctx context.Context, path string) error
}

// Containers is podman.
type Containers interface {
	// Load loads an image and returns its ID. What is there of that image is
	// removed first when again is set, because a power cut may have left it hollow.
	Load(ctx context.Context, archive string, again bool) (id string, err error)
	// Sync makes everything that was loaded durable.
	Sync(ctx context.Context) error
	// Pin keeps an image from being removed as unused, under a name.
	Pin(ctx context.Context, id, name string) error
}

// Database is PostgreSQL.
type Database interface {
	// Room says why the disk cannot take a copy of the database, if so.
	Room(ctx context.Context, name string) error
	// Snapshot copies the database, replacing a copy of that name, and those that
	// transactions before have left.
	Snapshot(ctx context.Context, name string) error
	// Restore puts a copy in the place of the database, at once. When there is no
	// copy of that name it was done before, or never made.
	Restore(ctx context.Context, name string) error
	// Drop removes a copy. That there is none is no error.
	Drop(ctx context.Context, name string) error
	// Migrate brings the schema to what the installed package wants.
	Migrate(ctx context.Context) error
}

// Units are the daemons and applications.
type Units interface {
	Stop(ctx context.Context) error
	Start(ctx context.Context) error
}

// Health judges the machine.
type Health interface {
	// Look returns what is well, by name of what is looked at.
	Look(ctx context.Context) (map[string]bool, error)
	// Prove returns nil once all that was well before is well and stays so.
	Prove(ctx context.Context, before map[string]bool) error
}

// Tools is everything that steps work with.
type Tools struct {
	FS         stable.FS
	Packages   Packages
	Containers Containers
	Database   Database
	Units      Units
	Health     Health
}

// The steps, in their order.
const (
	stepPreflight = "preflight"
	stepKeep      = "keep"
	stepLoad      = "load"
	stepQuiesce   = "quiesce"
	stepSnapshot  = "snapshot"
	stepInstall   = "install"
	stepMigrate   = "migrate"
	stepSwitch    = "switch"
	stepStart     = "start"
	stepProbation = "probation"
	CommitStep    = "commit"
	stepCleanup   = "cleanup"
)

// maxFile bounds the small files that are kept for the way back.
const maxFile = 1 << 20

// install is one transaction's steps.
type install struct {
	txn     string
	from    string // version
	release Release
	files   Files
	tools   Tools
}

// Steps are the steps that take the machine to a release.
//
// Services are stopped for snapshot, package, migration and switch, which is a
// minute; images are loaded before that. Nothing that an Undo needs is touched
// before cleanup.
func Steps(o Order, f Files, t Tools) []Step {
	i := &install{o.ID, o.From, o.Release, f, t}
	return []Step{
		{Name: stepPreflight, Limit: 2 * time.Minute, Do: i.preflight},
		{Name: stepKeep, Limit: 5 * time.Minute, Do: i.keep},
		{Name: stepLoad, Limit: time.Hour, Do: i.load},
		{Name: stepQuiesce, Limit: 5 * time.Minute, Do: i.quiesce, Undo: i.resume},
		{Name: stepSnapshot, Limit: time.Hour, Do: i.snapshot, Undo: i.forget},
		{Name: stepInstall, Limit: 15 * time.Minute, Do: i.install, Undo: i.reinstall},
		{Name: stepMigrate, Limit: time.Hour, Do: i.migrate, Undo: i.restore},
		{Name: stepSwitch, Limit: time.Minute, Do: i.switchImages, Undo: i.switchBack},
		{Name: stepStart, Limit: 15 * time.Minute, Do: i.start, Undo: i.stop},
		{Name: stepProbation, Limit: time.Hour, Do: i.probation},
		{Name: CommitStep, Limit: time.Minute, Do: i.commit, Undo: i.uncommit},
		{Name: stepCleanup, Limit: 10 * time.Minute, Do: i.cleanup},
	}
}

// baseline is what was well ahead of the update.
type baseline struct {
	Well map[string]bool `json:"well"`
}

func (i *install) preflight(ctx context.Context, _ *Tx) (any, error) {
	if err := i.tools.Packages.Check(ctx); err != nil {
		return nil, fmt.Errorf("the packages of this machine are not in order: %w", err)
	}
	if err := i.tools.Database.Room(ctx, i.snapshotName()); err != nil {
		return nil, err
	}
	well, err := i.tools.Health.Look(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking at services: %w", err)
	}
	return baseline{well}, nil
}

// keep puts aside what the way back needs: the package, images.env, current.json.
func (i *install) keep(ctx context.Context, _ *Tx) (any, error) {
	f := i.tools.FS
	if err := i.tools.Packages.Keep(ctx, i.oldPackage()); err != nil {
		return nil, fmt.Errorf("keeping the old package: %w", err)
	}
	if err := f.Sync(i.oldPackage()); err != nil {
		return nil, fmt.Errorf("syncing the old package: %w", err)
	}
	if err := f.SyncDir(i.files.Kept); err != nil {
		return nil, fmt.Errorf("syncing %s: %w", i.files.Kept, err)
	}
	var k kept
	var err error
	if k.Images, err = i.readOptional(i.files.Images); err != nil {
		return nil, err
	}
	if k.Current, err = i.readOptional(i.files.Current); err != nil {
		return nil, err
	}
	return k, nil
}

// kept are the small files as they were; nil: there was none.
type kept struct {
	Images  *string `json:"images"`
	Current *string `json:"current"`
}

func (i *install) oldPackage() string { return filepath.Join(i.files.Kept, i.txn+".deb") }

func (i *install) readOptional(name string) (*string, error) {
	data, err := i.tools.FS.Read(name, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	text := string(data)
	return &text, nil
}

// putBack makes a small file what it was.
func (i *install) putBack(name string, content *string) error {
	if content == nil {
		return stable.Delete(i.tools.FS, name)
	}
	return stable.Replace(i.tools.FS, name, []byte(*content), 0o644)
}

func (i *install) load(ctx context.Context, tx *Tx) (any, error) {
	again := tx.begunBefore(stepLoad)
	var k kept
	if _, err := tx.Data(stepKeep, &k); err != nil {
		return nil, err
	}
	for _, image := range i.release.Images {
		if old := variable(k.Images, image.Variable); old != "" { // loading takes its name away
			if err := i.tools.Containers.Pin(ctx, old, image.Variable+"-before"); err != nil {
				return nil, fmt.Errorf("pinning the image %s: %w", image.Variable, err)
			}
		}
		if image.Archive == "" { // the way back to one that was pinned
			continue
		}
		id, err := i.tools.Containers.Load(ctx, image.Archive, again)
		if err != nil {
			return nil, fmt.Errorf("loading the image %s: %w", image.Variable, err)
		}
		if id != image.ID {
			return nil, fmt.Errorf("the image %s has the ID %s and not %s", image.Variable, id, image.ID)
		}
		if err := i.tools.Containers.Pin(ctx, id, image.Variable+"-after"); err != nil {
			return nil, fmt.Errorf("pinning the image %s: %w", image.Variable, err)
		}
	}
	if len(i.release.Images) == 0 {
		return nil, nil
	}
	if err := i.tools.Containers.Sync(ctx); err != nil {
		return nil, fmt.Errorf("syncing images: %w", err)
	}
	return nil, nil
}

func (i *install) quiesce(ctx context.Context, _ *Tx) (any, error) {
	return nil, i.tools.Units.Stop(ctx)
}

// resume is the end of the way back: everything is old again, and has to be as
// well as it was.
func (i *install) resume(ctx context.Context, tx *Tx) error {
	if err := i.tools.Units.Start(ctx); err != nil {
		return err
	}
	var before baseline
	if _, err := tx.Data(stepPreflight, &before); err != nil {
		return err
	}
	return i.tools.Health.Prove(ctx, before.Well)
}

func (i *install) snapshotName() string { return snapshotOf(i.txn) }

func snapshotOf(txn string) string { return "arasul_pre_" + txn }

func (i *install) snapshot(ctx context.Context, _ *Tx) (any, error) {
	return nil, i.tools.Database.Snapshot(ctx, i.snapshotName())
}

func (i *install) forget(ctx context.Context, _ *Tx) error {
	return i.tools.Database.Drop(ctx, i.snapshotName())
}

func (i *install) install(ctx context.Context, _ *Tx) (any, error) {
	return nil, i.tools.Packages.Install(ctx, i.release.Package)
}

func (i *install) reinstall(ctx context.Context, _ *Tx) error {
	return i.tools.Packages.Install(ctx, i.oldPackage())
}

func (i *install) migrate(ctx context.Context, _ *Tx) (any, error) {
	return nil, i.tools.Database.Migrate(ctx)
}

func (i *install) restore(ctx context.Context, _ *Tx) error {
	return i.tools.Database.Restore(ctx, i.snapshotName())
}

func (i *install) switchImages(_ context.Context, tx *Tx) (any, error) {
	if len(i.release.Images) == 0 {
		return nil, nil
	}
	var k kept
	if _, err := tx.Data(stepKeep, &k); err != nil {
		return nil, err
	}
	old := ""
	if k.Images != nil {
		old = *k.Images
	}
	return nil, stable.Replace(i.tools.FS, i.files.Images, []byte(setVariables(old, i.release.Images)), 0o644)
}

func (i *install) switchBack(_ context.Context, tx *Tx) error {
	var k kept
	if found, err := tx.Data(stepKeep, &k); err != nil || !found {
		return err
	}
	return i.putBack(i.files.Images, k.Images)
}

func (i *install) start(ctx context.Context, _ *Tx) (any, error) {
	return nil, i.tools.Units.Start(ctx)
}

func (i *install) stop(ctx context.Context, _ *Tx) error { return i.tools.Units.Stop(ctx) }

func (i *install) probation(ctx context.Context, tx *Tx) (any, error) {
	var before baseline
	if _, err := tx.Data(stepPreflight, &before); err != nil {
		return nil, err
	}
	return nil, i.tools.Health.Prove(ctx, before.Well)
}

func (i *install) commit(_ context.Context, tx *Tx) (any, error) {
	c := Current{
		Version: i.release.Version, Sequence: i.release.Sequence, Floor: i.release.Floor,
		Bundle: i.release.Bundle, Txn: i.txn, Committed: tx.began(), Built: i.release.Built, OneWay: i.release.OneWay,
	}
	var k kept
	if _, err := tx.Data(stepKeep, &k); err != nil {
		return nil, err
	}
	if k.Current != nil { // a floor never sinks
		var old Current
		if err := json.Unmarshal([]byte(*k.Current), &old); err == nil {
			c.Floor = max(c.Floor, old.Floor)
			if old.Built.After(c.Built) {
				c.Built = old.Built
			}
		}
	}
	text, err := json.MarshalIndent(c, "", "\t")
	if err != nil {
		return nil, err
	}
	return nil, stable.Replace(i.tools.FS, i.files.Current, append(text, '\n'), 0o644)
}

func (i *install) uncommit(_ context.Context, tx *Tx) error {
	var k kept
	if found, err := tx.Data(stepKeep, &k); err != nil || !found {
		return err
	}
	return i.putBack(i.files.Current, k.Current)
}

// cleanup removes what the way back needed. The old package stays, and what
// release it is of, for an admin who wants it back.
func (i *install) cleanup(ctx context.Context, tx *Tx) (any, error) {
	f := i.tools.FS
	previous := filepath.Join(i.files.Kept, "previous.deb")
	if err := f.Rename(i.oldPackage(), previous); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var k kept
	if _, err := tx.Data(stepKeep, &k); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(i.before(k, previous), "", "\t")
	if err != nil {
		return nil, err
	}
	if err := stable.Replace(f, filepath.Join(i.files.Kept, "previous.json"), append(text, '\n'), 0o600); err != nil {
		return nil, err
	}
	return nil, i.tools.Database.Drop(ctx, i.snapshotName())
}

// before is the release that was there, as a rollback would install it.
func (i *install) before(k kept, pkg string) Release {
	r := Release{Version: i.from, Package: pkg}
	if k.Current != nil {
		var old Current
		if json.Unmarshal([]byte(*k.Current), &old) == nil {
			r.Sequence, r.Floor, r.Bundle = old.Sequence, old.Floor, old.Bundle
		}
	}
	for _, image := range i.release.Images {
		if id := variable(k.Images, image.Variable); id != "" {
			r.Images = append(r.Images, Image{Variable: image.Variable, ID: id})
		}
	}
	return r
}
