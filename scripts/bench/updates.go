package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/bundle"
	"github.com/arasul/arasul/pkg/client"
)

const (
	updaterSocket = "/run/arasul/updater.sock"
	benchKey      = "/etc/arasul/update-keys/bench.pem"
	hugeRelease   = 10 << 30
	benchSlice    = 16 << 20 // as the page and a stick send it
)

var received = regexp.MustCompile(`(?m)^BenchmarkReceive/(\S+?)(?:-\d+)?\s+\d+\s+[\d.]+ ns/op\s+([\d.]+) MB/s`)

// receiving checks and stores a release beside others that do the same.
func receiving(ctx context.Context, _ *host) (table, error) {
	t := table{Head: []string{"512 MiB checked and stored durably", "MB/s", "ratio"}}
	out, err := run(ctx, nil, "go", "test", "-run=^$", "-bench=^BenchmarkReceive$", "-benchtime=5x", "./pkg/update")
	if err != nil {
		return t, fmt.Errorf("%w: %s", err, out)
	}
	found := received.FindAllStringSubmatch(out, -1)
	if len(found) == 0 || found[0][1] != "ours" {
		return t, fmt.Errorf("no figure of BenchmarkReceive in %q", out)
	}
	ours, _ := strconv.ParseFloat(found[0][2], 64)
	for _, m := range found {
		rate, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			return t, err
		}
		t.row(m[1], fmt.Sprintf("%.0f", rate), fmt.Sprintf("%.2f", ours/rate))
	}
	t.note("Random bytes, five times each. RAUC installs a plain bundle into a slot that is a file, signed with RSA 2048.")
	return t, nil
}

// upload sends the updater a release of 10 GiB of nothing, and looks how large its
// process became.
func upload(ctx context.Context) (table, error) {
	t := table{Head: []string{"figure", "value"}}
	private := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return t, err
	}
	if err := os.WriteFile(benchKey, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o644); err != nil {
		return t, err
	}
	defer os.Remove(benchKey)
	sparse, err := os.Create(insideDir + "/sparse")
	if err != nil {
		return t, err
	}
	defer sparse.Close()
	if err := sparse.Truncate(hugeRelease); err != nil {
		return t, err
	}
	d := &bundle.Draft{
		Manifest: bundle.Manifest{
			Release:  bundle.Release{Version: "99.0", Sequence: 1 << 20, Built: time.Now().UTC().Truncate(time.Second)},
			Requires: bundle.Requires{Arch: []string{"amd64", "arm64"}, OS: []string{"debian:12"}},
			Data:     bundle.Data{Class: bundle.Compatible},
			Payloads: []bundle.Payload{
				{Kind: bundle.Deb, Name: "a.deb", Package: "arasul", Version: "99.0", Arch: runtime.GOARCH},
				{Kind: bundle.Image, Name: "n8n.oci", Application: "n8n", ImageID: "sha256:" + strings.Repeat("0", 64)},
			},
		},
		Parts: []io.ReadSeeker{strings.NewReader("a package"), sparse},
	}
	text, err := d.Seal()
	if err != nil {
		return t, err
	}
	signature, err := bundle.Sign(private, bundle.ToBeSigned(text))
	if err != nil {
		return t, err
	}
	var size counter
	if err := d.Write(&size, []bundle.Signature{signature}); err != nil {
		return t, err
	}

	c := client.New(updaterSocket)
	if err := c.Call(ctx, http.MethodGet, "/status", nil, &api.Update{}); err != nil { // starts it
		return t, err
	}
	before, err := updaterPeak(ctx)
	if err != nil {
		return t, err
	}
	from, to := io.Pipe()
	go func() { to.CloseWithError(d.Write(to, []bundle.Signature{signature})) }()
	begin := time.Now()
	err = send(ctx, c, from, int64(size))
	_ = from.CloseWithError(errors.New("over"))
	if err != nil {
		return t, err
	}
	took := time.Since(begin)
	after, err := updaterPeak(ctx)
	if err != nil {
		return t, err
	}
	t.row("resident memory of arasul-updater, most, before", mb(before))
	t.row("and after 10 GiB were received", mb(after))
	t.row("received", fmt.Sprintf("%.0f MB/s", float64(size)/1e6/took.Seconds()))
	return t, c.Call(ctx, http.MethodDelete, "/stage", nil, nil)
}

// counter counts what is written.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// send sends slices. Of each the updater keeps whole chunks, and what is left of it
// begins the next.
func send(ctx context.Context, c *client.Client, r io.Reader, size int64) error {
	var staged api.StagedBundle
	buffer, held := make([]byte, benchSlice), 0
	for at := int64(0); at < size; {
		n, err := io.ReadFull(r, buffer[held:])
		if held += n; err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		if err := c.Send(ctx, fmt.Sprintf("/stage?size=%d&offset=%d", size, at), bytes.NewReader(buffer[:held]), &staged); err != nil {
			return err
		}
		kept := staged.ReceivedBytes - at
		if kept <= 0 || kept > int64(held) {
			return fmt.Errorf("%d bytes were received after %d", staged.ReceivedBytes, at)
		}
		held = copy(buffer, buffer[kept:held])
		at = staged.ReceivedBytes
	}
	return nil
}

// updaterPeak is the most resident memory that the process has had, in bytes.
func updaterPeak(ctx context.Context) (uint64, error) {
	pid, err := command(ctx, "systemctl", "show", "--value", "--property=MainPID", "arasul-updater.service")
	if err != nil {
		return 0, err
	}
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kB, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kB * 1024, err
		}
	}
	return 0, errors.New("the process has no VmHWM")
}
