package metrics

import (
	"context"
	"fmt"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// outage is what the storing loop knows about a sink that fails.
type outage struct {
	tries   int       // that failed in a row; 0 while all is well
	since   time.Time // of the first of them
	dropped uint64    // in all, before it
}

// store hands samples to the sink every flush interval, less often while that
// fails, and once more at the end.
func (r *Recorder) store(ctx context.Context, saved <-chan struct{}) {
	batch := make([]api.Sample, 0, batchSize)
	var o outage
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		cfg, changed := r.settings()
		timer.Reset(pause(cfg.Flush.Std(), o.tries))
		select {
		case <-ctx.Done():
			r.storeRest(ctx, saved, batch)
			return
		case <-changed:
		case <-timer.C:
			err := r.flush(ctx, batch)
			if ctx.Err() == nil {
				r.judge(&o, err)
			}
		}
	}
}

// pause is how long to wait before the next try, after so many failed ones.
func pause(flush time.Duration, tries int) time.Duration {
	d := flush
	for range tries - 1 {
		if d *= 2; d >= maxBackoff {
			return max(flush, maxBackoff)
		}
	}
	return d
}

// flush stores all that waits, in batches, oldest first, and stops at the
// first error. What was not stored goes on waiting.
func (r *Recorder) flush(ctx context.Context, batch []api.Sample) error {
	if err := r.flushSpool(ctx, batch); err != nil {
		return err
	}
	r.mu.Lock()
	bypass := r.spool == nil || r.spoolErr != nil
	r.mu.Unlock()
	if !bypass || !r.moving.TryLock() {
		return nil // what is in the ring is on its way into the spool
	}
	defer r.moving.Unlock()
	if r.spool != nil && r.spool.Stats().Waiting > 0 {
		return nil // older samples got there meanwhile
	}
	return r.flushRing(ctx, batch)
}

// flushSpool stores what is on disk.
func (r *Recorder) flushSpool(ctx context.Context, batch []api.Sample) error {
	if r.spool == nil {
		return nil
	}
	for {
		records, err := r.spool.Next(batchSize)
		if err != nil {
			r.noteFlush(err)
			return err
		}
		if len(records) == 0 {
			return nil
		}
		batch = batch[:0]
		for _, record := range records {
			s, bad := parseRecord(record)
			if bad != nil {
				err = bad
				continue
			}
			batch = append(batch, s)
		}
		if err != nil {
			r.log.Warn("samples left out", "err", err, "result", fmt.Sprintf("%d samples", len(records)-len(batch)))
		}
		if err := r.hand(ctx, batch); err != nil {
			return err
		}
		if err := r.spool.Ack(); err != nil {
			// They may be stored once more after a restart, which changes nothing.
			r.log.Debug("samples not acknowledged on disk", "err", err)
		}
		r.mu.Lock()
		r.stats.Stored += uint64(len(batch))
		r.stats.Dropped += uint64(len(records) - len(batch))
		r.dropping = false
		r.mu.Unlock()
	}
}

// flushRing stores what is in memory.
func (r *Recorder) flushRing(ctx context.Context, batch []api.Sample) error {
	for {
		r.mu.Lock()
		batch, end := r.waiting.peek(batch)
		r.mu.Unlock()
		if len(batch) == 0 {
			return nil
		}
		if err := r.hand(ctx, batch); err != nil {
			return err
		}
		r.mu.Lock()
		missing := len(batch) - r.waiting.discard(end)
		r.stats.Stored += uint64(len(batch))
		r.stats.Dropped -= uint64(missing) // dropped while they were being stored after all
		r.dropping = false
		r.mu.Unlock()
	}
}

// hand gives one batch to the sink.
func (r *Recorder) hand(ctx context.Context, batch []api.Sample) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	err := r.sink.StoreSamples(ctx, batch)
	r.noteFlush(err)
	return err
}

// noteFlush takes note of what became of a batch.
func (r *Recorder) noteFlush(err error) {
	now := time.Now().UTC()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.LastFlush, r.stats.LastFlushError = &now, ""
	if err != nil {
		r.stats.LastFlushError = err.Error()
	}
}

// judge logs the beginning and the end of an outage, not what lies between.
func (r *Recorder) judge(o *outage, err error) {
	if err != nil {
		if o.tries == 0 {
			*o = outage{since: time.Now(), dropped: r.Stats().Dropped}
			r.log.Warn("samples cannot be stored, keeping them", "err", err)
		}
		o.tries++
		return
	}
	if o.tries > 0 {
		r.log.Info("samples are stored again",
			"duration", time.Since(o.since).Round(time.Second),
			"attempt", o.tries+1,
			"result", fmt.Sprintf("%d samples dropped", r.Stats().Dropped-o.dropped))
		*o = outage{}
	}
}

// storeRest stores what waits when the process ends. What stays on disk is
// stored by the next one.
func (r *Recorder) storeRest(ctx context.Context, saved <-chan struct{}, batch []api.Sample) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	select {
	case <-saved: // so that the last sample is among them
	case <-time.After(shutdownTimeout / 3): // the source or the disk hangs
	}
	err := r.flush(ctx, batch)
	if lost := r.Stats().WaitingInMemory; lost > 0 {
		r.log.Warn("samples are lost", "err", err, "result", fmt.Sprintf("%d samples", lost))
	}
}
