package metrics

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arasul/arasul/pkg/api"
)

// gpuDaemon says its last words to who connects and new ones every five seconds,
// unless it hangs or is away.
type gpuDaemon struct {
	words       api.GPUStatus
	hangs, away atomic.Bool
}

func (d *gpuDaemon) Follow(ctx context.Context, path string, each func([]byte) error, onState func(bool, error)) {
	if path != "/stream" {
		panic(path)
	}
	say := func() {
		line, err := json.Marshal(d.words)
		if err != nil {
			panic(err)
		}
		_ = each(line)
	}
	for ctx.Err() == nil {
		if !d.away.Load() {
			onState(true, nil)
			say()
		}
		for ctx.Err() == nil && !d.away.Load() {
			time.Sleep(5 * time.Second)
			if !d.hangs.Load() {
				d.words.Time = time.Now()
				say()
			}
		}
		onState(false, context.Canceled)
		time.Sleep(5 * time.Second)
	}
}

// Proves METRICS-1 and GPU-1: samples carry the GPU while somebody sees it, and
// come as punctually when nobody does.
func TestSamplesCarryTheGPUAndNeverWaitForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		daemon := &gpuDaemon{words: api.GPUStatus{Time: time.Now(), GPUs: []api.GPU{{UtilisationRatio: new(0.5)}}}}
		daemon.away.Store(true)
		gpus, db := &GPUs{Source: &source{}, Socket: daemon}, &sink{}
		ctx, cancel := context.WithCancel(t.Context())
		followed := make(chan error)
		go func() { followed <- gpus.Follow(ctx) }()
		r := New(everyFive, gpus, db, nil, slog.New(slog.DiscardHandler))
		stop := run(t, r, nothing)
		stretch := func(d time.Duration) (seen int) {
			before := db.count()
			after(d)
			for _, row := range db.rows[before:] {
				if row.GPUUtilisationRatio != nil {
					seen++
				}
			}
			return seen
		}
		if n := stretch(5*time.Minute + time.Second); n != 0 {
			t.Errorf("%d samples carry a GPU that nobody saw", n)
		}
		daemon.away.Store(false)
		if n := stretch(5 * time.Minute); n < 55 {
			t.Errorf("%d of 60 samples carry the GPU", n)
		}
		daemon.hangs.Store(true)
		stretch(time.Minute)
		if n := stretch(5 * time.Minute); n != 0 {
			t.Errorf("%d samples carry a GPU whose daemon hangs", n)
		}
		daemon.away.Store(true) // and again there, with its old words
		after(10 * time.Second)
		daemon.away.Store(false)
		if n := stretch(5 * time.Minute); n != 0 {
			t.Errorf("%d samples carry what a daemon that hangs said long ago", n)
		}
		daemon.hangs.Store(false)
		stretch(time.Minute)
		if n := stretch(5 * time.Minute); n < 59 {
			t.Errorf("%d of 60 samples carry the GPU again", n)
		}
		cancel()
		stop()
		<-followed
		checkOrder(t, db.rows)
		if s := r.Stats(); s.Dropped != 0 || s.Taken != s.Stored {
			t.Errorf("%+v", s)
		}
	})
}

func TestGPUsAreCountedTogether(t *testing.T) {
	for name, c := range map[string]struct {
		gpus []api.GPU
		want api.Sample
	}{
		"none": {},
		"one that says nothing": {
			gpus: []api.GPU{{ID: "a"}},
		},
		"two": {
			gpus: []api.GPU{
				{UtilisationRatio: new(0.25), MemoryTotalBytes: new(uint64(40)), MemoryUsedBytes: new(uint64(1)), TemperatureCelsius: new(70.0), PowerWatts: new(100.5)},
				{UtilisationRatio: new(0.75), MemoryTotalBytes: new(uint64(80)), MemoryUsedBytes: new(uint64(2)), TemperatureCelsius: new(50.0), PowerWatts: new(50.0)},
			},
			want: api.Sample{
				GPUUtilisationRatio: new(0.75), GPUMemoryTotalBytes: new(uint64(120)), GPUMemoryUsedBytes: new(uint64(3)),
				GPUTemperatureCelsius: new(70.0), GPUPowerWatts: new(150.5),
			},
		},
		"one that knows little beside one that knows all": {
			gpus: []api.GPU{
				{MemoryTotalBytes: new(uint64(40))},
				{UtilisationRatio: new(0.0), MemoryTotalBytes: new(uint64(80)), MemoryUsedBytes: new(uint64(2)), TemperatureCelsius: new(-5.0), PowerWatts: new(50.0)},
			},
			want: api.Sample{
				GPUUtilisationRatio: new(0.0), GPUMemoryTotalBytes: new(uint64(80)), GPUMemoryUsedBytes: new(uint64(2)),
				GPUTemperatureCelsius: new(-5.0), GPUPowerWatts: new(50.0),
			},
		},
	} {
		var got api.Sample
		addGPUs(&got, c.gpus)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}
