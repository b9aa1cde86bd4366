package nvml

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

const (
	maxOutput = 4 << 10
	// killGrace is how long a killed child may take to be gone. One that sits in
	// the kernel never goes.
	killGrace = 5 * time.Second
)

// SMI is NVIDIA's program nvidia-smi, which can reset a GPU.
type SMI struct {
	Path    string        // the program; "nvidia-smi" when empty
	Timeout time.Duration // for each call; one minute when zero
}

var busAddress = regexp.MustCompile(`^[0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7]$`)

// Reset resets one GPU. Every Client must be closed before: the driver refuses
// while anyone uses the GPU, and persistence mode counts as a user too, so it is
// taken away for the time.
//
// With a dead GPU nvidia-smi may never come back from the kernel, whatever is
// sent to it. Then stuck is true, the child is left behind, and nothing but a
// reboot helps.
func (s SMI) Reset(ctx context.Context, id string) (stuck bool, err error) {
	if !busAddress.MatchString(id) {
		return false, fmt.Errorf("%q is no PCI address", id)
	}
	mode, stuck, err := s.run(ctx, "--query-gpu=persistence_mode", "--format=csv,noheader", "-i", id)
	if err != nil {
		return stuck, fmt.Errorf("asking for the persistence mode: %w", err)
	}
	if strings.TrimSpace(mode) == "Enabled" {
		if _, stuck, err := s.run(ctx, "-pm", "0", "-i", id); err != nil {
			return stuck, fmt.Errorf("leaving persistence mode: %w", err)
		}
		defer func() {
			if !stuck {
				_, again, back := s.run(context.WithoutCancel(ctx), "-pm", "1", "-i", id)
				stuck = again
				if back != nil {
					err = errors.Join(err, fmt.Errorf("going back to persistence mode: %w", back))
				}
			}
		}()
	}
	if _, stuck, err = s.run(ctx, "--gpu-reset", "-i", id); err != nil {
		return stuck, fmt.Errorf("resetting: %w", err)
	}
	return false, nil
}

// run runs the program, and leaves it behind when it cannot be killed.
func (s SMI) run(ctx context.Context, args ...string) (output string, stuck bool, err error) {
	path, timeout := s.Path, s.Timeout
	if path == "" {
		path = "nvidia-smi"
	}
	if timeout == 0 {
		timeout = time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var out limited
	cmd := exec.CommandContext(ctx, path, args...) //nolint:gosec // nvidia-smi, and numbers of GPUs
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second // for grandchildren that hold the pipe
	if err := cmd.Start(); err != nil {
		return "", false, err
	}
	// Wait does not return before the kernel lets the child go.
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		select {
		case err = <-ended:
			if err != nil {
				err = fmt.Errorf("no answer within %s, then %w", timeout, err)
			}
		case <-time.After(killGrace):
			return "", true, errors.New("nvidia-smi hangs in the kernel and cannot be ended")
		}
	}
	if err != nil {
		return "", false, fmt.Errorf("%w: %s", err, strings.Join(strings.Fields(out.String()), " "))
	}
	return out.String(), false, nil
}

// limited keeps the beginning of what is written to it.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	_, _ = l.Buffer.Write(p[:min(len(p), maxOutput-min(l.Len(), maxOutput))])
	return len(p), nil
}
