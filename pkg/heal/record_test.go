package heal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/api"
)

// Proves HEAL-8 with the healer's own loop, whose clock has fractions: what it
// did is what its recording, run again, does.
func TestHealerIsRecordedAndReplayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "observations")
		began := time.Now()
		for range 2 { // the second run goes on where the first has ended
			b := newBench(t)
			r := NewRecorder(dir, b.o.Log)
			b.o.Recorder, b.o.Boot, b.o.Booted = r, "boot-1", began.Add(-time.Hour)
			b.hands.do = func(context.Context) error { time.Sleep(1234567 * time.Microsecond); return errors.New("no") }
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- r.Run(ctx) }()
			b.start()
			b.up(metricsUnit)
			b.wait(333333 * time.Microsecond)
			b.failed(metricsUnit)
			b.wait(3 * time.Minute)
			b.up(metricsUnit)
			b.wait(time.Minute)
			b.crashed(metricsUnit)
			b.wait(500 * time.Millisecond)
			b.up(metricsUnit)
			b.wait(time.Minute)
			if _, err := b.healer.Restart(ctx, metricsUnit, "admin"); err != nil {
				t.Fatal(err)
			}
			b.wait(time.Minute)
			b.stop()
			cancel()
			<-done
			b.wantAsked("restart "+metricsUnit, "stop-start "+metricsUnit, "restart "+metricsUnit)
			b.wait(time.Minute)
		}
		c, err := Replay(dir, began, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !c.Exact() || len(c.Recorded) != 6 || c.Breaks != 1 || c.Lost != 0 {
			t.Errorf("recorded %+v\nreplayed %+v\n%d breaks, %d lost", c.Recorded, c.Was.Acts, c.Breaks, c.Lost)
		}
		for i, a := range c.Recorded {
			if d := a.At.Sub(c.Was.Acts[i].At).Abs(); d > 2*time.Millisecond || c.Was.Acts[i].Error != "no" {
				t.Errorf("act %d is off by %s, and ended with %q", i, d, c.Was.Acts[i].Error)
			}
		}
	})
}

// noisy is a stream of observations with the numbers of a machine at work.
type noisy struct {
	rnd *rand.Rand
	now time.Time
}

func (n *noisy) observation() Observation {
	n.now = n.now.Add(5 * time.Second)
	o := Observation{At: n.now, Boot: "a"}
	for i := range 30 {
		o.Readings = append(o.Readings, api.Reading{Metric: "cpu_ratio", Of: fmt.Sprint(i), Value: n.rnd.Float64(), Time: n.now})
	}
	return o
}

// A recording is bounded: the oldest goes, and what is left can be replayed.
func TestOldestSegmentsAreDropped(t *testing.T) {
	p, err := LoadPolicy("")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "observations")
	n := noisy{rand.New(rand.NewPCG(1, 2)), storyBegins}
	const limit = 1 << 20
	for range 2 { // the healer is restarted once
		r := NewRecorder(dir, slog.New(slog.DiscardHandler))
		r.files.max = limit
		for i := range 4_000 {
			r.Record(p, State{}, n.observation(), n.now)
			if i%20 == 0 {
				r.flush()
			}
		}
		r.flush()
		r.files.close()
	}
	numbers, names, err := list(dir)
	if err != nil {
		t.Fatal(err)
	}
	var total int64
	for i, number := range numbers {
		st, err := os.Stat(filepath.Join(dir, names[number]))
		if err != nil || (i < len(numbers)-1) != strings.HasSuffix(names[number], packed) {
			t.Errorf("%s: %v", names[number], err)
		}
		total += st.Size()
	}
	if total > limit || total < limit/4 || numbers[0] == 1 {
		t.Errorf("%d bytes in segments %v", total, numbers)
	}
	c, err := Replay(dir, storyBegins, nil)
	if err != nil || c.Observations == 0 || c.Lost > 0 || !c.From.After(storyBegins) {
		t.Errorf("%+v, %v", c, err)
	}
}

// A disk that takes nothing costs memory up to a bound, and never time.
func TestSlowDiskCostsObservationsAndNothingElse(t *testing.T) {
	p, err := LoadPolicy("")
	if err != nil {
		t.Fatal(err)
	}
	n := noisy{rand.New(rand.NewPCG(1, 2)), storyBegins}
	dir := filepath.Join(t.TempDir(), "observations")
	r := NewRecorder(dir, slog.New(slog.DiscardHandler))
	r.room = 50_000
	const all = 300
	for range all { // nobody flushes
		r.Record(p, State{}, n.observation(), n.now)
	}
	if r.waiting > r.room+20_000 || r.lost == 0 {
		t.Fatalf("%d bytes wait, %d lost", r.waiting, r.lost)
	}
	lost := r.lost
	r.flush()
	r.Record(p, State{}, n.observation(), n.now)
	r.flush()
	r.files.close()
	c, err := Replay(dir, storyBegins, nil)
	if err != nil || c.Lost != lost || c.Observations != all-lost+1 || c.Breaks != 1 {
		t.Errorf("%d lost, replay knows %+v, %v", lost, c, err)
	}
}

// Proves HEAL-6: with the disk full there is no recording for a while, which is
// said once.
func TestFullDiskIsNoTrouble(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("mounting a small file system: ", err)
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	p, err := LoadPolicy("")
	if err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 900<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	r := NewRecorder(filepath.Join(dir, "observations"), slog.New(slog.NewTextHandler(&log, nil)))
	n := noisy{rand.New(rand.NewPCG(1, 2)), storyBegins}
	record := func(times int) {
		for range times {
			for range 20 {
				r.Record(p, State{}, n.observation(), n.now)
			}
			r.flush()
		}
	}
	record(100)
	if strings.Count(log.String(), "observations are not kept for replay") != 1 {
		t.Fatalf("log: %s", &log)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	record(10)
	r.files.close()
	if strings.Count(log.String(), "\n") != 2 || !strings.Contains(log.String(), "kept for replay again") {
		t.Errorf("log: %s", &log)
	}
	c, err := Replay(filepath.Join(dir, "observations"), storyBegins, nil)
	if err != nil || c.Lost == 0 || c.Observations < 180 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestOnlyWhatIsNewIsRecorded(t *testing.T) {
	k := newKnown()
	unit := api.Unit{Name: metricsUnit, LoadState: "loaded", ActiveState: "active", Description: "x", MainPID: 7}
	o := Observation{At: epoch, Units: []api.Unit{unit}, Readings: []api.Reading{{Metric: "cpu_ratio", Value: 0.123456789, Time: epoch}, {Metric: "disk_ratio", Value: 0.5, Time: epoch}}}
	first, isNew, _ := k.encode(o, epoch)
	if !isNew || len(first.Units) != 1 || first.Set != 1 || len(first.Readings) != 2 || first.Readings["cpu_ratio"] != 0.12346 {
		t.Errorf("first: %+v", first)
	}
	o.Readings[1].Value = 0.6
	second, _, _ := k.encode(o, epoch)
	if second.Units != nil || second.Set != 1 || len(second.Readings) != 1 {
		t.Errorf("second: %+v", second)
	}
	o.Readings = append(o.Readings, api.Reading{Metric: "swap_ratio", Time: epoch})
	if third, _, _ := k.encode(o, epoch); third.Set != 2 || len(third.Readings) != 3 {
		t.Errorf("third: %+v", third)
	}
	if _, isNew, _ := k.encode(Observation{At: epoch, Units: o.Units}, epoch); isNew {
		t.Error("a look that showed nothing new was recorded")
	}
	if _, isNew, _ := k.encode(Observation{At: epoch}, epoch); isNew {
		t.Error("a tick was recorded")
	}
}
