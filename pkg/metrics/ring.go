package metrics

import "github.com/arasul/arasul/pkg/api"

// ring holds the samples that wait to be stored, oldest first. It never grows;
// when it is full a new sample takes the place of the oldest. Samples are
// numbered from 0 on, so that what was copied out can be found again.
type ring struct {
	slots []api.Sample
	first uint64 // number of the oldest sample
	end   uint64 // number that the next sample will get
}

func newRing(n int) ring { return ring{slots: make([]api.Sample, n)} }

func (q *ring) len() int { return int(q.end - q.first) }

func (q *ring) slot(number uint64) *api.Sample {
	return &q.slots[number%uint64(len(q.slots))]
}

// push adds a sample and says whether that cost the oldest one.
func (q *ring) push(s api.Sample) (dropped bool) {
	if q.len() == len(q.slots) {
		q.first++
		dropped = true
	}
	*q.slot(q.end) = s
	q.end++
	return dropped
}

// oldest returns the oldest sample and its number, and false when there is none.
func (q *ring) oldest() (s api.Sample, number uint64, ok bool) {
	if q.len() == 0 {
		return s, 0, false
	}
	return *q.slot(q.first), q.first, true
}

// peek copies the oldest samples into the room of batch, and returns the number
// that follows the last of them.
func (q *ring) peek(batch []api.Sample) (oldest []api.Sample, end uint64) {
	batch = batch[:0]
	for end = q.first; end < q.end && len(batch) < cap(batch); end++ {
		batch = append(batch, *q.slot(end))
	}
	return batch, end
}

// discard removes the samples before the one with the number end, and returns
// how many of them were still there.
func (q *ring) discard(end uint64) (n int) {
	for ; q.first < end; q.first++ {
		*q.slot(q.first) = api.Sample{} // let go of what it points to
		n++
	}
	return n
}

// resize makes room for n samples, and returns how many of the oldest that
// cost.
func (q *ring) resize(n int) (dropped int) {
	resized := ring{slots: make([]api.Sample, n), first: q.first, end: q.first}
	for number := q.first; number < q.end; number++ {
		if resized.push(*q.slot(number)) {
			dropped++
		}
	}
	*q = resized
	return dropped
}
