package update

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/arasul/arasul/pkg/stable"
	"github.com/arasul/arasul/pkg/stable/stabletest"
)

// shelf is the folder of updates on a disk that forgets what was not synced.
type shelf struct {
	disk  *stabletest.Disk
	store Store
	begun bool // something was done to the machine
}

const (
	thePart    = "package 2"
	theProgram = "the program"
)

func newShelf(t *testing.T) *shelf {
	t.Helper()
	disk := stabletest.New()
	s := &shelf{disk: disk, store: Store{FS: disk, Dir: root}}
	if err := s.store.Init(); err != nil {
		t.Fatal(err)
	}
	disk.PowerCut(stabletest.All) // counts from here
	return s
}

// live is what happens from a boot on until a release is installed: systemd goes on with
// what is under way, then somebody sends the release, if it is not there, and wants it.
func (s *shelf) live() error {
	if err := s.carryOut(); err != nil {
		return fmt.Errorf("at the boot: %w", err)
	}
	if err := s.store.Init(); err != nil {
		return err
	}
	if len(s.store.History()) > 0 {
		return nil
	}
	if s.begun {
		return errors.New("it was begun, and is forgotten")
	}
	parts := s.store.StageDir() + "/parts"
	if part, err := s.disk.Read(parts+"/0", 1<<10); err != nil || string(part) != thePart {
		if err := stable.MkdirAll(s.disk, parts, 0o700); err != nil {
			return err
		}
		if err := stable.Replace(s.disk, parts+"/0", []byte(thePart), 0o600); err != nil {
			return err
		}
	}
	if err := s.store.Accept(Order{ID: "t1", Kind: "update"}, parts, []byte(theProgram)); err != nil {
		return fmt.Errorf("accepting: %w", err)
	}
	return s.carryOut()
}

// carryOut does what the unit of the transaction does, where its condition holds.
func (s *shelf) carryOut() error {
	if _, err := s.disk.Read(s.store.RunDir()+"/order.json", 1<<10); err != nil {
		return nil //nolint:nilerr // the unit does not start
	}
	if program, err := s.disk.Read(s.store.RunDir()+"/"+Runner, 1<<10); err != nil || string(program) != theProgram {
		return fmt.Errorf("nobody can carry it out: %q, %w", program, err)
	}
	order, err := s.store.Running()
	if err != nil {
		return err
	}
	journal, err := s.store.Journal()
	if err != nil {
		return err
	}
	if len(journal.Records()) == 0 {
		if part, err := s.disk.Read(s.store.RunDir()+"/parts/0", 1<<10); err != nil || string(part) != thePart {
			return fmt.Errorf("what it installs is %q, %w", part, err)
		}
		s.begun = true
		kept := s.store.path("kept", order.ID+".deb")
		if err := stable.Replace(s.disk, kept, []byte("package 1"), 0o600); err != nil {
			return err
		}
		for _, r := range []Record{{Phase: Started, Plan: []string{CommitStep}}, {Phase: Finished, Outcome: Committed}} {
			if err := journal.Append(r); err != nil {
				return err
			}
		}
	}
	return s.store.Archive(*order)
}

// cutAt lives until the power fails.
func (s *shelf) cutAt(point int) (cut bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			if _, cut = r.(stabletest.Cut); !cut {
				panic(r)
			}
		}
	}()
	s.disk.CutAt = point
	return false, s.live()
}

// over says what is wrong after all that.
func (s *shelf) over() error {
	var left []string
	var walk func(dir string)
	walk = func(dir string) {
		names, err := s.disk.List(dir)
		if err != nil {
			return
		}
		for _, name := range names {
			path := dir + "/" + name
			if _, err := s.disk.Read(path, 1<<10); err == nil {
				left = append(left, strings.TrimPrefix(path, root+"/"))
				continue
			}
			walk(path)
		}
	}
	walk(root)
	if got, want := strings.Join(left, " "), "history/t1/journal history/t1/order.json"; got != want {
		return fmt.Errorf("files are %q", got)
	}
	return nil
}

// Proves UPD-4: an order is accepted whole or not at all, and one that is over ends,
// wherever the power fails; what that leaves is in nobody's way.
func TestPowerCutBetweenTransactions(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	if _, err := s.cutAt(0); err != nil {
		t.Fatal(err)
	}
	if err := s.over(); err != nil {
		t.Fatal(err)
	}
	n := s.disk.Points()
	t.Logf("figure: %d points", n)
	for at := 1; at <= n; at++ {
		if harm := shelfHarm(t, at, ""); harm != "" {
			t.Errorf("cut at %d of %d, %s", at, n, harm)
		}
	}
}

// Proves UPD-4: each sync of the store is needed.
func TestEverySyncBetweenTransactionsIsNeeded(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	if _, err := s.cutAt(0); err != nil {
		t.Fatal(err)
	}
	n := s.disk.Points()
	for line, what := range maps.Clone(s.disk.Syncs()) {
		if !strings.HasPrefix(line, "update/store.go:") { // TestEverySyncIsNeeded has the others
			continue
		}
		harm := ""
		for at := 1; at <= n && harm == ""; at++ {
			harm = shelfHarm(t, at, line)
		}
		if harm == "" {
			t.Errorf("%s of %s can be left out, and nothing goes wrong", line, what)
		}
		t.Logf("without %s of %s: %s", line, what, harm)
	}
}

// Proves UPD-4: a transaction whose journal is damaged is stuck, and says so; it is not
// under way for ever.
func TestDamagedJournalEndsTheTransaction(t *testing.T) {
	s := newShelf(t).store
	if err := s.Accept(Order{ID: "t1"}, "", []byte(theProgram)); err != nil {
		t.Fatal(err)
	}
	j, err := s.Journal()
	if err != nil {
		t.Fatal(err)
	}
	for _, phase := range []Phase{Started, Begun, Done} {
		if err := j.Append(Record{Phase: phase, Plan: []string{CommitStep}}); err != nil {
			t.Fatal(err)
		}
	}
	path := s.path("run", "journal")
	bad, err := s.FS.Read(path, maxJournal)
	if err != nil {
		t.Fatal(err)
	}
	bad[headerBytes+1] ^= 1
	if err := s.FS.Write(path, bad, 0o600); err != nil {
		t.Fatal(err)
	}
	_, damage := s.Journal()
	if !errors.Is(damage, ErrDamaged) {
		t.Fatalf("%v", damage)
	}
	if j, err = s.Salvage("boot", damage); err != nil {
		t.Fatal(err)
	}
	e := Engine{Steps: Steps(Order{}, Files{}, Tools{}), Commit: CommitStep, Journal: j}
	if outcome, err := e.Run(t.Context()); outcome != Stuck || err != nil {
		t.Errorf("it ends %q, %v", outcome, err)
	}
	if err := s.Archive(Order{ID: "t1"}); err != nil {
		t.Fatal(err)
	}
	if names := s.Rescues(); len(names) != 1 || names[0] != "arasul_pre_t1" {
		t.Errorf("what somebody may need yet: %q", names)
	}
	if runs := s.History(); len(runs) != 1 || runs[0].Outcome != string(Stuck) || !strings.Contains(runs[0].Reason, ErrDamaged.Error()) {
		t.Errorf("%+v", runs)
	}
	if kept, err := s.FS.Read(s.path("history", "t1", "journal.damaged"), maxJournal); err != nil || !bytes.Equal(kept, bad) {
		t.Errorf("%d bytes are kept of %d, %v", len(kept), len(bad), err)
	}
	if err := s.Accept(Order{ID: "t2"}, "", []byte(theProgram)); err != nil {
		t.Errorf("the next: %v", err)
	}
}

// shelfHarm is what goes wrong with the power cut at a point, empty for nothing.
func shelfHarm(t *testing.T, at int, without string) string {
	t.Helper()
	for survival := range stabletest.Survivals {
		s := newShelf(t)
		s.disk.SkipSync = without
		if _, err := s.cutAt(at); err != nil {
			return err.Error()
		}
		s.disk.PowerCut(survival)
		if _, err := s.cutAt(0); err != nil {
			return fmt.Sprintf("%s survives: %v", survival, err)
		}
		if err := s.over(); err != nil {
			return fmt.Sprintf("%s survives: %v", survival, err)
		}
	}
	return ""
}
