package cli

import (
	"context"
	"fmt"
	"strings"
)

type restartCmd struct {
	Name string `arg:"" help:"The service, by its short name, such as proxy."`
}

func (r *restartCmd) Run(ctx context.Context, c *commands, env *Env) error {
	unit := r.Name
	if !strings.HasSuffix(unit, ".service") {
		unit = "arasul-" + strings.TrimPrefix(unit, "arasul-") + ".service"
	}
	incident, err := env.Healer.Restart(ctx, unit, "console")
	if err != nil {
		return fmt.Errorf("not restarted: %w", err)
	}
	if c.JSON {
		return env.printJSON(map[string]any{"unit": unit, "incident": incident})
	}
	_, number, _ := strings.Cut(incident, "-")
	_, err = fmt.Fprintf(env.Stdout, "%s is being restarted; what came of it: arasul heal explain %s\n", unit, number)
	return err
}
