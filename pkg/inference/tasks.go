package inference

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

const (
	manyTasks = 20 // that are remembered
	taskLimit = 12 * time.Hour
)

// Keeper is a server whose models can be changed.
type Keeper interface {
	Pull(ctx context.Context, model string, progress func(phase string, done, total int64)) error
	Remove(ctx context.Context, model string) error
}

// errNoTask says that there is none of that id.
var errNoTask = errors.New("there is no such task")

// tasks are what takes its time with models, the newest last.
type tasks struct {
	log *slog.Logger

	mu      sync.Mutex
	all     []*task
	seq     int
	running sync.WaitGroup
}

type task struct {
	api.ModelTask
	cancel context.CancelFunc
}

// start begins a task, or returns the one that is at the same thing already.
func (t *tasks) start(action, model, kind string, do func(ctx context.Context, progress func(string, int64, int64)) error) api.ModelTask {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, old := range t.all {
		if old.State == "running" && old.Model == model && old.Kind == kind && old.Action == action {
			return old.ModelTask
		}
	}
	t.seq++
	ctx, cancel := context.WithTimeout(context.Background(), taskLimit)
	n := &task{api.ModelTask{
		ID: fmt.Sprintf("%d-%d", time.Now().Unix(), t.seq), Action: action, Model: model, Kind: kind, State: "running", Started: time.Now().UTC(),
	}, cancel}
	t.all = append(t.all, n)
	if len(t.all) > manyTasks {
		if i := slices.IndexFunc(t.all, func(o *task) bool { return o.State != "running" }); i >= 0 {
			t.all = slices.Delete(t.all, i, i+1)
		}
	}
	t.running.Go(func() {
		defer cancel()
		err := do(ctx, func(phase string, done, total int64) {
			t.mu.Lock()
			defer t.mu.Unlock()
			n.Phase, n.DoneBytes, n.TotalBytes = phase, done, total
		})
		t.end(ctx, n, err)
	})
	return n.ModelTask
}

func (t *tasks) end(ctx context.Context, n *task, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now().UTC()
	n.Ended = &now
	switch {
	case err == nil:
		n.State, n.Phase = "done", ""
		return
	case errors.Is(ctx.Err(), context.Canceled):
		n.State = "cancelled"
		return
	}
	n.State, n.Error = "failed", err.Error()
	n.Suggestion = suggest(n.Error)
	t.log.Warn("models not changed", "action", n.Action, "err", err)
}

// suggest says what to do about what a server of models complains of.
func suggest(text string) string {
	lower := strings.ToLower(text)
	switch {
	case strings.Contains(lower, "file does not exist"), strings.Contains(lower, "not found"):
		return "There is no model of this name: look at ollama.com/library, and write it as name:size"
	case strings.Contains(lower, "no space"):
		return "The disk is full: remove a model that is not needed, or make room with: arasul disk clean"
	case strings.Contains(lower, "lookup"), strings.Contains(lower, "dial"), strings.Contains(lower, "timeout"), strings.Contains(lower, "network"):
		return "The registry cannot be reached. Without internet: arasul models load FOLDER"
	case strings.Contains(lower, "digest"):
		return "What came was damaged on its way. Try again"
	}
	return "See: journalctl -u arasul-llm -u arasul-embeddings"
}

func (t *tasks) list() []api.ModelTask {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]api.ModelTask, 0, len(t.all))
	for _, n := range slices.Backward(t.all) {
		out = append(out, n.ModelTask)
	}
	return out
}

func (t *tasks) cancelTask(id string) (api.ModelTask, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range t.all {
		if n.ID == id {
			n.cancel()
			return n.ModelTask, nil
		}
	}
	return api.ModelTask{}, errNoTask
}

// stop ends all of them, and waits.
func (t *tasks) stop() {
	t.mu.Lock()
	for _, n := range t.all {
		n.cancel()
	}
	t.mu.Unlock()
	t.running.Wait()
}
