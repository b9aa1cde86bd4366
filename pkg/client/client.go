// Package client asks our other daemons over their unix sockets: HTTP with
// JSON answers, and streams of newline-delimited JSON.
//
// It does not know what is asked or answered, it keeps nothing, and it never
// leaves the machine. Whatever the other side sends is bounded here: a document
// by MaxBody, a line by MaxLine.
package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// What a peer may send at most, in bytes.
const (
	MaxBody = 8 << 20 // one JSON document
	MaxLine = 1 << 20 // one line of a stream
)

const (
	answerWithin = 5 * time.Second  // a whole document, unless the caller's deadline is earlier
	headerWithin = 10 * time.Second // the beginning of a stream

	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 5 * time.Second
)

// Client speaks to the daemon behind one unix socket. It is safe for use by
// several goroutines.
type Client struct {
	http  http.Client
	calls http.Client // whose answers may take longer to begin

	patient http.Client // whose answers may begin whenever they do
}

// New returns a client of the daemon that listens on socket. It does not
// connect: a daemon that is not there yet is an error of the first request.
func New(socket string) *Client {
	return dialing(func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	})
}

func dialing(dial func(ctx context.Context) (net.Conn, error)) *Client {
	within := func(begin time.Duration) http.Client {
		return http.Client{
			Transport: &http.Transport{
				DialContext:           func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
				ResponseHeaderTimeout: begin,
				IdleConnTimeout:       time.Minute,
				DisableCompression:    true,
			},
			// Our daemons do not redirect; following would leave the socket's meaning.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return &Client{within(headerWithin), within(callWithin), within(0)}
}

// GetJSON asks for path and decodes the answer into v. It gives up after five
// seconds, or earlier when ctx says so, and on answers over MaxBody bytes. An
// answer other than 200 is an error that names the status.
func (c *Client) GetJSON(ctx context.Context, path string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	resp, err := c.get(ctx, path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxBody+1))
	if err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	if len(body) > MaxBody {
		return fmt.Errorf("reading %s: answer is over %d bytes", path, MaxBody)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("decoding %s: %w", path, err)
	}
	return nil
}

// Post sends a body, and returns the answer as it is, whenever it begins and
// however long it lasts: ctx is the only limit. Who gets it closes its body.
func (c *Client) Post(ctx context.Context, path string, header http.Header, body io.Reader) (*http.Response, error) {
	return c.Do(ctx, http.MethodPost, path, header, body)
}

// Do asks with any method, and returns the answer as it is: see Post.
func (c *Client) Do(ctx context.Context, method, path string, header http.Header, body io.Reader) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, body)
	if err != nil {
		return nil, err
	}
	r.Header = header
	return c.patient.Do(r)
}

// Send sends a body of bytes, and decodes the answer into out. Ctx is the only
// limit. An answer other than 2xx is an error in the words of the other side, as
// Call's is.
func (c *Client) Send(ctx context.Context, path string, body io.Reader, out any) error {
	resp, err := c.Post(ctx, path, http.Header{"Content-Type": {"application/octet-stream"}}, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return refusal(resp)
	}
	return json.NewDecoder(io.LimitReader(resp.Body, MaxBody)).Decode(out)
}

// Stream asks for path and hands each line of the answer to each, without its
// newline; the slice is valid only during the call. It returns nil when the
// other side ends the stream, the error of each when there is one, and an error
// on a line over MaxLine bytes. A silent stream is waited for until ctx ends.
func (c *Client) Stream(ctx context.Context, path string, each func(line []byte) error) error {
	return c.stream(ctx, path, func() {}, each)
}

// Listen is Stream that calls opened once the other side has begun to answer.
func (c *Client) Listen(ctx context.Context, path string, opened func(), each func(line []byte) error) error {
	return c.stream(ctx, path, opened, each)
}

func (c *Client) stream(ctx context.Context, path string, opened func(), each func(line []byte) error) error {
	resp, err := c.get(ctx, path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	opened()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, MaxLine)
	for lines.Scan() {
		if err := each(lines.Bytes()); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}

// Follow keeps a stream open until ctx ends, coming back after 100 ms, then
// twice as long each time, up to 5 s; a stream that lasted longer than that
// starts the waits anew. An error of each ends one stream, not the following.
//
// onState is called with true when a stream opens, and with false and the cause
// when it ends or the first attempt fails; a further failure in a row is not
// news. Both functions are called from the goroutine that called Follow.
func (c *Client) Follow(ctx context.Context, path string, each func(line []byte) error, onState func(connected bool, err error)) {
	failures, known := 0, false
	for {
		var opened time.Time
		err := c.stream(ctx, path, func() {
			opened = time.Now()
			onState(true, nil)
		}, each)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("stream ended")
		}
		if !known || !opened.IsZero() {
			onState(false, err)
			known = true
		}
		if !opened.IsZero() && time.Since(opened) > maxBackoff {
			failures = 0
		}
		wait := time.NewTimer(backoff(failures))
		failures++
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return
		}
	}
}

// backoff is the wait after so many failures in a row.
func backoff(failures int) time.Duration {
	return min(maxBackoff, firstBackoff<<min(failures, 10))
}

// get returns an answer with status 200, whose body the caller closes.
func (c *Client) get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err // already names method, path and cause
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("getting %s: %w", path, statusError{resp})
	}
	return resp, nil
}

// statusError is an answer other than 200.
type statusError struct{ *http.Response }

func (e statusError) Error() string { return e.Status }

// NotFound says whether the other side knows nothing of that name. Callers that
// cannot know this package look for the method.
func (e statusError) NotFound() bool { return e.StatusCode == http.StatusNotFound }
