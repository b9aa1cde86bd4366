package main

import (
	"context"
	"slices"
	"time"

	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/objects"
)

// storeStarts is how long the object store may take to start.
const storeStarts = 2 * time.Minute

// objectStore is this machine's MinIO, or the server that is configured.
type objectStore struct{}

func (objectStore) client(cfg *config.Config) (*objects.Client, error) {
	root := [2]string{"minio-root-user", "minio-root-password"}
	o := objects.Options{Endpoint: "http://" + cfg.Proxy.MinIO, Region: cfg.Objects.Region}
	if cfg.Objects.Endpoint != "" {
		root, o.Endpoint = [2]string{"s3-access-key", "s3-secret-key"}, cfg.Objects.Endpoint
	}
	var err error
	if o.User, err = credential(root[0]); err != nil {
		return nil, err
	}
	if o.Password, err = credential(root[1]); err != nil {
		return nil, err
	}
	return objects.New(o)
}

func (s objectStore) Provision(ctx context.Context, cfg *config.Config) (did, notes []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeStarts)
	defer cancel()
	unlock, err := oneAtATime("objects")
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	c, err := s.client(cfg)
	if err != nil {
		return nil, nil, err
	}
	n8nSecret, err := credential("minio-n8n-secret")
	if err != nil {
		return nil, nil, err
	}
	appSecret, err := credential("minio-app-secret")
	if err != nil {
		return nil, nil, err
	}
	return c.Bring(ctx, objects.Provision{
		Public: cfg.Objects.Public,
		Accounts: []objects.Account{
			{Key: "arasul-n8n", Secret: n8nSecret, Buckets: []string{objects.Workflows, objects.Documents}},
			{Key: "arasul-app", Secret: appSecret, Buckets: objects.Buckets},
		},
	})
}

func (s objectStore) List(ctx context.Context, cfg *config.Config) ([]string, error) {
	c, err := s.client(cfg)
	if err != nil {
		return nil, err
	}
	return c.List(ctx)
}

func (s objectStore) Check(ctx context.Context, cfg *config.Config) error {
	c, err := s.client(cfg)
	if err != nil {
		return err
	}
	return c.Check(ctx)
}

// missingBuckets are those of ours that are not among the names.
func missingBuckets(names []string) (missing []string) {
	for _, b := range objects.Buckets {
		if !slices.Contains(names, b) {
			missing = append(missing, b)
		}
	}
	return missing
}
