package bundle

import (
	"slices"
	"strings"
	"time"
)

// UpdaterVersion is what this program understands.
const UpdaterVersion = 1

// maxJump bounds how far a sequence may be ahead: a release with the greatest
// number of all would shut out every other for ever.
const maxJump = 10_000_000

// Machine is what a release is judged by.
type Machine struct {
	ID       string // of /etc/machine-id; permits name it
	Arch     string // as dpkg names it
	OS       string // as debian:12
	Version  string // that is installed
	Sequence uint64 // of the release that is installed; 0: not known
	Floor    uint64
	Schema   int             // of the database; 0: not known
	Failed   map[string]bool // bundles that stopped services here, and had to be taken back
	Tried    map[string]bool // bundles whose installation was begun here, whatever came of it
	// Permits let releases below the floor in: each a SignedPermit, as a file holds it.
	Permits [][]byte
	// Trusted is the latest time that is known for certain; a clock may be wrong.
	Trusted time.Time
}

// Wish is what somebody asks for beyond what is done by itself.
type Wish struct {
	Person    bool // somebody decides, with this release before their eyes
	Downgrade bool
	Again     bool // although it failed
}

// Check says why a release must not be installed on a machine, nil for nothing.
func (v *Verified) Check(m Machine, w Wish) error {
	for _, check := range []func(Machine, Wish) error{v.checkMachine, v.checkFloor, v.checkSequence, v.checkTime} {
		if err := check(m, w); err != nil {
			return err
		}
	}
	return nil
}

func (v *Verified) checkMachine(m Machine, _ Wish) error {
	r := &v.Manifest.Requires
	arch := slices.Contains(r.Arch, m.Arch)
	for _, p := range v.Manifest.Payloads {
		arch = arch && (p.Kind != Deb || p.Arch == m.Arch || p.Arch == "all")
	}
	switch {
	case v.Manifest.Product != Product:
		return refuse(WrongProduct, "", "the file is a release of %q", v.Manifest.Product)
	case !arch:
		return refuse(WrongArch, "Get the release for "+m.Arch+".", "the release is for %s, and this machine is %s", strings.Join(r.Arch, ", "), m.Arch)
	case !slices.Contains(r.OS, m.OS):
		return refuse(WrongOS, "", "the release is for %s, and this machine runs %s", strings.Join(r.OS, ", "), m.OS)
	case r.Updater > UpdaterVersion:
		return refuse(MinVersion, "Install an earlier release first.", "the release needs a newer updater than this machine has")
	case m.Sequence > 0 && m.Sequence < r.FromMin:
		return refuse(MinVersion, "Install a release in between first.", "the release cannot be installed on top of %s", m.Version)
	}
	return nil
}

func (v *Verified) checkSequence(m Machine, w Wish) error {
	r := &v.Manifest.Release
	switch {
	case slices.Contains(v.Root.RevokedBundles, v.ID):
		return refuse(Revoked, "Get a newer one.", "the release %s was withdrawn", r.Version)
	case r.Sequence < v.Root.MinSequence:
		return refuse(BelowFloor, "Get a newer one.", "the release %s was withdrawn, with all before it", r.Version)
	case m.Sequence > 0 && r.Sequence > m.Sequence+maxJump:
		return refuse(BadFormat, "", "the sequence %d is too far ahead of %d", r.Sequence, m.Sequence)
	case r.Sequence == m.Sequence && m.Sequence > 0:
		return refuse(NotNewer, "There is nothing to do.", "the release %s is installed already", r.Version)
	case r.Sequence < m.Sequence && !w.Downgrade:
		return refuse(Downgrade, "To go back to it all the same: sudo arasul update apply FILE --allow-downgrade --reason TEXT.", "the release %s is older than %s, which is installed", r.Version, m.Version)
	case r.Sequence < m.Sequence && v.Manifest.Data.Schema < m.Schema:
		return refuse(Downgrade, "sudo arasul update rollback leads to the release before, with its data.", "the release %s does not know what %s has stored", r.Version, m.Version)
	case m.Failed[v.ID] && !w.Again:
		return refuse(FailedBefore, "To try it again: sudo arasul update apply FILE --force.", "the release %s was installed here before, and failed", r.Version)
	case m.Tried[v.ID] && !w.Person: // the stick is still in, and somebody has cancelled it or gone back
		return refuse(FailedBefore, "To install it again, use the page or the console.", "the release %s was here before, and was cancelled or taken back", r.Version)
	}
	return nil
}

// checkFloor: what is below the floor comes in by a signed permit only, whoever
// asks for it.
func (v *Verified) checkFloor(m Machine, _ Wish) error {
	if v.Manifest.Release.Sequence >= m.Floor {
		return nil
	}
	var err error = refuse(BelowFloor, "Get a newer one.", "the release %s is older than any that may be installed here", v.Manifest.Release.Version)
	for _, permit := range m.Permits {
		if err = v.permitted(m, permit); err == nil {
			return nil
		}
	}
	return err
}

// checkTime: a release that is out of date is not installed by itself. A clock
// that is behind is no reason: it may have no battery.
func (v *Verified) checkTime(m Machine, w Wish) error {
	r := &v.Manifest.Release
	if r.Expires != nil && !w.Person && m.Trusted.After(*r.Expires) {
		return refuse(Expired, "Get a newer one, or install it from the page or the console.", "the release %s was to be installed until %s", r.Version, r.Expires.Format("2006-01-02"))
	}
	return nil
}
