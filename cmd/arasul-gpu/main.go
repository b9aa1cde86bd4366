// Command arasul-gpu watches the GPUs, says what it sees on its socket, and
// holds them back or resets one when the healer asks over D-Bus.
//
// It is a program of its own because NVIDIA's library needs cgo, and because
// that library can take its process along: no other daemon loads it. It must be
// linked with -z lazy, see debian/rules.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/bus/gpu1"
	"github.com/arasul/arasul/pkg/daemon"
	"github.com/arasul/arasul/pkg/gpu"
	"github.com/arasul/arasul/pkg/jetson"
	"github.com/arasul/arasul/pkg/nvml"
)

const (
	socketPath = "/run/arasul/gpu/gpu.sock"
	capsPath   = "/var/lib/arasul/gpu/caps.json"
)

func main() { daemon.Main("gpu", run) }

func run(ctx context.Context, d *daemon.Daemon) error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return fmt.Errorf("reading boot id: %w", err)
	}
	w := gpu.New(gpu.Options{
		Jetson: openJetson,
		NVML:   openNVML,
		Path:   capsPath,
		Boot:   strings.TrimSpace(string(boot)),
		Log:    d.Log,
	})
	socket, err := daemon.ListenUnix(socketPath, 0o660)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		said := ""
		return w.Run(ctx, func() {
			d.Alive()
			if line := summary(w.Status()); line != said {
				d.Status(line)
				said = line
			}
		})
	})
	g.Go(func() error { return gpu1.Serve(ctx, w, d.Log) })
	g.Go(func() error { return daemon.Serve(ctx, socket, w.Handler()) })
	d.Ready("looking for a GPU")
	return g.Wait()
}

// summary is the line that systemctl status shows.
func summary(s api.GPUStatus) string {
	switch {
	case s.Backend == api.GPUNone:
		return "no GPU: " + s.Reason
	case len(s.Problems) > 0:
		return s.Problems[0].GPU + ": " + s.Problems[0].Message
	default:
		return fmt.Sprintf("watching %d GPUs through %s", len(s.GPUs), s.Backend)
	}
}

func openJetson() (*gpu.Backend, error) {
	b, err := jetson.Open("/")
	if err != nil {
		return nil, err
	}
	return &gpu.Backend{Sampler: b, Limiter: b}, nil
}

func openNVML() (*gpu.Backend, error) {
	c, err := nvml.Open(nvml.Library())
	if err != nil {
		return nil, err
	}
	return &gpu.Backend{Sampler: c, Limiter: c, Events: c, Resetter: nvml.SMI{}}, nil
}
