package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
)

const (
	scrapeEvery = 5 * time.Second // as our own daemon samples
	settle      = 15 * time.Second
)

// The peers do what our metrics daemon does, no more: the same sources at the
// same pace.
const (
	exporterFlags = "--collector.disable-defaults --collector.cpu --collector.loadavg --collector.meminfo --collector.filesystem" +
		" --collector.diskstats --collector.netdev --collector.thermal_zone --collector.pressure --web.listen-address=127.0.0.1:9100"
	collectdConf = `Interval 5
BaseDir "%[1]s"
PIDFile "%[1]s/collectd.pid"
PluginDir "%[2]s/usr/lib/collectd"
TypesDB "%[2]s/usr/share/collectd/types.db"
LoadPlugin cpu
LoadPlugin load
LoadPlugin memory
LoadPlugin swap
LoadPlugin df
LoadPlugin disk
LoadPlugin interface
LoadPlugin thermal
LoadPlugin csv
`
	monitSystem = `check system machine
  if loadavg (1min) > 100 then alert
  if cpu usage > 101% then alert
  if memory usage > 101% then alert
check filesystem root with path /
  if space usage > 101% then alert
`
)

// usage is what a unit's control group holds and has spent.
type usage struct {
	pss, rss  uint64
	processes int
	cpu       time.Duration
	at        time.Time
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
		pss, err := field(string(rollup), "\nPss:")
		if err != nil {
			return u, err
		}
		rss, err := field(string(rollup), "\nRss:")
		if err != nil {
			return u, err
		}
		u.pss += pss << 10
		u.rss += rss << 10
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

// idle watches everything doing nothing in particular: first alone, then with
// one page open.
func idle(ctx context.Context) (table, error) {
	var t table
	span, err := time.ParseDuration(os.Getenv("BENCH_IDLE"))
	if err != nil {
		span = 120 * time.Second
	}
	stop, err := startSamplers(ctx)
	defer stop()
	if err != nil {
		return t, err
	}
	units := []string{
		"arasul-metrics.service", "arasul-healer.service", "arasul-dashboard.service", "arasul-proxy.service",
		"arasul-mdns.service", "arasul-gpu.service", "arasul-postgres.service",
		"bench-node-exporter.service", "bench-collectd.service", "bench-monit.service",
	}
	ours := 6 // of them our own daemons

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go scrape(ctx)
	if err := pause(ctx, settle); err != nil {
		return t, err
	}
	begin, err := lookAll(ctx, units)
	if err != nil {
		return t, err
	}
	if err := pause(ctx, span); err != nil {
		return t, err
	}
	alone, err := lookAll(ctx, units)
	if err != nil {
		return t, err
	}
	page, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(dashboardURL, "http")+"/api/metrics/live-stream", nil)
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
	paged, err := lookAll(ctx, units)
	if err != nil {
		return t, err
	}
	if err := pause(ctx, span); err != nil {
		return t, err
	}
	end, err := lookAll(ctx, units)
	if err != nil {
		return t, err
	}
	cancel()
	<-closed
	if limit := int(span / scrapeEvery); messages < limit {
		return t, fmt.Errorf("only %d messages on the live stream in %s", messages, span)
	}

	t.Head = []string{"process", "PSS", "RSS", "CPU, nobody looking", "CPU, one page open"}
	var sum usage
	var sumAlone, sumPaged float64
	for i, unit := range units {
		a, b := share(begin[i], alone[i]), share(paged[i], end[i])
		name := strings.TrimSuffix(strings.TrimPrefix(unit, "bench-"), ".service")
		if n := end[i].processes; n > 1 {
			name += fmt.Sprintf(" (%d processes)", n)
		}
		t.row(name, mb(end[i].pss), mb(end[i].rss), fmt.Sprintf("%.3f %%", a), fmt.Sprintf("%.3f %%", b))
		if i < ours {
			sum.pss, sum.rss = sum.pss+end[i].pss, sum.rss+end[i].rss
			sumAlone, sumPaged = sumAlone+a, sumPaged+b
		}
		if i == ours-1 {
			t.row("**our daemons together**", mb(sum.pss), mb(sum.rss), fmt.Sprintf("%.3f %%", sumAlone), fmt.Sprintf("%.3f %%", sumPaged))
		}
	}
	t.note("CPU is of one core, over %s each. RSS counts the pages that our daemons share once for each of them, PSS once in all. "+
		"arasul-metrics stores what it samples in PostgreSQL, which is counted by itself. The peers look at the same sources, as often: "+
		"node-exporter with only these collectors and scraped every 5 s, collectd with its csv plugin, Monit with a system and a file system check.", span)
	return t, nil
}

// share is the CPU time spent between two looks, in percent of one core.
func share(a, b usage) float64 { return 100 * float64(b.cpu-a.cpu) / float64(b.at.Sub(a.at)) }

// startSamplers starts the peers of the metrics daemon.
func startSamplers(ctx context.Context) (stop func(), err error) {
	var peers []peer
	stop = func() {
		for _, p := range peers {
			p.stop()
		}
	}
	exporter, err := startPeer(ctx, "node-exporter", append([]string{peersDir + "/usr/bin/prometheus-node-exporter"}, strings.Fields(exporterFlags)...)...)
	if err != nil {
		return stop, err
	}
	peers = append(peers, exporter)
	conf, err := write("collectd.conf", fmt.Sprintf(collectdConf, insideDir, peersDir), 0o644)
	if err != nil {
		return stop, err
	}
	collectd, err := startPeer(ctx, "collectd", peersDir+"/usr/sbin/collectd", "-f", "-C", conf)
	if err != nil {
		return stop, err
	}
	peers = append(peers, collectd)
	monit, err := startMonit(ctx, int(scrapeEvery/time.Second), monitSystem)
	if err != nil {
		return stop, err
	}
	peers = append(peers, monit)
	return stop, nil
}

// scrape asks node-exporter for its figures as Prometheus would.
func scrape(ctx context.Context) {
	for pause(ctx, scrapeEvery) == nil {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:9100/metrics", nil)
		if err != nil {
			panic(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench: scraping node-exporter:", err)
			continue
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}

// pause waits, or says that it was interrupted.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
