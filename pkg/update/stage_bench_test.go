package update

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/arasul/arasul/pkg/bundle"
	"github.com/arasul/arasul/pkg/stable"
)

// benchBytes is the payload of the release that is received.
const benchBytes = 512 << 20

// benchPayload is a file of random bytes.
func benchPayload(b *testing.B, name string) {
	b.Helper()
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if _, err := io.CopyN(f, rand.NewChaCha8([32]byte{}), benchBytes); err != nil {
		b.Fatal(err)
	}
}

// benchRelease writes a release with the payload in it, and returns its key.
func benchRelease(b *testing.B, name, payload string) bundle.Key {
	b.Helper()
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	key, err := bundle.PublicKey(private.Public())
	if err != nil {
		b.Fatal(err)
	}
	part, err := os.Open(payload)
	if err != nil {
		b.Fatal(err)
	}
	defer part.Close()
	d := &bundle.Draft{
		Manifest: bundle.Manifest{
			Release:  bundle.Release{Version: "1.0", Sequence: 1, Built: time.Unix(1, 0)},
			Requires: bundle.Requires{Arch: []string{"amd64"}, OS: []string{"debian:12"}},
			Data:     bundle.Data{Class: bundle.Compatible},
			Payloads: []bundle.Payload{{Kind: bundle.Deb, Name: "a.deb", Package: "arasul", Version: "1.0", Arch: "amd64"}},
		},
		Parts: []io.ReadSeeker{part},
	}
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	signed(b, d, private, f)
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return key
}

// BenchmarkReceive checks and stores a release durably, beside the usual commands for
// the same job, sha256sum, cp and sync, and beside RAUC, which does it for a slot.
func BenchmarkReceive(b *testing.B) {
	dir := b.TempDir()
	payload, file := filepath.Join(dir, "payload.img"), filepath.Join(dir, "release")
	benchPayload(b, payload)
	key := benchRelease(b, file, payload)
	b.Run("ours", func(b *testing.B) {
		b.SetBytes(benchBytes)
		for range b.N {
			s := &Stage{
				Dir:   filepath.Join(dir, "stage"),
				Free:  func() (int64, error) { return stable.Free(dir) },
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
			shell(b, dir, `sha256sum release && cp release copy && sync copy && rm copy`)
		}
	})
	b.Run("rauc", func(b *testing.B) {
		if _, err := exec.LookPath("rauc"); err != nil {
			b.Skip("this host has no RAUC; `make bench` installs it")
		}
		installs := raucSlot(b, dir)
		b.SetBytes(benchBytes)
		for b.Loop() {
			shell(b, dir, installs)
		}
	})
}

func shell(b *testing.B, dir, script string) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), "sh", "-ec", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%s: %v: %s", script, err, out)
	}
}

// raucSlot makes a RAUC bundle of payload.img and a slot to install it into, both
// files, starts RAUC's daemon on a bus of its own, and returns the command that
// installs. It is the format that reads the bundle once, as ours does.
func raucSlot(b *testing.B, dir string) (install string) {
	b.Helper()
	for name, text := range map[string]string{
		"in/manifest.raucm": "[update]\ncompatible=bench\nversion=1\n[image.rootfs]\nfilename=payload.img\n",
		"system.conf": `[system]
compatible=bench
bootloader=noop
mountprefix=@/mnt
statusfile=@/status
activate-installed=false
[keyring]
path=@/cert.pem
[slot.rootfs.0]
device=@/slot0
type=raw
bootname=a
[slot.rootfs.1]
device=@/slot1
type=raw
bootname=b
`,
		"bus.conf": `<busconfig><type>system</type><listen>unix:path=@/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/><allow user="*"/></policy></busconfig>`,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "@", dir)), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	shell(b, dir, fmt.Sprintf(`mkdir -p mnt; truncate -s %d slot0 slot1; ln payload.img in/payload.img
		openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=bench -days 1
		rauc bundle --cert=cert.pem --key=key.pem in bench.raucb`, benchBytes))
	background(b, dir, nil, "dbus-daemon", "--nofork", "--config-file="+filepath.Join(dir, "bus.conf"))
	bus := "DBUS_SYSTEM_BUS_ADDRESS=unix:path=" + filepath.Join(dir, "bus")
	shell(b, dir, `for i in $(seq 100); do [ -S bus ] && exit; sleep 0.05; done; exit 1`)
	background(b, dir, []string{bus}, "rauc", "--conf=system.conf", "--override-boot-slot=a", "service")
	shell(b, dir, `for i in $(seq 100); do `+bus+` timeout 2 rauc status >/dev/null 2>&1 && exit; sleep 0.05; done; exit 1`)
	return bus + ` rauc install "$PWD/bench.raucb" && sync slot1`
}

// background runs a program until the benchmark ends.
func background(b *testing.B, dir string, env []string, args ...string) {
	b.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(b.Context()))
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { stop(); _ = cmd.Wait() })
}
