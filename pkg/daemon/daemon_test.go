package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/version"
)

// A serviceManager is what systemd is to a daemon: a socket that hears.
type serviceManager struct {
	t    *testing.T
	conn *net.UnixConn
}

func newServiceManager(t *testing.T) *serviceManager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "")
	return &serviceManager{t, conn}
}

// hears returns the next message, or "" when there is none within the time.
func (m *serviceManager) hears(within time.Duration) string {
	m.t.Helper()
	buf := make([]byte, 4096)
	_ = m.conn.SetReadDeadline(time.Now().Add(within))
	n, err := m.conn.Read(buf)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		m.t.Fatal(err)
	}
	return string(buf[:n])
}

func (m *serviceManager) wants(message string) {
	m.t.Helper()
	if got := m.hears(5 * time.Second); got != message {
		m.t.Errorf("service manager heard %q, want %q", got, message)
	}
}

func (m *serviceManager) wantsSilence() {
	m.t.Helper()
	if got := m.hears(50 * time.Millisecond); got != "" {
		m.t.Errorf("service manager heard %q, want nothing", got)
	}
}

// life is a daemon that runs in this process.
type life struct {
	t              *testing.T
	config         string // its file
	stdout, stderr output
	exit           chan int
}

// begin runs a daemon with a configuration file of the given text.
func begin(t *testing.T, text string, args []string, run func(context.Context, *Daemon) error) *life {
	t.Helper()
	return beginAs(t, "test", text, args, run)
}

func beginAs(t *testing.T, name, text string, args []string, run func(context.Context, *Daemon) error) *life {
	t.Helper()
	l := &life{t: t, config: filepath.Join(t.TempDir(), "arasul.toml"), exit: make(chan int, 1)}
	l.configure(text)
	args = append([]string{"-config", l.config}, args...)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go func() { l.exit <- Run(ctx, name, args, &l.stdout, &l.stderr, run) }()
	return l
}

func (l *life) configure(text string) {
	l.t.Helper()
	if err := os.WriteFile(l.config, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

func (l *life) signal(s syscall.Signal) {
	l.t.Helper()
	if err := syscall.Kill(os.Getpid(), s); err != nil {
		l.t.Fatal(err)
	}
}

func (l *life) wantExit(code int) {
	l.t.Helper()
	select {
	case got := <-l.exit:
		if got != code {
			l.t.Errorf("exit code %d, want %d; log:\n%s", got, code, &l.stderr)
		}
	case <-time.After(5 * time.Second):
		l.t.Fatalf("still running; log:\n%s", &l.stderr)
	}
}

func (l *life) wantLog(words ...string) {
	l.t.Helper()
	for _, w := range words {
		if !strings.Contains(l.stderr.String(), w) {
			l.t.Errorf("log does not say %q:\n%s", w, &l.stderr)
		}
	}
}

// output is a buffer that may be read while it is written.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// serveUntilStopped is a daemon that does nothing else.
func serveUntilStopped(ctx context.Context, d *Daemon) error {
	d.Ready("serving\nwell")
	<-ctx.Done()
	return ctx.Err()
}

func TestLifeFromReadyToStopped(t *testing.T) {
	manager := newServiceManager(t)
	l := begin(t, "", nil, func(ctx context.Context, d *Daemon) error {
		defer d.Status("bye")
		return serveUntilStopped(ctx, d)
	})
	manager.wants("READY=1\nSTATUS=serving well")
	manager.wantsSilence()
	l.signal(syscall.SIGTERM)
	last := []string{manager.hears(5 * time.Second), manager.hears(5 * time.Second)}
	if got := strings.Join(last, " "); !strings.Contains(got, "STOPPING=1") || !strings.Contains(got, "STATUS=bye") {
		t.Errorf("at the end the service manager heard %q", last)
	}
	l.wantExit(ExitOK)
	l.wantLog("<6>msg=ready version=" + version.Version)
}

func TestInterruptStopsToo(t *testing.T) {
	manager := newServiceManager(t)
	l := begin(t, "", nil, serveUntilStopped)
	manager.wants("READY=1\nSTATUS=serving well")
	l.signal(syscall.SIGINT)
	manager.wants("STOPPING=1")
	l.wantExit(ExitOK)
}

// Proves BOOT-9: reload without restart.
func TestReloadBringsTheNewConfigurationIntoForce(t *testing.T) {
	manager := newServiceManager(t)
	reloaded := make(chan time.Duration, 1)
	l := begin(t, "[metrics]\ninterval = \"2s\"\n", nil, func(ctx context.Context, d *Daemon) error {
		d.OnReload(func(c *config.Config) {
			if c != d.Config() {
				t.Error("the configuration handed over is not the one in force")
			}
			reloaded <- c.Metrics.Interval.Std()
		})
		return serveUntilStopped(ctx, d)
	})
	manager.wants("READY=1\nSTATUS=serving well")
	l.configure("[metrics]\ninterval = \"3s\"\n")
	before := monotonic(t)
	l.signal(syscall.SIGHUP)
	wantReloading(t, manager, before)
	manager.wants("READY=1")
	if got := <-reloaded; got != 3*time.Second {
		t.Errorf("reloaded interval %s, want 3s", got)
	}
	l.wantLog("configuration reloaded")
	l.signal(syscall.SIGTERM)
	l.wantExit(ExitOK)
}

// A pool of connections is not exchanged under a daemon's feet; that it was not
// must be said, and without the password.
func TestReloadSaysWhatOnlyARestartBringsIntoForce(t *testing.T) {
	for name, said := range map[string]bool{"metrics": true, "mdns": false} {
		manager := newServiceManager(t)
		l := beginAs(t, name, "", nil, serveUntilStopped)
		manager.wants("READY=1\nSTATUS=serving well")
		l.configure("[database]\ndsn = \"postgres://u:geheim@h/a\"\n")
		before := monotonic(t)
		l.signal(syscall.SIGHUP)
		wantReloading(t, manager, before)
		manager.wants("READY=1")
		l.wantLog("configuration reloaded")
		log := l.stderr.String()
		if strings.Contains(log, "<4>msg=\"restart needed\"") != said || strings.Contains(log, "geheim") {
			t.Errorf("%s said\n%s", name, log)
		}
		l.signal(syscall.SIGTERM)
		l.wantExit(ExitOK)
	}
}

// Proves BOOT-9: a bad value is refused with file, line and key, and a running
// daemon goes on with what it had.
func TestBadFileOnReloadKeepsTheOldConfiguration(t *testing.T) {
	manager := newServiceManager(t)
	daemon := make(chan *Daemon, 1)
	l := begin(t, "[metrics]\ninterval = \"2s\"\n", nil, func(ctx context.Context, d *Daemon) error {
		d.OnReload(func(*config.Config) { t.Error("a bad file was handed over") })
		daemon <- d
		return serveUntilStopped(ctx, d)
	})
	manager.wants("READY=1\nSTATUS=serving well")
	l.configure("\n[metrics]\ninterval = \"2h\"\n")
	before := monotonic(t)
	l.signal(syscall.SIGHUP)
	wantReloading(t, manager, before)
	manager.wants("READY=1")
	if got := (<-daemon).Config().Metrics.Interval.Std(); got != 2*time.Second {
		t.Errorf("interval %s is in force, want 2s", got)
	}
	l.wantLog("<3>", "the old configuration stays in force", l.config+":3: metrics.interval: 2h is not between")
	l.signal(syscall.SIGTERM)
	l.wantExit(ExitOK)
}

// READY ends a reload, so a reload must not come before the daemon is ready.
func TestReloadWaitsUntilReady(t *testing.T) {
	manager := newServiceManager(t)
	started, proceed := make(chan struct{}), make(chan struct{})
	l := begin(t, "", nil, func(ctx context.Context, d *Daemon) error {
		close(started)
		<-proceed
		return serveUntilStopped(ctx, d)
	})
	<-started
	before := monotonic(t)
	l.signal(syscall.SIGHUP)
	manager.wantsSilence()
	close(proceed)
	manager.wants("READY=1\nSTATUS=serving well")
	wantReloading(t, manager, before)
	manager.wants("READY=1")
	l.signal(syscall.SIGTERM)
	l.wantExit(ExitOK)
}

// monotonic is the clock that Type=notify-reload compares, in microseconds.
func monotonic(t *testing.T) int64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano() / 1000
}

// wantReloading wants RELOADING with a time that is not before the signal: else
// systemd takes it for the answer to an earlier one.
func wantReloading(t *testing.T, m *serviceManager, signalled int64) {
	t.Helper()
	got := m.hears(5 * time.Second)
	text, ok := strings.CutPrefix(got, "RELOADING=1\nMONOTONIC_USEC=")
	at, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil || at < signalled || at > monotonic(t) {
		t.Errorf("service manager heard %q, want RELOADING between %d and now", got, signalled)
	}
}

func TestExitCodes(t *testing.T) {
	stopped, cancel := context.WithCancel(context.Background())
	cancel()
	good := func(context.Context, *Daemon) error { return nil }
	bad := func(context.Context, *Daemon) error { return errors.New("broken pump") }
	tests := []struct {
		name   string
		ctx    context.Context
		args   []string
		config string
		run    func(context.Context, *Daemon) error
		want   int
		says   string
	}{
		{"help", t.Context(), []string{"-help"}, "", nil, 0, "Usage of arasul-test"},
		{"unknown flag", t.Context(), []string{"-frobnicate"}, "", nil, 2, "frobnicate"},
		{"argument", t.Context(), []string{"now"}, "", nil, 2, `arasul-test takes no arguments, got ["now"]`},
		{"bad configuration", t.Context(), nil, "[test]\n", nil, 78, "arasul.toml:1: test"},
		{"no configuration at all", t.Context(), nil, "[test\n", nil, 78, "arasul.toml:1: "},
		{"mistake of another daemon", stopped, nil, "[metrix]\n", good, 0, "defaults are in their place"},
		{"failure", t.Context(), nil, "", bad, 1, "<3>msg=\"daemon failed\" err=\"broken pump\""},
		{"end without being asked", t.Context(), nil, "", good, 1, "ended without being asked to"},
		{"end when asked", stopped, nil, "", good, 0, ""},
		{"end by context", stopped, nil, "", func(ctx context.Context, _ *Daemon) error { return fmt.Errorf("serving: %w", ctx.Err()) }, 0, ""},
		{"failure while stopping", stopped, nil, "", bad, 1, "broken pump"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			newServiceManager(t)
			path := filepath.Join(t.TempDir(), "arasul.toml")
			if err := os.WriteFile(path, []byte(tt.config), 0o600); err != nil {
				t.Fatal(err)
			}
			var stdout, stderr bytes.Buffer
			got := Run(tt.ctx, "test", append([]string{"-config", path}, tt.args...), &stdout, &stderr, tt.run)
			if got != tt.want || !strings.Contains(stderr.String(), tt.says) {
				t.Errorf("exit code %d, want %d, and it said %q, want %q", got, tt.want, &stderr, tt.says)
			}
		})
	}
}

func TestVersionGoesToStandardOutput(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := Run(t.Context(), "test", []string{"-version"}, &stdout, &stderr, nil); code != ExitOK {
		t.Errorf("exit code %d", code)
	}
	if stdout.String() != version.Version+"\n" || stderr.Len() > 0 {
		t.Errorf("stdout %q, stderr %q", &stdout, &stderr)
	}
}

func TestDaemonRunsWithoutServiceManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	l := begin(t, "", nil, func(_ context.Context, d *Daemon) error {
		d.Ready("by hand")
		d.Alive()
		return errors.New("done")
	})
	l.wantExit(ExitFailure)
	if strings.Contains(l.stderr.String(), "service manager not reached") {
		t.Errorf("log:\n%s", &l.stderr)
	}
}

// Proves PKG-2: the watchdog is fed by progress and by nothing else.
func TestWatchdogIsFedOnlyByAlive(t *testing.T) {
	manager := newServiceManager(t)
	t.Setenv("WATCHDOG_USEC", "60000")
	progress := make(chan struct{})
	l := begin(t, "", nil, func(ctx context.Context, d *Daemon) error {
		d.Ready("serving")
		<-progress
		d.Alive()
		d.Alive() // swallowed: one is enough
		<-ctx.Done()
		return nil
	})
	manager.wants("READY=1\nSTATUS=serving")
	if got := manager.hears(120 * time.Millisecond); got != "" { // twice WatchdogSec
		t.Errorf("service manager heard %q without progress", got)
	}
	close(progress)
	manager.wants("WATCHDOG=1")
	manager.wantsSilence()
	l.signal(syscall.SIGTERM)
	l.wantExit(ExitOK)
}

func TestWatchdogOfAnotherProcessIsNotFed(t *testing.T) {
	manager := newServiceManager(t)
	t.Setenv("WATCHDOG_USEC", "20000000")
	t.Setenv("WATCHDOG_PID", "1")
	begin(t, "", nil, func(_ context.Context, d *Daemon) error {
		d.Alive()
		return nil
	}).wantExit(ExitFailure)
	manager.wantsSilence()
}

// Alive may be called for every sample or request; systemd hears of it four
// times per WatchdogSec.
func TestWatchdogIsNotFlooded(t *testing.T) {
	manager := newServiceManager(t)
	synctest.Test(t, func(*testing.T) {
		d := &Daemon{Log: NewLogger(os.Stderr), watchdog: 20 * time.Second, start: time.Now()}
		for range 201 { // 20 s
			d.Alive()
			time.Sleep(100 * time.Millisecond)
		}
	})
	for range 5 { // at 0, 5, 10, 15 and 20 s
		manager.wants("WATCHDOG=1")
	}
	manager.wantsSilence()
}

func TestWatchFeedsWhileTheCheckSucceeds(t *testing.T) {
	manager := newServiceManager(t)
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		d := &Daemon{Log: NewLogger(&log), watchdog: 30 * time.Second, start: time.Now()}
		var at []time.Duration
		err := d.Watch(ctx, func(ctx context.Context) error {
			at = append(at, time.Since(d.start))
			switch len(at) {
			case 2:
				return errors.New("no answer")
			case 3: // hangs, and is not waited for longer than the pause
				<-ctx.Done()
				return ctx.Err()
			case 5:
				cancel()
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
		want := []time.Duration{0, 10 * time.Second, 20 * time.Second, 30 * time.Second, 40 * time.Second}
		if fmt.Sprint(at) != fmt.Sprint(want) {
			t.Errorf("checked at %v, want %v", at, want)
		}
	})
	manager.wants("WATCHDOG=1") // the first
	manager.wants("WATCHDOG=1") // the fourth
	manager.wantsSilence()      // the fifth came when all was over
	if got := strings.Count(log.String(), "<4>msg=\"self-check failed\""); got != 2 {
		t.Errorf("%d warnings, want 2:\n%s", got, &log)
	}
}

func TestWatchGoesOnWithoutWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 55*time.Second)
		defer cancel()
		checks := 0
		d := &Daemon{Log: NewLogger(os.Stderr), start: time.Now()}
		_ = d.Watch(ctx, func(context.Context) error { checks++; return nil })
		if checks != 6 {
			t.Errorf("%d checks in 55 s, want 6", checks)
		}
	})
}
