package heal

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/spool"
)

const (
	mirrorPause   = 5 * time.Second // between attempts while PostgreSQL is away
	mirrorTimeout = 5 * time.Second // for one attempt
	mirrorBatch   = 50              // events per attempt
	keepWaiting   = 1000            // events in memory while the disk takes none
)

// Spool keeps records on disk, in order, until somebody has taken them.
type Spool interface {
	Append(record []byte) error
	Next(n int) ([][]byte, error)
	Ack() error
	Stats() spool.Stats
}

// Mirror keeps copies of events where the dashboard can search them. Storing
// the same again replaces the older copy. An incident holds only those of its
// failures and actions that are new or changed.
type Mirror interface {
	MirrorIncidents(ctx context.Context, incidents []api.Incident) error
	MirrorReboots(ctx context.Context, reboots []api.Reboot) error
}

// refusal is an error of a Mirror that took everything but these incidents,
// and never will take them.
type refusal interface {
	error
	Refused() []string
}

// event is what the spool holds.
type event struct {
	Incident *api.Incident `json:"incident,omitempty"`
	Reboot   *api.Reboot   `json:"reboot,omitempty"`
}

// queue is the way of events to the mirror: through the spool, or through
// memory when the disk takes nothing.
type queue struct {
	spool  Spool // nil: there is none
	mirror Mirror
	log    *slog.Logger
	nudge  chan struct{} // there is something to take

	mu      sync.Mutex
	waiting [][]byte // what the spool has not taken, oldest first
	gone    uint64   // how many left it at the front, taken or lost
	lost    uint64
}

func newQueue(s Spool, m Mirror, log *slog.Logger) *queue {
	return &queue{spool: s, mirror: m, log: log, nudge: make(chan struct{}, 1)}
}

// add puts an event at the end.
func (q *queue) add(e event) {
	record, err := json.Marshal(e)
	if err != nil {
		panic("heal: " + err.Error()) // only words of package api are in it
	}
	q.mu.Lock()
	q.waiting = append(q.waiting, record)
	q.mu.Unlock()
	q.flush()
	select {
	case q.nudge <- struct{}{}:
	default:
	}
}

// flush moves what waits in memory to the spool, as far as it takes it.
func (q *queue) flush() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.spool != nil && len(q.waiting) > 0 && q.spool.Append(q.waiting[0]) == nil {
		q.leave(1)
	}
	if more := len(q.waiting) - keepWaiting; more > 0 {
		q.leave(more)
		q.lost += uint64(more)
	}
}

// leave lets the oldest in memory go.
func (q *queue) leave(n int) {
	q.waiting = q.waiting[n:]
	q.gone += uint64(n)
}

// stats says how many events wait, and how many had no room.
func (q *queue) stats() (waiting int, lost uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting, lost = len(q.waiting), q.lost
	if q.spool != nil {
		s := q.spool.Stats()
		waiting += s.Waiting
		lost += s.Dropped + s.Damaged
	}
	return waiting, lost
}

// next returns the oldest events, and what forgets them.
func (q *queue) next() (records [][]byte, ack func()) {
	if q.spool != nil {
		records, err := q.spool.Next(mirrorBatch)
		if err != nil {
			q.log.Error("events cannot be read from disk", "err", err)
		}
		if len(records) > 0 {
			return records, func() {
				if err := q.spool.Ack(); err != nil {
					q.log.Warn("events may be stored twice", "err", err)
				}
			}
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	records = q.waiting[:min(len(q.waiting), mirrorBatch)]
	end := q.gone + uint64(len(records))
	return records, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if end > q.gone { // else they had to leave meanwhile
			q.leave(int(end - q.gone))
		}
	}
}

// run copies events to PostgreSQL, oldest first, and tries again for as long as
// that takes.
func (q *queue) run(ctx context.Context) error {
	away := false
	for {
		records, ack := q.next()
		if len(records) == 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-q.nudge:
			}
			continue
		}
		err := q.store(ctx, records)
		var refused refusal
		if errors.As(err, &refused) {
			for _, id := range refused.Refused() {
				q.log.Error("the database refuses an event", "incident", id, "err", err)
			}
			err = nil
		}
		if err == nil {
			away = false
			ack()
			continue
		}
		if ctx.Err() == nil && !away {
			q.log.Warn("events wait for the database", "err", err)
			away = true
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(mirrorPause):
		}
	}
}

func (q *queue) store(ctx context.Context, records [][]byte) error {
	ctx, cancel := context.WithTimeout(ctx, mirrorTimeout)
	defer cancel()
	var incidents []api.Incident
	var reboots []api.Reboot
	for _, record := range records {
		var e event
		if err := json.Unmarshal(record, &e); err != nil {
			q.log.Error("event unreadable", "err", err)
			continue
		}
		if e.Incident != nil {
			incidents = merge(incidents, *e.Incident)
		}
		if e.Reboot != nil {
			reboots = append(reboots, *e.Reboot)
		}
	}
	for _, reboot := range reboots { // one by one: a batch may hold the same twice
		if err := q.mirror.MirrorReboots(ctx, []api.Reboot{reboot}); err != nil {
			return err
		}
	}
	if len(incidents) == 0 {
		return nil
	}
	return q.mirror.MirrorIncidents(ctx, incidents) // last: what it refuses ends here
}

// merge adds an incident to a batch, in which each is once.
func merge(batch []api.Incident, inc api.Incident) []api.Incident {
	for i := range batch {
		if batch[i].ID != inc.ID {
			continue
		}
		inc.Failures = append(batch[i].Failures, inc.Failures...)
		actions := batch[i].Actions
		for _, a := range inc.Actions {
			if n := len(actions); n > 0 && actions[n-1].Attempt == a.Attempt {
				actions[n-1] = a
			} else {
				actions = append(actions, a)
			}
		}
		inc.Actions = actions
		batch[i] = inc
		return batch
	}
	return append(batch, inc)
}

// news is an incident with only those failures and actions that are new or have
// changed since before; before is nil when the incident is new.
func news(before *Incident, after Incident) api.Incident {
	out := after.Incident
	if before == nil {
		return out
	}
	fresh := min(after.Count-before.Count, len(after.Failures))
	out.Failures = after.Failures[len(after.Failures)-fresh:]
	out.Actions = []api.Action{}
	old := map[int]api.Action{}
	for _, a := range before.Actions {
		old[a.Attempt] = a
	}
	for _, a := range after.Actions {
		if b, there := old[a.Attempt]; !there || a != b {
			out.Actions = append(out.Actions, a)
		}
	}
	return out
}
