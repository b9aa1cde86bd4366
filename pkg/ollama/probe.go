package ollama

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// Limits by requirement HEAL-9.
const (
	probeWithin = 3 * time.Second
	promptSlow  = 500 * time.Millisecond // one token
	vectorSlow  = 50 * time.Millisecond  // the vector of one word
)

const (
	askEvery  = time.Minute             // at most, of all models together
	askWithin = 2 * time.Second         // then the next look has to come
	reloaded  = 500 * time.Millisecond  // a model that was loaded is ready at once
	manyNames = 64                      // of models that are not asked any more
	slowAPI   = 1500 * time.Millisecond // for what Ollama knows by heart
)

// Probe returns a look at this instance, of at most three seconds. It is a
// service of its own, so that hasGPU tells at each look whether the machine has
// a GPU that models should use; nil means it has none.
//
//	no answer from /api/version or /api/ps     down
//	no model is installed                      degraded
//	a model runs on the CPU, and hasGPU        degraded
//	a model answers late, wrongly or not       degraded
//	that answers, but after 1.5 s              degraded
//	otherwise, also with no model loaded       up
//
// A busy Ollama is well: prompts queue behind a long answer, while the API goes
// on answering. That is why a late answer to a prompt is never down.
//
// Asking a model has a price: it may lose what it remembers of a conversation,
// and stays longer in memory. So a model is asked only when it has been idle for
// a minute, all models together once a minute, and a model that is to go after
// some time only once after each use, unless there was trouble. What came of it
// holds until the model is asked or used again.
func (c *Client) Probe(hasGPU func() bool) func(context.Context) api.ProbeResult {
	if hasGPU == nil {
		hasGPU = func() bool { return false }
	}
	w := &watch{client: c, hasGPU: hasGPU, known: map[identity]*session{}, shy: map[identity]bool{}}
	return w.look
}

// watch is what is remembered between looks.
type watch struct {
	client *Client
	hasGPU func() bool

	mu    sync.Mutex
	known map[identity]*session
	shy   map[identity]bool // asking it once made Ollama load it anew
	asked time.Time
}

// identity is a model the way it was loaded.
type identity struct {
	name, digest string
	context      int
}

func (m Model) identity() identity { return identity{m.Name, m.Digest, m.Context} }

// session is the life of a loaded model.
type session struct {
	expires time.Time // as last seen: it moves when the model has been used
	idle    time.Time // since when it has not moved
	asked   bool      // since it was last used
	moved   bool      // by us, with the last question
	silent  time.Time // since when questions have got no answer
	trouble string    // what came of the last one, in words
}

func (w *watch) look(parent context.Context) api.ProbeResult {
	start := time.Now()
	ctx, cancel := context.WithTimeout(parent, probeWithin)
	defer cancel()
	r := api.ProbeResult{Time: start.UTC()}
	r.Status, r.Detail, r.Models = w.judge(ctx)
	if r.Status != api.Up && errors.Is(parent.Err(), context.Canceled) {
		r.Status, r.Detail = api.Unknown, "looking was interrupted"
	}
	r.Duration = time.Since(start).Seconds()
	return r
}

// judge looks at the API and at what is loaded.
func (w *watch) judge(ctx context.Context) (api.Status, string, []api.Model) {
	start := time.Now()
	if err := w.client.get(ctx, "/api/version", &struct{}{}); err != nil {
		return api.Down, w.why(ctx, err), nil
	}
	models, err := w.client.Models(ctx)
	if err != nil {
		return api.Down, w.why(ctx, err), nil
	}
	took := time.Since(start)
	if m, ok := w.due(models); ok {
		w.question(ctx, m)
	}
	switch trouble := w.trouble(models); {
	case len(models) == 0 && !w.installed(ctx):
		return api.Degraded, "no model is installed", nil
	case trouble != "":
		return api.Degraded, trouble, shown(models)
	case took > slowAPI:
		return api.Degraded, fmt.Sprintf("slow: its answers took %s", took.Round(100*time.Millisecond)), shown(models)
	}
	return api.Up, "", shown(models)
}

// mostShown is how many of them an answer names.
const mostShown = 16

// shown are models as others read of them.
func shown(models []Model) (out []api.Model) {
	for _, m := range models[:min(len(models), mostShown)] {
		out = append(out, api.Model{Name: m.Name, Bytes: m.Size, GPUBytes: m.VRAM, Context: m.Context})
	}
	return out
}

// why says in words what a look at the API failed of.
func (w *watch) why(ctx context.Context, err error) string {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens on " + w.client.address
	case ctx.Err() != nil:
		return fmt.Sprintf("its API does not answer within %s", probeWithin)
	}
	return err.Error()
}

// due brings the sessions up to date with what is loaded, and returns the model
// to ask now, if there is one.
func (w *watch) due(models []Model) (due Model, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	known := make(map[identity]*session, len(models))
	for _, m := range models {
		s := w.known[m.identity()]
		switch {
		case s == nil:
			s = &session{expires: m.Expires, idle: now}
		case s.moved && !s.expires.Equal(m.Expires):
			s.expires, s.moved = m.Expires, false
		case !s.expires.Equal(m.Expires): // somebody got an answer
			*s = session{expires: m.Expires, idle: now}
		}
		known[m.identity()] = s
		stays := m.Expires.Sub(now) > forever
		if !ok && now.Sub(s.idle) >= askEvery && now.Sub(w.asked) >= askEvery &&
			(stays || (!s.asked || s.trouble != "") && m.Expires.Sub(now) > probeWithin) && !w.shy[m.identity()] {
			due, ok = m, true
		}
	}
	w.known = known
	if ok {
		w.asked = now
	}
	return due, ok
}

// question asks one model and remembers what came of it.
func (w *watch) question(ctx context.Context, m Model) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	start := time.Now()
	about, err := w.client.about(ctx, m)
	var loading time.Duration
	if err == nil {
		start = time.Now()
		loading, err = w.client.ask(ctx, m, about, nil)
	}
	took := time.Since(start) - loading

	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.known[m.identity()]
	if s == nil {
		return // another look found it gone
	}
	s.asked, s.moved, s.trouble = true, true, ""
	slow := promptSlow
	if about.embeds {
		slow = vectorSlow
	}
	var refused *refused
	late := err != nil && ctx.Err() != nil && !errors.As(err, &refused)
	switch {
	case !late:
		s.silent = time.Time{}
	case s.silent.IsZero():
		s.silent = start
	}
	switch {
	case late:
		s.trouble = fmt.Sprintf("%s has not answered for %s: it may be busy", m.Name, time.Since(s.silent).Round(time.Second))
	case errors.As(err, &refused):
		s.trouble = fmt.Sprintf("%s does not answer: %s", m.Name, refused.reason)
	case err != nil:
		s.trouble = fmt.Sprintf("%s does not answer: %v", m.Name, err)
	case took > slow:
		s.trouble = fmt.Sprintf("%s took %s for a minimal answer; more than %s is slow", m.Name, took.Round(time.Millisecond), slow)
	}
	if loading > reloaded {
		if len(w.shy) >= manyNames {
			clear(w.shy)
		}
		w.shy[m.identity()] = true
	}
}

// trouble returns what is wrong with the models, as far as it is known; empty
// when nothing is.
func (w *watch) trouble(models []Model) string {
	gpu := len(models) > 0 && w.hasGPU()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range models {
		if gpu && m.VRAM == 0 {
			return m.Name + " runs on the CPU although there is a GPU"
		}
		if s := w.known[m.identity()]; s != nil && s.trouble != "" {
			return s.trouble
		}
	}
	return ""
}

// installed tells whether there is a model that could be loaded. That none could
// be seen is no trouble: the API has just answered.
func (w *watch) installed(ctx context.Context) bool {
	var tags struct{ Models []struct{} }
	err := w.client.get(ctx, "/api/tags", &tags)
	return err != nil || len(tags.Models) > 0
}
