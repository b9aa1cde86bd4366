package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/n8n"
	"github.com/arasul/arasul/pkg/postgres"
	"github.com/arasul/arasul/pkg/secrets"
)

// n8nStarts is how long n8n may take until it can be brought what it needs: its
// first start migrates its database.
const n8nStarts = 5 * time.Minute

const (
	n8nTemplates = "/usr/share/arasul/n8n/workflows"
	n8nBrought   = "/var/lib/arasul/n8n-provision/brought.json"
)

// workflows is n8n on this machine.
type workflows struct{}

func (workflows) Provision(ctx context.Context, cfg *config.Config) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, n8nStarts)
	defer cancel()
	unlock, err := oneAtATime("n8n")
	if err != nil {
		return nil, err
	}
	defer unlock()
	password, err := credential("n8n-owner-password")
	if err != nil {
		return nil, err
	}
	objects, err := credential("minio-n8n-secret")
	if err != nil {
		return nil, err
	}
	endpoint := cfg.Objects.Endpoint
	if endpoint == "" {
		endpoint = "http://" + cfg.Proxy.MinIO
	}
	return n8n.New(cfg.Proxy.N8N).Bring(ctx, n8n.Provision{
		Password: password,
		Credentials: []n8n.Credential{
			{Name: "Arasul", Type: "arasulApi", Data: map[string]any{"baseUrl": "http://" + aiAddress}},
			{Name: "Arasul objects", Type: "s3", Data: map[string]any{
				"endpoint": endpoint, "region": cfg.Objects.Region, "accessKeyId": "arasul-n8n", "secretAccessKey": objects, "forcePathStyle": true,
			}},
			{Name: "Arasul database", Type: "postgres", Data: map[string]any{
				"host": postgres.SocketDir, "port": 5432, "database": postgres.Authors, "user": "arasul-n8n", "password": "", "ssl": "disable",
			}},
		},
		Templates: n8nTemplates,
		State:     n8nBrought,
	})
}

// credential reads a secret that the unit was given, or, for root in a terminal,
// the secret itself.
func credential(name string) (string, error) {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		dir = secrets.Dir
	}
	text, err := os.ReadFile(filepath.Join(dir, name))
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "", errors.New("only root may do this: try it with sudo")
	case err != nil:
		return "", fmt.Errorf("reading the secret %s: %w (systemctl start arasul-secrets)", name, err)
	}
	return string(text), nil
}

// oneAtATime waits until nobody else provisions the same: a unit and somebody in a
// terminal would both find that something is missing, and make it twice.
func oneAtATime(what string) (unlock func(), err error) {
	f, err := os.OpenFile("/run/arasul/provision-"+what+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("taking the lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("taking the lock: %w", err)
	}
	return func() { _ = f.Close() }, nil
}
