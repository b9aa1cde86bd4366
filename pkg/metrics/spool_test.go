package metrics

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/spool"
)

func openSpool(t *testing.T, dir string) *spool.Spool {
	t.Helper()
	s, err := spool.Open(dir, spool.Options{SyncAfter: 24 * time.Hour}) // syncing has tests of its own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// switchable returns a sink that refuses everything while down says so.
func switchable() (db *sink, down *atomic.Bool) {
	db, down = &sink{}, new(atomic.Bool)
	db.store = func(context.Context) error {
		if down.Load() {
			return errors.New("no server")
		}
		return nil
	}
	return db, down
}

// Proves METRICS-2: a day without a database costs no sample and no memory.
func TestOutageOfADayLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		db, down := switchable()
		src := &source{services: 10}
		var logged bytes.Buffer
		r := New(everyFive, src, db, openSpool(t, dir), slog.New(slog.NewTextHandler(&logged, nil)))
		stop := run(t, r, nothing)
		after(5 * time.Minute)
		down.Store(true)
		after(time.Hour)
		before := heap()
		after(23 * time.Hour)
		if grown := heap() - before; grown > 1<<20 {
			t.Errorf("%d bytes more in memory after a day", grown)
		}
		s := r.Stats()
		if s.WaitingInMemory != 0 || s.Waiting < 17_270 || s.SpoolBytes > 10<<20 {
			t.Errorf("after a day: %+v", s)
		}
		down.Store(false)
		after(2*time.Minute + time.Second)
		s = r.Stats()
		if s.Dropped != 0 || s.Waiting > 24 {
			t.Errorf("two minutes after the day: %+v", s)
		}
		stop()
		checkOrder(t, db.rows)
		if int(r.Stats().Stored) != len(db.rows) || len(db.rows) != int(r.Stats().Taken) {
			t.Errorf("%d rows, %+v", len(db.rows), r.Stats())
		}
		if n := len(db.rows[9999].Services); n != 10 {
			t.Errorf("a sample from the spool has %d services", n)
		}
		if n := slices.Max(db.batches); n > 1000 {
			t.Errorf("batch of %d", n)
		}
		if n := strings.Count(logged.String(), "\n"); n != 2 {
			t.Errorf("%d lines, want one for the beginning and one for the end:\n%s", n, &logged)
		}
	})
}

// heap returns how many bytes are in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Proves METRICS-2: what a killed process leaves in its folder is all that it
// has taken and not stored. The copy of the folder stands for the kill.
func TestSamplesOutliveTheProcess(t *testing.T) {
	for _, lived := range []time.Duration{time.Second, 6 * time.Second, 29 * time.Second, 31 * time.Second, 17 * time.Minute} {
		for _, away := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				dir, left := t.TempDir(), t.TempDir()
				db, down := switchable()
				down.Store(away)
				src := &source{}
				r := New(everyFive, src, db, openSpool(t, dir), slog.New(slog.DiscardHandler))
				stop := run(t, r, nothing)
				after(lived)
				if err := os.CopyFS(left, os.DirFS(dir)); err != nil {
					t.Fatal(err)
				}
				taken := int(r.Stats().Taken)
				rows := slices.Clone(db.rows)
				stop()

				next := &sink{rows: rows}
				r = New(everyFive, src, next, openSpool(t, left), slog.New(slog.DiscardHandler))
				if got := len(rows) + int(r.Stats().Recovered); got != taken {
					t.Errorf("after %v: %d of %d samples are there", lived, got, taken)
				}
				src.taken = taken // so that its first look, which is not shown, follows
				stop = run(t, r, nothing)
				after(time.Minute)
				stop()
				checkStats(t, r, len(next.rows)-taken, len(next.rows)-len(rows), 0, 0)
				checkOrder(t, next.rows[:taken])
			})
		}
	}
}

// diskless is a spool on a disk that may be full or hang.
type diskless struct {
	*spool.Spool
	broken func() error
}

func (d diskless) Append(record []byte) error {
	if err := d.broken(); err != nil {
		return err
	}
	return d.Spool.Append(record)
}

// Proves METRICS-2.
func TestFullDiskFallsBackToMemoryAndSaysSoOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, down := switchable()
		var full atomic.Bool
		var logged bytes.Buffer
		disk := diskless{openSpool(t, t.TempDir()), func() error {
			if full.Load() {
				return errors.New("no space left on device")
			}
			return nil
		}}
		r := New(everyFive, &source{}, db, disk, slog.New(slog.NewTextHandler(&logged, nil)))
		stop := run(t, r, nothing)

		// Only the disk: nothing waits for longer than it would otherwise.
		full.Store(true)
		after(5*time.Minute + time.Second)
		checkStats(t, r, 60, 60, 0, 0)
		if r.Stats().SpoolError != "no space left on device" {
			t.Errorf("%+v", r.Stats())
		}
		// The database for ten minutes, and the disk for the first and the last
		// of them: memory, disk, memory, in this order.
		down.Store(true)
		after(3 * time.Minute)
		full.Store(false)
		after(3 * time.Minute)
		full.Store(true)
		after(4 * time.Minute)
		if s := r.Stats(); s.WaitingInMemory != 48 || s.Waiting != 120 {
			t.Errorf("after ten minutes: %+v", s)
		}
		down.Store(false)
		after(3 * time.Minute)
		// Both for an hour: memory is bounded.
		down.Store(true)
		after(time.Hour)
		if s := r.Stats(); s.WaitingInMemory != 360 || s.Waiting != 360 || s.Dropped == 0 {
			t.Errorf("after an hour: %+v", s)
		}
		down.Store(false)
		after(3 * time.Minute)
		stop()
		s := r.Stats()
		if s.Taken != s.Stored+s.Dropped || int(s.Stored) != len(db.rows) {
			t.Errorf("at the end: %+v", s)
		}
		gap := slices.IndexFunc(db.rows, func(s api.Sample) bool { return s.Load1 > 400 })
		if gap < 200 {
			t.Errorf("the gap is before row %d, want it in the hour", gap)
		}
		checkOrder(t, db.rows[:gap])
		checkOrder(t, db.rows[gap:])
		for message, want := range map[string]int{
			"samples cannot be written to disk": 2, "samples are written to disk again": 1, "dropping the oldest": 1,
		} {
			if n := strings.Count(logged.String(), message); n != want {
				t.Errorf("%q logged %d times, want %d:\n%s", message, n, want, &logged)
			}
		}
	})
}

// Proves METRICS-2.
func TestDiskThatHangsDelaysNoSample(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		disk := diskless{openSpool(t, t.TempDir()), func() error { <-hang; return nil }}
		var alive atomic.Int64
		db := &sink{}
		r := New(everyFive, &source{}, db, disk, slog.New(slog.DiscardHandler))
		stop := run(t, r, func() { alive.Add(1) })
		after(10*time.Minute + time.Second)
		checkStats(t, r, 120, 0, 120, 0)
		if n := alive.Load(); n != 121 {
			t.Errorf("alive %d times, want 121", n)
		}
		close(hang)
		after(time.Minute)
		stop()
		checkOrder(t, db.rows)
		if s := r.Stats(); s.Stored != s.Taken {
			t.Errorf("at the end: %+v", s)
		}
	})
}

func TestRecordThatNobodyUnderstandsHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		before := openSpool(t, dir)
		for _, record := range []string{"", "\x03from a later version", "\x02cut"} {
			if err := before.Append([]byte(record)); err != nil {
				t.Fatal(err)
			}
		}
		_ = before.Close()
		db := &sink{}
		r := New(everyFive, &source{}, db, openSpool(t, dir), slog.New(slog.DiscardHandler))
		stop := run(t, r, nothing)
		after(time.Minute)
		stop()
		if s := r.Stats(); s.Recovered != 3 || s.Dropped != 3 || s.Stored != s.Taken || s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 1 {
			t.Errorf("files %v, %v", left, err)
		}
	})
}
