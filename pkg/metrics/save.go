package metrics

// save moves samples from the ring to the spool as soon as they come, until no
// more can come.
func (r *Recorder) save(sampled <-chan struct{}) {
	if r.spool == nil {
		<-sampled
		return
	}
	var buf []byte
	for more := true; more; {
		select {
		case <-r.pushed:
		case <-sampled:
			more = false
		}
		n, err := r.move(&buf)
		r.tellDrops()
		if n == 0 && err == nil {
			continue // which says nothing about the disk
		}
		r.mu.Lock()
		before := r.spoolErr
		r.spoolErr = err
		r.mu.Unlock()
		switch {
		case err != nil && before == nil:
			r.log.Warn("samples cannot be written to disk, keeping them in memory", "err", err)
		case err == nil && before != nil:
			r.log.Info("samples are written to disk again")
		}
	}
}

// move appends what is in the ring to the spool, oldest first, and stops at the
// first error. It returns how many samples it has moved.
func (r *Recorder) move(buf *[]byte) (n int, err error) {
	r.moving.Lock()
	defer r.moving.Unlock()
	for ; ; n++ {
		r.mu.Lock()
		s, number, ok := r.waiting.oldest()
		r.mu.Unlock()
		if !ok {
			return n, nil
		}
		*buf = appendRecord((*buf)[:0], &s)
		if err := r.spool.Append(*buf); err != nil {
			return n, err
		}
		r.mu.Lock()
		if r.waiting.discard(number+1) == 0 {
			r.stats.Dropped-- // dropped while it was being saved after all
		}
		r.mu.Unlock()
	}
}
