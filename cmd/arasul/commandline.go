package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/arasul/arasul/pkg/bus/healer1"
	"github.com/arasul/arasul/pkg/cli"
	"github.com/arasul/arasul/pkg/client"
)

func commandLine(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return cli.Run(ctx, cli.Env{
		Stdout:    os.Stdout,
		Stderr:    os.Stderr,
		Dashboard: client.New(dashboardSocket),
		Healer:    healer1.Client{},
		Database:  database{},
		Disk:      diskSpace{},
		Certs:     certificates{},
	}, args)
}
