package cli

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/command"
)

// Models are the models of this machine.
type Models interface {
	List(ctx context.Context) ([]api.InstalledModel, []api.ModelTask, error)
	Start(ctx context.Context, action, model, kind string) (api.ModelTask, error)
	// Load brings the models of a folder to an engine, llm or embeddings, and keeps
	// a copy to repair them from when keep is set.
	Load(ctx context.Context, engine, folder string, keep bool, progress func(model string, done, total int64)) ([]string, error)
	// Verify reads all models, and restores what is damaged from the copy that is
	// kept, if repair is set.
	Verify(ctx context.Context, repair bool, progress func(model string, done, total int64)) ([]api.ModelCheck, error)
}

type modelsListCmd struct{}

func (modelsListCmd) Run(ctx context.Context, c *commands, env *Env) error {
	all, tasks, err := env.Models.List(ctx)
	if err != nil {
		return fmt.Errorf("the gateway to the models does not answer (systemctl status arasul-ai): %w", err)
	}
	if c.JSON {
		return env.printJSON(map[string]any{"models": all, "tasks": tasks})
	}
	if len(all) == 0 {
		fmt.Fprintln(env.Stdout, "There is no model yet: arasul models pull NAME, or without internet: arasul models load FOLDER")
		return nil
	}
	t := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MODEL\tFOR\tSIZE\tWHERE\tSTATE")
	for _, m := range all {
		state := "on disk"
		if m.Loaded {
			state = "in memory"
			if m.GPURatio != nil {
				state += fmt.Sprintf(", %.0f %% on a GPU", *m.GPURatio*100)
			}
		}
		if m.Default {
			state += ", default"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", m.Name, m.Kind, size(uint64(max(m.SizeBytes, 0))), m.BackEnd, state)
	}
	return t.Flush()
}

type modelsPullCmd struct {
	Model string `arg:"" help:"Its name and size, such as llama3.2:3b."`
	For   string `help:"What it is for: chat or embedding." enum:"chat,embedding" default:"chat"`
}

func (p *modelsPullCmd) Run(ctx context.Context, c *commands, env *Env) error {
	return env.modelTask(ctx, c, "pull", p.Model, p.For)
}

type modelsRemoveCmd struct {
	Model string `arg:"" help:"Its name, as arasul models list shows it."`
	For   string `help:"What it is for: chat or embedding." enum:"chat,embedding" default:"chat"`
}

func (r *modelsRemoveCmd) Run(ctx context.Context, c *commands, env *Env) error {
	return env.modelTask(ctx, c, "remove", r.Model, r.For)
}

// modelTask begins a task and sees it through. Interrupted, it leaves the task
// running: the gateway goes on.
func (e *Env) modelTask(ctx context.Context, c *commands, action, model, kind string) error {
	task, err := e.Models.Start(ctx, action, model, kind)
	e.note(ctx, "models."+action, model, err)
	if err != nil {
		return fmt.Errorf("the gateway to the models does not answer (systemctl status arasul-ai): %w", err)
	}
	bar := newBar(e.Stderr, model)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for task.State == "running" {
		select {
		case <-ctx.Done():
			fmt.Fprintln(e.Stderr, "It goes on in the background: arasul models list --json")
			return ctx.Err()
		case <-tick.C:
		}
		_, tasks, err := e.Models.List(ctx)
		if err != nil {
			return err
		}
		for _, t := range tasks {
			if t.ID == task.ID {
				task = t
			}
		}
		bar.show(task.Phase, task.DoneBytes, task.TotalBytes)
	}
	bar.end()
	if c.JSON {
		if err := e.printJSON(task); err != nil {
			return err
		}
	} else if task.State == "done" {
		fmt.Fprintf(e.Stdout, "%s: done\n", model)
	}
	if task.State != "done" {
		return fmt.Errorf("%s: %s. %s", model, task.Error, task.Suggestion)
	}
	return nil
}

type modelsLoadCmd struct {
	Folder string `arg:"" help:"A folder of models as Ollama keeps them, with manifests and blobs in it." type:"existingdir"`
	For    string `help:"Whom they are for: llm or embeddings." enum:"llm,embeddings" default:"llm"`
	Keep   bool   `help:"Keep a copy, to repair them from. It takes as much room again."`
}

func (l *modelsLoadCmd) Run(ctx context.Context, c *commands, env *Env) error {
	bars := map[string]*bar{}
	names, err := env.Models.Load(ctx, l.For, l.Folder, l.Keep, func(model string, done, total int64) {
		if bars[model] == nil {
			bars[model] = newBar(env.Stderr, model)
		}
		bars[model].show("copying", done, total)
	})
	env.note(ctx, "models.load", l.For, err)
	if err != nil {
		return err
	}
	if c.JSON {
		return env.printJSON(map[string]any{"models": names})
	}
	for _, n := range names {
		fmt.Fprintf(env.Stdout, "%s: there\n", n)
	}
	return nil
}

type modelsVerifyCmd struct {
	Repair bool `help:"Restore what is damaged from the copy that is kept."`
}

// Run exits with 1 when a model is damaged, and was not restored.
func (v *modelsVerifyCmd) Run(ctx context.Context, c *commands, env *Env) error {
	b := newBar(env.Stderr, "models")
	checks, err := env.Models.Verify(ctx, v.Repair, b.show)
	b.end()
	if err != nil {
		return err
	}
	if c.JSON {
		if err := env.printJSON(map[string]any{"checks": checks}); err != nil {
			return err
		}
	} else {
		printChecks(env.Stdout, checks)
	}
	for _, k := range checks {
		if k.Error != "" && !k.Restored {
			return command.Exit(1)
		}
	}
	return nil
}

func printChecks(w io.Writer, checks []api.ModelCheck) {
	for _, k := range checks {
		switch {
		case k.Error == "":
			fmt.Fprintf(w, "%s: whole\n", k.Model)
		case k.Restored:
			fmt.Fprintf(w, "%s: %s; restored from the copy that is kept\n", k.Model, k.Error)
		default:
			fmt.Fprintf(w, "%s: %s. Bring it anew: arasul models remove %s, then arasul models pull %[1]s\n", k.Model, k.Error, k.Model)
		}
	}
	if len(checks) == 0 {
		fmt.Fprintln(w, "There is no model yet.")
	}
}
