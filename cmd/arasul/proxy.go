package main

import (
	"context"
	"net"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/arasul/arasul/pkg/client"
	"github.com/arasul/arasul/pkg/daemon"
	"github.com/arasul/arasul/pkg/proxy"
)

// How many connections port 80 holds open, in all and of one address. A browser
// opens six. Each may need one to the dashboard; LimitNOFILE= has room for both.
const (
	connections = 4096
	perAddress  = 256
)

// proxyDaemon is the door to the network.
func proxyDaemon(ctx context.Context, d *daemon.Daemon) error {
	listeners, err := daemon.Listeners("http")
	if err != nil {
		return err
	}
	hostname, _ := os.Hostname()
	p := proxy.New(proxy.Options{
		Dashboard: dashboardSocket,
		Upstreams: func() proxy.Upstreams {
			c := d.Config().Proxy
			return proxy.Upstreams{N8N: c.N8N, Console: c.MinIOConsole, Storage: c.MinIO, LLM: c.LLM, Embeddings: c.Embeddings}
		},
		Hosts:       func() []string { return append([]string{hostname, d.Config().MDNS.Name}, d.Config().Proxy.Hosts...) },
		StorageHost: func() string { return d.Config().MDNS.Name + "-s3" },
		Updating:    updating,
		Log:         d.Log,
	})
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range listeners { // port 80, and a unix socket for the check below
		if tcp, ok := l.(*net.TCPListener); ok {
			l = proxy.Limit(tcp, connections, perAddress, d.Log)
		}
		g.Go(func() error { return daemon.Serve(ctx, l, p.Handler()) })
	}
	g.Go(func() error { return p.Run(ctx) })
	g.Go(func() error {
		return d.Watch(ctx, func(ctx context.Context) error {
			return client.New(proxySocket).GetJSON(ctx, "/health", &struct{}{})
		})
	})
	d.Ready("answering on port 80")
	return g.Wait()
}

// updating says whether an update is under way: whoever runs one leaves this
// file meanwhile. It is gone after a power cut.
func updating() bool {
	_, err := os.Stat(updateMark)
	return err == nil
}
