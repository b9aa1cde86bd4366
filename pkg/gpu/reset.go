package gpu

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// Reset resets one GPU; an empty id means the only one. The programs that use it
// must have been stopped. It lets go of the driver first, because our own use of
// it would keep the GPU from being reset, and is done when the GPU answers again
// without asking for another recovery.
func (w *Watcher) Reset(ctx context.Context, id string) error {
	r, id, err := w.beginReset(ctx, id)
	if err != nil {
		return err
	}
	start := time.Now()
	stuck, err := r.Reset(ctx, id)
	err = w.endReset(id, stuck, err)
	message := fmt.Sprintf("done in %s", time.Since(start).Round(time.Millisecond))
	if err != nil {
		message = "did not help: " + err.Error()
	}
	w.record(api.GPUEvent{Time: start, GPU: id, Kind: api.GPUEventReset, Message: message})
	w.soon()
	return err
}

func (w *Watcher) beginReset(ctx context.Context, id string) (Resetter, string, error) {
	if err := w.tryLock(ctx); err != nil {
		return nil, "", err
	}
	defer w.unlock()
	switch {
	case w.stuck != nil:
		return nil, "", errors.New("an earlier reset hangs in the kernel: only a reboot helps")
	case w.resetting != "":
		return nil, "", fmt.Errorf("%s is being reset", w.resetting)
	case w.backend == nil:
		return nil, "", errNoGPU
	case w.backend.Resetter == nil:
		return nil, "", errors.New("this GPU is part of the processor and cannot be reset by itself: restart the units that use it")
	case id == "" && len(w.gpus) != 1:
		return nil, "", fmt.Errorf("%d GPUs: say which", len(w.gpus))
	case id == "":
		id = w.gpus[0].ID
	}
	var found bool
	for _, g := range w.gpus {
		if g.ID != id {
			continue
		}
		found = true
		if len(g.Processes) > 0 {
			var pids []string
			for _, p := range g.Processes {
				pids = append(pids, fmt.Sprint(p.PID))
			}
			return nil, "", fmt.Errorf("%s is in use by %s: stop that first", id, strings.Join(pids, ", "))
		}
	}
	if !found {
		return nil, "", fmt.Errorf("no GPU %q", id)
	}
	r := w.backend.Resetter
	w.letGo()
	w.resetting, w.reason = id, id+" is being reset"
	return r, id, nil
}

// endReset opens the driver again and looks whether the reset helped.
func (w *Watcher) endReset(id string, stuck bool, failure error) error {
	w.lock()
	defer w.unlock()
	w.resetting = ""
	if stuck {
		w.reason = "the reset of " + id + " hangs in the kernel: only a reboot helps"
		w.stuck = &api.GPUProblem{
			GPU: id, Kind: api.GPUFault, Level: api.GPUCritical, Since: time.Now(),
			Recovery: api.RecoverReboot, Message: w.reason,
		}
		return failure
	}
	w.probed = time.Now()
	w.open()
	if failure != nil {
		return failure
	}
	if w.backend == nil {
		return fmt.Errorf("no GPU after the reset: %s", w.reason)
	}
	gpus, err := w.backend.Sample()
	if err != nil {
		return fmt.Errorf("after the reset: %w", err)
	}
	w.gpus = gpus
	for _, g := range gpus {
		if g.ID != id {
			continue
		}
		if g.Recovery != "" && g.Recovery != api.RecoverNothing {
			return fmt.Errorf("after the reset the driver asks for another recovery: %s", g.Recovery)
		}
		delete(w.histories, id)
		return nil
	}
	return fmt.Errorf("%s is not there after the reset", id)
}
