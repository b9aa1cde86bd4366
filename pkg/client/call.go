package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// callWithin is how long a call may take: hashing a password and comparing it
// with the last ones takes seconds on a busy machine.
const callWithin = 30 * time.Second

// maxProblem bounds what is read of a refusal.
const maxProblem = 64 << 10

// Call sends in as JSON, or nothing when it is nil, and decodes the answer into
// out unless it is nil or the answer empty. It gives up after 30 seconds, or
// earlier when ctx says so. An answer other than 2xx is an error in the words of
// the other side, when it has given a problem document (RFC 9457). What was sent
// is in no error.
func (c *Client) Call(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encoding for %s: %w", path, err)
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.calls.Do(req)
	if err != nil {
		return err // already names method, path and cause
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return refusal(resp)
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, MaxBody+1))
	switch {
	case err != nil:
		return fmt.Errorf("reading %s: %w", path, err)
	case len(answer) > MaxBody:
		return fmt.Errorf("reading %s: answer is over %d bytes", path, MaxBody)
	case out == nil || len(bytes.TrimSpace(answer)) == 0:
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("decoding %s: %w", path, err)
	}
	return nil
}

// refused is an answer other than 2xx, with what the other side says about it.
type refused struct {
	status     int
	text       string
	code, hint string
}

func (r refused) Error() string { return r.text }

// Status is the HTTP status. Callers that cannot know this package look for the
// method.
func (r refused) Status() int { return r.status }

// Code is the kind of the refusal, where the other side names kinds.
func (r refused) Code() string { return r.code }

// Hint says what to do about it, where the other side does.
func (r refused) Hint() string { return r.hint }

// refusal reads a problem document; without one the status has to do.
func refusal(resp *http.Response) error {
	var problem struct {
		Title, Detail string
		Code, Hint    string
		Errors        []struct{ Message string }
	}
	r := refused{status: resp.StatusCode, text: resp.Status}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	if err != nil || json.Unmarshal(body, &problem) != nil {
		return r
	}
	r.code, r.hint = problem.Code, problem.Hint
	if problem.Detail != "" {
		r.text = problem.Detail
	} else if problem.Title != "" {
		r.text = problem.Title
	}
	var why []string
	for _, e := range problem.Errors {
		if e.Message != "" {
			why = append(why, e.Message)
		}
	}
	if len(why) > 0 {
		r.text += ": " + strings.Join(why, "; ")
	}
	return r
}
