package bootstrap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// The kinds of models, as the API calls them.
const (
	kindChat      = "chat"
	kindEmbedding = "embedding"
)

// pollEvery is how often the gateway is asked how far a model has come.
const pollEvery = 500 * time.Millisecond

// models are what the gateway knows.
type models struct {
	Models []api.InstalledModel `json:"models"`
	Tasks  []api.ModelTask      `json:"tasks"`
}

// model is the step for the model of a kind.
func (a Apps) model(id, title, kind string, m Model) Step {
	engine := map[string]string{kindChat: "llm", kindEmbedding: "embeddings"}[kind]
	only := map[string]bool{kindChat: a.LLMOnly, kindEmbedding: a.EmbeddingsOnly}[kind]
	needs := []string{"gateway"}
	if only {
		needs = append(needs, engine)
	}
	return Step{
		ID: id, Title: title, Needs: needs, FixWithin: fetchWithin,
		Check: func(ctx context.Context) Finding {
			var all models
			if err := a.AI.Call(ctx, http.MethodGet, "/models", nil, &all); err != nil {
				return Failed(err, "systemctl status arasul-ai")
			}
			if name := installed(all.Models, kind, m.Name); name != "" {
				return OK("%s", name)
			}
			name := cmp.Or(m.Name, m.Suggest)
			if name == "" {
				return Bad(errNoName.Error(), "arasul setup, and choose one")
			}
			return Bad(fmt.Sprintf("%s is not installed", name), offline(name, kind))
		},
		Fix: func(ctx context.Context, say Progress) error {
			name := cmp.Or(m.Name, m.Suggest)
			if name == "" {
				return errNoName
			}
			return a.pull(ctx, name, kind, say)
		},
	}
}

func offline(name, kind string) string {
	return fmt.Sprintf("With the internet: arasul models pull %s. Without: arasul models load FILE.gguf, of a model for %s, fetched on another machine.", name,
		map[string]string{kindChat: "chat", kindEmbedding: "embeddings"}[kind])
}

// installed is the model of a kind that is there: the one of that name, or any
// when it is empty.
func installed(all []api.InstalledModel, kind, name string) string {
	i := slices.IndexFunc(all, func(m api.InstalledModel) bool {
		return m.Kind == kind && (name == "" || tagged(m.Name) == tagged(name))
	})
	if i < 0 {
		return ""
	}
	return all[i].Name
}

// tagged is a model's name with the tag that stands for none.
func tagged(name string) string {
	if strings.Contains(name[strings.LastIndexByte(name, '/')+1:], ":") {
		return name
	}
	return name + ":latest"
}

// pull has the gateway fetch a model, and follows it to its end. When ctx ends
// the gateway is told to stop; what has come is not lost.
func (a Apps) pull(ctx context.Context, name, kind string, say Progress) error {
	var task api.ModelTask
	if err := a.AI.Call(ctx, http.MethodPost, "/models/pull", map[string]string{"model": name, "kind": kind}, &task); err != nil {
		return fmt.Errorf("fetching %s: %w", name, err)
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	misses := 0
	for {
		switch task.State {
		case "done":
			return nil
		case "failed", "cancelled":
			return Advise(errors.New(cmp.Or(task.Error, name+" was not fetched: somebody has cancelled it")), cmp.Or(task.Suggestion, offline(name, kind)))
		}
		say(cmp.Or(task.Phase, "fetching "+name), task.DoneBytes, task.TotalBytes)
		select {
		case <-ctx.Done():
			stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			_ = a.AI.Call(stop, http.MethodPost, "/tasks/"+task.ID+"/cancel", nil, nil)
			return ctx.Err()
		case <-tick.C:
		}
		now, err := a.task(ctx, task.ID)
		if misses++; err == nil {
			task, misses = now, 0
		} else if misses > 60 { // it may restart meanwhile
			return fmt.Errorf("following %s: %w", name, err)
		}
	}
}

func (a Apps) task(ctx context.Context, id string) (api.ModelTask, error) {
	var all models
	if err := a.AI.Call(ctx, http.MethodGet, "/models", nil, &all); err != nil {
		return api.ModelTask{}, err
	}
	i := slices.IndexFunc(all.Tasks, func(t api.ModelTask) bool { return t.ID == id })
	if i < 0 {
		return api.ModelTask{}, errors.New("the gateway has forgotten it")
	}
	return all.Tasks[i], nil
}
