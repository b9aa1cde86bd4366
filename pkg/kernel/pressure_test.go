package kernel

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

func TestAlarmWantsAStallWithinAWindow(t *testing.T) {
	for _, c := range []struct{ stall, window time.Duration }{
		{0, time.Second}, {-1, time.Second}, {3 * time.Second, 2 * time.Second},
		{time.Millisecond, 100 * time.Millisecond}, {time.Second, 11 * time.Second},
	} {
		err := WatchPressure(t.Context(), "/nowhere", c.stall, c.window, nil)
		if err == nil || errors.Is(err, ErrAbsent) {
			t.Errorf("%v in %v: %v", c.stall, c.window, err)
		}
	}
}

func TestKernelWithoutPressureIsAbsent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/nowhere/pressure/memory", file + "/memory"} {
		if err := WatchPressure(t.Context(), path, time.Second, 2*time.Second, nil); !errors.Is(err, ErrAbsent) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// The real kernel rings when more wants to run than there are processors.
func TestAlarmRings(t *testing.T) {
	const path = "/proc/pressure/cpu"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	rung := make(chan struct{}, 100)
	done := make(chan error, 1)
	go func() {
		done <- WatchPressure(ctx, path, time.Millisecond, 2*time.Second, func() { rung <- struct{}{} })
	}()

	threads := 4 * runtime.NumCPU()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(threads))
	for range threads {
		go func() {
			for ctx.Err() == nil { // burn
			}
		}()
	}
	select {
	case err := <-done:
		if errors.Is(err, ErrAbsent) || errors.Is(err, ErrNotAllowed) {
			t.Skip(err)
		}
		t.Fatal(err)
	case <-rung:
	case <-time.After(30 * time.Second):
		t.Fatal("no alarm")
	}
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("WatchPressure does not end")
	}
}

func TestQuietAlarmEndsAtOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- WatchPressure(ctx, "/proc/pressure/memory", 2*time.Second, 2*time.Second, func() {})
	}()
	select {
	case err := <-done:
		t.Skip(err)
	case <-time.After(50 * time.Millisecond): // it waits
	}
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("WatchPressure does not end")
	}
}

func TestAlarmThatNeedsMoreThanWeMayIsSaidSo(t *testing.T) {
	err := WatchPressure(alreadyOver(t), "/proc/pressure/cpu", time.Millisecond, time.Second, nil)
	switch {
	case errors.Is(err, ErrAbsent), errors.Is(err, context.Canceled): // no PSI here, or we may
		t.Skip(err)
	case !errors.Is(err, ErrNotAllowed):
		t.Error(err)
	}
}

func alreadyOver(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
