package main

import (
	"context"

	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/daemon"
	"github.com/arasul/arasul/pkg/mdns"
)

// mdnsDaemon lets browsers find the appliance by name.
func mdnsDaemon(ctx context.Context, d *daemon.Daemon) error {
	reloads := make(chan struct{}, 1)
	d.OnReload(func(*config.Config) {
		select {
		case reloads <- struct{}{}:
		default:
		}
	})
	d.Ready("looking for the network")
	for ctx.Err() == nil {
		runCtx, stop := context.WithCancel(ctx)
		go func() {
			defer stop()
			select {
			case <-reloads:
			case <-runCtx.Done():
			}
		}()
		if err := announce(runCtx, d); err != nil {
			return err
		}
		stop()
	}
	return ctx.Err()
}

// announce tells the network until ctx ends.
func announce(ctx context.Context, d *daemon.Daemon) error {
	cfg := d.Config().MDNS
	a := mdns.Announcement{Name: cfg.Name, Port: 80, Interfaces: cfg.Interfaces}
	return mdns.Run(ctx, a, d.Log, d.Status, d.Alive)
}
