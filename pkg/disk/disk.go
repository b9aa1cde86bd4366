// Package disk makes room on the file system that holds the appliance's data,
// and keeps a reserve there for the day when it is full.
//
// [Cleaner.Clean] takes steps in a fixed order, from what nobody will miss to
// what somebody might, and stops as soon as the file system is less than
// [Target] full:
//
//	reserve   the file that was set aside for this
//	apt       packages that apt has downloaded, unless it is at work
//	cache     what the services can make again
//	logs      our rotated logs
//	journal   the oldest archived journals, down to 256 MiB
//	bundles   update bundles but the newest
//	images    container images that have no name any more  (arasul-prune.service)
//	database  the oldest days of samples, but one          (arasul-vacuum.service)
//
// It removes regular files in these places and nothing else: no directory, no
// link's target, nothing on another file system, also not one that is mounted
// below. A step that fails does not keep the others from being taken.
//
// It does not decide when to clean up, it does not touch models, workflows,
// objects or the database, and it runs no program: what needs the rights of
// others it asks units of theirs to do.
package disk

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// DataDir is on the file system that matters.
const DataDir = "/var/lib/arasul"

// Target is the share of the file system in use below which nothing more is
// removed. It is well below where the healer begins (spec HEAL: 95 %), so that
// one clean-up is not followed by the next.
const Target = 0.85

// space is how full a file system is. Used is what df calls used: blocks
// reserved for root are neither used nor available.
type space struct {
	total, used uint64 // bytes
	device      uint64
}

func (s space) ratio() float64 { return float64(s.used) / float64(max(s.total, 1)) }

// measure looks at the file system that holds a directory.
func measure(dir string) (space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return space{}, fmt.Errorf("measuring the file system of %s: %w", dir, err)
	}
	var stat unix.Stat_t
	if err := unix.Stat(dir, &stat); err != nil {
		return space{}, fmt.Errorf("looking at %s: %w", dir, err)
	}
	// As df counts: what is kept for root is no room for a service.
	unit, taken := uint64(st.Frsize), st.Blocks-min(st.Bfree, st.Blocks)
	return space{total: (taken + st.Bavail) * unit, used: taken * unit, device: stat.Dev}, nil
}

// Full says whether the file system is more than [Target] full.
func Full() (bool, error) {
	s, err := measure(DataDir)
	return s.ratio() >= Target, err
}

// at is where a path of the machine lies below a root folder, which is "/"
// but in tests.
func at(root, path string) string { return filepath.Join("/", root, path) }
