package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// dashboardURL leads through the proxy, by the door that is for root: the one in
// the network limits how often a neighbour may ask.
const (
	dashboardURL = "http://arasul"
	proxySocket  = "/run/arasul/proxy.sock"
)

// over asks whoever listens on a unix socket.
func over(socket string) *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
}

// command runs a command in the machine and returns what it printed.
func command(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", fmt.Errorf("running %s: %w: %s", strings.Join(args, " "), err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}

// peer is another program under the machine's systemd, as a unit of its own.
type peer struct{ unit string }

// startPeer runs the command as the unit bench-NAME.service.
func startPeer(ctx context.Context, name string, args ...string) (peer, error) {
	unit := "bench-" + name + ".service"
	_, err := command(ctx, append([]string{"systemd-run", "--quiet", "--collect", "--unit", unit}, args...)...)
	return peer{unit}, err
}

func (p peer) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, _ = command(ctx, "systemctl", "stop", p.unit)
}

// write puts a file into our folder and returns its path. Monit wants its own
// private.
func write(name, text string, mode os.FileMode) (string, error) {
	path := filepath.Join(insideDir, name)
	return path, os.WriteFile(path, []byte(text), mode)
}

// dropIn changes a unit until undo is called.
func dropIn(ctx context.Context, unit, text string) (undo func(), err error) {
	dir := "/run/systemd/system/" + unit + ".d"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	undo = func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		_ = os.RemoveAll(dir)
		_, _ = command(ctx, "systemctl", "daemon-reload")
	}
	if err := os.WriteFile(filepath.Join(dir, "bench.conf"), []byte(text), 0o644); err != nil {
		return undo, err
	}
	_, err = command(ctx, "systemctl", "daemon-reload")
	return undo, err
}

// answering waits until the page's API is healthy.
func answering(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	client := over(proxySocket)
	defer client.CloseIdleConnections()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, dashboardURL+"/api/health", nil)
		if err != nil {
			return err
		}
		if resp, err := client.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for /api/health: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// start installs the package and then starts all of it from nothing, five times.
// There is no boot in it: a container has none worth the name.
func start(ctx context.Context) (table, error) {
	t := table{Head: []string{"figure", "value"}}
	begin := time.Now()
	if _, err := command(ctx, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "--quiet", insideDeb); err != nil {
		return t, err
	}
	installed := time.Since(begin)
	if err := answering(ctx); err != nil {
		return t, err
	}
	t.row("`apt install` of the .deb, dependencies there", ms(installed))
	t.row("from `apt install` to /api/health 200", ms(time.Since(begin)))

	var active, healthy []time.Duration
	for range 5 {
		if _, err := command(ctx, "systemctl", "stop", "arasul.target", "arasul-proxy.socket", "arasul-dashboard.socket"); err != nil {
			return t, err
		}
		// Six starts within ten seconds are one too many for systemd.
		if _, err := command(ctx, "systemctl", "reset-failed"); err != nil {
			return t, err
		}
		begin := time.Now()
		if _, err := command(ctx, "systemctl", "start", "arasul.target"); err != nil {
			return t, err
		}
		active = append(active, time.Since(begin))
		if err := answering(ctx); err != nil {
			return t, err
		}
		healthy = append(healthy, time.Since(begin))
	}
	t.row("from `systemctl start arasul.target` to active, all units stopped before, median of 5", ms(percentile(active, 50)))
	t.row("from there to /api/health 200, median of 5", ms(percentile(healthy, 50)))
	return t, nil
}
