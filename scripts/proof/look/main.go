// Look runs a probe of package probe or a hand of package ollama where the
// applications are, in the test machine, and prints what came of it as JSON:
//
//	look PROBE ADDRESS [TIMES]     proxy, dashboard, metrics, n8n, minio, ollama, ollama-gpu;
//	                               TIMES looks, ten seconds apart, one line each
//	look models|unload|reset ADDRESS
//
// ollama-gpu looks as on a machine that has a GPU.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/ollama"
	"github.com/arasul/arasul/pkg/probe"
)

const period = 10 * time.Second // between looks, as the healer's

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "look:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("say what to look at, and its address")
	}
	what, address := args[0], args[1]
	out := json.NewEncoder(os.Stdout)
	switch client := ollama.New(address); what {
	case "models":
		models, err := client.Models(ctx)
		if err != nil {
			return err
		}
		return out.Encode(models)
	case "unload":
		return client.Unload(ctx)
	case "reset":
		return client.ResetSession(ctx)
	}
	look, err := probeOf(what, address)
	if err != nil {
		return err
	}
	times := 1
	if len(args) > 2 {
		if times, err = strconv.Atoi(args[2]); err != nil {
			return fmt.Errorf("reading how many times: %w", err)
		}
	}
	tick := time.NewTicker(period)
	defer tick.Stop()
	for i := range times {
		if i > 0 {
			<-tick.C
		}
		if err := out.Encode(look(ctx)); err != nil {
			return err
		}
	}
	return nil
}

func probeOf(what, address string) (func(context.Context) api.ProbeResult, error) {
	switch what {
	case "proxy":
		return probe.Proxy(address), nil
	case "dashboard":
		return probe.Dashboard(address), nil
	case "metrics":
		return probe.Metrics(address), nil
	case "n8n":
		return probe.N8N(address), nil
	case "minio":
		return probe.MinIO(address), nil
	case "ollama":
		return ollama.New(address).Probe(nil), nil
	case "ollama-gpu":
		return ollama.New(address).Probe(func() bool { return true }), nil
	}
	return nil, fmt.Errorf("no probe is called %s", what)
}
