// Package n8n is our hand on n8n: signing in as its owner, and bringing it what
// workflows need.
//
// It speaks to n8n's own REST interface, the one that its page uses, because the
// public one cannot make an owner. What it brings is found again by its name: what
// an author has changed is left as it is, and what he removed does not come back.
//
// It runs no workflows, and reads none of their data.
package n8n

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Email is the name of n8n's owner. Nobody gets mail there.
const Email = "admin@arasul.local"

const (
	askWithin = 30 * time.Second
	pollEvery = time.Second
	maxAnswer = 8 << 20
)

// Client speaks to one n8n. It is safe for use by several goroutines, once it has
// signed in.
type Client struct {
	base   string
	http   http.Client
	cookie string
}

// New returns a client of the n8n at address, a host:port. It does not connect.
func New(address string) *Client {
	return &Client{base: "http://" + address, http: http.Client{
		Timeout:       askWithin,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// settings is what of n8n's settings matters.
type settings struct {
	Users struct {
		Fresh bool `json:"showSetupOnFirstLoad"`
	} `json:"userManagement"`
}

// Wait returns once n8n does its work, which is later than when it says so: its
// health is well while it still answers everything with its page.
func (c *Client) Wait(ctx context.Context) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := c.call(ctx, http.MethodGet, "/rest/settings", nil, &settings{})
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for n8n: %w", err)
		case <-tick.C:
		}
	}
}

// SignIn signs in as the owner, whom it makes when there is none.
func (c *Client) SignIn(ctx context.Context, password string) error {
	var s settings
	if err := c.call(ctx, http.MethodGet, "/rest/settings", nil, &s); err != nil {
		return err
	}
	if s.Users.Fresh {
		owner := map[string]string{"email": Email, "firstName": "Arasul", "lastName": "Admin", "password": password}
		if err := c.call(ctx, http.MethodPost, "/rest/owner/setup", owner, nil); err != nil {
			return fmt.Errorf("making n8n's owner: %w", err)
		}
	}
	if _, err := c.Cookie(ctx, password); err != nil {
		return err
	}
	return nil
}

// Cookie signs in as the owner and returns the value of n8n's session cookie.
func (c *Client) Cookie(ctx context.Context, password string) (*http.Cookie, error) {
	body := map[string]string{"emailOrLdapLoginId": Email, "email": Email, "password": password}
	answer, err := c.do(ctx, http.MethodPost, "/rest/login", body)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("signing in to n8n: %w", explain(answer))
	}
	for _, k := range answer.Cookies() {
		if k.Name == "n8n-auth" {
			c.cookie = k.Value
			return k, nil
		}
	}
	return nil, errors.New("signing in to n8n: it sent no cookie")
}

// named is what n8n lists.
type named struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Type string `json:"type"`
}

// Credential is what workflows use to get at something.
type Credential struct {
	Name, Type string
	Data       map[string]any
}

// PutCredential makes a credential, or gives the one of its name these data. It
// returns its id.
func (c *Client) PutCredential(ctx context.Context, k Credential) (id string, err error) {
	var all []named
	if err := c.call(ctx, http.MethodGet, "/rest/credentials", nil, &all); err != nil {
		return "", fmt.Errorf("reading n8n's credentials: %w", err)
	}
	body := map[string]any{"name": k.Name, "type": k.Type, "data": k.Data}
	for _, old := range all {
		if old.Name == k.Name && old.Type == k.Type {
			if err := c.call(ctx, http.MethodPatch, "/rest/credentials/"+old.ID, body, nil); err != nil {
				return "", fmt.Errorf("changing n8n's credential %s: %w", k.Name, err)
			}
			return old.ID, nil
		}
	}
	var made named
	if err := c.call(ctx, http.MethodPost, "/rest/credentials", body, &made); err != nil {
		return "", fmt.Errorf("making n8n's credential %s: %w", k.Name, err)
	}
	return made.ID, nil
}

// Workflows returns the ids of all workflows by name.
func (c *Client) Workflows(ctx context.Context) (map[string]string, error) {
	var all []named
	if err := c.call(ctx, http.MethodGet, "/rest/workflows", nil, &all); err != nil {
		return nil, fmt.Errorf("reading n8n's workflows: %w", err)
	}
	ids := map[string]string{}
	for _, w := range all {
		ids[w.Name] = w.ID
	}
	return ids, nil
}

// MakeWorkflow makes a workflow of its JSON, and switches it on if that says so.
func (c *Client) MakeWorkflow(ctx context.Context, text map[string]any) error {
	active, _ := text["active"].(bool)
	text["active"] = false
	var made struct {
		ID      string `json:"id"`
		Version string `json:"versionId"`
	}
	if err := c.call(ctx, http.MethodPost, "/rest/workflows", text, &made); err != nil {
		return fmt.Errorf("making workflow: %w", err)
	}
	if !active {
		return nil
	}
	if err := c.call(ctx, http.MethodPost, "/rest/workflows/"+made.ID+"/activate", map[string]string{"versionId": made.Version}, nil); err != nil {
		return fmt.Errorf("switching workflow on: %w", err)
	}
	return nil
}

// Hook calls a webhook of n8n's with GET and returns the body of its answer.
func (c *Client) Hook(ctx context.Context, path string) (string, error) {
	answer, err := c.do(ctx, http.MethodGet, "/webhook/"+path, nil)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return "", explain(answer)
	}
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	return string(data), err
}

// call asks, and reads what n8n wraps into data.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	answer, err := c.do(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		return explain(answer)
	}
	var wrapped struct {
		Data json.RawMessage `json:"data"`
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(&wrapped); err != nil {
		return fmt.Errorf("reading n8n's answer to %s: %w", path, err)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(wrapped.Data, out)
}

func (c *Client) do(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader = http.NoBody
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "arasul") // n8n answers robots with nothing
	if c.cookie != "" {
		r.AddCookie(&http.Cookie{Name: "n8n-auth", Value: c.cookie}) //nolint:gosec // to loopback
	}
	return c.http.Do(r)
}

// explain makes an error of an answer.
func explain(answer *http.Response) error {
	var said struct {
		Message string `json:"message"`
	}
	_ = json.NewDecoder(io.LimitReader(answer.Body, 64<<10)).Decode(&said)
	if said.Message == "" {
		said.Message = answer.Status
	}
	return fmt.Errorf("n8n says: %s", said.Message)
}
