package gpu1

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/systemd/testbus"
)

// gpu remembers what it was asked.
type gpu struct{ asked chan string }

func (gpu) Status() api.GPUStatus {
	return api.GPUStatus{Backend: api.GPUJetson, GPUs: []api.GPU{{ID: "17000000.gpu"}}}
}

func (g gpu) CapClocks(_ context.Context, level api.GPUCapLevel) error {
	g.asked <- "cap " + string(level)
	return nil
}

func (g gpu) UncapClocks(context.Context) error {
	g.asked <- "uncap"
	return nil
}

func (g gpu) Reset(_ context.Context, id string) error {
	g.asked <- "reset " + id
	return errors.New("this GPU is part of the processor")
}

// Proves GPU-3.
func TestWhatIsAskedOverTheBusArrives(t *testing.T) {
	testbus.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	g := gpu{make(chan string, 1)}
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, g, slog.New(slog.DiscardHandler)) }()
	defer func() {
		cancel()
		if err := <-served; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	var c Client
	var s api.GPUStatus
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if s, err = c.Status(t.Context()); err == nil {
			break // it has taken its name
		}
	}
	if err != nil || s.Backend != api.GPUJetson || len(s.GPUs) != 1 {
		t.Fatalf("%+v, %v", s, err)
	}
	for want, ask := range map[string]func() error{
		"cap deep": func() error { return c.CapClocks(t.Context(), api.CapDeep) },
		"uncap":    func() error { return c.UncapClocks(t.Context()) },
	} {
		if err := ask(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, <-g.asked); diff != "" {
			t.Error(diff)
		}
	}
	err = c.Reset(t.Context(), "17000000.gpu")
	if err == nil || !strings.Contains(err.Error(), "part of the processor") || <-g.asked != "reset 17000000.gpu" {
		t.Errorf("the reason did not arrive: %v", err)
	}
}

func TestNobodyOnTheBusIsAnError(t *testing.T) {
	testbus.New(t)
	if err := (Client{}).UncapClocks(t.Context()); err == nil {
		t.Error("no error")
	}
}

// A driver in trouble takes minutes, a bus in trouble for ever: who asks says
// how long he waits.
func TestCallsEndWithTheCallersContext(t *testing.T) {
	bus := testbus.New(t)
	hang := make(chan struct{})
	served := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	g := slow{gpu{make(chan string, 1)}, hang}
	go func() { served <- Serve(ctx, g, slog.New(slog.DiscardHandler)) }()
	defer func() { cancel(); <-served }()
	var c Client
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if _, err := c.Status(t.Context()); err == nil {
			break
		}
	}
	for name, call := range map[string]func(context.Context) error{
		"reset": func(ctx context.Context) error { return c.Reset(ctx, "") },
		"cap":   func(ctx context.Context) error { return c.CapClocks(ctx, api.CapLight) },
		"uncap": c.UncapClocks,
	} {
		if name != "reset" {
			bus.Freeze()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		begin := time.Now()
		if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got %v", name, err)
		}
		if d := time.Since(begin); d > 2*time.Second {
			t.Errorf("%s: waited %s", name, d)
		}
		cancel()
		if name != "reset" {
			bus.Thaw()
		}
	}
	close(hang)
}

// slow is a GPU whose reset hangs.
type slow struct {
	gpu
	hang chan struct{}
}

func (s slow) Reset(ctx context.Context, _ string) error {
	select {
	case <-s.hang:
	case <-ctx.Done():
	}
	return nil
}
