package cli

import (
	"context"

	"github.com/arasul/arasul/pkg/config"
)

// dbCopyCmd is what an update does with copies of the database.
type dbCopyCmd struct {
	Verb      string   `arg:"" enum:"room,snapshot,restore,drop" help:"One of ${enum}."`
	Name      string   `arg:"" help:"Of the copy."`
	Workflows bool     `help:"The database of n8n too."`
	Keep      []string `help:"Older copies that snapshot does not remove."`
}

func (d *dbCopyCmd) Run(ctx context.Context, c *commands, env *Env) error {
	cfg, err := config.Load(c.Config)
	if err != nil && config.Concerns(err, "database") {
		return err
	}
	return env.Database.Copy(ctx, cfg, d.Verb, d.Name, d.Workflows, d.Keep)
}
