package main

import (
	"context"
	"os"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/client"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/daemon"
	"github.com/arasul/arasul/pkg/dashboard"
	"github.com/arasul/arasul/pkg/postgres"
	"github.com/arasul/arasul/pkg/systemd"
	"github.com/arasul/arasul/web"
)

// dashboardDaemon gathers what the other daemons know and shows it.
func dashboardDaemon(ctx context.Context, d *daemon.Daemon) error {
	listeners, err := daemon.Listeners("http")
	if err != nil {
		return err
	}
	db, err := postgres.Open(d.Config().Database, "arasul-dashboard")
	if err != nil {
		return err
	}
	defer db.Close()
	hostname, _ := os.Hostname()
	healer := dashboard.Memory{Healer: client.New(healerSocket)}
	board, err := dashboard.New(dashboard.Options{
		Hostname: hostname,
		Kernel:   kernelRelease(),
		Interval: d.Config().Metrics.Interval.Std(),
		Web:      web.Dist(),
		History:  db,
		Database: db,
		Healer:   healer,
		GPU:      client.New(gpuSocket),
		Log:      d.Log,
	})
	if err != nil {
		return err
	}
	d.OnReload(func(c *config.Config) { board.Reload(c.Metrics.Interval.Std()) })
	units := &systemd.Watcher{Patterns: []string{"arasul-*.service"}, Log: d.Log}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return board.Run(ctx) })
	g.Go(func() error { return daemon.Serve(ctx, listeners[0], board.Handler()) })
	g.Go(func() error { return board.FollowMetrics(ctx, client.New(metricsSocket)) })
	g.Go(func() error { return board.FollowHealer(ctx, client.New(healerSocket)) })
	g.Go(func() error { return board.FollowHealerStatus(ctx, healer) })
	g.Go(func() error { return board.FollowUnits(ctx, units) })
	g.Go(func() error { return board.FollowDatabase(ctx, db) })
	g.Go(func() error {
		return d.Watch(ctx, func(ctx context.Context) error {
			return client.New(dashboardSocket).GetJSON(ctx, "/api/health", &struct{}{})
		})
	})
	d.Ready("answering on " + dashboardSocket)
	return g.Wait()
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
