// Package stabletest is a disk that loses what was not synced.
//
// It keeps two views of everything: what a program sees, and what is on stable
// storage. A power cut makes the second into the first, in one of the ways that
// real file systems have been seen to: a name without its content, a content
// without its name, half of what was appended. Every call is a place where the
// power can be cut, before it or after it, and every sync can be left out: so a
// test can try all places, and prove that each sync is needed. A folder that is
// moved is in one place, the old or the new, as on each file system with a journal.
//
// It is not safe for use by several goroutines.
package stabletest

import (
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Survival says what of the things that were not synced is there after a power cut.
type Survival int

// The ways in which disks forget.
const (
	Nothing  Survival = iota // of what was not synced
	Names                    // all names; contents as they were last synced, new files empty
	Contents                 // all contents, of those files whose names are durable
	Torn                     // all names, and of each content that was added to, half
	Leaves                   // of what is in folders without folders in them
	All                      // of it
	Survivals
)

// String names s for the name of a test.
func (s Survival) String() string {
	return [...]string{"nothing", "names", "contents", "torn", "leaves", "all"}[s]
}

// Cut is what a call panics with when the power is cut there.
type Cut struct{ Point int }

// node is a file or a folder.
type node struct {
	dir           bool
	seen, durable []byte // its content
	names, onDisk map[string]*node
}

// Disk is the disk. The zero value is not usable, see New.
type Disk struct {
	root *node

	// CutAt cuts the power at this point, counted from 1; 0: never. Each call
	// that changes something is two points: before it, and after it.
	CutAt int
	// SkipSync leaves out the syncs of this line of code, as Syncs names it.
	SkipSync string
	// Fail, if set, may return an error for a call: "write /path", "sync /path", ….
	Fail func(call string) error

	points int
	syncs  map[string]string
	synced int
	moves  []move // of folders, since the last power cut
}

// move is a folder that got another name, which is durable once either end was synced.
type move struct {
	folder *node
	source *node
	old    string
	target *node
	name   string
}

// New returns an empty disk.
func New() *Disk { return &Disk{root: folder(), syncs: map[string]string{}} }

func folder() *node {
	return &node{dir: true, names: map[string]*node{}, onDisk: map[string]*node{}}
}

// Points is how many places for a power cut were passed so far.
func (d *Disk) Points() int { return d.points }

// Syncs are the lines of code that asked for a sync so far, as file:line, with
// one of the names each of them synced.
func (d *Disk) Syncs() map[string]string { return d.syncs }

// Synced is how many syncs were asked for so far.
func (d *Disk) Synced() int { return d.synced }

// line is the line of code outside of this package that called.
func line() string {
	for skip := 2; ; skip++ {
		_, file, number, ok := runtime.Caller(skip)
		if !ok {
			return "?"
		}
		if !strings.HasSuffix(filepath.Dir(file), "/stabletest") {
			return fmt.Sprintf("%s:%d", filepath.Join(filepath.Base(filepath.Dir(file)), filepath.Base(file)), number)
		}
	}
}

// Point is a place where the power can be cut. Doubles of other things that an
// update does call it before and after each of them.
func (d *Disk) Point() {
	d.points++
	if d.points == d.CutAt {
		panic(Cut{d.points})
	}
}

// PowerCut makes the disk what it is after a power cut, and forgets CutAt,
// SkipSync and what was counted.
func (d *Disk) PowerCut(s Survival) {
	d.root.forget(s)
	d.moves = nil
	d.CutAt, d.SkipSync, d.points, d.synced = 0, "", 0, 0
	clear(d.syncs)
}

func (n *node) forget(s Survival) {
	if !n.dir {
		switch {
		case s == All || s == Contents || s == Leaves:
		case s == Torn && len(n.seen) > len(n.durable) && string(n.seen[:len(n.durable)]) == string(n.durable):
			n.seen = n.seen[:len(n.durable)+(len(n.seen)-len(n.durable))/2]
		default:
			n.seen = slices.Clone(n.durable)
		}
		n.durable = slices.Clone(n.seen)
		return
	}
	if s == Nothing || s == Contents || s == Leaves && !n.leaf() {
		n.names = maps.Clone(n.onDisk)
	}
	n.onDisk = maps.Clone(n.names)
	for _, child := range n.names {
		child.forget(s)
	}
}

// leaf says whether a folder has no folders in it.
func (n *node) leaf() bool {
	for _, child := range n.names {
		if child.dir {
			return false
		}
	}
	return true
}

// change is a call that changes something.
func (d *Disk) change(call, name string, do func() error) error {
	d.Point()
	if d.Fail != nil {
		if err := d.Fail(call + " " + name); err != nil {
			return &fs.PathError{Op: call, Path: name, Err: err}
		}
	}
	if err := do(); err != nil {
		return &fs.PathError{Op: call, Path: name, Err: err}
	}
	d.Point()
	return nil
}

func (d *Disk) find(name string) (*node, error) {
	n := d.root
	for part := range strings.SplitSeq(strings.Trim(filepath.Clean(name), "/"), "/") {
		if part == "" {
			continue
		}
		if !n.dir || n.names[part] == nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		n = n.names[part]
	}
	return n, nil
}

func (d *Disk) parent(name string) (*node, string, error) {
	n, err := d.find(filepath.Dir(name))
	return n, filepath.Base(name), err
}

func (d *Disk) file(name string) (*node, error) {
	n, err := d.find(name)
	if err == nil && n.dir {
		err = fmt.Errorf("%s is a folder", name)
	}
	return n, err
}

// Read implements stable.FS.
func (d *Disk) Read(name string, limit int64) ([]byte, error) {
	n, err := d.file(name)
	if err != nil {
		return nil, err
	}
	if int64(len(n.seen)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return slices.Clone(n.seen), nil
}

// List implements stable.FS.
func (d *Disk) List(dir string) ([]string, error) {
	n, err := d.find(dir)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(n.names)), nil
}

// Write implements stable.FS.
func (d *Disk) Write(name string, data []byte, _ fs.FileMode) error {
	return d.change("write", name, func() error {
		dir, base, err := d.parent(name)
		if err != nil {
			return err
		}
		if dir.names[base] == nil {
			dir.names[base] = &node{}
		}
		dir.names[base].seen = slices.Clone(data)
		return nil
	})
}

// Append implements stable.FS.
func (d *Disk) Append(name string, data []byte) error {
	return d.change("append", name, func() error {
		n, err := d.file(name)
		if err == nil {
			n.seen = append(n.seen, data...)
		}
		return err
	})
}

// Truncate implements stable.FS.
func (d *Disk) Truncate(name string, size int64) error {
	return d.change("truncate", name, func() error {
		n, err := d.file(name)
		if err == nil {
			n.seen = n.seen[:size]
		}
		return err
	})
}

// Rename implements stable.FS.
func (d *Disk) Rename(from, to string) error {
	return d.change("rename", to, func() error {
		source, old, err := d.parent(from)
		if err != nil {
			return err
		}
		target, base, err := d.parent(to)
		if err != nil {
			return err
		}
		if source.names[old] == nil {
			return fs.ErrNotExist
		}
		n := source.names[old]
		if there := target.names[base]; n.dir && there != nil && len(there.names) > 0 {
			return fmt.Errorf("not empty")
		}
		if n.dir {
			d.moves = append(d.moves, move{n, source, old, target, base})
		}
		target.names[base] = n
		delete(source.names, old)
		return nil
	})
}

// Remove implements stable.FS.
func (d *Disk) Remove(name string) error {
	return d.change("remove", name, func() error {
		dir, base, err := d.parent(name)
		if err != nil {
			return nil //nolint:nilerr // what is not there is removed
		}
		if n := dir.names[base]; n != nil && len(n.names) > 0 {
			return fmt.Errorf("not empty")
		}
		delete(dir.names, base)
		return nil
	})
}

// Mkdir implements stable.FS.
func (d *Disk) Mkdir(name string, _ fs.FileMode) error {
	return d.change("mkdir", name, func() error {
		dir, base, err := d.parent(name)
		if err == nil && dir.names[base] == nil {
			dir.names[base] = folder()
		}
		return err
	})
}

// Sync implements stable.FS.
func (d *Disk) Sync(name string) error {
	return d.sync("sync", name, func(n *node) { n.durable = slices.Clone(n.seen) })
}

// SyncDir implements stable.FS.
func (d *Disk) SyncDir(dir string) error {
	return d.sync("syncdir", dir, func(n *node) {
		n.onDisk = maps.Clone(n.names)
		for _, m := range d.moves {
			if (n == m.source || n == m.target) && m.target.names[m.name] == m.folder {
				if m.source.onDisk[m.old] == m.folder {
					delete(m.source.onDisk, m.old)
				}
				m.target.onDisk[m.name] = m.folder
			}
		}
	})
}

func (d *Disk) sync(call, name string, do func(*node)) error {
	at := line()
	return d.change(call, name, func() error {
		n, err := d.find(name)
		if err != nil {
			return err
		}
		d.synced++
		if d.syncs[at] = call + " " + name; at != d.SkipSync {
			do(n)
		}
		return nil
	})
}
