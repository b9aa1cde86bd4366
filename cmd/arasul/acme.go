package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"golang.org/x/sync/errgroup"

	"github.com/arasul/arasul/pkg/acme"
	"github.com/arasul/arasul/pkg/client"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/daemon"
)

// acmeDaemon keeps a certificate from Let's Encrypt. Its unit starts it only
// when there is a name to get one for.
func acmeDaemon(ctx context.Context, d *daemon.Daemon) error {
	cfg := d.Config().ACME
	if cfg.Domain == "" {
		return errors.New("there is no [acme] domain")
	}
	c, err := acme.New(acme.Options{
		Domain: cfg.Domain, Email: cfg.Email, Directory: cfg.Directory, CARoot: cfg.CARoot,
		Folder: acmeFolder, Log: d.Log,
	})
	if err != nil {
		return err
	}
	defer c.Close()
	l, err := daemon.ListenUnix(acmeSocket, 0o660)
	if err != nil {
		return err
	}
	d.OnReload(func(now *config.Config) {
		if now.ACME != cfg {
			d.Log.Warn("the new configuration needs a restart", "name", now.ACME.Domain)
		}
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"status": "up"})
	})
	mux.Handle("/", c.Handler())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return daemon.Serve(ctx, l, mux) })
	g.Go(func() error { return c.Run(ctx) })
	g.Go(func() error {
		return d.Watch(ctx, func(ctx context.Context) error {
			return client.New(acmeSocket).GetJSON(ctx, "/health", &struct{}{})
		})
	})
	d.Ready("keeping a certificate for " + cfg.Domain)
	return g.Wait()
}
