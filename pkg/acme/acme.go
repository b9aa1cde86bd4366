// Package acme obtains a certificate for a public name from Let's Encrypt, or
// another authority that speaks ACME, and renews it in time. The work is
// certmagic's; this package confines it to one name and one way to prove that
// the name is ours (HTTP-01), and leaves the result in two files for the proxy.
//
// It does not serve the certificate, and does not listen where an authority
// could reach it: the proxy passes questions on. It never gives up: certmagic
// waits longer after each failure, up to six hours.
package acme

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/arasul/arasul/pkg/atomicfile"
)

const (
	lookEvery = 24 * time.Hour // certmagic looks every ten minutes, unless it has given up
	maxRoot   = 1 << 20        // bytes of a file with a root
)

// Options says for which name, by whom, and where the files go.
type Options struct {
	Domain    string
	Email     string
	Directory string // URL
	CARoot    string // PEM file: trust the authority's https by this alone; empty: as the system does
	Folder    string // DOMAIN.crt and DOMAIN.key for the proxy; below it store, which is private
	Log       *slog.Logger
}

// Client keeps one certificate.
type Client struct {
	o        Options
	config   *certmagic.Config
	cache    *certmagic.Cache
	issuer   *certmagic.ACMEIssuer
	storage  certmagic.Storage
	obtained chan struct{}
}

// New prepares a client. It does not connect. Close ends it.
func New(o Options) (*Client, error) {
	c := &Client{o: o, obtained: make(chan struct{}, 1), storage: &certmagic.FileStorage{Path: filepath.Join(o.Folder, "store")}}
	var roots *x509.CertPool
	if o.CARoot != "" {
		st, err := os.Stat(o.CARoot)
		if err != nil {
			return nil, fmt.Errorf("reading the authority's root: %w", err)
		}
		if st.Size() > maxRoot {
			return nil, fmt.Errorf("reading the authority's root: %s is larger than %d bytes", o.CARoot, maxRoot)
		}
		data, err := os.ReadFile(o.CARoot)
		if err != nil {
			return nil, fmt.Errorf("reading the authority's root: %w", err)
		}
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("reading the authority's root: no certificate in %s", o.CARoot)
		}
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	log := zapLogger(o.Log)
	c.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return c.config, nil },
		Logger:           log,
	})
	c.config = certmagic.New(c.cache, certmagic.Config{
		Storage: c.storage,
		Logger:  log,
		OCSP:    certmagic.OCSPConfig{DisableStapling: true}, // nobody here serves it
		OnEvent: func(_ context.Context, event string, _ map[string]any) error {
			if event == "cert_obtained" {
				select {
				case c.obtained <- struct{}{}:
				default:
				}
			}
			return nil
		},
	})
	testCA := o.Directory
	if o.Directory == certmagic.LetsEncryptProductionCA {
		testCA = certmagic.LetsEncryptStagingCA // where a name that fails is tried again, which does not count
	}
	c.issuer = certmagic.NewACMEIssuer(c.config, certmagic.ACMEIssuer{
		CA:                      o.Directory,
		TestCA:                  testCA,
		Email:                   o.Email,
		Agreed:                  true,
		TrustedRoots:            roots,
		DisableTLSALPNChallenge: true, // the proxy has port 443
		// certmagic wants to listen, too, while it waits for a question. There it
		// is in nobody's way.
		ListenHost:  "127.0.0.1",
		AltHTTPPort: port,
		Logger:      log,
	})
	c.config.Issuers = []certmagic.Issuer{c.issuer}
	return c, nil
}

// Close ends what New began.
func (c *Client) Close() { c.cache.Stop() }

// Run obtains the certificate, renews it, and writes it down each time, until
// ctx ends.
func (c *Client) Run(ctx context.Context) error {
	if err := c.export(ctx); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := c.config.ManageAsync(ctx, []string{c.o.Domain}); err != nil {
		return fmt.Errorf("asking for a certificate: %w", err)
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.obtained:
			if err := c.export(ctx); err != nil {
				return err // it is in the store, and the next start finds it
			}
			c.o.Log.Info("certificate obtained", "name", c.o.Domain)
		case <-tick.C: // changes nothing while certmagic is at it
			if err := c.config.ManageAsync(ctx, []string{c.o.Domain}); err != nil {
				return fmt.Errorf("asking for a certificate: %w", err)
			}
		}
	}
}

// export writes the certificate where the proxy looks, and removes those of
// names that were configured before.
func (c *Client) export(ctx context.Context) error {
	key := c.issuer.IssuerKey()
	crt, err := c.storage.Load(ctx, certmagic.StorageKeys.SiteCert(key, c.o.Domain))
	if err != nil {
		return fmt.Errorf("reading certificate: %w", err)
	}
	secret, err := c.storage.Load(ctx, certmagic.StorageKeys.SitePrivateKey(key, c.o.Domain))
	if err != nil {
		return fmt.Errorf("reading key: %w", err)
	}
	path := filepath.Join(c.o.Folder, c.o.Domain)
	if err := atomicfile.Write(path+".key", secret, 0o640); err != nil { // its group is the proxy's
		return fmt.Errorf("writing key: %w", err)
	}
	if err := atomicfile.Write(path+".crt", crt, 0o644); err != nil {
		return fmt.Errorf("writing certificate: %w", err)
	}
	entries, err := os.ReadDir(c.o.Folder)
	if err != nil {
		return fmt.Errorf("listing certificates: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		if stem := strings.TrimSuffix(strings.TrimSuffix(name, ".crt"), ".key"); !e.IsDir() && stem != name && stem != c.o.Domain {
			if err := os.Remove(filepath.Join(c.o.Folder, name)); err != nil {
				return fmt.Errorf("removing an old certificate: %w", err)
			}
		}
	}
	return nil
}

// Handler answers the questions of an authority that the proxy passes on.
func (c *Client) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !c.issuer.HandleHTTPChallenge(w, r) {
			http.NotFound(w, r)
		}
	})
}

// freePort is a port of loopback that nobody uses.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("looking for a port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
