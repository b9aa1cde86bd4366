package main

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

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
	var said atomic.Pointer[string]
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serveNetwork(ctx, d, &said) })
	g.Go(func() error {
		for ctx.Err() == nil {
			if err := announce(ctx, d, &restart, &said); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	return g.Wait()
}

// announce tells the network until ctx ends or restart is called, which is set
// before the configuration is read: no reload is missed in between.
func announce(ctx context.Context, d *daemon.Daemon, restart *atomic.Pointer[context.CancelFunc], said *atomic.Pointer[string]) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	restart.Store(&stop)
	cfg := d.Config().MDNS
	a := mdns.Announcement{Name: cfg.Name, Port: 80, Interfaces: cfg.Interfaces}
	say := func(text string) {
		said.Store(&text)
		d.Status(text)
	}
	return mdns.Run(ctx, a, d.Log, say, d.Alive)
}
