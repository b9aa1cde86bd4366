// Package ollama is our hand on a local Ollama: which models it has loaded,
// unloading them, loading them anew, and whether it is well.
//
// All it asks is bounded: an answer by 4 MiB, a request by a limit of its own or
// the caller's deadline, whichever is earlier. It installs and deletes no models,
// holds no conversations, and does not decide when a model has to go.
package ollama

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

const maxBody = 4 << 20 // bytes of an answer

const (
	answerWithin = 5 * time.Second  // what Ollama answers at any time, however busy
	unloadWithin = 30 * time.Second // a model that is at work goes when it has finished its answer
	unloadPoll   = 100 * time.Millisecond
	loadWithin   = 2 * time.Minute // tens of gigabytes come from the disk
)

// Client speaks to one instance of Ollama. It is safe for use by several
// goroutines.
type Client struct {
	address string
	http    http.Client
}

// New returns a client of the instance that listens on address, a host:port. It
// does not connect.
func New(address string) *Client {
	return &Client{address, http.Client{
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{}).DialContext,
			DisableKeepAlives:      true, // or one that died meanwhile would look like an Ollama that did
			DisableCompression:     true,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Model is a model that is loaded.
type Model struct {
	Name    string    `json:"name"`
	Digest  string    `json:"digest"`
	Size    int64     `json:"size"`           // bytes it takes
	VRAM    int64     `json:"size_vram"`      // bytes of them on a GPU; 0 when it runs on the CPU
	Context int       `json:"context_length"` // tokens
	Expires time.Time `json:"expires_at"`     // when it goes unless it is used; past while it is at work
}

// Models returns what is loaded. Ollama tells it at any time, within five
// seconds, also while models work.
func (c *Client) Models(ctx context.Context) ([]Model, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	var loaded struct{ Models []Model }
	if err := c.get(ctx, "/api/ps", &loaded); err != nil {
		return nil, err
	}
	return loaded.Models, nil
}

// Unload frees the memory of all models. It returns nil once each of them has
// been seen gone, and an error that names those that stayed for 30 seconds: one
// that is at work goes only after its answer. What others load meanwhile stays.
func (c *Client) Unload(ctx context.Context) error {
	models, err := c.Models(ctx)
	if err != nil {
		return err
	}
	return c.unload(ctx, models)
}

func (c *Client) unload(ctx context.Context, models []Model) error {
	ctx, cancel := context.WithTimeout(ctx, unloadWithin)
	defer cancel()
	here := map[string]bool{}
	for _, m := range models {
		if err := c.post(ctx, "/api/generate", request{Model: m.Name, KeepAlive: 0}, &struct{}{}); err != nil {
			return fmt.Errorf("unloading %s: %w", m.Name, err)
		}
		here[m.Name] = true
	}
	for len(here) > 0 {
		wait := time.NewTimer(unloadPoll)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return fmt.Errorf("unloading %s: still loaded: %w", strings.Join(slices.Sorted(maps.Keys(here)), ", "), ctx.Err())
		}
		loaded, err := c.Models(ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err == nil {
			maps.DeleteFunc(here, func(name string, _ bool) bool {
				return !slices.ContainsFunc(loaded, func(m Model) bool { return m.Name == name })
			})
		}
	}
	return nil
}

// ResetSession unloads all models and loads again those that were there, each
// for as long as it had left, and until it has answered a minimal prompt or made
// a vector. It ends at the first that does not. With nothing loaded it does
// nothing. It takes as long as loading takes, at most 30 seconds and then two
// minutes a model.
func (c *Client) ResetSession(ctx context.Context) error {
	models, err := c.Models(ctx)
	if err != nil {
		return err
	}
	if err := c.unload(ctx, models); err != nil {
		return err
	}
	for _, m := range models {
		if err := c.load(ctx, m); err != nil {
			return fmt.Errorf("loading %s: %w", m.Name, err)
		}
	}
	return nil
}

func (c *Client) load(ctx context.Context, m Model) error {
	ctx, cancel := context.WithTimeout(ctx, loadWithin)
	defer cancel()
	about, err := c.about(ctx, m)
	if err != nil {
		return err
	}
	_, err = c.ask(ctx, m, about, keepAlive(time.Until(m.Expires)))
	return err
}

// keepAlive is how to say that a model shall stay for so long: nil, which means
// Ollama's own default, where what is left does not tell what was meant.
func keepAlive(left time.Duration) any {
	switch {
	case left > forever:
		return -1
	case left < time.Minute:
		return nil
	default:
		return left.Round(time.Second).String()
	}
}

// forever: Ollama keeps a model that shall stay for 292 years.
const forever = 10 * 365 * 24 * time.Hour

// request is a body of /api/generate, /api/embed and /api/show. They answer at
// once, not piece by piece.
type request struct {
	Model     string         `json:"model"`
	Prompt    string         `json:"prompt,omitempty"`
	Input     string         `json:"input,omitempty"`
	Raw       bool           `json:"raw,omitempty"`        // no template, no system prompt
	KeepAlive any            `json:"keep_alive,omitempty"` // nil: as it is
	Options   map[string]int `json:"options,omitempty"`
	Stream    bool           `json:"stream"`
}

// ask makes a model do as little as can be done: one token, or the vector of one
// word. It tells how long Ollama took to have the model ready for that.
func (c *Client) ask(ctx context.Context, m Model, about about, keep any) (loading time.Duration, err error) {
	// A request with options other than those a model was loaded with makes
	// Ollama load it anew. Of these the length of the context is seen. One that is
	// as long as the model allows may have been asked for longer, or not at all.
	options := map[string]int{}
	if m.Context < about.context {
		options["num_ctx"] = m.Context
	}
	path, body := "/api/embed", request{Model: m.Name, Input: "ok", KeepAlive: keep, Options: options}
	if !about.embeds {
		options["num_predict"] = 1
		path, body = "/api/generate", request{Model: m.Name, Prompt: "ok", Raw: true, KeepAlive: keep, Options: options}
	}
	var answer struct {
		Done         bool
		Embeddings   [][]float64
		LoadDuration time.Duration `json:"load_duration"`
	}
	if err := c.post(ctx, path, body, &answer); err != nil {
		return 0, err
	}
	if !answer.Done && len(answer.Embeddings) == 0 {
		return 0, fmt.Errorf("getting %s: the answer is empty", path)
	}
	return answer.LoadDuration, nil
}

// about is what a model is, loaded or not.
type about struct {
	embeds  bool // it makes vectors, and no text
	context int  // tokens it was made for; 0 when it does not tell
}

func (c *Client) about(ctx context.Context, m Model) (about, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	var shown struct {
		Capabilities []string
		Info         map[string]json.RawMessage `json:"model_info"`
	}
	if err := c.post(ctx, "/api/show", request{Model: m.Name}, &shown); err != nil {
		return about{}, err
	}
	can := func(what string) bool { return slices.Contains(shown.Capabilities, what) }
	a := about{embeds: can("embedding") && !can("completion")}
	for key, value := range shown.Info {
		if strings.HasSuffix(key, ".context_length") {
			_ = json.Unmarshal(value, &a.context) // not a number: it does not tell
		}
	}
	return a, nil
}

func (c *Client) get(ctx context.Context, path string, answer any) error {
	return c.do(ctx, http.MethodGet, path, nil, answer)
}

func (c *Client) post(ctx context.Context, path string, body request, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return c.do(ctx, http.MethodPost, path, text, answer)
}

// do decodes the answer to one request.
func (c *Client) do(ctx context.Context, method, path string, body []byte, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.address+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err // names method, address and path
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	if len(text) > maxBody {
		return fmt.Errorf("reading %s: answer is over %d bytes", path, maxBody)
	}
	if resp.StatusCode != http.StatusOK {
		return refusal(path, resp.StatusCode, text)
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("decoding %s: %w", path, err)
	}
	return nil
}

// refusal is an answer other than 200, with the reason that Ollama gives.
func refusal(path string, status int, body []byte) error {
	const most = 200 // bytes of the reason
	var reason struct{ Error string }
	if json.Unmarshal(body, &reason) != nil || reason.Error == "" {
		reason.Error = http.StatusText(status)
	}
	text := strings.Join(strings.Fields(reason.Error), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + " …"
	}
	return &refused{path, status, text}
}

type refused struct {
	path   string
	status int
	reason string
}

func (e *refused) Error() string {
	return fmt.Sprintf("getting %s: %d: %s", e.path, e.status, e.reason)
}
