package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/client"
	"github.com/arasul/arasul/pkg/models"
)

// Where models lie, and where copies are kept to repair them from.
const (
	modelsOf   = "/var/lib/arasul/%s/models"
	modelsKept = "/var/lib/arasul/models/%s"
)

var engines = []string{"llm", "embeddings"}

// modelStore is the models of this machine: what the gateway knows, and the files.
type modelStore struct{}

func (modelStore) List(ctx context.Context) ([]api.InstalledModel, []api.ModelTask, error) {
	var all struct {
		Models []api.InstalledModel
		Tasks  []api.ModelTask
	}
	err := client.New(aiSocket).GetJSON(ctx, "/models", &all)
	return all.Models, all.Tasks, err
}

func (modelStore) Start(ctx context.Context, action, model, kind string) (task api.ModelTask, err error) {
	err = client.New(aiSocket).Call(ctx, http.MethodPost, "/models/"+action, map[string]string{"model": model, "kind": kind}, &task)
	return task, err
}

func folderOf(engine string) (models.Folder, error) {
	uid, gid, err := ids("arasul-" + engine)
	return models.Folder{Path: fmt.Sprintf(modelsOf, engine), UID: uid, GID: gid}, err
}

func (modelStore) Load(ctx context.Context, engine, folder string, keep bool, progress func(string, int64, int64)) (names []string, err error) {
	to, err := folderOf(engine)
	if err != nil {
		return nil, err
	}
	from := models.Folder{Path: folder}
	all, err := from.List()
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("there is no model in %s: it needs the folders manifests and blobs", folder)
	}
	targets := []models.Folder{to}
	if keep {
		kept := fmt.Sprintf(modelsKept, engine)
		if err := os.MkdirAll(filepath.Dir(kept), 0o700); err != nil {
			return nil, err
		}
		targets = append(targets, models.Folder{Path: kept})
	}
	for _, m := range all {
		for _, f := range targets {
			if err := f.Copy(ctx, from, m, func(done, total int64) { progress(m.Name, done, total) }); err != nil {
				return names, err
			}
		}
		names = append(names, m.Name)
	}
	return names, nil
}

func (modelStore) Verify(ctx context.Context, repair bool, progress func(string, int64, int64)) (checks []api.ModelCheck, err error) {
	for _, engine := range engines {
		f, err := folderOf(engine)
		if err != nil {
			return checks, err
		}
		all, err := f.List()
		if err != nil {
			checks = append(checks, api.ModelCheck{Engine: engine, Model: "?", Error: err.Error()})
		}
		for _, m := range all {
			k := api.ModelCheck{Engine: engine, Model: m.Name, Bytes: m.Bytes()}
			err := f.Verify(ctx, m, func(done, total int64) { progress(m.Name, done, total) })
			if ctx.Err() != nil {
				return checks, ctx.Err()
			}
			if err != nil {
				k.Error = err.Error()
				k.Restored = repair && errors.Is(err, models.ErrDamaged) && restore(ctx, engine, f, m) == nil
			}
			checks = append(checks, k)
		}
	}
	return checks, nil
}

// restore brings a damaged model from the copy that is kept.
func restore(ctx context.Context, engine string, f models.Folder, m models.Model) error {
	kept := models.Folder{Path: fmt.Sprintf(modelsKept, engine)}
	if err := kept.Verify(ctx, m, func(int64, int64) {}); err != nil {
		return err
	}
	if _, err := f.SetAside(ctx, m); err != nil {
		return err
	}
	return f.Copy(ctx, kept, m, func(int64, int64) {})
}
