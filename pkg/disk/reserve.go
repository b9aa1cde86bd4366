package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	// reserveFile has a directory of its own, to be the only thing that its unit
	// may write to.
	reserveFile = DataDir + "/reserve/reserve"

	reserveBytes = 256 << 20 // at most
	reserveShare = 0.01      // of the file system, at most

	// Allocated below the first, and never beyond the second.
	reserveBelow = 0.80
	reserveUpTo  = 0.90
)

// Reserve sets the reserve aside: 256 MiB or 1 % of the file system, whichever
// is less, in blocks that are really allocated. It gives a full disk back what
// a database needs to start and a clean-up needs to work. Reserve leaves one
// that is there as it is, and allocates none while more than 80 % of the file
// system is used. It says how large the reserve is now, and why there is none.
func Reserve() (bytes uint64, why string, err error) { return reserve("") }

func reserve(root string) (bytes uint64, why string, err error) {
	path := at(root, reserveFile)
	s, err := measure(at(root, DataDir))
	if err != nil {
		return 0, "", err
	}
	want := min(reserveBytes, uint64(float64(s.total)*reserveShare)) &^ 4095
	have, err := allocated(path)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return 0, "", fmt.Errorf("looking at the reserve: %w", err)
	case err == nil && have >= want:
		return have, "", nil
	case want == 0:
		return 0, "the file system is too small for one", nil
	case s.ratio() >= reserveBelow:
		return have, fmt.Sprintf("%.0f %% of the file system are used, and a reserve is set aside below %.0f %%", s.ratio()*100, reserveBelow*100), nil
	case float64(s.used+want) > float64(s.total)*reserveUpTo:
		return have, fmt.Sprintf("it would fill the file system beyond %.0f %%", reserveUpTo*100), nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return 0, "", fmt.Errorf("setting a reserve aside: %w", err)
	}
	if err := allocate(path, want); err != nil {
		_ = os.Remove(path) // half a reserve is found by nobody
		return 0, "", fmt.Errorf("setting a reserve aside: %w", err)
	}
	return want, "", nil
}

// allocate makes a file of this size, or makes the rest of it.
func allocate(path string, size uint64) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, int64(size))
		if errors.Is(err, unix.EINTR) {
			continue // Go's scheduler signals its threads
		}
		if err != nil {
			return fmt.Errorf("allocating %d bytes: %w", size, err)
		}
		break
	}
	if err := f.Sync(); err != nil {
		return err
	}
	have, err := allocated(path)
	if err == nil && have < size {
		err = fmt.Errorf("the file system gave %d of %d bytes", have, size)
	}
	return err
}

// allocated is what a file has on the disk, in bytes.
func allocated(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return 0, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return 0, fmt.Errorf("%s is not a file", path)
	}
	return onDisk(&st), nil
}

// onDisk is what removing a file gives back: nothing while it has other names.
func onDisk(st *unix.Stat_t) uint64 {
	if st.Nlink > 1 {
		return 0
	}
	return uint64(st.Blocks) * 512
}
