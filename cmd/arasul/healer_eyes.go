package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/client"
	"github.com/arasul/arasul/pkg/daemon"
	"github.com/arasul/arasul/pkg/heal"
	"github.com/arasul/arasul/pkg/host"
	"github.com/arasul/arasul/pkg/kernel"
	"github.com/arasul/arasul/pkg/ollama"
	"github.com/arasul/arasul/pkg/postgres"
	"github.com/arasul/arasul/pkg/probe"
)

// The healer looks at the machine itself, this often: it must not depend on the
// daemons that it repairs. The GPUs are the exception, because their driver may
// take the one who asks it down.
const (
	lookEvery = 5 * time.Second
	gpuWithin = 300 * time.Millisecond
)

// machine is the healer's eye on host and GPUs.
type machine struct {
	sampler *host.Sampler
	gpu     *client.Client
	early   chan struct{} // look now: something was noticed
	hasGPU  atomic.Bool
}

func newMachine() *machine {
	return &machine{
		sampler: host.New(host.Options{Interval: lookEvery}),
		gpu:     client.New(gpuSocket),
		early:   make(chan struct{}, 1),
	}
}

// watch reports readings until ctx ends.
func (m *machine) watch(ctx context.Context, report func(heal.Observation)) error {
	defer m.sampler.Close()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		now := time.Now()
		var look *api.Sample
		if sample, err := m.sampler.Sample(now); err == nil {
			look = &sample
		}
		report(heal.Observation{At: now, Readings: heal.Readings(now, look, m.lookAtGPUs(ctx))})
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-m.early:
		}
	}
}

func (m *machine) lookAtGPUs(ctx context.Context) *api.GPUStatus {
	ctx, cancel := context.WithTimeout(ctx, gpuWithin)
	defer cancel()
	var s api.GPUStatus
	if err := m.gpu.GetJSON(ctx, "/live", &s); err != nil || time.Since(s.Time) > 3*lookEvery {
		return nil // what is not known is not acted upon
	}
	m.hasGPU.Store(len(s.GPUs) > 0)
	return &s
}

// senses are what the healer notices by itself. A machine may lack any of them:
// a container has no kernel log, an old kernel asks more for its alarms than we have.
func senses(eye *machine, log *slog.Logger) map[string]heal.Sense {
	ear := kernel.Log{File: daemon.File("kmsg")}
	return map[string]heal.Sense{
		"machine": eye.watch,
		"kernel log": lenient("kernel log", log, func(ctx context.Context, report func(heal.Observation)) error {
			return ear.Watch(ctx, func(e api.KernelEvent) {
				report(heal.Observation{At: time.Now(), Kernel: []api.KernelEvent{e}})
			})
		}),
		"memory pressure": lenient("memory pressure", log, eye.alarm("/proc/pressure/memory")),
		"io pressure":     lenient("io pressure", log, eye.alarm("/proc/pressure/io")),
	}
}

// lenient is a sense that may be missing.
func lenient(name string, log *slog.Logger, sense heal.Sense) heal.Sense {
	return func(ctx context.Context, report func(heal.Observation)) error {
		err := sense(ctx, report)
		if errors.Is(err, kernel.ErrAbsent) || errors.Is(err, kernel.ErrNotAllowed) || errors.Is(err, fs.ErrPermission) {
			log.Info("this machine lacks a sense", "reason", name, "err", err)
			<-ctx.Done()
			return ctx.Err()
		}
		return err
	}
}

// alarm makes the machine be looked at as soon as work waits for a tenth of two
// seconds.
func (m *machine) alarm(path string) heal.Sense {
	return func(ctx context.Context, _ func(heal.Observation)) error {
		return kernel.WatchPressure(ctx, path, 200*time.Millisecond, 2*time.Second, func() {
			select {
			case m.early <- struct{}{}:
			default:
			}
		})
	}
}

// probes are the looks of HEAL-9, by unit.
func probes(db *postgres.DB, llm, embeddings *ollama.Client, hasGPU func() bool) map[string]heal.Probe {
	return map[string]heal.Probe{
		"arasul-postgres.service":   db.Probe,
		"arasul-proxy.service":      probe.Proxy("127.0.0.1:80"),
		"arasul-dashboard.service":  probe.Dashboard(dashboardSocket),
		"arasul-metrics.service":    probe.Metrics(metricsSocket),
		"arasul-ai.service":         probe.Gateway(aiSocket),
		"arasul-n8n.service":        probe.N8N("127.0.0.1:5678"),
		"arasul-minio.service":      probe.MinIO("127.0.0.1:9000"),
		"arasul-llm.service":        llm.Probe(hasGPU),
		"arasul-embeddings.service": embeddings.Probe(hasGPU),
	}
}

// boot says which run of the kernel this is, and when it began. The id is empty
// when it cannot be read.
func boot() (id string, since time.Time) {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	var up unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &up) != nil {
		return "", time.Now()
	}
	return strings.TrimSpace(string(text)), time.Now().Add(-time.Duration(up.Nano()))
}
