package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/api"
)

// sector is the unit of /proc/diskstats, whatever the disk's own sectors are.
const sector = 512

// collectSpace measures the file system. Used is what df calls used: blocks
// reserved for root are neither used nor available.
func (s *Sampler) collectSpace(out *api.Sample) error {
	var st unix.Statfs_t
	path := s.disk
	for {
		_, err := retry(func() (int, error) { return 0, unix.Statfs(path, &st) })
		if err == nil {
			break
		}
		parent := filepath.Dir(path)
		if !errors.Is(err, unix.ENOENT) || parent == path {
			return fmt.Errorf("measuring the file system of %s: %w", s.disk, err)
		}
		path = parent
	}
	out.DiskTotalBytes, out.DiskUsedBytes = room(&st)
	return nil
}

// room is what a service can use of a file system, as df counts: without the
// share that ext4 keeps for root, which is 5 % by default. With it a disk on which
// nobody else can write any more would be 95 % full.
func room(st *unix.Statfs_t) (total, used uint64) {
	unit := uint64(st.Frsize)
	taken := st.Blocks - min(st.Bfree, st.Blocks)
	return (taken + st.Bavail) * unit, taken * unit
}

// collectDisks returns the bytes read and written since the look before.
func (s *Sampler) collectDisks(now time.Time) (read, written uint64, err error) {
	text, err := s.diskstats.read(&s.buf)
	if err != nil {
		return 0, 0, err
	}
	s.disks.begin(now)
	if err := parseDiskstats(text, s.disks.add); err != nil {
		return 0, 0, fmt.Errorf("reading %s: %w", s.diskstats.path, err)
	}
	read, written = s.disks.end()
	return read, written, nil
}

// parseDiskstats calls each with the bytes read from and written to every
// block device, partitions included.
func parseDiskstats(text []byte, each func(name []byte, read, written uint64)) error {
	for number := 1; len(text) > 0; number++ {
		var line []byte
		line, text = cutLine(text)
		name, rest := cutField(skipFields(line, 2)) // major, minor
		field, rest := cutField(skipFields(rest, 2))
		read, ok1 := parseUint(field)
		field, _ = cutField(skipFields(rest, 3))
		written, ok2 := parseUint(field)
		if !ok1 || !ok2 || read > 1<<53 || written > 1<<53 {
			return badLine(number, line)
		}
		each(name, read*sector, written*sector)
	}
	return nil
}

// wholeDisk tells the disks to count from what would count the same bytes
// twice: partitions, devices that stand on others (device mapper, RAID, caches,
// loops), and the hidden paths to one NVMe disk. Disks in memory are no disks.
func wholeDisk(root string) func(name string) bool {
	return func(name string) bool {
		for _, prefix := range []string{"loop", "ram", "zram", "sr", "fd"} {
			if strings.HasPrefix(name, prefix) {
				return false
			}
		}
		// The kernel writes the slash of names like cciss/c0d0 so.
		dir := filepath.Join(root, "sys/block", strings.ReplaceAll(name, "/", "!"))
		if _, err := os.Stat(dir); err != nil {
			return false // a partition
		}
		if below, err := os.ReadDir(filepath.Join(dir, "slaves")); err == nil && len(below) > 0 {
			return false
		}
		f := newFile(dir, "hidden")
		defer f.close()
		text, err := f.read(new(buffer))
		return err != nil || len(text) == 0 || text[0] != '1'
	}
}
