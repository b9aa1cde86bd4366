package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/bus/gpu1"
	"github.com/arasul/arasul/pkg/heal"
	"github.com/arasul/arasul/pkg/ollama"
	"github.com/arasul/arasul/pkg/systemd"
)

// hands are what the healer can do, by action.
func hands(units *systemd.Hands, llms map[string]*ollama.Client) map[string]heal.Hand {
	unit := func(f func(context.Context, string) error) heal.Hand {
		return func(ctx context.Context, c heal.Command) error { return f(ctx, c.Unit) }
	}
	oneshot := func(name string) heal.Hand {
		return func(ctx context.Context, _ heal.Command) error { return units.Run(ctx, name) }
	}
	llm := func(f func(*ollama.Client, context.Context) error) heal.Hand {
		return func(ctx context.Context, c heal.Command) error {
			client := llms[c.Unit]
			if client == nil {
				return fmt.Errorf("%s is no language model", c.Unit)
			}
			return f(client, ctx)
		}
	}
	return map[string]heal.Hand{
		heal.ActionRestart:   unit(units.Restart),
		heal.ActionStopStart: unit(units.StopStart),
		heal.ActionStart:     unit(units.Start),
		heal.ActionStop:      unit(units.Stop),
		heal.ActionPause:     unit(units.Pause),
		heal.ActionResume:    unit(units.Resume),
		heal.ActionForget:    unit(units.ForgetFailures),
		heal.ActionUnload:    llm((*ollama.Client).Unload),
		heal.ActionReset:     llm((*ollama.Client).ResetSession),
		heal.ActionCleanup:   oneshot(cleanupUnit),
		heal.ActionVacuum:    oneshot("arasul-vacuum.service"),
		heal.ActionCap: func(ctx context.Context, c heal.Command) error {
			return gpu1.Client{}.CapClocks(ctx, api.GPUCapLevel(c.Level))
		},
		heal.ActionUncap: func(ctx context.Context, _ heal.Command) error { return gpu1.Client{}.UncapClocks(ctx) },
		heal.ActionHardRestart: func(ctx context.Context, c heal.Command) error {
			return units.HardRestart(ctx, c.Units)
		},
		heal.ActionResetGPU: func(ctx context.Context, c heal.Command) error { return resetGPU(ctx, units, c.Units) },
		heal.ActionReboot: func(ctx context.Context, c heal.Command) error {
			_, err := units.Reboot(ctx, c.Reason)
			return err
		},
	}
}

// startWithin is how long the users of a GPU may take to start again.
const startWithin = 2 * time.Minute

// resetGPU stops those who use the GPU, because nothing may while it is reset,
// and starts them again in any case.
func resetGPU(ctx context.Context, units *systemd.Hands, users []string) error {
	var errs []error
	for _, user := range slices.Backward(users) {
		errs = append(errs, units.Stop(ctx, user))
	}
	if errors.Join(errs...) == nil {
		errs = append(errs, gpu1.Client{}.Reset(ctx, ""))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), startWithin)
	defer cancel()
	for _, user := range users {
		errs = append(errs, units.Start(ctx, user))
	}
	return errors.Join(errs...)
}
