// Package metrics looks at the host at a fixed pace, shows each sample to
// whoever listens, and hands the samples to a database in batches.
//
// Looking never waits for storing, nor for the disk. A sample waits in a spool
// on disk until the database has it, so that neither an outage nor the death of
// the process costs one. When the spool takes nothing, because the disk is
// full or broken, samples wait in memory, 30 minutes of them at most. In either
// the oldest are dropped and counted when there is no more room. The loops and
// what passes between them:
//
//	Source → sampling ──→ Hub → /live, /stream
//	            │
//	            └→ ring → saving → Spool → storing → Sink
//	                 └─ while the Spool fails ──↑
//
// It does not read /proc, does not speak SQL and answers no questions about the
// past. A sample that the database has already may be handed to it again.
package metrics

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/spool"
	"github.com/arasul/arasul/pkg/stream"
)

const (
	// keep is for how long samples wait in memory.
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

// Spool keeps records, oldest first, until they are acknowledged: Ack forgets
// those that the last Next returned. What Append took outlives the process.
// See package spool.
type Spool interface {
	Append(record []byte) error
	Next(n int) ([][]byte, error)
	Ack() error
	Stats() spool.Stats
}

// Recorder takes samples and has them stored.
type Recorder struct {
	source Source
	sink   Sink
	spool  Spool // nil: samples wait in memory
	log    *slog.Logger
	hub    stream.Hub

	pushed chan struct{} // holds a token when the ring has something new
	moving sync.Mutex    // held by whoever takes samples out of the ring

	mu       sync.Mutex
	cfg      config.Metrics
	changed  chan struct{} // closed when cfg is replaced
	waiting  ring
	spoolErr error  // why the spool takes nothing; nil when it does
	dropped  uint64 // when we looked last
	dropping bool   // samples were dropped since the last batch was stored
	stats    Stats
}

// Stats is what the recorder says about itself. Every sample taken or recovered
// is stored, waiting or dropped.
type Stats struct {
	Taken           uint64     `json:"samples_taken_total"`
	Recovered       uint64     `json:"samples_recovered_total"` // from the spool of the process before
	Stored          uint64     `json:"samples_stored_total"`
	Dropped         uint64     `json:"samples_dropped_total"` // for want of room, or damaged on disk
	Waiting         int        `json:"samples_waiting"`
	WaitingInMemory int        `json:"samples_waiting_in_memory"` // of those, the ones that are not on disk
	SpoolBytes      int64      `json:"spool_bytes"`
	SpoolError      string     `json:"spool_error,omitempty"`      // why samples are not written to disk; empty when they are
	LastFlush       *time.Time `json:"last_flush,omitempty"`       // when samples were last handed to the sink
	LastFlushError  string     `json:"last_flush_error,omitempty"` // what came of it; empty when they were stored
	Timestamp       time.Time  `json:"timestamp"`
}

// New returns a Recorder that does nothing until Run. The configuration must be
// valid, here and in Reload. Without a spool (nil) samples wait in memory only.
func New(cfg config.Metrics, source Source, sink Sink, spool Spool, log *slog.Logger) *Recorder {
	r := &Recorder{
		source:  source,
		sink:    sink,
		spool:   spool,
		log:     log,
		pushed:  make(chan struct{}, 1),
		cfg:     cfg,
		changed: make(chan struct{}),
		waiting: newRing(capacity(cfg)),
	}
	if spool != nil {
		found := spool.Stats()
		r.stats.Recovered = uint64(found.Waiting) + found.Damaged
		r.dropped = found.Damaged
	}
	return r
}

// Run samples and stores until ctx is done, then stores what waits, for three
// seconds at most, and returns nil. It calls alive after each look at the host
// that succeeded, never otherwise: a source that hangs or fails must be seen by
// whoever watches. A source that hangs also keeps Run from returning.
func (r *Recorder) Run(ctx context.Context, alive func()) error {
	sampled, saved := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(sampled)
		r.sample(ctx, alive)
	})
	wg.Go(func() {
		defer close(saved)
		r.save(sampled)
	})
	wg.Go(func() { r.store(ctx, saved) })
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
	s.WaitingInMemory = r.waiting.len()
	s.Waiting = s.WaitingInMemory
	if r.spool != nil {
		on := r.spool.Stats()
		s.Waiting += on.Waiting
		s.Dropped += on.Dropped + on.Damaged
		s.SpoolBytes = on.Bytes
	}
	if r.spoolErr != nil {
		s.SpoolError = r.spoolErr.Error()
	}
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
	if r.waiting.push(s) {
		r.stats.Dropped++
	}
	r.mu.Unlock()
	r.tellDrops()
	select {
	case r.pushed <- struct{}{}:
	default:
	}
}

// tellDrops logs the first drop since samples were stored.
func (r *Recorder) tellDrops() {
	s := r.Stats()
	r.mu.Lock()
	begins := s.Dropped > r.dropped && !r.dropping
	r.dropping = r.dropping || begins
	r.dropped = s.Dropped
	r.mu.Unlock()
	if begins {
		r.log.Warn("dropping the oldest samples", "reason", fmt.Sprintf("%d wait to be stored", s.Waiting))
	}
}
