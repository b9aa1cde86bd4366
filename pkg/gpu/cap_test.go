package gpu

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arasul/arasul/pkg/api"
)

// board is a GPU's limit in memory.
type board struct {
	limit api.GPULimit
	crash bool  // SetLimit panics, as if the power went
	err   error // of SetLimit
	took  uint64
}

func (b *board) Limit(string) (api.GPULimit, error) { return b.limit, nil }

func (b *board) SetLimit(_ string, v uint64) error {
	if b.crash {
		panic("power cut")
	}
	if b.err != nil {
		return b.err
	}
	b.limit.Now = v
	if b.took != 0 {
		b.limit.Now = b.took
	}
	return nil
}

func orinClocks() *board {
	steps := []uint64{306000000, 408000000, 510000000, 612000000, 714000000, 816000000, 918000000, 1020000000, 1122000000, 1224000000, 1300500000}
	return &board{limit: api.GPULimit{Unit: "hertz", Now: 1300500000, Min: 306000000, Full: 1300500000, Steps: steps}}
}

func cardPower() *board {
	return &board{limit: api.GPULimit{Unit: "milliwatts", Now: 350_000, Min: 200_000, Full: 350_000}}
}

func book(t *testing.T) *caps {
	t.Helper()
	return &caps{path: filepath.Join(t.TempDir(), "caps.json"), boot: "boot-1"}
}

// again is what the next run of the daemon reads.
func again(t *testing.T, c *caps) *caps {
	t.Helper()
	n := &caps{path: c.path, boot: c.boot}
	if err := n.load(); err != nil {
		t.Fatal(err)
	}
	return n
}

// Proves GPU-3.
func TestCapTakesAValueThatTheGPUKnows(t *testing.T) {
	for level, want := range map[api.GPUCapLevel][2]uint64{
		api.CapLight:  {1020000000, 280_000}, // 80 %: 1040 MHz is no step
		api.CapDeep:   {612000000, 200_000},  // 175 W is below the card's least
		api.CapLowest: {306000000, 200_000},
	} {
		for i, b := range []*board{orinClocks(), cardPower()} {
			c := book(t)
			before := b.limit.Now
			entry, err := c.set(b, "gpu", level, time.Now())
			if err != nil || entry == nil || b.limit.Now != want[i] {
				t.Fatalf("%s: %d, want %d; %v", level, b.limit.Now, want[i], err)
			}
			if restored, err := again(t, c).unset(b, "gpu"); !restored || err != nil || b.limit.Now != before {
				t.Errorf("%s: back at %d, want %d; %v", level, b.limit.Now, before, err)
			}
		}
	}
	if _, err := book(t).set(orinClocks(), "gpu", "a bit", time.Now()); err == nil {
		t.Error("an unknown level was taken")
	}
}

func TestSecondCapKeepsWhatWasThereBeforeTheFirst(t *testing.T) {
	b, c := orinClocks(), book(t)
	for _, level := range []api.GPUCapLevel{api.CapLight, api.CapLowest, api.CapLight, api.CapDeep} {
		if _, err := c.set(b, "gpu", level, time.Now()); err != nil {
			t.Fatal(err)
		}
		c = again(t, c)
		if len(c.list) != 1 || c.list[0].Before != 1300500000 || b.limit.Now != c.list[0].Value {
			t.Fatalf("%s: %+v, limit %d", level, c.list, b.limit.Now)
		}
	}
}

// Wherever the power goes, the limit is what it was or can be taken back.
func TestCapSurvivesACrashAtEachStep(t *testing.T) {
	crash := func(f func()) {
		defer func() { _ = recover() }()
		f()
	}
	t.Run("before the limit is set", func(t *testing.T) {
		b, c := orinClocks(), book(t)
		b.crash = true
		crash(func() { _, _ = c.set(b, "gpu", api.CapLight, time.Now()) })
		b.crash = false
		c = again(t, c)
		if len(c.list) != 1 {
			t.Fatal("nothing was written before the limit was set")
		}
		if restored, err := c.unset(b, "gpu"); restored || err != nil || b.limit.Now != 1300500000 || len(again(t, c).list) != 0 {
			t.Errorf("%v, %v, limit %d", restored, err, b.limit.Now)
		}
	})
	t.Run("after the limit is set", func(t *testing.T) {
		b, c := orinClocks(), book(t)
		if _, err := c.set(b, "gpu", api.CapLight, time.Now()); err != nil {
			t.Fatal(err)
		}
		if restored, err := again(t, c).unset(b, "gpu"); !restored || err != nil || b.limit.Now != 1300500000 {
			t.Errorf("%v, %v, limit %d", restored, err, b.limit.Now)
		}
	})
	t.Run("while it is taken back", func(t *testing.T) {
		b, c := orinClocks(), book(t)
		if _, err := c.set(b, "gpu", api.CapLight, time.Now()); err != nil {
			t.Fatal(err)
		}
		b.crash = true
		crash(func() { _, _ = c.unset(b, "gpu") })
		b.crash = false
		if restored, err := again(t, c).unset(b, "gpu"); !restored || err != nil || b.limit.Now != 1300500000 {
			t.Errorf("%v, %v, limit %d", restored, err, b.limit.Now)
		}
	})
	t.Run("between two caps", func(t *testing.T) {
		b, c := orinClocks(), book(t)
		if _, err := c.set(b, "gpu", api.CapDeep, time.Now()); err != nil {
			t.Fatal(err)
		}
		b.crash = true
		crash(func() { _, _ = c.set(b, "gpu", api.CapLight, time.Now()) })
		b.crash = false
		if restored, err := again(t, c).unset(b, "gpu"); !restored || err != nil || b.limit.Now != 1300500000 {
			t.Errorf("%v, %v, limit %d", restored, err, b.limit.Now)
		}
	})
}

func TestLimitThatSomebodyElseChangedIsTheirs(t *testing.T) {
	b, c := orinClocks(), book(t)
	if _, err := c.set(b, "gpu", api.CapLight, time.Now()); err != nil {
		t.Fatal(err)
	}
	b.limit.Now = 612000000 // an operator chose another power mode
	if restored, err := c.unset(b, "gpu"); restored || err != nil || b.limit.Now != 612000000 || len(again(t, c).list) != 0 {
		t.Errorf("%v, %v, limit %d", restored, err, b.limit.Now)
	}
}

func TestCapDoesNotOutliveTheBoot(t *testing.T) {
	b, c := orinClocks(), book(t)
	if _, err := c.set(b, "gpu", api.CapLight, time.Now()); err != nil {
		t.Fatal(err)
	}
	c.boot = "boot-2"
	if list := again(t, c).list; len(list) != 0 {
		t.Errorf("%+v", list)
	}
}

func TestLimitThatIsLowAlreadyIsLeftAlone(t *testing.T) {
	b, c := orinClocks(), book(t)
	b.limit.Now = 612000000
	if entry, err := c.set(b, "gpu", api.CapLight, time.Now()); entry != nil || err != nil || b.limit.Now != 612000000 {
		t.Errorf("%+v, %v, limit %d", entry, err, b.limit.Now)
	}
}

func TestCapThatDoesNotHoldIsTakenBack(t *testing.T) {
	b, c := orinClocks(), book(t)
	b.took = 1224000000
	if entry, err := c.set(b, "gpu", api.CapLight, time.Now()); entry != nil || err == nil || len(again(t, c).list) != 0 {
		t.Errorf("%+v, %v", entry, err)
	}
	b.err = errors.New("not permitted")
	if entry, err := c.set(b, "gpu", api.CapLight, time.Now()); entry != nil || !errors.Is(err, b.err) || len(again(t, c).list) != 0 {
		t.Errorf("%+v, %v", entry, err)
	}
}

func TestFullDiskDoesNotKeepTheGPUHot(t *testing.T) {
	b, c := orinClocks(), book(t)
	c.path = filepath.Join(t.TempDir(), "gone", "caps.json")
	entry, err := c.set(b, "gpu", api.CapLight, time.Now())
	if entry == nil || err == nil || b.limit.Now != 1020000000 {
		t.Fatalf("%+v, %v, limit %d", entry, err, b.limit.Now)
	}
	if restored, _ := c.unset(b, "gpu"); !restored || b.limit.Now != 1300500000 {
		t.Errorf("limit %d", b.limit.Now)
	}
}

func TestSpoiledFileOfCapsIsRefused(t *testing.T) {
	for _, text := range []string{"", "{", `{"boot_id":"boot-1","caps":[{"value":-1}]}`, `{"boot":"boot-1"}`, string(make([]byte, maxLedger+1))} {
		c := book(t)
		if err := os.WriteFile(c.path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := c.load(); err == nil || len(c.list) != 0 {
			t.Errorf("%.40q: %v, %+v", text, err, c.list)
		}
	}
}

func TestTargetIsNeverOutOfRange(t *testing.T) {
	got := map[float64]uint64{}
	for _, share := range []float64{0, 0.3, 1} {
		got[share] = target(api.GPULimit{Min: 100, Full: 200, Steps: []uint64{120, 150, 200}}, share)
	}
	if diff := cmp.Diff(map[float64]uint64{0: 120, 0.3: 120, 1: 200}, got); diff != "" {
		t.Error(diff)
	}
}
