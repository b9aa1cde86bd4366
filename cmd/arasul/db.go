package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/arasul/arasul/migrations"
	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/disk"
	"github.com/arasul/arasul/pkg/postgres"
)

// database are the steps that arasul-postgres.service, arasul-db.service and
// arasul-vacuum.service run.
type database struct{}

func (database) Init() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return postgres.Init(ctx, postgres.ServerOptions{})
}

func (database) Exec() error { return postgres.Exec(postgres.ServerOptions{}) }

func (database) Provision(cfg *config.Config) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return postgres.Provision(ctx, postgres.ProvisionOptions{Database: cfg.Database, Migrations: migrations.FS})
}

func (database) Vacuum(ctx context.Context, cfg *config.Config, freeSpace bool) (api.Vacuum, error) {
	o := postgres.VacuumOptions{Database: cfg.Database}
	if freeSpace && cfg.Database.DSN == "" { // another server's disk is not ours to judge
		o.Full = disk.Full
	}
	return postgres.Vacuum(ctx, o)
}

func (database) Copy(ctx context.Context, cfg *config.Config, verb, name string, workflows bool, keep []string) error {
	do := map[string]func(context.Context, postgres.SnapshotOptions) error{
		"room": postgres.Room, "snapshot": postgres.Snapshot, "restore": postgres.Restore, "drop": postgres.DropSnapshot,
	}[verb]
	return do(ctx, postgres.SnapshotOptions{Database: cfg.Database, Name: name, Workflows: workflows, Keep: keep})
}
