package cli

import (
	"context"
	"fmt"

	"github.com/arasul/arasul/pkg/config"
)

// Objects is the object store.
type Objects interface {
	// Provision makes what is missing. Notes are what the server cannot do.
	Provision(ctx context.Context, cfg *config.Config) (did, notes []string, err error)
	List(ctx context.Context, cfg *config.Config) ([]string, error)
	// Check writes, reads and compares a test object.
	Check(ctx context.Context, cfg *config.Config) error
}

type objectsProvisionCmd struct{}

func (objectsProvisionCmd) Run(ctx context.Context, c *commands, env *Env) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	did, notes, err := env.Objects.Provision(ctx, cfg)
	if c.JSON && err == nil {
		return env.printJSON(map[string]any{"did": orEmpty(did), "notes": orEmpty(notes)})
	}
	for _, line := range did {
		fmt.Fprintln(env.Stdout, line)
	}
	for _, line := range notes {
		fmt.Fprintln(env.Stdout, "note:", line)
	}
	return err
}

func orEmpty(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

type objectsListCmd struct{}

func (objectsListCmd) Run(ctx context.Context, c *commands, env *Env) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	names, err := env.Objects.List(ctx, cfg)
	if err != nil {
		return err
	}
	if c.JSON {
		return env.printJSON(map[string]any{"buckets": orEmpty(names)})
	}
	for _, n := range names {
		fmt.Fprintln(env.Stdout, n)
	}
	return nil
}

type objectsCheckCmd struct{}

func (objectsCheckCmd) Run(ctx context.Context, c *commands, env *Env) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	if err := env.Objects.Check(ctx, cfg); err != nil {
		return err
	}
	return env.done(c, "What is written is read as it was written.")
}
