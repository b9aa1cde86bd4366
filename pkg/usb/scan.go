package usb

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Bounds of a scan.
const (
	Suffix     = ".araupdate"
	Folder     = "arasul" // searched besides the root folder; none deeper
	MaxNames   = 64       // names reported, refused ones included
	MaxEntries = 20_000   // directory entries looked at, both folders together: there may be photographs, too
	MaxSize    = 33 << 30 // bytes: the largest payload is 32 GiB
)

// Report is what a scan found.
type Report struct {
	Bundles []Bundle
	Refused []Refusal
	Entries int  // directory entries looked at
	Partial bool // a bound was reached; there may be more
}

// Bundle is a regular file that is named like a bundle. Whether it is one,
// nobody has checked.
type Bundle struct {
	Name string // relative to the root folder; any bytes but NUL and, in the file's own name, slash
	Size int64  // bytes
}

// Refusal is something that is named like a bundle and cannot be one.
type Refusal struct {
	Name, Reason string
}

// String says it in numbers: "found 2 bundles, refused 1". Names have lines of
// their own in the log.
func (r Report) String() string {
	found := fmt.Sprintf("found %d bundles", len(r.Bundles))
	switch len(r.Bundles) {
	case 0:
		found = "no bundles"
	case 1:
		found = "found 1 bundle"
	}
	if len(r.Refused) > 0 {
		found += fmt.Sprintf(", refused %d", len(r.Refused))
	}
	return found
}

// size is n for people, in powers of ten as sticks are sold.
func size(n int64) string {
	units := []string{"kB", "MB", "GB"}
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f := float64(n)
	for _, u := range units {
		if f /= 1000; f < 999.95 || u == "GB" {
			return fmt.Sprintf("%.1f %s", f, u)
		}
	}
	panic("unreachable")
}

// Scan lists the bundles in the folder root and in its subfolder arasul. It
// opens these two only, and follows no symbolic link.
func Scan(root string) (Report, error) {
	var r Report
	dir, err := openDir(unix.AT_FDCWD, root)
	if err != nil {
		return r, fmt.Errorf("opening the root folder: %w", err)
	}
	defer dir.Close()
	if err := r.list(dir, ""); err != nil {
		return r, err
	}
	sub, err := openDir(int(dir.Fd()), Folder)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return r, nil // none, or a file or a link of that name
	case err != nil:
		return r, fmt.Errorf("opening %s: %w", Folder, err)
	}
	defer sub.Close()
	return r, r.list(sub, Folder+"/")
}

func openDir(at int, name string) (*os.File, error) {
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// list adds what dir holds, its names prefixed.
func (r *Report) list(dir *os.File, prefix string) error {
	for {
		names, err := dir.Readdirnames(256)
		for _, name := range names {
			if r.Entries == MaxEntries || len(r.Bundles)+len(r.Refused) == MaxNames {
				r.Partial = true
				return nil
			}
			r.Entries++
			// macOS leaves a ._ companion beside each file it copies.
			if strings.HasPrefix(name, ".") || !hasSuffixFold(name, Suffix) {
				continue
			}
			r.add(dir, prefix, name)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading /%s: %w", prefix, err)
		}
	}
}

// add judges one entry by its inode alone.
func (r *Report) add(dir *os.File, prefix, name string) {
	refuse := func(reason string) { r.Refused = append(r.Refused, Refusal{prefix + name, reason}) }
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		refuse("cannot be looked at: " + err.Error())
		return
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		refuse("a folder, not a file")
		return
	case unix.S_IFLNK:
		refuse("a symbolic link, not a file")
		return
	default:
		refuse("a special file")
		return
	}
	switch {
	case st.Size <= 0:
		refuse("empty")
	case st.Size > MaxSize:
		refuse("larger than " + size(MaxSize))
	default:
		r.Bundles = append(r.Bundles, Bundle{prefix + name, st.Size})
	}
}

// hasSuffixFold ignores case, as the file systems of most sticks do.
func hasSuffixFold(name, suffix string) bool {
	return len(name) > len(suffix) && strings.EqualFold(name[len(name)-len(suffix):], suffix)
}
