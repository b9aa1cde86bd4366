package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/arasul/arasul/pkg/bus/healer1"
	"github.com/arasul/arasul/pkg/cli"
	"github.com/arasul/arasul/pkg/client"
	"github.com/arasul/arasul/pkg/issue"
)

func commandLine(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return cli.Run(ctx, cli.Env{
		Stdin:     os.Stdin,
		Stdout:    os.Stdout,
		Stderr:    os.Stderr,
		Dashboard: client.New(dashboardSocket),
		Console:   client.New(dashboardSocket),
		Issue:     issue.File{Path: issue.Path, Reload: issue.Reload},
		Machine:   whereabouts{},
		Secrets:   keys{},
		Healer:    healer1.Client{},
		Database:  database{},
		Disk:      diskSpace{},
		Certs:     certificates{},

		Images:     images{},
		Containers: images{},
		Models:     modelStore{},
		Workflows:  workflows{},
		Objects:    objectStore{},
		Bootstrap:  bootstrapper{},
		Setup:      ownerSetup{},
		Support:    supporter{},
		Load:       loader{},
		Updater:    client.New(updaterSocket),
	}, args)
}
