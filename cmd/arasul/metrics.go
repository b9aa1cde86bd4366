package main

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/arasul/arasul/pkg/client"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/daemon"
	"github.com/arasul/arasul/pkg/host"
	"github.com/arasul/arasul/pkg/metrics"
	"github.com/arasul/arasul/pkg/postgres"
	"github.com/arasul/arasul/pkg/spool"
)

// spoolDir is where samples wait for the database: 64 MiB at most, more than
// seven days.
const spoolDir = "/var/lib/arasul/metrics/spool"

// metricsDaemon samples the host and the GPUs, streams the samples and stores them.
func metricsDaemon(ctx context.Context, d *daemon.Daemon) error {
	db, err := postgres.Open(d.Config().Database, "arasul-metrics")
	if err != nil {
		return err
	}
	defer db.Close()
	sampler := host.New(host.Options{Interval: d.Config().Metrics.Interval.Std()})
	defer sampler.Close()
	var onDisk metrics.Spool
	if s, err := spool.Open(spoolDir, spool.Options{}); err != nil {
		d.Log.Error("no spool, samples wait in memory only", "err", err)
	} else {
		defer s.Close()
		onDisk = s
	}
	source := &metrics.GPUs{Source: sampler, Socket: client.New(gpuSocket)}
	recorder := metrics.New(d.Config().Metrics, source, db, onDisk, d.Log)
	d.OnReload(func(c *config.Config) { recorder.Reload(c.Metrics) })
	socket, err := daemon.ListenUnix(metricsSocket, 0o660)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return recorder.Run(ctx, d.Alive) })
	g.Go(func() error { return daemon.Serve(ctx, socket, recorder.Handler()) })
	g.Go(func() error { return source.Follow(ctx) })
	g.Go(func() error { return retain(ctx, d, db) })
	d.Ready("sampling every " + d.Config().Metrics.Interval.String())
	return g.Wait()
}

// retain drops old samples, hourly: a day is a partition, so it seldom has
// anything to do.
func retain(ctx context.Context, d *daemon.Daemon, db *postgres.DB) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if err := db.Retain(ctx, d.Config().Metrics.Retention.Std()); err != nil {
				d.Log.Warn("old samples not dropped, trying again in an hour", "err", err)
			}
		}
	}
}
