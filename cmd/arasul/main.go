// Command arasul is every daemon of the appliance and its command line, in one
// file: the name it is called by says which. /usr/lib/arasul/arasul-metrics and
// its siblings are links to it.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/arasul/arasul/pkg/daemon"
)

// Where the daemons find each other.
const (
	metricsSocket   = "/run/arasul/metrics/metrics.sock"
	gpuSocket       = "/run/arasul/gpu/gpu.sock"
	healerSocket    = "/run/arasul/healer/healer.sock"
	logsSocket      = "/run/arasul/logs/logs.sock"
	mdnsSocket      = "/run/arasul/mdns/mdns.sock"
	dashboardSocket = "/run/arasul/dashboard.sock"
	proxySocket     = "/run/arasul/proxy.sock"
	acmeSocket      = "/run/arasul/acme/acme.sock"
	updaterSocket   = "/run/arasul/updater.sock"
	acmeFolder      = "/var/lib/arasul/tls/acme"
	addressesFile   = "/run/arasul/proxy/addresses-changed"
	announcedFile   = "/run/arasul/mdns/announced"
	updateMark      = "/run/arasul/updating"     // while a transaction is under way
	updateEnded     = "/run/arasul/update-ended" // the name of the last one
	healerState     = "/var/lib/arasul/healer/state.json"
	healerSpool     = "/var/lib/arasul/healer/spool"
	healerPast      = "/var/lib/arasul/healer/observations"
)

var daemons = map[string]func(context.Context, *daemon.Daemon) error{
	"metrics":   metricsDaemon,
	"healer":    healerDaemon,
	"dashboard": dashboardDaemon,
	"proxy":     proxyDaemon,
	"mdns":      mdnsDaemon,
	"acme":      acmeDaemon,
	"logs":      logsDaemon,
	"ai":        aiDaemon,
	"updater":   updaterDaemon,
	"apply":     applyDaemon,
}

func main() {
	name := filepath.Base(os.Args[0])
	for daemonName, run := range daemons {
		if name == "arasul-"+daemonName {
			daemon.Main(daemonName, run)
		}
	}
	if name == "arasul-limits" && len(os.Args) > 1 { // a generator of systemd's
		if err := limits(os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, "arasul-limits:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(commandLine(os.Args[1:]))
}
