package cli

import (
	"context"
	"fmt"

	"github.com/arasul/arasul/pkg/config"
)

// Workflows is n8n.
type Workflows interface {
	// Provision brings n8n what workflows need, and says what it did.
	Provision(ctx context.Context, cfg *config.Config) ([]string, error)
}

type workflowsProvisionCmd struct{}

func (workflowsProvisionCmd) Run(ctx context.Context, c *commands, env *Env) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	did, err := env.Workflows.Provision(ctx, cfg)
	if err != nil {
		return fmt.Errorf("%w (systemctl status arasul-n8n)", err)
	}
	if c.JSON {
		if did == nil {
			did = []string{}
		}
		return env.printJSON(map[string]any{"did": did})
	}
	for _, line := range did {
		fmt.Fprintln(env.Stdout, line)
	}
	return nil
}
