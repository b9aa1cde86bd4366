package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/arasul/arasul/pkg/client"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/daemon"
	"github.com/arasul/arasul/pkg/mdns"
	"github.com/arasul/arasul/pkg/n8n"
	"github.com/arasul/arasul/pkg/proxy"

	"github.com/arasul/arasul/pkg/api"
)

// How many connections a port holds open, in all and of one address. A browser
// opens six. Each may need one to the dashboard; LimitNOFILE= has room for both.
const (
	connections = 4096
	perAddress  = 256
)

// proxyDaemon is the door to the network.
func proxyDaemon(ctx context.Context, d *daemon.Daemon) error {
	plain, err := daemon.Listeners("http")
	if err != nil {
		return err
	}
	secure, err := daemon.Listeners("https")
	if err != nil { // somebody else has port 443, and the owner still has port 80
		d.Log.Warn("no https", "err", err)
	}
	hostname, _ := os.Hostname()
	hosts := func() []string {
		cfg := d.Config()
		return append([]string{hostname, cfg.MDNS.Name, mdns.S3(cfg.MDNS.Name), cfg.ACME.Domain}, cfg.Proxy.Hosts...)
	}
	p := proxy.New(proxy.Options{
		Dashboard: dashboardSocket,
		Upstreams: func() proxy.Upstreams {
			c := d.Config().Proxy
			return proxy.Upstreams{N8N: c.N8N, Console: c.MinIOConsole, Storage: c.MinIO, LLM: c.LLM, Embeddings: c.Embeddings}
		},
		Hosts:       hosts,
		StorageHost: func() string { return mdns.S3(d.Config().MDNS.Name) },
		Updating:    updating,
		SignOn:      signOn(d),
		Log:         d.Log,
	})
	keyring := proxy.NewKeyring(certificateFiles, d.Log)
	doors := proxy.NewDoors(proxy.TLSOptions{
		Keyring:    keyring,
		Hosts:      hosts,
		Challenges: acmeSocket,
		PublicACME: func() bool {
			cfg := d.Config().ACME
			return cfg.Directory == config.LetsEncrypt && cfg.CARoot == ""
		},
	})
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range plain { // port 80, and a unix socket for the check below
		door, limited := crowd(l, d.Log)
		handler := p.Handler()
		if limited && len(secure) > 0 {
			handler = doors.Plain(handler)
		}
		g.Go(func() error { return daemon.Serve(ctx, door, handler) })
	}
	for _, l := range secure {
		door, _ := crowd(l, d.Log)
		g.Go(func() error { return daemon.ServeTLS(ctx, door, doors.Secure(p.Handler()), keyring.TLSConfig()) })
	}
	g.Go(func() error { return keyring.Run(ctx) })
	g.Go(func() error { return proxy.TellAddresses(ctx, addressesFile, addresses, d.Log) })
	g.Go(func() error { return p.Run(ctx) })
	g.Go(func() error {
		return d.Watch(ctx, func(ctx context.Context) error {
			return client.New(proxySocket).GetJSON(ctx, "/health", &struct{}{})
		})
	})
	d.Ready("answering on ports 80 and 443")
	return g.Wait()
}

// crowd limits how many come at a time through a door that is in the network.
func crowd(l net.Listener, log *slog.Logger) (door net.Listener, limited bool) {
	if tcp, ok := l.(*net.TCPListener); ok {
		return proxy.Limit(tcp, connections, perAddress, log), true
	}
	return l, false
}

// updating is the update that is under way, as far as the one that carries it out
// says; nil for none. What it says is gone after a power cut, until it goes on.
func updating() *api.UpdateRun {
	if u := progressMark(); u != nil && u.Run != nil {
		return u.Run
	}
	return nil
}

// signOn signs the admin in to n8n, or is nil without the password of its owner.
func signOn(d *daemon.Daemon) func(context.Context) (string, error) {
	// Where there is none yet, the unit gives an empty line in its place.
	text, err := os.ReadFile(filepath.Join(os.Getenv("CREDENTIALS_DIRECTORY"), "n8n-owner-password"))
	password := strings.TrimSpace(string(text))
	if err != nil || password == "" {
		d.Log.Info("n8n shows its own login: there is no password of its owner")
		return nil
	}
	return func(ctx context.Context) (string, error) {
		cookie, err := n8n.New(d.Config().Proxy.N8N).Cookie(ctx, password)
		if err != nil {
			return "", err
		}
		return cookie.Value, nil
	}
}
