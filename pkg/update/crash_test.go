package update

import (
	"fmt"
	"maps"
	"testing"

	"github.com/arasul/arasul/pkg/stable/stabletest"
)

// stories are the ways an update can go, and how each has to end.
var stories = []struct {
	broken string
	want   string
}{
	{"", "new"},
	{"check", "old"},
	{"room", "old"},
	{"load", "old"},
	{"snapshot", "old"},
	{"install", "old"},
	{"migrate", "old"},
	{"start", "old"},
	{"health", "old"},
}

func TestAnUpdateEndsAllNewOrAllOld(t *testing.T) {
	for _, s := range stories {
		t.Run("broken "+s.broken, func(t *testing.T) {
			w := newWorld(t, s.broken)
			outcome, cut, err := w.run()
			if err != nil || cut {
				t.Fatalf("cut %v, %v", cut, err)
			}
			if got, err := w.verdict(); err != nil || got != s.want {
				t.Fatalf("%s after %s: %v, want %s", got, outcome, err, s.want)
			}
			t.Logf("figure: %d syncs of files and folders by %d lines of code", w.disk.Synced(), len(w.disk.Syncs()))
		})
	}
}

// finish runs the machine until the transaction is over, with the power cut once
// more at each of the given points after a boot, and returns what it came to.
func (w *world) finish(survival stabletest.Survival, cuts ...int) (string, error) {
	for _, at := range append(cuts, 0) {
		w.powerCut(survival)
		w.disk.CutAt = at
		_, cut, err := w.run()
		if err != nil {
			return "", err
		}
		if cut != (at > 0) && at > 0 {
			break // it was over before that point
		}
	}
	// What it came to outlasts one more cut; systemd starts what is there.
	before, err := w.verdictAtBoot(false)
	if err != nil {
		return "", err
	}
	w.powerCut(survival)
	after, err := w.verdictAtBoot(true)
	if err == nil && before != after {
		err = fmt.Errorf("%s, and %s after another power cut", before, after)
	}
	return after, err
}

func (w *world) verdictAtBoot(boot bool) (string, error) {
	if boot {
		if _, _, err := w.run(); err != nil {
			return "", err
		}
	}
	if w.running == "" {
		w.running = w.stand()
	}
	return w.verdict()
}

// points is how many places for a power cut one run has.
func points(t *testing.T, broken string) int {
	t.Helper()
	w := newWorld(t, broken)
	if _, cut, err := w.run(); cut || err != nil {
		t.Fatal(cut, err)
	}
	return w.disk.Points()
}

// Proves UPD-4: power may fail at any instant; the machine comes up wholly old or
// wholly new, and finishes by itself. Every point of every story, with everything
// that a disk may forget. Also the prototype's defect P4, which was under way for ever
// after a power cut.
func TestPowerCutAnywhere(t *testing.T) {
	t.Parallel()
	total := 0
	for _, s := range stories {
		n := points(t, s.broken)
		for at := 1; at <= n; at++ {
			for survival := range stabletest.Survivals {
				w := newWorld(t, s.broken)
				w.disk.CutAt = at
				if _, cut, err := w.run(); err != nil || !cut {
					t.Fatalf("broken %q: point %d: cut %v, %v", s.broken, at, cut, err)
				}
				got, err := w.finish(survival)
				if err != nil || s.want == "old" && got != "old" {
					t.Fatalf("broken %q: cut at point %d of %d, %s of what was not synced survives: %q, %v", s.broken, at, n, survival, got, err)
				}
				total++
			}
		}
	}
	t.Logf("%d power cuts", total)
}

// Proves UPD-4: nor does it matter when the power fails again in what follows.
// An eleventh of the pairs of points of the two longest stories, another one for each
// first point.
func TestPowerCutAnywhereAndAgainInRecovery(t *testing.T) {
	t.Parallel()
	const stride = 11
	total := 0
	for _, s := range stories {
		if s.broken != "" && s.broken != "health" {
			continue
		}
		n := points(t, s.broken)
		for first := 1; first <= n; first++ {
			for second := 1 + first%stride; second <= n+10; second += stride {
				w := newWorld(t, s.broken)
				w.disk.CutAt = first
				if _, cut, err := w.run(); err != nil || !cut {
					t.Fatalf("point %d: cut %v, %v", first, cut, err)
				}
				survival := stabletest.Survival((first + second) % int(stabletest.Survivals))
				got, err := w.finish(survival, second)
				if err != nil || s.want == "old" && got != "old" {
					t.Fatalf("broken %q: cut at %d, then at %d, %s survives: %q, %v", s.broken, first, second, survival, got, err)
				}
				total++
			}
		}
	}
	t.Logf("%d pairs of power cuts", total)
}

// Proves UPD-4: each sync in the code is needed. Without it there is a power cut
// after which the machine is neither old nor new, or has forgotten what it was at.
func TestEverySyncIsNeeded(t *testing.T) {
	t.Parallel()
	for at, what := range syncs(t) {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			for _, s := range stories {
				if harm := harmWithout(t, s.broken, s.want, at); harm != "" {
					t.Logf("without %s: broken %q, %s", what, s.broken, harm)
					return
				}
			}
			t.Errorf("%s can be left out, and nothing goes wrong", what)
		})
	}
}

// syncs are the lines of code that sync, in any of the stories.
func syncs(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, s := range stories {
		w := newWorld(t, s.broken)
		_, _, _ = w.run()
		maps.Copy(all, w.disk.Syncs())
	}
	return all
}

// harmWithout says what goes wrong when a sync is left out, if anything.
func harmWithout(t *testing.T, broken, want, line string) string {
	t.Helper()
	n := points(t, broken)
	for at := 1; at <= n; at++ {
		for survival := range stabletest.Survivals {
			w := newWorld(t, broken)
			w.disk.CutAt, w.disk.SkipSync = at, line
			if _, cut, err := w.run(); err != nil || !cut {
				return fmt.Sprintf("cut at %d: %v", at, err)
			}
			got, err := w.finish(survival)
			if err != nil || want == "old" && got != "old" {
				return fmt.Sprintf("cut at %d, %s survives: %q, %v", at, survival, got, err)
			}
		}
	}
	return ""
}
