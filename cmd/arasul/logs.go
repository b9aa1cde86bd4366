package main

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/arasul/arasul/pkg/client"
	"github.com/arasul/arasul/pkg/daemon"
	"github.com/arasul/arasul/pkg/journal"
	"github.com/arasul/arasul/pkg/logs"
)

// Where the files of LOG-1 lie, and where it is kept how far they came.
const (
	logDir    = "/var/log/arasul"
	logCursor = "/var/lib/arasul/logs/cursor"
)

// logsDaemon reads the journal for those who may not, and copies it into files.
func logsDaemon(ctx context.Context, d *daemon.Daemon) error {
	socket, err := daemon.ListenUnix(logsSocket, 0o660)
	if err != nil {
		return err
	}
	files := logs.Files{Journal: &journal.Journal{}, Dir: logDir, Cursor: logCursor, Log: d.Log}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return daemon.Serve(ctx, socket, logs.Handler(&journal.Journal{}, logs.Catalogue{}, d.Log))
	})
	g.Go(func() error { return files.Run(ctx) })
	g.Go(func() error {
		return d.Watch(ctx, func(ctx context.Context) error { return client.New(logsSocket).GetJSON(ctx, "/ping", &struct{}{}) })
	})
	d.Ready("reading the journal")
	return g.Wait()
}
