package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/command"
	"github.com/arasul/arasul/pkg/config"
)

// Load asks the applications for much at once.
type Load interface {
	Run(ctx context.Context, llm, embeddings, workflows int, over time.Duration) []api.LoadResult
}

type loadtestCmd struct {
	LLM        int             `help:"Clients that ask a language model, at once." default:"30" placeholder:"N"`
	Embeddings int             `help:"Clients that ask for embeddings, at once." default:"50" placeholder:"N"`
	Workflows  int             `help:"Runs of a workflow, each second." default:"20" placeholder:"N"`
	For        config.Duration `help:"How long." default:"30s"`
}

// Help is what kong adds for --help.
func (*loadtestCmd) Help() string {
	return `Loads this machine, past the proxy and its limits, and says how long answers took and what failed, and how the
page did meanwhile. It asks the default models, and runs the workflow "Arasul: self-test". Nothing is kept.
Exits with 1 when something failed.`
}

func (l *loadtestCmd) Run(ctx context.Context, c *commands, env *Env) error {
	const most = 1000
	switch {
	case os.Geteuid() != 0:
		return errors.New("only root may do this: try it with sudo")
	case min(l.LLM, l.Embeddings, l.Workflows) < 0 || max(l.LLM, l.Embeddings, l.Workflows) > most:
		return fmt.Errorf("numbers are 0 to %d", most)
	case l.For.Std() < time.Second || l.For.Std() > time.Hour:
		return errors.New("--for is 1s to 1h")
	}
	results := env.Load.Run(ctx, l.LLM, l.Embeddings, l.Workflows, l.For.Std())
	failed := false
	for _, r := range results {
		failed = failed || r.Failures > 0
	}
	if c.JSON {
		if err := env.printJSON(map[string]any{"results": results}); err != nil {
			return err
		}
	} else {
		t := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "WHAT\tREQUESTS\tFAILED\tPER SECOND\tP50\tP95\tMAX")
		for _, r := range results {
			fmt.Fprintf(t, "%s\t%d\t%d\t%.1f\t%.0f ms\t%.0f ms\t%.0f ms\n", r.What, r.Requests, r.Failures, r.PerSecond, r.P50*1000, r.P95*1000, r.Max*1000)
		}
		_ = t.Flush()
	}
	if failed {
		return command.Exit(1)
	}
	return nil
}
