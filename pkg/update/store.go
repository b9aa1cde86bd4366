package update

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/stable"
)

// Dir is where updates keep what they have to remember.
const Dir = "/var/lib/arasul/update"

// Runner is the name of the program that carries out a transaction: a copy of the
// one that accepted it, so that what is half replaced never reads its journal.
const Runner = "arasul-apply"

// Store is the folder of updates:
//
//	current.json     the release that is installed
//	stick.json       what came of the newest USB stick
//	stage/           what is being received, or waits
//	next/            an order that is being accepted, which becomes run
//	run/             the transaction under way: order.json, journal, parts/, arasul-apply
//	history/ID/      order.json and journal of those that ended
//	kept/            the package for the way back, and what release it is of
//
// A transaction is under way from the moment that run is there until it is
// renamed into history.
type Store struct {
	FS  stable.FS
	Dir string
}

// Bounds.
const (
	maxHistory = 50       // transactions that are remembered
	maxOrder   = 64 << 10 // bytes of order.json
	maxProgram = 64 << 20
)

// ErrBusy says that a transaction is under way.
var ErrBusy = errors.New("an update is under way")

func (s Store) path(names ...string) string {
	return filepath.Join(append([]string{s.Dir}, names...)...)
}

// RunDir is where the transaction under way lies.
func (s Store) RunDir() string { return s.path("run") }

// StageDir is where bundles are received.
func (s Store) StageDir() string { return s.path("stage") }

// Files are what a transaction writes to.
func (s Store) Files(images string) Files {
	return Files{Current: s.path("current.json"), Images: images, Kept: s.path("kept")}
}

// Init makes the folders, and clears up what a power cut has left between two
// transactions.
func (s Store) Init() error {
	// The program of a transaction is also run as the user of the database, who may
	// pass through, and see nothing.
	for dir, perm := range map[string]fs.FileMode{s.Dir: 0o711, s.path("history"): 0o700, s.path("kept"): 0o700} {
		if err := stable.MkdirAll(s.FS, dir, perm); err != nil {
			return err
		}
	}
	return errors.Join(s.clear(), s.tidy())
}

// Current is the release that is installed, as far as it came by an update.
func (s Store) Current() (Current, error) { return readJSON[Current](s, s.path("current.json")) }

// Previous is the release that a rollback leads to; without a package there is
// none.
func (s Store) Previous() (Release, error) {
	r, err := readJSON[Release](s, s.path("kept", "previous.json"))
	if err != nil || r.Package == "" {
		return Release{}, err
	}
	if _, err := os.Stat(r.Package); err != nil {
		return Release{}, nil //nolint:nilerr // kept once, removed since
	}
	return r, nil
}

// Stick is what came of the USB stick that was plugged in last, nil for none.
func (s Store) Stick() *api.Stick {
	stick, err := readJSON[*api.Stick](s, s.path("stick.json"))
	if err != nil {
		return nil // nothing is decided by it
	}
	return stick
}

// KeepStick remembers what came of a stick.
func (s Store) KeepStick(stick api.Stick) error {
	text, err := json.Marshal(stick)
	if err != nil {
		return err
	}
	return stable.Replace(s.FS, s.path("stick.json"), text, 0o600)
}

// readJSON reads a small file, the zero value for none.
func readJSON[T any](s Store, path string) (v T, err error) {
	text, err := s.FS.Read(path, maxOrder)
	if errors.Is(err, fs.ErrNotExist) {
		return v, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err != nil {
		return v, fmt.Errorf("reading %s: %w", path, err)
	}
	return v, nil
}

// Running returns the order under way, or nil.
func (s Store) Running() (*Order, error) {
	if _, err := s.FS.List(s.RunDir()); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	o, err := readJSON[Order](s, s.path("run", "order.json"))
	if err != nil {
		return nil, err
	}
	if o.ID == "" {
		return nil, fmt.Errorf("%s has no order", s.RunDir())
	}
	return &o, nil
}

// Accept makes an order the transaction under way, whole or not at all. Parts is
// the folder that holds what it installs, which becomes the transaction's; empty
// for none. Program is what will carry it out.
func (s Store) Accept(o Order, parts string, program []byte) (err error) {
	if running, err := s.Running(); err != nil {
		return err
	} else if running != nil {
		return ErrBusy
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.clear())
		}
	}()
	if err := s.clear(); err != nil {
		return err
	}
	next := s.path("next")
	if err := s.FS.Mkdir(next, 0o711); err != nil {
		return err
	}
	text, err := json.MarshalIndent(o, "", "\t")
	if err != nil {
		return err
	}
	if err := stable.Replace(s.FS, filepath.Join(next, "order.json"), append(text, '\n'), 0o600); err != nil {
		return err
	}
	if err := stable.Replace(s.FS, filepath.Join(next, Runner), program, 0o755); err != nil {
		return fmt.Errorf("copying the program: %w", err)
	}
	if parts != "" {
		if err := s.FS.Rename(parts, filepath.Join(next, "parts")); err != nil {
			return err
		}
		if err := s.FS.SyncDir(next); err != nil {
			return err
		}
	}
	if err := s.FS.Rename(next, s.RunDir()); err != nil {
		return err
	}
	return s.FS.SyncDir(s.Dir)
}

// clear removes an order that was not accepted to the end. What it was to install
// goes back to where it was received, unless something else was received since.
func (s Store) clear() error {
	next := s.path("next")
	parts, home := filepath.Join(next, "parts"), filepath.Join(s.StageDir(), "parts")
	if s.has(parts) && s.has(s.StageDir()) && !s.has(home) {
		if err := s.FS.Rename(parts, home); err != nil {
			return err
		}
	}
	return removeAll(s.FS, next)
}

// has says whether a folder is there.
func (s Store) has(dir string) bool {
	_, err := s.FS.List(dir)
	return err == nil
}

// Journal opens the journal of the transaction under way.
func (s Store) Journal() (*Journal, error) { return OpenJournal(s.FS, s.path("run", "journal")) }

// Salvage gives up a transaction whose journal is damaged: it is stuck. To go on from
// half a memory would be worse, and to try again for ever keeps every later release
// out. What was in the journal is kept beside the new one, for whoever has to look.
func (s Store) Salvage(boot string, damage error) (*Journal, error) {
	path := s.path("run", "journal")
	data, err := s.FS.Read(path, maxJournal)
	if err != nil {
		return nil, err
	}
	if err := stable.Replace(s.FS, path+".damaged", data, 0o600); err != nil {
		return nil, err
	}
	var text []byte
	for i, r := range []Record{{Phase: Back, Reason: short(damage)}, {Phase: Finished, Outcome: Stuck}} {
		r.Seq, r.Time, r.Boot = i+1, time.Now().UTC(), boot
		entry, err := encodeRecord(r)
		if err != nil {
			return nil, err
		}
		text = append(text, entry...)
	}
	if err := stable.Replace(s.FS, path, text, 0o600); err != nil {
		return nil, err
	}
	return s.Journal()
}

// Archive ends a transaction that is over: what it installed from goes, its order and
// journal stay, of the newest fifty.
//
// It leaves its place before it loses the program that carries it out: without that it
// would be under way for ever after a power cut.
func (s Store) Archive(o Order) error {
	if err := removeAll(s.FS, filepath.Join(s.RunDir(), "parts")); err != nil {
		return err
	}
	if err := s.FS.Rename(s.RunDir(), s.path("history", o.ID)); err != nil {
		return err
	}
	for _, dir := range []string{s.path("history"), s.Dir} {
		if err := s.FS.SyncDir(dir); err != nil {
			return err
		}
	}
	return s.tidy()
}

// tidy removes what transactions that are over do not need any more, and the oldest
// of them.
func (s Store) tidy() error {
	names, err := s.FS.List(s.path("history"))
	if err != nil {
		return err
	}
	gone := max(0, len(names)-maxHistory)
	for _, name := range names[:gone] {
		if err := removeAll(s.FS, s.path("history", name)); err != nil {
			return err
		}
	}
	for _, name := range names[gone:] {
		for _, left := range []string{s.path("history", name, "parts"), s.path("history", name, Runner), s.path("kept", name+".deb")} {
			if err := removeAll(s.FS, left); err != nil {
				return err
			}
		}
	}
	return nil
}

// History are the transactions of this machine, the newest first. One that cannot
// be read is left out.
func (s Store) History() []api.UpdateRun {
	runs := []api.UpdateRun{}
	if run, err := s.describe(s.RunDir()); err == nil {
		runs = append(runs, run)
	}
	names, err := s.FS.List(s.path("history"))
	if err != nil {
		return runs
	}
	for _, name := range slices.Backward(names) {
		if run, err := s.describe(s.path("history", name)); err == nil {
			runs = append(runs, run)
		}
	}
	return runs
}

// Rescues are the names of the copies of the database that transactions which are stuck
// have left: somebody may need them yet.
func (s Store) Rescues() (names []string) {
	for _, run := range s.History() {
		if run.Outcome == string(Stuck) {
			names = append(names, snapshotOf(run.ID))
		}
	}
	return names
}

func (s Store) describe(dir string) (api.UpdateRun, error) {
	o, err := readJSON[Order](s, filepath.Join(dir, "order.json"))
	if err != nil || o.ID == "" {
		return api.UpdateRun{}, fmt.Errorf("reading %s: %w", dir, errors.Join(err, fs.ErrInvalid))
	}
	data, err := s.FS.Read(filepath.Join(dir, "journal"), maxJournal)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return api.UpdateRun{}, err
	}
	records, _, err := parseJournal(data)
	if err != nil {
		return api.UpdateRun{}, err
	}
	return Describe(o, records), nil
}

// idLayout is what names of transactions look like: sorted as text they are in order.
const idLayout = "20060102T150405"

// NewID returns the name of a transaction that begins now. It comes after those of all
// that ended, whatever the clock says: without a battery it begins in the past at each
// boot.
func (s Store) NewID(now time.Time) (string, error) {
	names, err := s.FS.List(s.path("history"))
	if err != nil {
		return "", err
	}
	for _, name := range slices.Backward(names) {
		if newest, err := time.Parse(idLayout, name); err == nil {
			if next := newest.Add(time.Second); next.After(now) {
				now = next
			}
			break
		}
	}
	return now.UTC().Format(idLayout), nil
}

// removeAll removes a folder that holds files and folders of files.
func removeAll(f stable.FS, dir string) error {
	names, err := f.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return f.Remove(dir) // a file
	}
	for _, name := range names {
		if err := removeAll(f, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return f.Remove(dir)
}
