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
func (r *Recorder) store(ctx context.Context, sampled <-chan struct{}) {
	batch := make([]api.Sample, 0, batchSize)
	var o outage
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		cfg, changed := r.settings()
		timer.Reset(pause(cfg.Flush.Std(), o.tries))
		select {
		case <-ctx.Done():
			r.storeRest(ctx, sampled, batch)
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
	for {
		r.mu.Lock()
		batch, end := r.waiting.peek(batch)
		r.mu.Unlock()
		if len(batch) == 0 {
			return nil
		}
		storing, cancel := context.WithTimeout(ctx, storeTimeout)
		err := r.sink.StoreSamples(storing, batch)
		cancel()
		r.stored(len(batch), end, err)
		if err != nil {
			return err
		}
	}
}

// stored takes note of what became of a batch of n samples, of which the next
// one has the number end.
func (r *Recorder) stored(n int, end uint64, err error) {
	now := time.Now().UTC()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.LastFlush, r.stats.LastFlushError = &now, ""
	if err != nil {
		r.stats.LastFlushError = err.Error()
		return
	}
	missing := n - r.waiting.discard(end)
	r.stats.Stored += uint64(n)
	r.stats.Dropped -= uint64(missing) // dropped while they were being stored after all
	r.dropping = false
}

// judge logs the beginning and the end of an outage, not what lies between.
func (r *Recorder) judge(o *outage, err error) {
	if err != nil {
		if o.tries == 0 {
			*o = outage{since: time.Now(), dropped: r.Stats().Dropped}
			r.log.Warn("samples cannot be stored, keeping them in memory", "err", err)
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

// storeRest stores what waits when the process ends.
func (r *Recorder) storeRest(ctx context.Context, sampled <-chan struct{}, batch []api.Sample) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	select {
	case <-sampled: // so that the last sample is among them
	case <-time.After(shutdownTimeout / 3): // the source hangs
	}
	if err := r.flush(ctx, batch); err != nil {
		r.log.Warn("samples are lost", "err", err, "result", fmt.Sprintf("%d samples", r.Stats().Waiting))
	}
}
