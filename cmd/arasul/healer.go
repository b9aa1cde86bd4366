package main

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/arasul/arasul/pkg/bus/healer1"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/daemon"
	"github.com/arasul/arasul/pkg/heal"
	"github.com/arasul/arasul/pkg/ollama"
	"github.com/arasul/arasul/pkg/postgres"
	"github.com/arasul/arasul/pkg/spool"
	"github.com/arasul/arasul/pkg/systemd"
)

// healerDaemon watches our units and repairs them. It needs neither database
// nor bus to be there.
func healerDaemon(ctx context.Context, d *daemon.Daemon) error {
	policy, err := loadPolicy(d.Config())
	if err != nil {
		d.Log.Error("policy refused, the built-in one is in its place", "err", err)
		builtIn := *d.Config()
		builtIn.Healer.Policy = ""
		if policy, err = loadPolicy(&builtIn); err != nil {
			return err
		}
	}
	db, err := postgres.Open(d.Config().Database, "arasul-healer")
	if err != nil {
		return err
	}
	defer db.Close()
	units := &systemd.Hands{}
	defer units.Close()
	var onDisk heal.Spool
	if s, err := spool.Open(healerSpool, spool.Options{MaxBytes: 32 << 20}); err != nil {
		d.Log.Error("no spool, events wait in memory only", "err", err)
	} else {
		defer s.Close()
		onDisk = s
	}
	llm, embeddings := ollama.New("127.0.0.1:11434"), ollama.New("127.0.0.1:11435")
	eye := newMachine()
	id, since := boot()
	recorder := heal.NewRecorder(healerPast, d.Log)
	h := heal.New(heal.Options{
		Policy:   policy,
		Mode:     d.Config().Healer.Mode,
		Path:     healerState,
		Boot:     id,
		Booted:   since,
		Eyes:     &systemd.Watcher{Patterns: policy.UnitNames(), Log: d.Log},
		Senses:   senses(eye, d.Log),
		Probes:   probes(db, llm, embeddings, eye.hasGPU.Load),
		Hands:    hands(units, map[string]*ollama.Client{"arasul-llm.service": llm, "arasul-embeddings.service": embeddings}),
		Spool:    onDisk,
		Mirror:   db,
		Recorder: recorder,
		Log:      d.Log,
	})
	d.OnReload(func(c *config.Config) {
		policy, err := loadPolicy(c)
		if err != nil {
			d.Log.Error("policy refused, the old one stays in force", "err", err)
			return
		}
		h.Reload(policy, c.Healer.Mode)
	})
	socket, err := daemon.ListenUnix(healerSocket, 0o660)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return recorder.Run(ctx) })
	g.Go(func() error { return retainIncidents(ctx, d, db) })
	g.Go(func() error { return h.Run(ctx, d.Alive) })
	g.Go(func() error { return healer1.Serve(ctx, h, d.Log) })
	g.Go(func() error { return daemon.Serve(ctx, socket, h.Handler()) })
	d.Ready("watching, mode " + d.Config().Healer.Mode)
	return g.Wait()
}

// How many of the incidents PostgreSQL keeps: a year of them, and not more than
// 80 MB.
const (
	incidentsKept = 365 * 24 * time.Hour
	incidentsMost = 100_000
)

// retainIncidents drops old incidents, hourly.
func retainIncidents(ctx context.Context, d *daemon.Daemon, db *postgres.DB) error {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if err := db.RetainIncidents(ctx, incidentsKept, incidentsMost); err != nil {
				d.Log.Warn("old incidents not dropped, trying again in an hour", "err", err)
			}
		}
	}
}

// loadPolicy reads the policy that the configuration names.
func loadPolicy(c *config.Config) (*heal.Policy, error) {
	policy, err := heal.LoadPolicy(c.Healer.Policy)
	if err != nil {
		return nil, err
	}
	policy.AllowReboot = c.Healer.Reboot
	return policy, nil
}
