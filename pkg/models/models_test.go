package models

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func none(int64, int64) {}

// folder makes one with a model of two blobs.
func folder(t *testing.T) Folder {
	t.Helper()
	f := Folder{Path: t.TempDir(), UID: os.Getuid(), GID: os.Getgid()}
	put := func(name, text string) {
		t.Helper()
		path := filepath.Join(f.Path, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var blobs []blob
	for _, text := range []string{"weights", "config"} {
		sum := sha256.Sum256([]byte(text))
		d := hex.EncodeToString(sum[:])
		put("blobs/sha256-"+d, text)
		blobs = append(blobs, blob{"sha256:" + d, int64(len(text))})
	}
	manifest, err := json.Marshal(map[string]any{"layers": blobs[:1], "config": blobs[1]})
	if err != nil {
		t.Fatal(err)
	}
	put("manifests/registry.ollama.ai/library/tiny/latest", string(manifest))
	return f
}

func only(t *testing.T, f Folder) Model {
	t.Helper()
	all, err := f.List()
	if err != nil || len(all) != 1 || all[0].Name != "tiny:latest" || all[0].Bytes() != 13 {
		t.Fatalf("%+v, %v", all, err)
	}
	return all[0]
}

func TestAModelIsCopiedAndWhole(t *testing.T) {
	from := folder(t)
	to := Folder{Path: filepath.Join(t.TempDir(), "models"), UID: os.Getuid(), GID: os.Getgid()}
	last := int64(0)
	if err := to.Copy(t.Context(), from, only(t, from), func(done, _ int64) { last = done }); err != nil {
		t.Fatal(err)
	}
	if err := to.Verify(t.Context(), only(t, to), none); err != nil || last != 13 {
		t.Errorf("%v, progress %d", err, last)
	}
}

func TestADamagedModelIsFoundAndReplaced(t *testing.T) {
	kept, f := folder(t), folder(t)
	m := only(t, f)
	for name, spoil := range map[string]func(path string) error{
		"a bit":     func(p string) error { return os.WriteFile(p, []byte("weighty"), 0o644) },
		"cut short": func(p string) error { return os.Truncate(p, 3) },
		"hollow":    func(p string) error { return os.Truncate(p, 0) },
		"missing":   os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			if err := spoil(f.blobPath(m.blobs[0].Digest)); err != nil {
				t.Fatal(err)
			}
			if err := f.Verify(t.Context(), m, none); !errors.Is(err, ErrDamaged) {
				t.Fatalf("not found: %v", err)
			}
			if _, err := f.SetAside(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			if err := f.Copy(t.Context(), kept, m, none); err != nil {
				t.Fatal(err)
			}
			if err := f.Verify(t.Context(), m, none); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestADamagedModelIsNotCopied(t *testing.T) {
	from := folder(t)
	m := only(t, from)
	if err := os.WriteFile(from.blobPath(m.blobs[0].Digest), []byte("weighty"), 0o644); err != nil {
		t.Fatal(err)
	}
	to := Folder{Path: t.TempDir(), UID: os.Getuid(), GID: os.Getgid()}
	if err := to.Copy(t.Context(), from, m, none); !errors.Is(err, ErrDamaged) {
		t.Errorf("copied: %v", err)
	}
	if all, err := to.List(); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
	if left, _ := filepath.Glob(filepath.Join(to.Path, "blobs", "*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestManifestsThatAreDamagedAreNamed(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":     "{",
		"a path":      `{"layers": [{"digest": "sha256:../../../etc/shadow", "size": 1}], "config": {"digest": "sha256:` + strings.Repeat("a", 64) + `"}}`,
		"less than 0": `{"layers": [], "config": {"digest": "sha256:` + strings.Repeat("a", 64) + `", "size": -1}}`,
		"too large":   `{"x": "` + strings.Repeat("a", maxManifest) + `"}`,
	} {
		f := folder(t)
		if err := os.WriteFile(filepath.Join(f.Path, "manifests/registry.ollama.ai/library/tiny/bad"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		all, err := f.List()
		if err == nil || !strings.Contains(err.Error(), "tiny:bad") || len(all) != 1 {
			t.Errorf("%s: %d models, %v", name, len(all), err)
		}
	}
}

func TestReadingEndsWithItsContext(t *testing.T) {
	f := folder(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Verify(ctx, only(t, f), none); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
