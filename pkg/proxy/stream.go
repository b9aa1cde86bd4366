package proxy

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"
)

// writeWithin is how long one piece of an answer may take to leave. A stream
// that has nothing to say may be silent for days; a client that does not listen
// may not hold us up.
const writeWithin = time.Minute

// errSlowBody says that the client took too long to send what it announced.
var errSlowBody = errors.New("the request's body came too slowly")

// limitBody has the body of a request end at the route's limits. It is false
// when the body is too large by its own account.
func limitBody(w http.ResponseWriter, r *http.Request, t *route) bool {
	if t.body != unlimited && r.ContentLength > t.body {
		return false
	}
	if r.ContentLength == 0 {
		return true
	}
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(t.within))
	body := r.Body
	if t.body != unlimited {
		body = http.MaxBytesReader(w, body, t.body)
	}
	r.Body = &timedBody{body, rc, t.within, t.body == unlimited}
	return true
}

// timedBody is a body that must arrive in time.
type timedBody struct {
	io.ReadCloser
	rc      *http.ResponseController
	within  time.Duration
	rolling bool // each piece has that long, not the whole
}

// Read reads a piece. The deadline ends with the body: one that passed later
// would look to the server like a client that has left, in the middle of a long
// answer.
func (b *timedBody) Read(p []byte) (int, error) {
	if b.rolling {
		_ = b.rc.SetReadDeadline(time.Now().Add(b.within))
	}
	n, err := b.ReadCloser.Read(p)
	switch {
	case errors.Is(err, io.EOF):
		_ = b.rc.SetReadDeadline(time.Time{})
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errSlowBody
	}
	return n, err
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
