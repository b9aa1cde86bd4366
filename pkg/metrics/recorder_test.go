package metrics

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
)

var everyFive = config.Metrics{
	Interval: config.Duration(5 * time.Second),
	Flush:    config.Duration(30 * time.Second),
}

// source is a host that numbers its samples in Load1; sample, if set, may delay
// or refuse one.
type source struct {
	interval time.Duration
	taken    int
	services int // in each sample
	sample   func() error
}

func (s *source) SetInterval(d time.Duration) { s.interval = d }

func (s *source) Sample(now time.Time) (api.Sample, error) {
	if s.sample != nil {
		if err := s.sample(); err != nil {
			return api.Sample{}, err
		}
	}
	s.taken++
	return api.Sample{Time: now.Round(0), Load1: float64(s.taken), Services: make([]api.ServiceSample, s.services)}, nil
}

// sink is a database that keeps what it gets; store, if set, may delay or
// refuse a batch.
type sink struct {
	store func(ctx context.Context) error

	mu      sync.Mutex
	batches []int
	rows    []api.Sample
}

func (s *sink) StoreSamples(ctx context.Context, batch []api.Sample) error {
	if s.store != nil {
		if err := s.store(ctx); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches = append(s.batches, len(batch))
	s.rows = append(s.rows, slices.Clone(batch)...)
	return nil
}

func (s *sink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.rows)
}

// run starts a recorder in the bubble and returns what stops it and waits. It
// starts a second late, so that no flush falls on the instant of a sample.
func run(t *testing.T, r *Recorder, alive func()) (stop func()) {
	t.Helper()
	time.Sleep(time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, alive) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v", err)
		}
	}
}

func nothing() {}

// after lets d pass in the bubble and everything settle.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// checkStats checks the counts and that no sample is unaccounted for.
func checkStats(t *testing.T, r *Recorder, taken, stored, waiting, dropped int) {
	t.Helper()
	s := r.Stats()
	if int(s.Taken) != taken || int(s.Stored) != stored || s.Waiting != waiting || int(s.Dropped) != dropped {
		t.Errorf("taken %d, stored %d, waiting %d, dropped %d; want %d, %d, %d, %d",
			s.Taken, s.Stored, s.Waiting, s.Dropped, taken, stored, waiting, dropped)
	}
	if int(s.Taken+s.Recovered) != int(s.Stored)+s.Waiting+int(s.Dropped) {
		t.Errorf("samples are unaccounted for: %+v", s)
	}
}

// checkOrder checks that rows are numbered without a hole or a repetition.
func checkOrder(t *testing.T, rows []api.Sample) {
	t.Helper()
	for i, row := range rows {
		if i > 0 && row.Load1 != rows[i-1].Load1+1 {
			t.Fatalf("row %d is sample %v, after sample %v", i, row.Load1, rows[i-1].Load1)
		}
	}
}

// Proves METRICS-1.
func TestSamplesFallOnMultiplesOfTheInterval(t *testing.T) {
	for _, offset := range []time.Duration{0, time.Millisecond, 1400 * time.Millisecond, 1600 * time.Millisecond, 3999 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(offset)
			src, db := &source{}, &sink{}
			var alive atomic.Int64
			r := New(everyFive, src, db, nil, slog.New(slog.DiscardHandler))
			stop := run(t, r, func() { alive.Add(1) })
			after(2 * time.Minute)
			stop()
			if src.interval != 5*time.Second {
				t.Errorf("the source expects an interval of %v", src.interval)
			}
			if len(db.rows) < 23 || int(alive.Load()) != src.taken {
				t.Errorf("%d samples in two minutes, alive %d of %d times", len(db.rows), alive.Load(), src.taken)
			}
			checkOrder(t, db.rows)
			for i, row := range db.rows {
				if !row.Time.Equal(row.Time.Truncate(5 * time.Second)) {
					t.Errorf("sample at %v", row.Time)
				}
				if i > 0 && row.Time.Sub(db.rows[i-1].Time) != 5*time.Second {
					t.Errorf("sample at %v after one at %v", row.Time, db.rows[i-1].Time)
				}
			}
			for _, n := range db.batches[1 : len(db.batches)-1] {
				if n != 6 {
					t.Errorf("batches of %v, want 6 each", db.batches)
				}
			}
		})
	}
}

func TestPaceSurvivesTimersThatFireEarlyOrLate(t *testing.T) {
	at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, off := range []time.Duration{-400 * time.Microsecond, 0, time.Millisecond, 2 * time.Second} {
		if got := next(at.Add(off), 5*time.Second); !got.Equal(at.Add(5 * time.Second)) {
			t.Errorf("a look at %v is followed by one at %v", off, got)
		}
	}
}

// Proves METRICS-2.
func TestOutageOfAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		var down atomic.Bool
		var tries atomic.Int64
		db := &sink{}
		db.store = func(context.Context) error {
			tries.Add(1)
			if down.Load() {
				return errors.New("no server")
			}
			return nil
		}
		r := New(everyFive, &source{}, db, nil, slog.New(slog.NewTextHandler(&logged, nil)))
		stop := run(t, r, nothing)

		after(5*time.Minute + time.Second)
		checkStats(t, r, 60, 60, 0, 0)
		down.Store(true)
		before := tries.Load()
		after(time.Hour)
		checkStats(t, r, 780, 60, 360, 360)
		if s := r.Stats(); s.LastFlushError != "no server" || s.LastFlush == nil {
			t.Errorf("stats %+v do not tell the error", s)
		}
		if n := len(r.waiting.slots); n != 360 {
			t.Errorf("room for %d samples, want 360", n)
		}
		if n := tries.Load() - before; n < 30 || n > 35 {
			t.Errorf("%d tries in an hour, want one every two minutes", n)
		}

		down.Store(false)
		after(2 * time.Minute)
		s := r.Stats()
		if s.LastFlushError != "" || s.Waiting >= 24 {
			t.Errorf("two minutes after the outage: %+v", s)
		}
		down.Store(true)
		after(time.Hour)
		down.Store(false)
		after(2 * time.Minute)
		stop()
		var gaps int
		for i := 1; i < len(db.rows); i++ {
			if db.rows[i].Load1 <= db.rows[i-1].Load1 {
				t.Fatalf("row %d is sample %v, after sample %v", i, db.rows[i].Load1, db.rows[i-1].Load1)
			}
			if db.rows[i].Load1 > db.rows[i-1].Load1+1 {
				gaps++
			}
		}
		if gaps != 2 {
			t.Errorf("%d gaps, want one for each outage", gaps)
		}
		if n := slices.Max(db.batches); n != 360 {
			t.Errorf("largest batch %d, want 360", n)
		}
		for _, message := range []string{"samples cannot be stored", "dropping the oldest samples", "samples are stored again"} {
			if n := strings.Count(logged.String(), message); n != 2 {
				t.Errorf("%q logged %d times in two outages:\n%s", message, n, &logged)
			}
		}
	})
}

// Proves METRICS-2.
func TestShortOutageLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var down atomic.Bool
		down.Store(true)
		db := &sink{}
		db.store = func(context.Context) error {
			if down.Load() {
				return errors.New("no server")
			}
			return nil
		}
		everySecond := config.Metrics{Interval: config.Duration(time.Second), Flush: config.Duration(30 * time.Second)}
		r := New(everySecond, &source{}, db, nil, slog.New(slog.DiscardHandler))
		stop := run(t, r, nothing)
		after(28 * time.Minute)
		down.Store(false)
		after(2 * time.Minute)
		stop()
		s := r.Stats()
		if s.Dropped != 0 || s.Waiting != 0 || int(s.Stored) != len(db.rows) {
			t.Errorf("stats %+v", s)
		}
		checkOrder(t, db.rows)
		if db.rows[0].Load1 != 2 || !slices.Equal(db.batches[:4], []int{360, 360, 360, 360}) {
			t.Errorf("begins with sample %v, batches of %v", db.rows[0].Load1, db.batches)
		}
	})
}

// Proves METRICS-2.
func TestSinkThatHangsDelaysNoSample(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hangs atomic.Bool
		hangs.Store(true)
		db := &sink{store: func(ctx context.Context) error {
			if hangs.Load() {
				<-ctx.Done()
			}
			return ctx.Err()
		}}
		src := &source{}
		var alive atomic.Int64
		r := New(everyFive, src, db, nil, slog.New(slog.DiscardHandler))
		stop := run(t, r, func() { alive.Add(1) })
		after(10*time.Minute + time.Second)
		checkStats(t, r, 120, 0, 120, 0)
		if n := alive.Load(); n != 121 {
			t.Errorf("alive %d times, want 121", n)
		}
		hangs.Store(false)
		after(3 * time.Minute)
		if s := r.Stats(); s.Stored < 130 || s.Dropped != 0 {
			t.Errorf("three minutes after the sink came back: %+v", s)
		}
		hangs.Store(true)
		began := time.Now()
		stop()
		if d := time.Since(began); d > shutdownTimeout {
			t.Errorf("shutdown took %v", d)
		}
	})
}

func TestSamplesDroppedWhileTheyAreStoredCountOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &sink{store: func(context.Context) error {
			time.Sleep(8 * time.Second) // slow, but good
			return nil
		}}
		cfg := config.Metrics{Interval: config.Duration(time.Second), Flush: config.Duration(10 * time.Minute)}
		r := New(cfg, &source{}, db, nil, slog.New(slog.DiscardHandler))
		r.waiting = newRing(300) // less than comes between two flushes
		stop := run(t, r, nothing)
		after(10*time.Minute + 20*time.Second)
		s := r.Stats()
		if int(s.Taken) != int(s.Stored)+s.Waiting+int(s.Dropped) {
			t.Errorf("samples are unaccounted for: %+v", s)
		}
		stop()
		checkOrder(t, db.rows)
	})
}

func TestSourceThatHangsStopsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		src := &source{}
		src.sample = func() error {
			if src.taken == 10 {
				<-hang
			}
			return nil
		}
		var alive atomic.Int64
		db := &sink{}
		r := New(everyFive, src, db, nil, slog.New(slog.DiscardHandler))
		stop := run(t, r, func() { alive.Add(1) })
		after(10 * time.Minute)
		if n := alive.Load(); n != 10 {
			t.Errorf("alive %d times, want 10", n)
		}
		if db.count() != 9 {
			t.Errorf("%d samples stored, want the 9 taken before", db.count())
		}
		close(hang)
		stop()
	})
}

func TestSourceThatFailsStopsAliveAndIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		var fails atomic.Bool
		src := &source{sample: func() error {
			if fails.Load() {
				return errors.New("opening /proc/stat: no such file")
			}
			return nil
		}}
		var alive atomic.Int64
		r := New(everyFive, src, &sink{}, nil, slog.New(slog.NewTextHandler(&logged, nil)))
		stop := run(t, r, func() { alive.Add(1) })
		defer stop()
		after(time.Minute)
		before := alive.Load()
		fails.Store(true)
		after(time.Minute)
		if n := alive.Load(); n != before {
			t.Errorf("alive %d times without a sample", n-before)
		}
		fails.Store(false)
		after(time.Minute)
		if n := alive.Load(); n != before+12 {
			t.Errorf("alive %d times in a good minute", n-before)
		}
		if n := strings.Count(logged.String(), "sampling"); n != 2 {
			t.Errorf("%d lines, want one for the beginning and one for the end:\n%s", n, &logged)
		}
	})
}

func TestShutdownStoresTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &sink{}
		r := New(everyFive, &source{}, db, nil, slog.New(slog.DiscardHandler))
		stop := run(t, r, nothing)
		after(21 * time.Second)
		if db.count() != 0 {
			t.Errorf("%d samples stored before the first flush", db.count())
		}
		stop()
		checkStats(t, r, 4, 4, 0, 0)
	})
}

func TestShutdownStoresTheSampleThatIsBeingTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &source{sample: func() error {
			time.Sleep(500 * time.Millisecond)
			return nil
		}}
		db := &sink{}
		r := New(everyFive, src, db, nil, slog.New(slog.DiscardHandler))
		stop := run(t, r, nothing)
		after(9*time.Second + 200*time.Millisecond) // amid the second look
		stop()
		checkStats(t, r, 2, 2, 0, 0)
	})
}

// The last flush does not wait for a source that hangs; systemd would kill us
// before it.
func TestShutdownStoresTheRestWhileTheSourceHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		src := &source{}
		src.sample = func() error {
			if src.taken == 4 {
				<-hang
			}
			return nil
		}
		db := &sink{}
		r := New(everyFive, src, db, nil, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = r.Run(ctx, nothing)
		}()
		after(25 * time.Second)
		cancel()
		after(shutdownTimeout)
		if db.count() != 3 {
			t.Errorf("%d samples stored, want 3", db.count())
		}
		close(hang)
		<-done
	})
}

func TestReloadChangesPaceAndRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &source{}
		db := &sink{store: func(context.Context) error { return errors.New("no server") }}
		r := New(everyFive, src, db, nil, slog.New(slog.DiscardHandler))
		stop := run(t, r, nothing)
		after(10*time.Minute + time.Second)
		checkStats(t, r, 120, 0, 120, 0)
		r.Reload(config.Metrics{Interval: config.Duration(time.Minute), Flush: config.Duration(2 * time.Minute)})
		after(5 * time.Minute)
		checkStats(t, r, 125, 0, 30, 95)
		if src.interval != time.Minute {
			t.Errorf("the source expects an interval of %v", src.interval)
		}
		db.store = nil
		stop()
		checkOrder(t, db.rows)
		if last := db.rows[len(db.rows)-1]; last.Load1 != 126 || len(db.rows) != 30 {
			t.Errorf("%d rows, the last is sample %v", len(db.rows), last.Load1)
		}
	})
}

func TestReloadWhileABatchIsBeingStored(t *testing.T) {
	q := newRing(6)
	for i := range 8 {
		q.push(api.Sample{Load1: float64(i)})
	}
	batch, end := q.peek(make([]api.Sample, 0, 4))
	if dropped := q.resize(3); dropped != 3 || len(batch) != 4 {
		t.Errorf("dropped %d, batch of %d; want 3 and 4", dropped, len(batch))
	}
	if n := q.discard(end); n != 1 {
		t.Errorf("%d of the batch were still there, want 1", n)
	}
	rest, _ := q.peek(make([]api.Sample, 0, 4))
	if len(rest) != 2 || rest[0].Load1 != 6 {
		t.Errorf("%d left, %+v; want samples 6 and 7", len(rest), rest)
	}
}
