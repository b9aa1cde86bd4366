package proxy

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// writeWithin is how long one piece of an answer may take to leave. A stream
// that has nothing to say may be silent for days; a client that does not listen
// may not hold us up.
const writeWithin = time.Minute

// doNotDrain has the connection end with an answer that was given without
// reading the request's body. Else the server would read a part of it first,
// and wait for a client that does not send it.
func doNotDrain(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 && r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
}

// limitBody has the body of a request end at the route's limits. It is false
// when the body is too large by its own account.
func limitBody(w http.ResponseWriter, r *http.Request, v *visit) bool {
	t := v.route
	if t.body != unlimited && r.ContentLength > t.body {
		return false
	}
	if r.ContentLength == 0 {
		return true
	}
	body := r.Body
	if t.body != unlimited {
		body = http.MaxBytesReader(w, body, t.body)
	}
	v.body = &timedBody{ReadCloser: body, rc: http.NewResponseController(w), within: t.within, rolling: t.body == unlimited}
	v.body.extend()
	r.Body = v.body
	return true
}

// timedBody is a body that must arrive in time.
type timedBody struct {
	io.ReadCloser
	rc      *http.ResponseController
	within  time.Duration
	rolling bool         // each piece has that long, not the whole
	until   atomic.Int64 // the deadline; 0: it has arrived
	bad     atomic.Bool  // it makes no sense
}

func (b *timedBody) extend() {
	until := time.Now().Add(b.within)
	b.until.Store(until.UnixNano())
	_ = b.rc.SetReadDeadline(until)
}

// Read reads a piece. The deadline ends with the body, for the server too: one
// that passed later would look like a client that has left, in the middle of a
// long answer.
func (b *timedBody) Read(p []byte) (int, error) {
	if b.rolling {
		b.extend()
	}
	n, err := b.ReadCloser.Read(p)
	var large *http.MaxBytesError
	switch {
	case errors.Is(err, io.EOF):
		b.until.Store(0)
	case err != nil && !errors.As(err, &large):
		b.bad.Store(true)
	}
	return n, err
}

// garbled says whether the client's own words ended the body: chunks that are
// none. It is the client's fault, and not the upstream's.
func (b *timedBody) garbled() bool { return b != nil && b.bad.Load() }

// slow says whether the client took too long. The server then takes it for
// gone, although it may only wait for an answer.
func (b *timedBody) slow() bool {
	if b == nil {
		return false
	}
	until := b.until.Load()
	return until != 0 && time.Now().UnixNano() >= until
}

// timedWriter gives each piece of an answer its own time to leave, so that
// there is none for all of them. It is for HTTP/1: the server of HTTP/2 has a
// setting for it.
type timedWriter struct {
	http.ResponseWriter
	rc *http.ResponseController
}

func timeWrites(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	if r.ProtoMajor != 1 {
		return w
	}
	return &timedWriter{w, http.NewResponseController(w)}
}

// Write sends a piece. The deadline stays until the next one, and harms nobody
// meanwhile.
func (w *timedWriter) Write(p []byte) (int, error) {
	_ = w.rc.SetWriteDeadline(time.Now().Add(writeWithin))
	return w.ResponseWriter.Write(p)
}

// FlushError sends what waits to be sent.
func (w *timedWriter) FlushError() error {
	_ = w.rc.SetWriteDeadline(time.Now().Add(writeWithin))
	return w.rc.Flush()
}

// Unwrap is for http.ResponseController.
func (w *timedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// end is called when the answer is complete: its last bytes leave after us.
func (w *timedWriter) end() { _ = w.rc.SetWriteDeadline(time.Now().Add(writeWithin)) }
