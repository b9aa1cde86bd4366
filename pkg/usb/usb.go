// Package usb looks for update bundles on a USB stick: it mounts the file
// system read-only, lists the bundles in the root folder and in arasul/, and
// unmounts.
//
// A stick is whatever a stranger plugs in. Nothing on it is opened, followed
// or believed: names and sizes are read, bounded in number, and the verdict
// about a bundle belongs to whoever checks its signature. The package does not
// install, does not write to the stick, and does not ask udev; the caller says
// what udev knows.
//
// What remains is the kernel's own reading of a hostile file system. It is
// kept to three kinds, and the unit that runs this holds two capabilities.
package usb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Limit is how long Search waits for a stick. The kernel gives a dead one 30
// seconds per command.
const Limit = time.Minute

// Errors that a caller can tell apart.
var (
	// ErrInUse: the machine itself has the file system mounted for writing, as
	// when it boots from USB. That is no fault of the stick.
	ErrInUse = errors.New("mounted by this machine already")
	// ErrGone: the stick was pulled, or stopped answering.
	ErrGone = errors.New("stick was removed or does not answer")
)

// Device is a block device as udev describes it.
type Device struct {
	Name  string // kernel name: sda1
	Node  string // /dev/sda1
	Bus   string // ID_BUS
	Usage string // ID_FS_USAGE
	Type  string // ID_FS_TYPE
	Label string // ID_FS_LABEL, may be empty
	UUID  string // ID_FS_UUID, may be empty
}

// options are the file systems that are mounted, with their mount options. An
// ext4 stick may ask in its superblock for a panic at the first error, and its
// journal would be written even when mounted read-only.
var options = map[string]string{
	"vfat":  "fmask=0177,dmask=0077",
	"exfat": "fmask=0177,dmask=0077",
	"ext4":  "noload,errors=continue",
}

var kernelName = regexp.MustCompile(`^[a-z][a-z0-9]{1,31}$`)

// CheckName refuses what cannot be the kernel's name of a disk or partition.
func CheckName(name string) error {
	if !kernelName.MatchString(name) {
		return fmt.Errorf("device name %.64q: want a kernel name like sda1", name)
	}
	return nil
}

// Check refuses a device that is not a file system of a known kind on USB.
func (d Device) Check() error {
	if err := CheckName(d.Name); err != nil {
		return err
	}
	switch _, known := options[d.Type]; {
	case d.Node != "/dev/"+d.Name:
		return fmt.Errorf("device node %q is not /dev/%s", d.Node, d.Name)
	case d.Bus != "usb":
		return fmt.Errorf("%s is on bus %q, not usb", d.Name, d.Bus)
	case d.Usage != "filesystem":
		return fmt.Errorf("%s holds %q, not a file system", d.Name, d.Usage)
	case !known:
		return fmt.Errorf("its file system is %s: FAT, exFAT and ext4 are read", d.Type)
	}
	return nil
}

// Visit is called while the stick is mounted. Each Read of what it opens counts
// as a sign of life.
type Visit func(ctx context.Context, s *Stick, found Report) error

// Search mounts d below dir, an existing folder of root's, and reports the
// bundles on it, to visit too unless that is nil. When it returns nothing is
// mounted any more, unless the stick hangs: then it returns ErrGone when there was
// no sign of life for Limit, with a goroutine still waiting for the kernel, and the
// process should end.
func Search(ctx context.Context, d Device, dir string, visit Visit) (Report, error) {
	if err := d.Check(); err != nil {
		return Report{}, err
	}
	var st unix.Stat_t
	if err := unix.Lstat(d.Node, &st); err != nil {
		return Report{}, fmt.Errorf("looking at %s: %w", d.Node, gone(err))
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return Report{}, fmt.Errorf("%s is not a block device", d.Node)
	}
	mnt := filepath.Join(dir, "mnt")
	return bounded(ctx, Limit, func(ctx context.Context, alive func()) (Report, error) {
		return search(ctx, d, mnt, visit, alive)
	}, func() { _ = unix.Unmount(mnt, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) })
}

// bounded runs do, and waits for it until ctx ends or it gave no sign of life for
// limit; then it calls abandon, for which it waits a second.
func bounded(ctx context.Context, limit time.Duration, do func(ctx context.Context, alive func()) (Report, error), abandon func()) (Report, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	patience := time.AfterFunc(limit, func() { cancel(context.DeadlineExceeded) })
	defer patience.Stop()
	type result struct {
		report Report
		err    error
	}
	done := make(chan result, 1)
	go func() {
		r, err := do(ctx, func() { patience.Reset(limit) })
		done <- result{r, err}
	}()
	select {
	case r := <-done:
		return r.report, r.err
	case <-ctx.Done():
	}
	left := make(chan struct{})
	go func() {
		defer close(left)
		abandon()
	}()
	select {
	case <-left:
	case <-time.After(time.Second):
	}
	return Report{}, fmt.Errorf("%w: %w", ErrGone, context.Cause(ctx))
}

// search mounts d at mnt, scans, lets visit see it, and unmounts.
func search(ctx context.Context, d Device, mnt string, visit Visit, alive func()) (r Report, err error) {
	if err := os.Mkdir(mnt, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return r, fmt.Errorf("making the mount point: %w", err)
	}
	defer os.Remove(mnt)
	if err := mount(d.Node, d.Type, mnt); err != nil {
		return r, fmt.Errorf("mounting %s as %s: %w", d.Node, d.Type, gone(err))
	}
	defer func() {
		if e := unmount(mnt); e != nil {
			err = errors.Join(err, fmt.Errorf("unmounting %s: %w", d.Node, e))
		}
	}()
	r, err = Scan(mnt)
	if err != nil || visit == nil || len(r.Bundles) == 0 {
		return r, gone(err)
	}
	stick, err := openStick(mnt, alive)
	if err != nil {
		return r, gone(err)
	}
	defer stick.root.Close()
	return r, gone(visit(ctx, stick, r))
}

// nosymfollow is MS_NOSYMFOLLOW of Linux 5.10; x/sys/unix has no name for it.
const nosymfollow = 0x100

// mount never allows writing, devices, set-user-ID or execution.
func mount(node, fstype, mnt string) error {
	flags := uintptr(unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	err := unix.Mount(node, mnt, fstype, flags|nosymfollow, options[fstype])
	if errors.Is(err, unix.EINVAL) { // an older kernel; or a broken file system, and it says so again
		err = unix.Mount(node, mnt, fstype, flags, options[fstype])
	}
	switch {
	case errors.Is(err, unix.EBUSY):
		return ErrInUse
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("the file system is damaged: %w", err)
	case errors.Is(err, unix.ENODEV):
		return errors.New("this kernel does not know the file system")
	}
	return err
}

// unmount detaches when something still holds the file system: the namespace
// of the process is the last that sees it.
func unmount(mnt string) error {
	err := unix.Unmount(mnt, unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EBUSY) {
		err = unix.Unmount(mnt, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	}
	return err
}

// gone adds ErrGone to the errors of a stick that is not there any more.
func gone(err error) error {
	if slices.ContainsFunc([]error{unix.EIO, unix.ENXIO, unix.ENOENT, unix.ENOMEDIUM}, func(e error) bool { return errors.Is(err, e) }) {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return err
}
