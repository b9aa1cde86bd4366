package main

import (
	"context"
	"sync/atomic"

	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/daemon"
	"github.com/arasul/arasul/pkg/mdns"
)

// mdnsDaemon lets browsers find the appliance by name.
func mdnsDaemon(ctx context.Context, d *daemon.Daemon) error {
	var restart atomic.Pointer[context.CancelFunc]
	d.OnReload(func(*config.Config) {
		if stop := restart.Load(); stop != nil {
			(*stop)()
		}
	})
	d.Ready("looking for the network")
	for ctx.Err() == nil {
		if err := announce(ctx, d, &restart); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// announce tells the network until ctx ends or restart is called, which is set
// before the configuration is read: no reload is missed in between.
func announce(ctx context.Context, d *daemon.Daemon, restart *atomic.Pointer[context.CancelFunc]) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	restart.Store(&stop)
	cfg := d.Config().MDNS
	a := mdns.Announcement{Name: cfg.Name, Port: 80, Interfaces: cfg.Interfaces}
	return mdns.Run(ctx, a, d.Log, d.Status, d.Alive)
}
