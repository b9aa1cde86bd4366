package inference

import (
	"context"
	"errors"
	"sync"
)

// errFull says that too many wait.
var errFull = errors.New("too many requests wait for the models")

// queue lets so many in at once, and the others wait, each client in a line of its
// own. Lines take turns.
type queue struct {
	mu       sync.Mutex
	parallel int
	limit    int // that may wait
	running  int
	waiting  int
	lines    map[string][]*ticket
	turns    []string // clients with a line, who comes next first
}

type ticket struct {
	turn    chan struct{} // closed when it is its turn
	granted bool
}

func newQueue(parallel, limit int) *queue {
	return &queue{parallel: parallel, limit: limit, lines: map[string][]*ticket{}}
}

// enter waits until it is the client's turn. Who was let in has to leave.
func (q *queue) enter(ctx context.Context, client string) (leave func(), err error) {
	q.mu.Lock()
	if q.running < q.parallel && q.waiting == 0 {
		q.running++
		q.mu.Unlock()
		return q.leave(), nil
	}
	if q.waiting >= q.limit {
		q.mu.Unlock()
		return nil, errFull
	}
	t := &ticket{turn: make(chan struct{})}
	if len(q.lines[client]) == 0 {
		q.turns = append(q.turns, client)
	}
	q.lines[client] = append(q.lines[client], t)
	q.waiting++
	q.mu.Unlock()
	select {
	case <-t.turn:
		return q.leave(), nil
	case <-ctx.Done():
		q.abandon(client, t)
		return nil, ctx.Err()
	}
}

// abandon takes back the ticket of one who waits no longer.
func (q *queue) abandon(client string, t *ticket) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t.granted { // at the same instant
		q.running--
		q.next()
		return
	}
	line := q.lines[client]
	for i := range line {
		if line[i] == t {
			q.lines[client] = append(line[:i:i], line[i+1:]...)
			q.waiting--
			break
		}
	}
	if len(q.lines[client]) == 0 {
		q.forget(client)
	}
}

func (q *queue) forget(client string) {
	delete(q.lines, client)
	for i, c := range q.turns {
		if c == client {
			q.turns = append(q.turns[:i:i], q.turns[i+1:]...)
			return
		}
	}
}

// leave gives the place to who comes next, once.
func (q *queue) leave() func() {
	return sync.OnceFunc(func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.running--
		q.next()
	})
}

// next lets in as many as there are places for.
func (q *queue) next() {
	for q.running < q.parallel && len(q.turns) > 0 {
		client := q.turns[0]
		q.turns = q.turns[1:]
		line := q.lines[client]
		t := line[0]
		if len(line) > 1 {
			q.lines[client] = line[1:]
			q.turns = append(q.turns, client)
		} else {
			delete(q.lines, client)
		}
		q.waiting--
		q.running++
		t.granted = true
		close(t.turn)
	}
}

// resize takes new limits.
func (q *queue) resize(parallel, limit int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.parallel, q.limit = parallel, limit
	q.next()
}

func (q *queue) state() (running, waiting, limit int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.running, q.waiting, q.limit
}
