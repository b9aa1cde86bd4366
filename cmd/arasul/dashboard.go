package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/auth"
	"github.com/arasul/arasul/pkg/bus/healer1"
	"github.com/arasul/arasul/pkg/client"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/container"
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
	// Its own way to the database: no question about the past keeps anybody out.
	access, err := postgres.Open(d.Config().Database, "arasul-dashboard")
	if err != nil {
		return err
	}
	defer access.Close()
	workflows, err := postgres.OpenWorkflows(d.Config().Database, "arasul-dashboard")
	if err != nil {
		return err
	}
	defer workflows.Close()
	hostname, _ := os.Hostname()
	gate, err := openGate(access, hostname)
	if err != nil { // the rest is worth a start
		d.Log.Error("nobody can log in", "err", err)
	}
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
		Network:  client.New(mdnsSocket),
		Logs:     dashboard.LogSocket{Daemon: client.New(logsSocket)},

		Gateway:     client.New(aiSocket),
		Workflows:   db,
		ImagesState: container.StatePath,
		Setup: dashboard.SetupFiles{
			Request: pageAnswers,
			Reports: []string{reportFile, lastReport},
			Config:  func() (*config.Config, error) { return config.Load(config.Path) },
		},

		Updater:      client.New(updaterSocket),
		UpdateEnded:  lastUpdate,
		Restarter:    healer1.Client{},
		Inspector:    db,
		Certificates: certificates{},
		Gate:         gate,
		Audit:        access,
		Log:          d.Log,
	})
	if err != nil {
		return err
	}
	board.SetAccess(d.Config().Access.Status)
	d.OnReload(func(c *config.Config) {
		board.Reload(c.Metrics.Interval.Std())
		board.SetAccess(c.Access.Status)
	})
	units := &systemd.Watcher{Patterns: []string{"arasul-*.service"}, Log: d.Log}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return board.Run(ctx) })
	g.Go(func() error { return daemon.Serve(ctx, listeners[0], board.Handler(), withPeer) })
	if n8n, err := daemon.Listeners("executions"); err == nil { // an older socket unit: until the next boot
		g.Go(func() error { return daemon.Serve(ctx, n8n[0], board.Executions(db)) })
	}
	g.Go(func() error { return board.KeepWorkflows(ctx, db, workflows) })
	g.Go(func() error { return board.KeepUpdates(ctx, db) })
	g.Go(func() error { return board.FollowMetrics(ctx, client.New(metricsSocket)) })
	g.Go(func() error { return board.FollowHealer(ctx, client.New(healerSocket)) })
	g.Go(func() error { return board.FollowHealerStatus(ctx, healer) })
	g.Go(func() error { return board.FollowUnits(ctx, units) })
	g.Go(func() error { return board.FollowDatabase(ctx, db) })
	g.Go(func() error { return board.KeepAccess(ctx, access) })
	g.Go(func() error {
		return d.Watch(ctx, func(ctx context.Context) error {
			return client.New(dashboardSocket).GetJSON(ctx, "/api/health", &struct{}{})
		})
	})
	d.Ready("answering on " + dashboardSocket)
	return g.Wait()
}

func withPeer(s *http.Server) { s.ConnContext = dashboard.WithPeer }

// openGate takes the keys that systemd handed over.
func openGate(store auth.Store, hostname string) (*auth.Gate, error) {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	session, err := os.ReadFile(filepath.Join(dir, "session-key"))
	if err != nil {
		return nil, fmt.Errorf("reading key of sessions: %w", err)
	}
	factor, err := os.ReadFile(filepath.Join(dir, "totp-key"))
	if err != nil {
		return nil, fmt.Errorf("reading key of second factors: %w", err)
	}
	gate, err := auth.New(auth.Options{Store: store, SessionKey: session, FactorKey: factor, Machine: hostname})
	if err != nil {
		return nil, fmt.Errorf("opening gate: %w", err)
	}
	return gate, nil
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// lastUpdate is the transaction that ended last since the machine was booted.
func lastUpdate() string {
	id, _ := os.ReadFile(updateEnded) // there was none
	return string(id)
}
