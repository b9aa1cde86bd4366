// Package metrics looks at the host at a fixed pace, shows each sample to
// whoever listens, and hands the samples to a database in batches.
//
// Looking never waits for storing. While the database is away samples wait in
// memory, 30 minutes of them at most; then the oldest are dropped and counted.
// The two loops and what passes between them:
//
//	Source → sampling ──→ Hub → /live, /stream
//	            │
//	            └→ ring → storing → Sink
//
// It does not read /proc, does not speak SQL, answers no questions about the
// past and keeps nothing on disk: what waits when the process is killed is
// lost.
package metrics

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/stream"
)

const (
	// keep is for how long samples wait for the database.
	keep = 30 * time.Minute
	// batchSize is how many rows are handed to the sink at once.
	batchSize = 360
	// storeTimeout bounds one batch. PostgreSQL needs a millisecond.
	storeTimeout = 10 * time.Second
	// shutdownTimeout bounds the last flush, all batches together.
	shutdownTimeout = 3 * time.Second
	// maxBackoff is the longest pause between two tries to store, unless the
	// flush interval itself is longer.
	maxBackoff = 2 * time.Minute
)

// Source looks at the host. Rates in a sample are since the call before.
type Source interface {
	Sample(now time.Time) (api.Sample, error)
	// SetInterval says how far apart calls will be. It and Sample are never
	// called at the same time.
	SetInterval(time.Duration)
}

// Sink stores samples, oldest first. It stores all of a batch or nothing,
// returns soon after ctx is done, and does not keep the slice. It must accept
// samples that it has already (an error may hide a success); their time tells.
type Sink interface {
	StoreSamples(ctx context.Context, batch []api.Sample) error
}

// Recorder takes samples and has them stored.
type Recorder struct {
	source Source
	sink   Sink
	log    *slog.Logger
	hub    stream.Hub

	mu       sync.Mutex
	cfg      config.Metrics
	changed  chan struct{} // closed when cfg is replaced
	waiting  ring
	dropping bool // samples were dropped since the last batch was stored
	stats    Stats
}

// Stats is what the recorder says about itself. Every sample taken is either
// stored, waiting or dropped.
type Stats struct {
	Taken          uint64     `json:"samples_taken_total"`
	Stored         uint64     `json:"samples_stored_total"`
	Dropped        uint64     `json:"samples_dropped_total"`
	Waiting        int        `json:"samples_waiting"`
	LastFlush      *time.Time `json:"last_flush,omitempty"`       // when samples were last handed to the sink
	LastFlushError string     `json:"last_flush_error,omitempty"` // what came of it; empty when they were stored
	Timestamp      time.Time  `json:"timestamp"`
}

// New returns a Recorder that does nothing until Run. The configuration must be
// valid, here and in Reload.
func New(cfg config.Metrics, source Source, sink Sink, log *slog.Logger) *Recorder {
	return &Recorder{
		source:  source,
		sink:    sink,
		log:     log,
		cfg:     cfg,
		changed: make(chan struct{}),
		waiting: newRing(capacity(cfg)),
	}
}

// Run samples and stores until ctx is done, then stores what waits, for three
// seconds at most, and returns nil. It calls alive after each look at the host
// that succeeded, never otherwise: a source that hangs or fails must be seen by
// whoever watches. A source that hangs also keeps Run from returning.
func (r *Recorder) Run(ctx context.Context, alive func()) error {
	sampled := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(sampled)
		r.sample(ctx, alive)
	})
	wg.Go(func() { r.store(ctx, sampled) })
	wg.Wait()
	return nil
}

// Reload takes over a new configuration while Run goes on. When the samples
// that wait are more than the new one allows, the oldest are dropped.
func (r *Recorder) Reload(cfg config.Metrics) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cfg = cfg
	r.stats.Dropped += uint64(r.waiting.resize(capacity(cfg)))
	close(r.changed)
	r.changed = make(chan struct{})
}

// Stats returns the counts as they are now.
func (r *Recorder) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Waiting = r.waiting.len()
	s.Timestamp = time.Now().UTC()
	return s
}

// settings returns the configuration in force and a channel that is closed
// when it is no longer.
func (r *Recorder) settings() (config.Metrics, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cfg, r.changed
}

// capacity is how many samples may wait.
func capacity(cfg config.Metrics) int {
	return max(1, int(keep/cfg.Interval.Std()))
}

// sample looks at the host at every multiple of the interval.
func (r *Recorder) sample(ctx context.Context, alive func()) {
	var failure string // of the look before
	look := func() (api.Sample, bool) {
		s, err := r.source.Sample(time.Now())
		switch {
		case err != nil && err.Error() != failure:
			failure = err.Error()
			r.log.Error("sampling failed", "err", err)
		case err == nil && failure != "":
			failure = ""
			r.log.Info("sampling works again")
		}
		if err != nil {
			return api.Sample{}, false
		}
		alive()
		return s, true
	}

	cfg, changed := r.settings()
	r.source.SetInterval(cfg.Interval.Std())
	look() // has no rates yet, so nobody sees it; the next one compares with it
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(time.Until(next(time.Now(), cfg.Interval.Std())))
		select {
		case <-ctx.Done():
			return
		case <-changed:
			cfg, changed = r.settings()
			r.source.SetInterval(cfg.Interval.Std())
		case <-timer.C:
			if s, ok := look(); ok {
				r.record(s)
			}
		}
	}
}

// next returns when to look after now: at a multiple of the interval, at least
// half and at most one and a half intervals away. So a timer that fires a
// little early, or a look that takes a little long, does not upset the pace.
func next(now time.Time, interval time.Duration) time.Time {
	return now.Round(interval).Add(interval)
}

// record shows a sample and queues it.
func (r *Recorder) record(s api.Sample) {
	r.hub.PublishJSON(s)
	r.mu.Lock()
	r.stats.Taken++
	dropped := r.waiting.push(s)
	begins := dropped && !r.dropping
	if dropped {
		r.stats.Dropped++
		r.dropping = true
	}
	waiting := r.waiting.len()
	r.mu.Unlock()
	if begins {
		r.log.Warn("dropping the oldest samples", "reason", fmt.Sprintf("%d wait to be stored", waiting))
	}
}
