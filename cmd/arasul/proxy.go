package main

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/arasul/arasul/pkg/daemon"
	"github.com/arasul/arasul/pkg/proxy"
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
		Hosts:     func() []string { return append([]string{hostname, d.Config().MDNS.Name}, d.Config().Proxy.Hosts...) },
		Log:       d.Log,
	})
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range listeners { // IPv4 and IPv6 may be two sockets
		g.Go(func() error { return daemon.Serve(ctx, l, p.Handler()) })
	}
	g.Go(func() error { return d.Watch(ctx, askProxy) })
	d.Ready("answering on port 80")
	return g.Wait()
}

// askProxy goes through the front door, as a browser would.
func askProxy(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/health", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("own health check answered %s", answer.Status)
	}
	return nil
}
