package update

import (
	"bytes"
	"crypto/ed25519"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/arasul/arasul/pkg/bundle"
)

// benchBytes is the payload of the release that is received.
const benchBytes = 512 << 20

// benchRelease writes a release with random bytes in it, and returns its key.
func benchRelease(b *testing.B, name string) bundle.Key {
	b.Helper()
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	key, err := bundle.PublicKey(private.Public())
	if err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, benchBytes)
	_, _ = rand.NewChaCha8([32]byte{}).Read(payload)
	d := &bundle.Draft{
		Manifest: bundle.Manifest{
			Release:  bundle.Release{Version: "1.0", Sequence: 1, Built: time.Unix(1, 0)},
			Requires: bundle.Requires{Arch: []string{"amd64"}, OS: []string{"debian:12"}},
			Data:     bundle.Data{Class: bundle.Compatible},
			Payloads: []bundle.Payload{{Kind: bundle.Deb, Name: "a.deb", Package: "arasul", Version: "1.0", Arch: "amd64"}},
		},
		Parts: []io.ReadSeeker{bytes.NewReader(payload)},
	}
	text, err := d.Seal()
	if err != nil {
		b.Fatal(err)
	}
	s, err := bundle.Sign(private, bundle.ToBeSigned(text))
	if err != nil {
		b.Fatal(err)
	}
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	if err := d.Write(f, []bundle.Signature{s}); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return key
}

// BenchmarkReceive checks and stores a release durably, beside the usual commands for
// the same job: sha256sum, cp and sync.
func BenchmarkReceive(b *testing.B) {
	dir := b.TempDir()
	file := filepath.Join(dir, "release")
	key := benchRelease(b, file)
	b.Run("ours", func(b *testing.B) {
		b.SetBytes(benchBytes)
		for range b.N {
			s := &Stage{
				Dir:   filepath.Join(dir, "stage"),
				Trust: func() (*bundle.Root, error) { return bundle.Bootstrap(key), nil },
				Keep:  func([]*bundle.Root) error { return nil },
				Judge: func(*bundle.Verified) error { return nil },
			}
			f, err := os.Open(file)
			if err != nil {
				b.Fatal(err)
			}
			info, err := f.Stat()
			if err != nil {
				b.Fatal(err)
			}
			if err := s.Receive(b.Context(), info.Size(), 0, f); err != nil {
				b.Fatal(err)
			}
			if at := s.get(); !at.complete() {
				b.Fatalf("%d chunks of %d", at.chunks, at.Chunks())
			}
			_ = f.Close()
			if err := s.Forget(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("sha256sum-cp-sync", func(b *testing.B) {
		b.SetBytes(benchBytes)
		for range b.N {
			if out, err := exec.Command("sh", "-c", `sha256sum "$0" && cp "$0" "$1" && sync "$1" && rm "$1"`, file, filepath.Join(dir, "copy")).CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
		}
	})
}
