// Package modelserver is our hand on a server of models, an Ollama or anything that
// speaks OpenAI's language: passing requests on, and asking what is installed.
//
// What is asked of it is bounded; what is passed on has no limit of its own, since
// loading a large model takes minutes: the caller's context is the limit.
//
// It does not choose between servers, and keeps no queue.
package modelserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
)

const (
	askWithin = 5 * time.Second
	maxAnswer = 4 << 20
)

// Client speaks to one server. It is safe for use by several goroutines.
type Client struct {
	kind, base, key string
	http            *http.Client
}

// New returns a client of the server at a URL. It does not connect. Key is its API
// key; empty: none is sent.
func New(kind, base, key string) *Client {
	return &Client{kind, strings.TrimRight(base, "/"), key, &http.Client{
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
			MaxIdleConnsPerHost:    64,
			IdleConnTimeout:        30 * time.Second,
			DisableCompression:     true, // a stream is to come as it is made
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Post passes a JSON body on. Who gets the answer closes its body.
func (c *Client) Post(ctx context.Context, path string, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	c.authorise(r)
	return c.http.Do(r)
}

func (c *Client) authorise(r *http.Request) {
	r.Header.Set("User-Agent", "arasul")
	if c.key != "" {
		r.Header.Set("Authorization", "Bearer "+c.key)
	}
}

// Models returns what is installed, of both kinds. It takes five seconds at most.
func (c *Client) Models(ctx context.Context) ([]api.InstalledModel, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	if c.kind == config.KindOpenAI {
		return c.listed(ctx)
	}
	var tags struct {
		Models []struct {
			Name     string    `json:"name"`
			Size     int64     `json:"size"`
			Digest   string    `json:"digest"`
			Modified time.Time `json:"modified_at"`
			Details  struct {
				Family     string `json:"family"`
				Parameters string `json:"parameter_size"`
				Quant      string `json:"quantization_level"`
			} `json:"details"`
		} `json:"models"`
	}
	if err := c.get(ctx, "/api/tags", &tags); err != nil {
		return nil, err
	}
	var loaded struct {
		Models []struct {
			Name string `json:"name"`
			Size int64  `json:"size"`
			VRAM int64  `json:"size_vram"`
		} `json:"models"`
	}
	if err := c.get(ctx, "/api/ps", &loaded); err != nil {
		return nil, err
	}
	out := make([]api.InstalledModel, 0, len(tags.Models))
	for _, t := range tags.Models {
		m := api.InstalledModel{
			Name: t.Name, SizeBytes: t.Size, Digest: t.Digest, Parameters: t.Details.Parameters, Quantisation: t.Details.Quant,
			Kind: "chat", Modified: &t.Modified,
		}
		if strings.Contains(t.Details.Family, "bert") || strings.Contains(t.Name, "embed") {
			m.Kind = "embedding"
		}
		for _, l := range loaded.Models {
			if l.Name == t.Name {
				ratio := 0.0
				if l.Size > 0 {
					ratio = min(1, float64(l.VRAM)/float64(l.Size))
				}
				m.Loaded, m.GPURatio = true, &ratio
			}
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b api.InstalledModel) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// listed asks as OpenAI has it.
func (c *Client) listed(ctx context.Context) ([]api.InstalledModel, error) {
	var list struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if err := c.get(ctx, "/v1/models", &list); err != nil {
		return nil, err
	}
	out := make([]api.InstalledModel, 0, len(list.Data))
	for _, m := range list.Data {
		kind := "chat"
		if strings.Contains(strings.ToLower(m.ID), "embed") {
			kind = "embedding"
		}
		out = append(out, api.InstalledModel{Name: m.ID, Kind: kind})
	}
	return out, nil
}

func (c *Client) get(ctx context.Context, path string, out any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, http.NoBody)
	if err != nil {
		return err
	}
	c.authorise(r)
	answer, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s with status %d", path, answer.StatusCode)
	}
	return json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(out)
}

// errKind says that only an Ollama can do that.
var errKind = errors.New("models are fetched and removed on an Ollama only")

// Pull has the server fetch a model, and tells of it as it goes: what it is at, and
// how much of how many bytes has come. A digest that is not right is an error.
func (c *Client) Pull(ctx context.Context, model string, progress func(phase string, done, total int64)) error {
	if c.kind != config.KindOllama {
		return errKind
	}
	body, err := json.Marshal(map[string]any{"model": model, "stream": true})
	if err != nil {
		return err
	}
	answer, err := c.Post(ctx, "/api/pull", body)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	lines := json.NewDecoder(answer.Body)
	layers := map[string][2]int64{}
	for {
		var line struct {
			Status    string `json:"status"`
			Digest    string `json:"digest"`
			Total     int64  `json:"total"`
			Completed int64  `json:"completed"`
			Error     string `json:"error"`
		}
		switch err := lines.Decode(&line); {
		case errors.Is(err, io.EOF):
			return errors.New("the server stopped in the middle of it")
		case err != nil:
			return err
		case line.Error != "":
			return errors.New(line.Error)
		case line.Status == "success":
			return nil
		}
		if line.Digest != "" && line.Total > 0 {
			layers[line.Digest] = [2]int64{line.Completed, line.Total}
		}
		var done, total int64
		for _, l := range layers {
			done, total = done+l[0], total+l[1]
		}
		phase := line.Status
		if line.Digest != "" {
			phase = "fetching"
		}
		progress(phase, done, total)
	}
}

// Remove has the server forget a model.
func (c *Client) Remove(ctx context.Context, model string) error {
	if c.kind != config.KindOllama {
		return errKind
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	body, err := json.Marshal(map[string]any{"model": model})
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodDelete, c.base+"/api/delete", bytes.NewReader(body))
	if err != nil {
		return err
	}
	c.authorise(r)
	answer, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusNotFound:
		return fmt.Errorf("the model %s is not installed", model)
	}
	return fmt.Errorf("the server refused, with status %d", answer.StatusCode)
}
