package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

const (
	machineName = "b-bench"
	insideDir   = "/run/bench" // all of ours in the machine
	insideDeb   = insideDir + "/arasul.deb"
	peersDir    = insideDir + "/peers"
	partLimit   = 30 * time.Minute
)

// peerPackages are what the peers are unpacked from. What they link to is in
// every Debian.
var peerPackages = []string{"monit", "prometheus-node-exporter", "collectd-core", "nginx"}

// host is this side: the machine it boots when a part first needs one.
type host struct {
	deb     string
	machine string // its address as http://…, empty until it is up
	started table  // what was measured when the package was installed
}

// run runs a command and returns what it printed; what it said on stderr goes
// to ours.
func run(ctx context.Context, stdin []byte, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("running %s: %w", filepath.Base(name), err)
	}
	return strings.TrimSpace(out.String()), nil
}

// exec runs a command in the machine.
func (h *host) exec(ctx context.Context, stdin []byte, args ...string) (string, error) {
	return run(ctx, stdin, "scripts/machine", append([]string{"exec", "--name", machineName, "--"}, args...)...)
}

// push writes a file in the machine.
func (h *host) push(ctx context.Context, data []byte, dest string) error {
	_, err := h.exec(ctx, data, "sh", "-c", `mkdir -p "${1%/*}" && cat >"$1" && chmod 755 "$1"`, "push", dest)
	return err
}

// up boots the machine, carries in this program, the package and the peers, and
// installs the package with a stop watch.
func (h *host) up(ctx context.Context) error {
	if h.machine != "" {
		return nil
	}
	address, err := run(ctx, nil, "scripts/machine", "up", "--name", machineName)
	if err != nil {
		return err
	}
	h.machine = strings.TrimSuffix(address, "/")
	self, err := os.Executable()
	if err != nil {
		return err
	}
	peers, err := fetchPeers(ctx)
	if err != nil {
		return err
	}
	for _, path := range append(peers, h.deb, self) {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := h.push(ctx, data, filepath.Join(insideDir, filepath.Base(path))); err != nil {
			return err
		}
	}
	for _, path := range peers {
		if _, err := h.exec(ctx, nil, "dpkg-deb", "-x", filepath.Join(insideDir, filepath.Base(path)), peersDir); err != nil {
			return err
		}
	}
	if _, err := h.exec(ctx, nil, "mv", filepath.Join(insideDir, filepath.Base(h.deb)), insideDeb); err != nil {
		return err
	}
	h.started, err = h.inside(ctx, "start")
	return err
}

// started is what `up` saw when it installed the package.
func started(ctx context.Context, h *host) (table, error) {
	err := h.up(ctx)
	return h.started, err
}

// close takes the machine down.
func (h *host) close() {
	if h.machine == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := run(ctx, nil, "scripts/machine", "down", "--name", machineName); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
}

// inside has a part measured in the machine.
func (h *host) inside(ctx context.Context, name string) (table, error) {
	var t table
	ctx, cancel := context.WithTimeout(ctx, partLimit)
	defer cancel()
	out, err := h.exec(ctx, nil, "env",
		"BENCH_KILLS="+os.Getenv("BENCH_KILLS"), "BENCH_FAULTS="+os.Getenv("BENCH_FAULTS"), "BENCH_IDLE="+os.Getenv("BENCH_IDLE"),
		insideDir+"/bench", "inside", name)
	if err != nil {
		return t, err
	}
	return t, json.Unmarshal([]byte(out), &t)
}

// fetchPeers downloads the peers' packages into the cache, once, and returns
// their paths.
func fetchPeers(ctx context.Context) ([]string, error) {
	dir := os.Getenv("ARASUL_TESTBED_CACHE")
	if dir == "" {
		dir = "/var/cache/arasul-testbed"
	}
	dir = filepath.Join(dir, "peers")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var paths []string
	for _, p := range peerPackages {
		found, err := filepath.Glob(filepath.Join(dir, p+"_*.deb"))
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			fmt.Fprintln(os.Stderr, "bench: downloading Debian's package", p)
			if _, err := run(ctx, nil, "sh", "-c", `cd "$1" && apt-get download --quiet "$2" >&2`, "download", dir, p); err != nil {
				return nil, err
			}
			if found, err = filepath.Glob(filepath.Join(dir, p+"_*.deb")); err != nil || len(found) == 0 {
				return nil, fmt.Errorf("apt-get download left no package %s", p)
			}
		}
		paths = append(paths, found[len(found)-1])
	}
	return paths, nil
}

// describe says on what all of this was measured.
func describe(ctx context.Context) string {
	kernel, _ := run(ctx, nil, "uname", "-rm")
	cpu, _ := run(ctx, nil, "sed", "-n", `s/^model name[^:]*: *//p;T;q`, "/proc/cpuinfo")
	commit, _ := run(ctx, nil, "git", "log", "-1", "--format=%h")
	return fmt.Sprintf("%s, %d cores (%s), kernel %s, machine: Debian 12 in a container. Package built from %s.",
		time.Now().Format(time.DateOnly), runtime.NumCPU(), cpu, kernel, commit)
}
