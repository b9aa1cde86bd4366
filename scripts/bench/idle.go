package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
)

const settle = 15 * time.Second

// usage is what a unit's control group holds and has spent.
type usage struct {
	private, pss, rss uint64
	processes         int
	cpu               time.Duration
	at                time.Time
}

// look reads the usage of one unit. The time is the control group's own, in
// microseconds, so that processes which ended meanwhile are in it.
func look(ctx context.Context, unit string) (usage, error) {
	group, err := command(ctx, "systemctl", "show", "--property=ControlGroup", "--value", unit)
	if err != nil {
		return usage{}, err
	}
	dir := filepath.Join("/sys/fs/cgroup", group)
	u := usage{at: time.Now()}
	stat, err := os.ReadFile(filepath.Join(dir, "cpu.stat"))
	if err != nil || group == "" {
		return u, fmt.Errorf("reading the usage of %s: it does not run (%w)", unit, err)
	}
	us, err := field(string(stat), "usage_usec ")
	if err != nil {
		return u, err
	}
	u.cpu = time.Duration(us) * time.Microsecond
	procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return u, err
	}
	for _, pid := range strings.Fields(string(procs)) {
		rollup, err := os.ReadFile("/proc/" + pid + "/smaps_rollup")
		if errors.Is(err, os.ErrNotExist) {
			continue // ended just now
		}
		if err != nil {
			return u, err
		}
		for key, sum := range map[string]*uint64{
			"\nRss:": &u.rss, "\nPss:": &u.pss, "\nPrivate_Clean:": &u.private, "\nPrivate_Dirty:": &u.private,
		} {
			kb, err := field(string(rollup), key)
			if err != nil {
				return u, err
			}
			*sum += kb << 10
		}
		u.processes++
	}
	return u, nil
}

// field finds the number that follows a key.
func field(text, key string) (uint64, error) {
	_, rest, _ := strings.Cut(text, key)
	words := strings.Fields(rest)
	if len(words) == 0 {
		return 0, fmt.Errorf("no %q", strings.TrimSpace(key))
	}
	return strconv.ParseUint(words[0], 10, 64)
}

func lookAll(ctx context.Context, units []string) ([]usage, error) {
	var all []usage
	for _, unit := range units {
		u, err := look(ctx, unit)
		if err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	return all, nil
}

// idle watches our daemons doing nothing in particular: first alone, then with
// one page open.
func idle(ctx context.Context) (table, error) {
	var t table
	units := []string{
		"arasul-metrics.service", "arasul-healer.service", "arasul-dashboard.service", "arasul-proxy.service",
		"arasul-mdns.service", "arasul-gpu.service", "arasul-logs.service", "arasul-postgres.service",
	}
	ours := 7 // of them our own programs
	if err := pause(ctx, settle); err != nil {
		return t, err
	}
	before, alone, err := lookTwice(ctx, units)
	if err != nil {
		return t, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	page, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(dashboardURL, "http")+"/api/metrics/live-stream", &websocket.DialOptions{HTTPClient: over(proxySocket)})
	if err != nil {
		return t, fmt.Errorf("opening the live stream: %w", err)
	}
	messages := 0
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		for {
			if _, _, err := page.Read(ctx); err != nil {
				return
			}
			messages++
		}
	}()
	if err := pause(ctx, time.Second); err != nil { // connecting is not watching
		return t, err
	}
	paged, end, err := lookTwice(ctx, units)
	if err != nil {
		return t, err
	}
	cancel()
	<-closed
	if limit := int(span() / sampleEvery); messages < limit {
		return t, fmt.Errorf("only %d messages on the live stream in %s", messages, span())
	}

	t.Head = []string{"process", "private", "PSS", "RSS", "CPU, nobody looking", "CPU, one page open"}
	var sum usage
	var sumAlone, sumPaged float64
	for i, unit := range units {
		a, b, u := share(before[i], alone[i]), share(paged[i], end[i]), end[i]
		t.row(named(unit, u), mb(u.private), mb(u.pss), mb(u.rss), percent(a), percent(b))
		if i < ours {
			sum.private, sum.pss, sum.rss = sum.private+u.private, sum.pss+u.pss, sum.rss+u.rss
			sumAlone, sumPaged = sumAlone+a, sumPaged+b
		}
		if i == ours-1 {
			t.row("**our daemons together**", mb(sum.private), mb(sum.pss), mb(sum.rss), percent(sumAlone), percent(sumPaged))
		}
	}
	t.note("CPU is of one core, over %s each. Private is what nobody else uses and would be free without the process. "+
		"RSS counts the pages that our daemons share once for each of them, PSS once in all.", span())
	return t, nil
}

// span is how long processes are watched.
func span() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("BENCH_IDLE")); err == nil {
		return d
	}
	return 120 * time.Second
}

// lookTwice looks at units before and after span.
func lookTwice(ctx context.Context, units []string) (before, after []usage, err error) {
	if before, err = lookAll(ctx, units); err != nil {
		return nil, nil, err
	}
	if err = pause(ctx, span()); err != nil {
		return nil, nil, err
	}
	after, err = lookAll(ctx, units)
	return before, after, err
}

// named is what a table calls a unit.
func named(unit string, u usage) string {
	name := strings.TrimSuffix(strings.TrimPrefix(unit, "bench-"), ".service")
	if u.processes > 1 {
		name += fmt.Sprintf(" (%d processes)", u.processes)
	}
	return name
}

// share is the CPU time spent between two looks, in percent of one core.
func share(a, b usage) float64 { return 100 * float64(b.cpu-a.cpu) / float64(b.at.Sub(a.at)) }

func percent(p float64) string { return fmt.Sprintf("%.3f %%", p) }

// pause waits, or says that it was interrupted.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
