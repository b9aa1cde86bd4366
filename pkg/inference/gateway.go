package inference

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
)

// Local is the name of this machine's own back end.
const Local = "local"

const (
	lookEvery = 5 * time.Second  // at the back ends
	shunFor   = 10 * time.Second // a back end that could not be reached
)

// Server is a server of models.
type Server interface {
	Post(ctx context.Context, path string, body []byte) (*http.Response, error)
	Models(ctx context.Context) ([]api.InstalledModel, error)
}

// Options is what a gateway works with.
type Options struct {
	LLM, Embeddings config.Engine
	// Server makes the client of a back end. The machine's own has an empty URL.
	Server func(what string, b config.BackEnd) Server
	Log    *slog.Logger
}

// Gateway serves both engines.
type Gateway struct {
	o          Options
	llm, embed *engine
	tasks      tasks
}

// New returns a gateway. It connects to nothing before Run.
func New(o Options) *Gateway {
	return &Gateway{o: o, llm: newEngine("llm", o.LLM, o), embed: newEngine("embeddings", o.Embeddings, o), tasks: tasks{log: o.Log}}
}

// Reload takes new limits and another model for who names none. Back ends are
// those of the start.
func (g *Gateway) Reload(llm, embeddings config.Engine) {
	g.llm.reload(llm)
	g.embed.reload(embeddings)
}

// Run looks at the back ends until ctx ends. Alive is called after each look.
func (g *Gateway) Run(ctx context.Context, alive func()) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		var both sync.WaitGroup
		both.Go(func() { g.llm.look(ctx) })
		both.Go(func() { g.embed.look(ctx) })
		both.Wait()
		alive()
		select {
		case <-ctx.Done():
			g.tasks.stop()
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Status is how both engines do.
func (g *Gateway) Status() api.AI {
	return api.AI{LLM: g.llm.status(), Embeddings: g.embed.status(), Time: time.Now().UTC()}
}

// engine is one kind of models and its back ends.
type engine struct {
	name  string
	queue *queue
	tally tally

	mu       sync.Mutex
	config   config.Engine
	backEnds []*backEnd
}

type backEnd struct {
	name, kind string
	server     Server

	// Below the engine's lock.
	known    bool
	err      error // of the last look
	shunned  time.Time
	models   []api.InstalledModel
	running  int
	requests uint64
	failures uint64
}

func newEngine(name string, c config.Engine, o Options) *engine {
	e := &engine{name: name, config: c, queue: newQueue(c.Parallel, c.Queue)}
	all := c.BackEnds
	if !slices.ContainsFunc(all, func(b config.BackEnd) bool { return b.Name == Local }) {
		all = append([]config.BackEnd{{Name: Local, Kind: config.KindOllama}}, all...)
	}
	for _, b := range all {
		e.backEnds = append(e.backEnds, &backEnd{name: b.Name, kind: b.Kind, server: o.Server(name, b)})
	}
	return e
}

func (e *engine) reload(c config.Engine) {
	e.mu.Lock()
	c.BackEnds = e.config.BackEnds
	e.config = c
	e.mu.Unlock()
	e.queue.resize(c.Parallel, c.Queue)
}

// look asks every back end what it has.
func (e *engine) look(ctx context.Context) {
	var all sync.WaitGroup
	for _, b := range e.backEnds {
		all.Go(func() {
			models, err := b.server.Models(ctx)
			if ctx.Err() != nil {
				return
			}
			e.mu.Lock()
			defer e.mu.Unlock()
			b.known, b.err = true, err
			if err == nil {
				b.models, b.shunned = models, time.Time{}
			}
		})
	}
	all.Wait()
}

// candidates are the back ends to try, the best first: those that are well and
// have the model, in the order of the configuration, then the others.
func (e *engine) candidates(model string, now time.Time) []*backEnd {
	e.mu.Lock()
	defer e.mu.Unlock()
	rank := func(b *backEnd) int {
		switch {
		case now.Before(b.shunned) || b.err != nil:
			return 2
		case b.known && model != "" && !b.has(model):
			return 1
		}
		return 0
	}
	all := slices.Clone(e.backEnds)
	slices.SortStableFunc(all, func(a, b *backEnd) int { return cmp.Compare(rank(a), rank(b)) })
	return all
}

func (b *backEnd) has(model string) bool {
	return slices.ContainsFunc(b.models, func(m api.InstalledModel) bool {
		return m.Name == model || m.Name == model+":latest"
	})
}

// model is what who names none gets: what is configured, or the one that is
// installed.
func (e *engine) model() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.defaultModel()
}

func (e *engine) defaultModel() string {
	if e.config.Model != "" {
		return e.config.Model
	}
	kind := "chat"
	if e.name == "embeddings" {
		kind = "embedding"
	}
	for _, b := range e.backEnds {
		for _, m := range b.models {
			if m.Kind == kind {
				return m.Name
			}
		}
	}
	return ""
}

func (e *engine) took(b *backEnd) {
	e.mu.Lock()
	defer e.mu.Unlock()
	b.running++
	b.requests++
}

// gave says how a request at a back end went. One that could not be reached is
// passed over for a while.
func (e *engine) gave(b *backEnd, err error, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	b.running--
	if err != nil {
		b.failures++
		b.shunned = now.Add(shunFor)
	}
}

func (e *engine) status() api.Engine {
	s := api.Engine{BackEnds: []api.BackEnd{}}
	s.Queue.Running, s.Queue.Waiting, s.Queue.Limit = e.queue.state()
	now := time.Now()
	s.TokensPerSecond, s.FirstTokenSeconds, s.Requests, s.Failures = e.tally.figures(now)
	e.mu.Lock()
	defer e.mu.Unlock()
	s.Model = e.defaultModel()
	for _, b := range e.backEnds {
		s.BackEnds = append(s.BackEnds, b.status(now))
	}
	s.Status, s.Reason = e.verdict(s)
	return s
}

func (b *backEnd) status(now time.Time) api.BackEnd {
	out := api.BackEnd{Name: b.name, Kind: b.kind, Status: api.Up, Running: b.running, Requests: b.requests, Failures: b.failures}
	switch {
	case !b.known:
		out.Status, out.Reason = api.Unknown, "not asked yet"
	case b.err != nil:
		out.Status, out.Reason = api.Down, "it does not answer"
	case now.Before(b.shunned):
		out.Status, out.Reason = api.Degraded, "it failed a moment ago"
	case len(b.models) == 0:
		out.Status, out.Reason = api.Degraded, "it has no model"
	}
	return out
}

// verdict is the engine's, of those of its back ends.
func (e *engine) verdict(s api.Engine) (api.Status, string) {
	worst := api.Up
	for _, b := range s.BackEnds {
		if b.Status != api.Up {
			worst = b.Status
		}
	}
	up := slices.ContainsFunc(s.BackEnds, func(b api.BackEnd) bool { return b.Status == api.Up })
	switch {
	case worst == api.Up:
		return api.Up, ""
	case up:
		return api.Degraded, "not all of its back ends are well"
	case len(s.BackEnds) == 1 && s.BackEnds[0].Reason == "it has no model":
		return api.Degraded, "no model is installed: fetch one under Models, or with arasul models pull"
	case len(s.BackEnds) == 1 && s.BackEnds[0].Status == api.Down:
		return api.Down, "arasul-" + e.name + ".service does not answer"
	case len(s.BackEnds) == 1:
		return s.BackEnds[0].Status, s.BackEnds[0].Reason
	}
	return api.Down, "none of its back ends is well"
}

// Models are what all back ends have, this machine's first.
func (g *Gateway) Models() []api.InstalledModel {
	out := []api.InstalledModel{}
	for _, e := range []*engine{g.llm, g.embed} {
		e.mu.Lock()
		def := e.defaultModel()
		for _, b := range e.backEnds {
			for _, m := range b.models {
				m.BackEnd = b.name
				m.Kind = "chat"
				if e == g.embed {
					m.Kind = "embedding"
				}
				m.Default = m.Name == def || m.Name == def+":latest"
				out = append(out, m)
			}
		}
		e.mu.Unlock()
	}
	return out
}

// local is this machine's own back end of an engine, which can be told to fetch
// and to remove.
func (e *engine) local() (Keeper, error) {
	for _, b := range e.backEnds {
		if k, ok := b.server.(Keeper); ok && b.name == Local {
			return k, nil
		}
	}
	return nil, errors.New("this machine has no server of models of its own: its configuration names others")
}
