package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/daemon"
	"github.com/arasul/arasul/pkg/inference"
	"github.com/arasul/arasul/pkg/modelserver"
)

// Where the gateway to the models answers: the dashboard, and what runs on this
// machine.
const (
	aiSocket  = "/run/arasul/ai/ai.sock"
	aiAddress = "127.0.0.1:11440"
)

// aiDaemon is the one way to the models.
func aiDaemon(ctx context.Context, d *daemon.Daemon) error {
	cfg := d.Config()
	gateway := inference.New(inference.Options{
		LLM: cfg.LLM, Embeddings: cfg.Embeddings, Log: d.Log,
		Server: func(engine string, b config.BackEnd) inference.Server { return server(cfg, engine, b, d) },
	})
	d.OnReload(func(c *config.Config) { gateway.Reload(c.LLM, c.Embeddings) })
	socket, err := daemon.ListenUnix(aiSocket, 0o660)
	if err != nil {
		return err
	}
	var l net.ListenConfig
	local, err := l.Listen(ctx, "tcp", aiAddress)
	if err != nil {
		return fmt.Errorf("listening for programs on this machine: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return gateway.Run(ctx, d.Alive) })
	g.Go(func() error { return daemon.Serve(ctx, socket, gateway.Handler(true)) })
	g.Go(func() error { return daemon.Serve(ctx, local, fromHere(gateway.Handler(false))) })
	d.Ready("answering on " + aiSocket + " and " + aiAddress)
	return g.Wait()
}

// fromHere keeps web pages out that a browser on this machine, or a name that leads
// to it, would bring here.
func fromHere(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host := r.Host; r.Header.Get("Origin") != "" || host != aiAddress && host != "localhost:11440" {
			http.Error(w, "This is for programs on this machine.", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// server is the client of one back end. An empty URL is this machine's own.
func server(cfg *config.Config, engine string, b config.BackEnd, d *daemon.Daemon) inference.Server {
	if b.URL == "" {
		address := map[string]string{"llm": cfg.Proxy.LLM, "embeddings": cfg.Proxy.Embeddings}[engine]
		return modelserver.New(b.Kind, "http://"+address, "")
	}
	key := ""
	if b.Key != "" {
		text, err := os.ReadFile(filepath.Join(os.Getenv("CREDENTIALS_DIRECTORY"), b.Key))
		if err != nil {
			d.Log.Error("key of a back end unread", "name", b.Name, "err", err)
		}
		key = strings.TrimSpace(string(text))
	}
	return modelserver.New(b.Kind, b.URL, key)
}
