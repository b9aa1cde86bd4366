// Package daemon is the life of one of our processes under systemd: flags,
// configuration, logging, readiness, watchdog, reload, signals, exit code.
//
//	start ── configuration ──► run ── Ready ──► serving ──┐ SIGHUP: reload
//	             │ bad                             │      ┘ (a bad file keeps the old one)
//	             ▼                                 │ SIGTERM, SIGINT
//	          exit 78                              ▼
//	                                           stopping ──► exit 0, or 1 when run failed
//
// It does not know what the daemon does, and it never feeds the watchdog by
// itself: Alive is called where progress is made, so that a daemon that hangs
// is restarted although its other goroutines still tick.
package daemon

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/version"
)

// The exit codes of every daemon. Units name ExitConfig in
// RestartPreventExitStatus=, because trying again would not help. They must not
// name 2: the Go runtime, too, ends with it, on a panic and on the watchdog's
// SIGABRT.
const (
	ExitOK      = 0
	ExitFailure = 1  // systemd restarts
	ExitUsage   = 2  // bad flags
	ExitConfig  = 78 // bad configuration (EX_CONFIG of sysexits.h)
)

// Daemon is what a run function gets: its configuration and its line to systemd.
type Daemon struct {
	Name string // as in arasul-<name>.service
	Log  *slog.Logger

	config   atomic.Pointer[config.Config]
	onReload func(*config.Config)
	ready    chan struct{} // closed by the first Ready
	once     sync.Once     // guards that
	watchdog time.Duration // WatchdogSec; 0 when there is none
	lastPing atomic.Int64  // monotonic, nanoseconds since start
	start    time.Time
}

// ErrDone is what a daemon returns that has nothing more to do.
var ErrDone = errors.New("there is nothing more to do")

// Main runs the daemon called name and exits the process with its code.
func Main(name string, run func(ctx context.Context, d *Daemon) error) {
	os.Exit(Run(context.Background(), name, os.Args[1:], os.Stdout, os.Stderr, run))
}

// Run is Main without the exit, for tests and for programs that do more.
func Run(ctx context.Context, name string, args []string, stdout, stderr io.Writer, run func(ctx context.Context, d *Daemon) error) int {
	flags := flag.NewFlagSet("arasul-"+name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	path := flags.String("config", config.Path, "configuration `file`")
	showVersion := flags.Bool("version", false, "print the version and exit")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return ExitOK
	case err != nil:
		return ExitUsage
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "arasul-%s takes no arguments, got %q\n", name, flags.Args())
		return ExitUsage
	case *showVersion:
		fmt.Fprintln(stdout, version.Version)
		return ExitOK
	}

	d := &Daemon{Name: name, Log: NewLogger(stderr), ready: make(chan struct{}), start: time.Now()}
	slog.SetDefault(d.Log) // what net/http has to say gets a priority, too
	d.watchdog, _ = sd.SdWatchdogEnabled(false)
	cfg, err := config.Load(*path)
	switch {
	case err == nil:
	case !steadfast[name] && config.Concerns(err, tables(name)...):
		d.Log.Error("configuration refused", "err", err)
		return ExitConfig
	default:
		d.Log.Error("configuration has mistakes, defaults are in their place", "err", err)
	}
	d.config.Store(cfg)

	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)

	done := make(chan error, 1)
	go func() { done <- run(ctx, d) }()
	// Reloading ends with READY, so it waits until that is true, and is over
	// once the daemon stops.
	ready, stopping := d.ready, ctx.Done()
	var reload chan os.Signal
	for {
		select {
		case <-ready:
			ready, reload = nil, hup
		case <-reload:
			d.reload(*path)
		case <-stopping:
			d.notify(sd.SdNotifyStopping)
			ready, reload, stopping = nil, nil, nil
		case err := <-done:
			switch {
			case ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)):
				return ExitOK
			case errors.Is(err, ErrDone):
				return ExitOK
			case err == nil:
				err = errors.New("ended without being asked to")
			}
			d.Log.Error("daemon failed", "err", err)
			return ExitFailure
		}
	}
}

// steadfast are the daemons that run with a bad configuration rather than not
// at all: through them the owner sees what is wrong.
var steadfast = map[string]bool{"healer": true, "dashboard": true, "proxy": true, "updater": true, "apply": true}

// tables are the parts of the configuration that the daemon called name needs.
// It starts although others are bad.
func tables(name string) []string {
	if name == "metrics" {
		return []string{name, "database"}
	}
	return []string{name}
}

// Config returns the configuration in force. It must not be modified.
func (d *Daemon) Config() *config.Config { return d.config.Load() }

// OnReload sets what happens with a new, valid configuration. It must be set
// before Ready.
func (d *Daemon) OnReload(f func(*config.Config)) { d.onReload = f }

// reload reads the configuration again. A bad file changes nothing: a running
// appliance must not stop over a typing error.
func (d *Daemon) reload(path string) {
	// CLOCK_MONOTONIC is what Type=notify-reload compares; older systemd ignores it.
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	d.notify(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", sd.SdNotifyReloading, now.Nano()/1000))
	defer d.notify(sd.SdNotifyReady)
	cfg, err := config.Load(path)
	if err != nil {
		d.Log.Error("reload refused, the old configuration stays in force", "err", err)
		return
	}
	if old := d.Config(); old.Database != cfg.Database && slices.Contains([]string{"metrics", "healer", "dashboard"}, d.Name) {
		d.Log.Warn("restart needed", "reason", "[database] is read at the start only")
	}
	d.config.Store(cfg)
	if d.onReload != nil {
		d.onReload(cfg)
	}
	d.Log.Info("configuration reloaded")
}

// Ready tells systemd that the daemon serves, with a line for systemctl status.
func (d *Daemon) Ready(status string) {
	d.notify(sd.SdNotifyReady + "\nSTATUS=" + oneLine(status))
	d.once.Do(func() { close(d.ready) })
	d.Log.Info("ready", "version", version.Version)
}

// Status sets the line that systemctl status shows.
func (d *Daemon) Status(status string) { d.notify("STATUS=" + oneLine(status)) }

// Alive feeds the watchdog. Call it where progress was made, as often as is
// convenient: more than four pings per WatchdogSec are swallowed.
func (d *Daemon) Alive() {
	if d.watchdog == 0 {
		return
	}
	now, last := int64(time.Since(d.start)), d.lastPing.Load()
	if last != 0 && now-last < int64(d.watchdog/4) {
		return
	}
	if d.lastPing.CompareAndSwap(last, now) {
		d.notify(sd.SdNotifyWatchdog)
	}
}

// Watch calls check three times per WatchdogSec (every 10 s without a
// watchdog), gives it as long as the pause, and feeds the watchdog when it
// succeeds. It is for daemons whose progress is to answer: check asks the
// daemon itself a question through its own front door. It returns when ctx
// ends.
func (d *Daemon) Watch(ctx context.Context, check func(context.Context) error) error {
	every := 10 * time.Second
	if d.watchdog > 0 {
		every = d.watchdog / 3
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		checkCtx, cancel := context.WithTimeout(ctx, every)
		err := check(checkCtx)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			d.Log.Warn("self-check failed", "err", err)
		default:
			d.Alive()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (d *Daemon) notify(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		d.Log.Warn("service manager not reached", "err", err)
	}
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }
