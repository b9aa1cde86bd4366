package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
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
	say := func(text string) {
		said.Store(&text)
		d.Status(text)
	}
	a := mdns.Announcement{
		Name: cfg.Name, Aliases: []string{mdns.S3(cfg.Name)}, Port: 80, Interfaces: cfg.Interfaces,
		Announced: func(labels []string) { tellLabels(labels, d.Log) },
	}
	return mdns.Run(ctx, a, d.Log, say, d.Alive)
}

// tellLabels writes down what the machine is called, for its certificate.
func tellLabels(labels []string, log *slog.Logger) {
	text := []byte(strings.Join(labels, "\n") + "\n")
	if before, err := os.ReadFile(announcedFile); err == nil && bytes.Equal(before, text) {
		return
	}
	if err := errors.Join(os.WriteFile(announcedFile, text, 0o644), os.Chmod(announcedFile, 0o644)); err != nil { //nolint:gosec // what is announced is no secret
		log.Warn("cannot tell of the name", "err", err)
	}
}
