// Bench measures what docs/figures.md says: how soon a fault is noticed and
// repaired, what the daemons cost, how fast they start and answer, each beside
// the usual program for that job, in the same machine and the same run.
//
// It judges nothing: limits are the tests' business. It has two halves. On the
// host it boots a machine (scripts/machine), carries itself and the peers'
// packages into it and prints tables; in the machine, as `bench inside PART`,
// it is root, kills, watches, and answers with a table in JSON.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// part is one thing to measure. Its name is a word of BENCH_PARTS.
type part struct {
	name, title string
	inside      func(ctx context.Context) (table, error)          // runs in the machine
	host        func(ctx context.Context, h *host) (table, error) // runs on the host
}

// parts in the order in which they run: what looks at a machine at rest comes
// before what injures it.
var parts = []part{
	{name: "package", title: "Package", host: packageSize},
	{name: "start", title: "From package to page, in the machine", inside: start, host: started},
	{name: "idle", title: "Footprint at rest", inside: idle},
	{name: "sampler", title: "The sampler beside others", inside: sampler},
	{name: "http", title: "Answers over a socket", inside: answers},
	{name: "kills", title: "A killed daemon", inside: kills},
	{name: "faults", title: "Daemons that hang, and one that stays down", inside: faults},
	{name: "proxy", title: "The proxy beside nginx and Caddy, on the host", host: proxyLoad},
	{name: "receive", title: "Receiving a release, on the host", host: receiving},
	{name: "upload", title: "A release of 10 GiB", inside: upload},
	{name: "go", title: "Go benchmarks, on the host", host: goBenchmarks},
	{name: "box", title: "Boot, in the box", host: boot},
}

func main() {
	if err := bench(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(args []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch {
	case len(args) == 2 && args[0] == "inside":
		return inside(ctx, args[1])
	case len(args) == 3 && args[0] == "serve": // for the part "proxy"
		return serve(ctx, args[1], args[2])
	case len(args) == 1 && args[0] != "inside":
		return measure(ctx, args[0])
	default:
		return errors.New("usage: bench DEB, from the top of the repository; see scripts/bench/run")
	}
}

// measure runs the parts on a machine of their own and prints their tables. A
// part that fails says so in its place, and the others still run.
func measure(ctx context.Context, deb string) error {
	wanted := strings.Fields(os.Getenv("BENCH_PARTS"))
	h := &host{deb: deb}
	defer h.close()
	fmt.Println(describe(ctx))
	failed := 0
	for _, p := range parts {
		if len(wanted) > 0 && !slices.Contains(wanted, p.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "bench: %s\n", p.name)
		before := load()
		var t table
		var err error
		switch {
		case p.host != nil:
			t, err = p.host(ctx, h)
		default:
			if err = h.up(ctx); err == nil {
				t, err = h.inside(ctx, p.name)
			}
		}
		fmt.Printf("\n## %s\n\n`BENCH_PARTS=%s make bench`, %s, load average %s before, %s after.\n\n",
			p.title, p.name, time.Now().Format(time.DateOnly), before, load())
		if err != nil {
			failed++
			fmt.Println("Not measured:", err)
			continue
		}
		fmt.Print(t.markdown())
	}
	if failed > 0 {
		return fmt.Errorf("%d parts were not measured", failed)
	}
	return ctx.Err()
}

// inside runs one part here, in the machine.
func inside(ctx context.Context, name string) error {
	i := slices.IndexFunc(parts, func(p part) bool { return p.name == name && p.inside != nil })
	if i < 0 {
		return fmt.Errorf("no part %q", name)
	}
	t, err := parts[i].inside(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(t)
}
