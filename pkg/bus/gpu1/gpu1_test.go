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
