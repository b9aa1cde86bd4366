package main

import (
	"context"

	"github.com/arasul/arasul/pkg/daemon"
	"github.com/arasul/arasul/pkg/mdns"
)

// mdnsDaemon lets browsers find the appliance by name.
func mdnsDaemon(ctx context.Context, d *daemon.Daemon) error {
	cfg := d.Config().MDNS
	a := mdns.Announcement{Name: cfg.Name, Port: 80, Interfaces: cfg.Interfaces}
	if err := a.Validate(); err != nil {
		return err
	}
	d.Ready("looking for the network")
	return mdns.Run(ctx, a, d.Log, d.Status, d.Alive)
}
