// Package models is our hand on the folder in which an Ollama keeps its models:
// bringing models without the internet, and reading all of them to see that they
// are whole.
//
// A model is a manifest, a small file that names blobs by their SHA-256, and those
// blobs. Whatever is copied is read with its digest, and a manifest comes last, so
// that a model is there whole or not at all.
//
// It speaks to no Ollama: that finds what is there at its next look. It fetches
// nothing over the network.
package models

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/arasul/arasul/pkg/atomicfile"
)

const (
	maxManifest = 1 << 20
	maxModels   = 1000
	maxBlobs    = 100 // of one model
)

// Folder is where an Ollama keeps its models.
type Folder struct {
	Path     string // with manifests and blobs in it
	UID, GID int    // whose it is
}

// Model is one that is there.
type Model struct {
	Name     string // as Ollama calls it
	manifest string // path, below manifests
	blobs    []blob
}

type blob struct {
	Digest string `json:"digest"` // sha256:…
	Size   int64  `json:"size"`
}

// Progress is told how many bytes of how many were read.
type Progress func(done, total int64)

// List returns the models of a folder, by name. A manifest that cannot be read is
// an error in its place.
func (f Folder) List() ([]Model, error) {
	root := filepath.Join(f.Path, "manifests")
	var out []Model
	var bad error
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case !e.Type().IsRegular() || strings.HasPrefix(e.Name(), "."):
			return nil
		case len(out) >= maxModels:
			return fmt.Errorf("more than %d models", maxModels)
		}
		m, err := readManifest(root, path)
		if err != nil {
			bad = errors.Join(bad, err)
			return nil
		}
		out = append(out, m)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the models in %s: %w", f.Path, err)
	}
	slices.SortFunc(out, func(a, b Model) int { return strings.Compare(a.Name, b.Name) })
	return out, bad
}

func readManifest(root, path string) (Model, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Model{}, err
	}
	below, err := filepath.Rel(root, path)
	if err != nil {
		return Model{}, err
	}
	m := Model{Name: nameOf(below), manifest: below}
	if info.Size() > maxManifest {
		return m, fmt.Errorf("the manifest of %s has %d bytes, the limit is %d", m.Name, info.Size(), maxManifest)
	}
	data, err := os.ReadFile(path) //nolint:gosec // found below the folder
	if err != nil {
		return m, err
	}
	var manifest struct {
		Config blob   `json:"config"`
		Layers []blob `json:"layers"`
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		return m, fmt.Errorf("the manifest of %s is damaged: %w", m.Name, err)
	}
	m.blobs = append(m.blobs, manifest.Layers...)
	m.blobs = append(m.blobs, manifest.Config)
	if len(m.blobs) > maxBlobs {
		return m, fmt.Errorf("the manifest of %s names %d blobs, the limit is %d", m.Name, len(m.blobs), maxBlobs)
	}
	for _, b := range m.blobs {
		if digits, ok := strings.CutPrefix(b.Digest, "sha256:"); !ok || len(digits) != 64 || strings.Trim(digits, "0123456789abcdef") != "" || b.Size < 0 {
			return m, fmt.Errorf("the manifest of %s is damaged: %q is no digest", m.Name, b.Digest)
		}
	}
	return m, nil
}

// nameOf makes of registry.ollama.ai/library/llama3.2/3b what Ollama shows.
func nameOf(path string) string {
	parts := strings.Split(filepath.ToSlash(path), "/")
	if len(parts) < 2 {
		return path
	}
	name := strings.Join(parts[:len(parts)-1], "/") + ":" + parts[len(parts)-1]
	return strings.TrimPrefix(strings.TrimPrefix(name, "registry.ollama.ai/"), "library/")
}

// Bytes is how much is to be read of a model.
func (m Model) Bytes() (total int64) {
	for _, b := range m.blobs {
		total += b.Size
	}
	return total
}

func (f Folder) blobPath(digest string) string {
	return filepath.Join(f.Path, "blobs", strings.Replace(digest, ":", "-", 1))
}

// ErrDamaged says that a model is not what its manifest says.
var ErrDamaged = errors.New("damaged")

// Verify reads all of a model and compares it with its digests.
func (f Folder) Verify(ctx context.Context, m Model, progress Progress) error {
	var done int64
	for _, b := range m.blobs {
		sum, size, err := digest(ctx, f.blobPath(b.Digest), nil, func(n int64) { progress(done+n, m.Bytes()) })
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("%w: %s is missing", ErrDamaged, b.Digest)
		case err != nil:
			return fmt.Errorf("reading %s: %w", b.Digest, err)
		case sum != b.Digest || size != b.Size:
			return fmt.Errorf("%w: %s has %d bytes of the digest %s", ErrDamaged, b.Digest, size, sum)
		}
		done += b.Size
	}
	return nil
}

// SetAside renames the blobs of a model that are damaged, so that no Ollama uses
// them, and a copy can come in their place.
func (f Folder) SetAside(ctx context.Context, m Model) (names []string, err error) {
	for _, b := range m.blobs {
		path := f.blobPath(b.Digest)
		sum, _, err := digest(ctx, path, nil, func(int64) {})
		if errors.Is(err, fs.ErrNotExist) || err == nil && sum == b.Digest {
			continue
		}
		if err != nil {
			return names, err
		}
		if err := os.Rename(path, path+".damaged"); err != nil {
			return names, err
		}
		names = append(names, filepath.Base(path)+".damaged")
	}
	return names, nil
}

// Copy brings a model from another folder. What is there already, and whole, is not
// copied again.
func (f Folder) Copy(ctx context.Context, from Folder, m Model, progress Progress) error {
	if err := f.mkdir(filepath.Join(f.Path, "blobs")); err != nil {
		return err
	}
	var done int64
	for _, b := range m.blobs {
		if err := f.copyBlob(ctx, from, b, func(n int64) { progress(done+n, m.Bytes()) }); err != nil {
			return fmt.Errorf("copying %s: %w", m.Name, err)
		}
		done += b.Size
	}
	data, err := os.ReadFile(filepath.Join(from.Path, "manifests", m.manifest))
	if err != nil {
		return err
	}
	to := filepath.Join(f.Path, "manifests", m.manifest)
	if err := f.mkdir(filepath.Dir(to)); err != nil {
		return err
	}
	if err := atomicfile.Write(to, data, 0o644); err != nil {
		return err
	}
	return os.Chown(to, f.UID, f.GID)
}

func (f Folder) copyBlob(ctx context.Context, from Folder, b blob, progress func(int64)) (err error) {
	to := f.blobPath(b.Digest)
	if info, err := os.Stat(to); err == nil && info.Size() == b.Size {
		if sum, _, err := digest(ctx, to, nil, progress); err == nil && sum == b.Digest {
			return nil
		}
	}
	tmp, err := os.CreateTemp(filepath.Dir(to), ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		_ = tmp.Close()
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	sum, _, err := digest(ctx, from.blobPath(b.Digest), tmp, progress)
	if err != nil {
		return err
	}
	if sum != b.Digest {
		return fmt.Errorf("%w: %s has the digest %s", ErrDamaged, b.Digest, sum)
	}
	if err := errors.Join(tmp.Chmod(0o644), tmp.Chown(f.UID, f.GID), tmp.Sync()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), to)
}

// mkdir makes the folders below the owner's that are missing.
func (f Folder) mkdir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if dir != f.Path {
		if err := f.mkdir(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // the folder above keeps others out
		return err
	}
	return os.Chown(dir, f.UID, f.GID)
}

// digest reads a file, copies it to another if there is one, and returns its
// SHA-256.
func digest(ctx context.Context, path string, to io.Writer, progress func(int64)) (sum string, size int64, err error) {
	file, err := os.Open(path) //nolint:gosec // a blob, named by its digest
	if err != nil {
		return "", 0, err
	}
	defer file.Close()
	h := sha256.New()
	out := io.Writer(h)
	if to != nil {
		out = io.MultiWriter(h, to)
	}
	buf := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return "", size, err
		}
		n, err := file.Read(buf)
		if n > 0 {
			if _, werr := out.Write(buf[:n]); werr != nil {
				return "", size, werr
			}
			size += int64(n)
			progress(size)
		}
		switch {
		case errors.Is(err, io.EOF):
			return "sha256:" + hex.EncodeToString(h.Sum(nil)), size, nil
		case err != nil:
			return "", size, err
		}
	}
}
