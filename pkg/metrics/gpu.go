package metrics

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// gpuValid is how long what the GPU daemon said stands for now: it looks every
// five seconds, and one look may be lost.
const gpuValid = 15 * time.Second

// Follower keeps a stream of JSON lines open until ctx ends; onState tells when
// it opens and when it breaks.
type Follower interface {
	Follow(ctx context.Context, path string, each func(line []byte) error, onState func(connected bool, err error))
}

// GPUs is a Source that adds what the GPU daemon said last to the samples of
// another. It never waits for that daemon: one that hangs, or is not there,
// leaves the fields absent. Set Source and Socket, have Follow run, and use it as
// a Source.
type GPUs struct {
	Source
	Socket Follower // of the GPU daemon

	mu     sync.Mutex
	newest api.GPUStatus
	heard  time.Time // when that came in
}

// Follow listens to the GPU daemon until ctx ends.
func (g *GPUs) Follow(ctx context.Context) error {
	g.Socket.Follow(ctx, "/stream", func(line []byte) error {
		var s api.GPUStatus
		if err := json.Unmarshal(line, &s); err != nil {
			return err
		}
		g.hear(s, time.Now())
		return nil
	}, func(bool, error) {}) // what is no longer said grows old by itself
	return ctx.Err()
}

// hear takes what the GPU daemon says. Who connects hears its last words again,
// be they an hour old because its driver hangs.
func (g *GPUs) hear(s api.GPUStatus, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if age := now.Sub(s.Time).Abs(); age <= gpuValid {
		g.newest, g.heard = s, now
	}
}

// Sample implements Source.
func (g *GPUs) Sample(now time.Time) (api.Sample, error) {
	s, err := g.Source.Sample(now)
	if err != nil {
		return s, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.Sub(g.heard) <= gpuValid {
		addGPUs(&s, g.newest.GPUs)
	}
	return s, nil
}

// addGPUs puts all GPUs together: the most of utilisation and temperature, the
// sum of memory and power. Memory counts where both size and use are known, so
// that one may be divided by the other.
func addGPUs(s *api.Sample, gpus []api.GPU) {
	for _, g := range gpus {
		s.GPUUtilisationRatio = most(s.GPUUtilisationRatio, g.UtilisationRatio)
		s.GPUTemperatureCelsius = most(s.GPUTemperatureCelsius, g.TemperatureCelsius)
		s.GPUPowerWatts = sum(s.GPUPowerWatts, g.PowerWatts)
		if g.MemoryTotalBytes != nil && g.MemoryUsedBytes != nil {
			s.GPUMemoryTotalBytes = sum(s.GPUMemoryTotalBytes, g.MemoryTotalBytes)
			s.GPUMemoryUsedBytes = sum(s.GPUMemoryUsedBytes, g.MemoryUsedBytes)
		}
	}
}

// most is the larger of two numbers, of which either may be unknown.
func most(a, b *float64) *float64 {
	if a == nil || b != nil && *b > *a {
		return b
	}
	return a
}

// sum adds two numbers, of which either may be unknown.
func sum[N uint64 | float64](a, b *N) *N {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return new(*a + *b)
}
