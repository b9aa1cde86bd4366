package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/arasul/arasul/pkg/proxy"
)

// answerBytes is the size of an answer behind the proxies.
const answerBytes = 1024

// Where the benchmark's programs meet, on loopback and in their folder.
const (
	behindAddress = "127.0.0.1:18480"
	oursAddress   = "127.0.0.1:18481"
	nginxAddress  = "127.0.0.1:18482"
	caddyAddress  = "127.0.0.1:18483"
	authSocket    = "dashboard.sock"
)

// serveBehind is who is behind all proxies: one that answers, and a dashboard
// that lets in whoever has a session that begins with "good".
func serveBehind(ctx context.Context, dir string) error {
	answer := []byte(strings.Repeat("x", answerBytes))
	app, err := net.Listen("tcp", behindAddress)
	if err != nil {
		return err
	}
	auth, err := net.Listen("unix", filepath.Join(dir, authSocket))
	if err != nil {
		return err
	}
	if err := os.Chmod(filepath.Join(dir, authSocket), 0o666); err != nil { // nginx is another user
		return err
	}
	var g errgroup.Group
	g.Go(func() error {
		return serveUntil(ctx, app, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(answer) }), "")
	})
	g.Go(func() error {
		return serveUntil(ctx, auth, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if c, err := r.Cookie("__Host-arasul"); err != nil || !strings.HasPrefix(c.Value, "good") {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			w.Header().Set("Remote-User", "admin")
		}), "")
	})
	return g.Wait()
}

// serveOurs is our proxy. Its certificate is the benchmark's; all else is as in
// the daemon.
func serveOurs(ctx context.Context, dir string) error {
	l, err := net.Listen("tcp", oursAddress)
	if err != nil {
		return err
	}
	p := proxy.New(proxy.Options{
		Dashboard: filepath.Join(dir, authSocket),
		Upstreams: func() proxy.Upstreams { return proxy.Upstreams{N8N: behindAddress} },
	})
	var g errgroup.Group
	g.Go(func() error { return p.Run(ctx) })
	g.Go(func() error {
		return serveUntil(ctx, proxy.Limit(l.(*net.TCPListener), 4096, 256, nil), p.Handler(), dir)
	})
	return g.Wait()
}

// serveUntil serves until ctx ends, with TLS if certificates is a folder.
func serveUntil(ctx context.Context, l net.Listener, h http.Handler, certificates string) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	err := error(nil)
	if certificates == "" {
		err = server.Serve(l)
	} else {
		err = server.ServeTLS(l, filepath.Join(certificates, "cert.pem"), filepath.Join(certificates, "key.pem"))
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// certificate leaves a certificate for localhost and its key in dir, of the
// kind that the appliance has.
func certificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(24 * time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: cert}, "key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// serve is what this program does as one of the benchmark's servers.
func serve(ctx context.Context, name, dir string) error {
	switch name {
	case "behind":
		return serveBehind(ctx, dir)
	case "ours":
		return serveOurs(ctx, dir)
	default:
		return fmt.Errorf("no server %q", name)
	}
}
