// Package stream passes messages from one producer to many listeners.
//
// A message is encoded once and shared by all listeners, so that a hundred
// open pages cost what one costs. A listener that does not keep up is dropped
// rather than allowed to hold memory or to slow the others; it reconnects and
// starts from the present. Nothing is replayed but the last message.
package stream

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// Buffer is how many messages a listener may lag behind before it is dropped.
const Buffer = 64

// writeTimeout is how long one message may take to leave. Without it, a client
// that stopped reading would hold its connection for as long as it likes,
// although the hub dropped it long ago.
const writeTimeout = 10 * time.Second

var newline = []byte{'\n'}

// Hub hands every published message to every subscriber. The zero value is
// ready to use. A message must not be modified after it was published.
type Hub struct {
	mu   sync.Mutex
	subs map[chan []byte]struct{}
	last []byte
}

// Publish hands msg to all subscribers. It never blocks.
func (h *Hub) Publish(msg []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = msg
	for ch := range h.subs {
		select {
		case ch <- msg:
		default: // too slow: let it go
			delete(h.subs, ch)
			close(ch)
		}
	}
}

// PublishJSON encodes v and publishes it. It panics on values that JSON cannot
// express, which is a bug of the caller.
func (h *Hub) PublishJSON(v any) {
	msg, err := json.Marshal(v)
	if err != nil {
		panic("stream: " + err.Error())
	}
	h.Publish(msg)
}

// Last returns the newest message, or nil when there was none yet.
func (h *Hub) Last() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

// Subscribe returns a channel that receives the last message, if there is one,
// and every later one. The channel is closed when the listener is too slow.
// The caller must call cancel when done.
func (h *Hub) Subscribe() (msgs <-chan []byte, cancel func()) {
	ch := make(chan []byte, Buffer)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs == nil {
		h.subs = make(map[chan []byte]struct{})
	}
	h.subs[ch] = struct{}{}
	if h.last != nil {
		ch <- h.last
	}
	return ch, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if _, ok := h.subs[ch]; ok {
			delete(h.subs, ch)
			close(ch)
		}
	}
}

type endKey struct{}

// WithEnd returns a context for requests in which ServeHTTP also ends when end
// is closed. A server that shuts down has its streams leave first, while
// ordinary requests finish.
func WithEnd(ctx context.Context, end <-chan struct{}) context.Context {
	return context.WithValue(ctx, endKey{}, end)
}

// Ending returns a context that ends when ctx does, or when the server that
// set WithEnd begins to shut down: for streams that are not a Hub's.
func Ending(ctx context.Context) context.Context {
	end, _ := ctx.Value(endKey{}).(<-chan struct{})
	if end == nil {
		return ctx
	}
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		select {
		case <-ctx.Done():
		case <-end:
		}
	}()
	return ctx
}

// ServeHTTP writes the messages as newline-delimited JSON until the client
// leaves, falls behind, or takes over ten seconds to read a message.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	msgs, cancel := h.Subscribe()
	defer cancel()
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	rc := http.NewResponseController(w)
	// A writer that knows no deadlines has its own limits.
	patience := func() { _ = rc.SetWriteDeadline(time.Now().Add(writeTimeout)) }
	patience()
	if err := rc.Flush(); err != nil {
		return
	}
	end, _ := r.Context().Value(endKey{}).(<-chan struct{})
	for {
		select {
		case <-r.Context().Done():
			return
		case <-end:
			return
		case msg, ok := <-msgs:
			if !ok {
				return
			}
			patience()
			if _, err := w.Write(msg); err != nil {
				return
			}
			if _, err := w.Write(newline); err != nil {
				return
			}
			if err := rc.Flush(); err != nil {
				return
			}
		}
	}
}
