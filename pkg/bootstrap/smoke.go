package bootstrap

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// The goals of spec BOOT-8, for a model that is in memory.
const (
	promptWithin = 2 * time.Second
	embedWithin  = 80 * time.Millisecond
	loadWithin   = 5 * time.Minute // of a model, from a slow disk
)

// SmokeSteps prove that the applications do their work: each answers a real
// question. That buckets are listed is what the step for the buckets proves.
func (a Apps) SmokeSteps() []Step {
	return []Step{
		{ID: "smoke-llm", Title: "Test: a prompt", Needs: []string{"model-llm"}, CheckWithin: loadWithin, Check: a.prompt},
		{ID: "smoke-embeddings", Title: "Test: an embedding", Needs: []string{"model-embeddings"}, CheckWithin: loadWithin, Check: a.embed},
		{ID: "smoke-workflow", Title: "Test: a workflow", Needs: []string{"workflows"}, CheckWithin: 2 * time.Minute, Check: a.workflow},
	}
}

// prompt asks twice: the first time loads the model.
func (a Apps) prompt(ctx context.Context) Finding {
	var answer struct {
		Response string `json:"response"`
		Model    string `json:"model"`
	}
	ask := map[string]any{
		"model": a.LLMModel.Name, "prompt": "Answer with one word: what is the capital of France?", "stream": false,
		"options": map[string]any{"num_predict": 8, "temperature": 0},
	}
	took, err := a.timed(ctx, "/api/generate", ask, &answer)
	switch {
	case err != nil:
		return Failed(err, "journalctl -u arasul-llm -u arasul-ai -n 50; arasul models verify")
	case strings.TrimSpace(answer.Response) == "":
		return Bad("the model has answered nothing", "arasul models verify "+cmp.Or(answer.Model, a.LLMModel.Name))
	case a.GPU.Present && a.onProcessor(ctx, kindChat):
		return Warning("it answers, but from the processor: the model is not on the GPU", "journalctl -u arasul-llm -n 100 says why; systemctl restart arasul-llm; a smaller model: arasul setup")
	case took > promptWithin:
		return Warning(fmt.Sprintf("answered in %s; %s is the goal", round(took.Seconds()), promptWithin), "A smaller model is faster: arasul setup")
	}
	return OK("answered in %s", round(took.Seconds()))
}

func (a Apps) embed(ctx context.Context) Finding {
	var answer struct {
		Embeddings [][]float64 `json:"embeddings"`
	}
	ask := map[string]any{"model": a.EmbeddingsModel.Name, "input": "The invoice is due at the end of the month."}
	took, err := a.timed(ctx, "/api/embed", ask, &answer)
	switch {
	case err != nil:
		return Failed(err, "journalctl -u arasul-embeddings -u arasul-ai -n 50; arasul models verify")
	case len(answer.Embeddings) != 1 || len(answer.Embeddings[0]) == 0 || !slices.ContainsFunc(answer.Embeddings[0], func(f float64) bool { return f != 0 }):
		return Bad("the model has given back no vector", "arasul models verify")
	case took > embedWithin:
		return Warning(fmt.Sprintf("%d dimensions in %s; %s is the goal", len(answer.Embeddings[0]), round(took.Seconds()), embedWithin), "A smaller model is faster: arasul setup")
	}
	return OK("%d dimensions in %s", len(answer.Embeddings[0]), round(took.Seconds()))
}

// timed is how long the second of two answers took: the first waits for the
// model to be loaded.
func (a Apps) timed(ctx context.Context, path string, ask, answer any) (time.Duration, error) {
	if err := a.AI.Call(ctx, http.MethodPost, path, ask, answer); err != nil {
		return 0, err
	}
	began := time.Now()
	err := a.AI.Call(ctx, http.MethodPost, path, ask, answer)
	return time.Since(began), err
}

// onProcessor says whether a model of the kind is loaded, and none of it is on a
// GPU.
func (a Apps) onProcessor(ctx context.Context, kind string) bool {
	var all models
	if a.AI.Call(ctx, http.MethodGet, "/models", nil, &all) != nil {
		return false
	}
	return slices.ContainsFunc(all.Models, func(m api.InstalledModel) bool {
		return m.Kind == kind && m.BackEnd == "local" && m.Loaded && m.GPURatio != nil && *m.GPURatio == 0
	})
}

func (a Apps) workflow(ctx context.Context) Finding {
	began := time.Now()
	detail, err := a.Workflows.Test(ctx)
	if err != nil {
		return Failed(err, "journalctl -u arasul-n8n -n 50; in n8n, the list of executions says what happened")
	}
	return OK("%s, in %s", cmp.Or(detail, "it ran"), round(time.Since(began).Seconds()))
}
