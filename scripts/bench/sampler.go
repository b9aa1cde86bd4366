package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

const sampleEvery = 5 * time.Second // as our own daemon does

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

// sampler watches the metrics daemon beside the usual programs for its job, all
// at once.
func sampler(ctx context.Context) (table, error) {
	t := table{Head: []string{"process", "private", "PSS", "RSS", "CPU"}}
	stop, err := startSamplers(ctx)
	defer stop()
	if err != nil {
		return t, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go scrape(ctx)
	if err := pause(ctx, settle); err != nil {
		return t, err
	}
	units := []string{"arasul-metrics.service", "bench-node-exporter.service", "bench-collectd.service", "bench-monit.service"}
	before, after, err := lookTwice(ctx, units)
	if err != nil {
		return t, err
	}
	for i, unit := range units {
		u := after[i]
		t.row(named(unit, u), mb(u.private), mb(u.pss), mb(u.rss), percent(share(before[i], u)))
	}
	t.note("CPU is of one core, over %s. All look at the same sources, every 5 s: node-exporter with only these collectors, scraped, "+
		"collectd with its csv plugin, Monit with a system and a file system check. arasul-metrics also looks at nine services, streams, "+
		"spools to disk and stores in PostgreSQL, whose own time is in the table of our daemons.", span())
	return t, nil
}

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
	monit, err := startMonit(ctx, int(sampleEvery/time.Second), monitSystem)
	if err != nil {
		return stop, err
	}
	peers = append(peers, monit)
	return stop, nil
}

// scrape asks node-exporter for its figures as Prometheus would.
func scrape(ctx context.Context) {
	for pause(ctx, sampleEvery) == nil {
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
