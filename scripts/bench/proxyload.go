package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const loadClients = 32

// Both do what ours does: TLS, the prefix off, the dashboard asked about each
// request, its word passed on. Caddy has no limit of rates.
const (
	nginxProxyConf = `daemon off; error_log stderr; pid %[1]s/nginx.pid; worker_processes auto; user root;
events {} http { access_log off; client_body_temp_path %[1]s/t1; proxy_temp_path %[1]s/t2; fastcgi_temp_path %[1]s/t3; uwsgi_temp_path %[1]s/t4; scgi_temp_path %[1]s/t5;
limit_req_zone $binary_remote_addr zone=pages:10m rate=50r/s;
upstream app { server ` + behindAddress + `; keepalive 64; }
upstream dashboard { server unix:%[1]s/` + authSocket + `; keepalive 64; }
server { listen ` + nginxAddress + ` ssl; keepalive_requests 1000000; ssl_certificate %[1]s/cert.pem; ssl_certificate_key %[1]s/key.pem;
	location /n8n/ { limit_req zone=pages burst=3000 nodelay; auth_request /authz; auth_request_set $user $upstream_http_remote_user;
		proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host; proxy_set_header Remote-User $user;
		proxy_set_header Cookie ""; proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme; proxy_pass http://app/; }
	location = /authz { internal; proxy_pass http://dashboard/internal/authz; proxy_http_version 1.1; proxy_set_header Connection "";
		proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_set_header X-Forwarded-Uri $request_uri; }
} }`
	caddyProxyConf = `{
	admin off
	auto_https off
	persist_config off
	storage file_system %[1]s/caddy
	log {
		level ERROR
	}
}
https://localhost:18483 {
	bind 127.0.0.1
	tls %[1]s/cert.pem %[1]s/key.pem
	handle_path /n8n/* {
		forward_auth unix/%[1]s/` + authSocket + ` {
			uri /internal/authz
			copy_headers Remote-User
		}
		reverse_proxy ` + behindAddress + ` {
			header_up -Cookie
		}
	}
}`
)

// contender is one proxy under load.
type contender struct {
	name, address string
	args          []string
	process       *exec.Cmd
	took          [2][]time.Duration // with one session, with another each time
	memory        uint64
}

// proxyLoad puts the same load on three proxies by turns.
func proxyLoad(ctx context.Context, _ *host) (table, error) {
	t := table{Head: []string{"figure", "arasul", "nginx", "caddy"}}
	each := 10 * time.Second
	if text := os.Getenv("BENCH_LOAD"); text != "" {
		var err error
		if each, err = time.ParseDuration(text); err != nil {
			return t, fmt.Errorf("BENCH_LOAD: %w", err)
		}
	}
	dir, err := os.MkdirTemp("", "bench-proxy-")
	if err != nil {
		return t, err
	}
	defer os.RemoveAll(dir)
	all, err := contenders(ctx, dir)
	if err != nil {
		return t, err
	}
	defer func() {
		for _, c := range all {
			c.stop()
		}
	}()
	for _, c := range all {
		if err := c.start(ctx); err != nil {
			return t, err
		}
	}
	all = all[1:] // the first is who is behind them
	var addresses, sessions atomic.Uint32
	next := func() net.IP {
		n := addresses.Add(1)
		return net.IPv4(127, byte(1+n>>16), byte(n>>8), byte(n))
	}
	cookies := []func() string{
		func() string { return "good" },
		func() string { return "good" + strconv.Itoa(int(sessions.Add(1))) },
	}
	const rounds = 3
	for range rounds {
		for i, cookie := range cookies {
			for _, c := range all {
				took, err := crowd{c.address, loadClients, each / rounds, cookie, next}.run(ctx)
				if err != nil {
					return t, fmt.Errorf("loading %s: %w", c.name, err)
				}
				c.took[i] = append(c.took[i], took...)
				c.memory = max(c.memory, c.pss())
			}
		}
	}
	row := func(figure string, of func(c *contender) string) {
		t.row(figure, of(all[0]), of(all[1]), of(all[2]))
	}
	for i, kind := range []string{"one session", "another session each time"} {
		row("requests per second, "+kind, func(c *contender) string { return fmt.Sprintf("%.0f", float64(len(c.took[i]))/each.Seconds()) })
		row("p50, "+kind, func(c *contender) string { return ms(percentile(c.took[i], 50)) })
		row("p99, "+kind, func(c *contender) string { return ms(percentile(c.took[i], 99)) })
	}
	row("memory (PSS), largest", func(c *contender) string { return mb(c.memory) })
	t.note("%d clients on loopback, each over one kept TLS 1.3 connection, ask for %d bytes behind forward auth for %s by turns; they, the proxies and who is behind them share the processors. Ours believes the dashboard's yes for 5 s, so with one session it hardly asks; the others ask each time. Limits of rates are on in ours and in nginx (clients change their address before they meet them); Caddy has none.", loadClients, answerBytes, each)
	return t, nil
}

// contenders are the programs to start, who is behind the proxies first.
func contenders(ctx context.Context, dir string) ([]*contender, error) {
	if err := certificate(dir); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	peers, err := fetchPeers(ctx)
	if err != nil {
		return nil, err
	}
	for _, path := range peers {
		if strings.HasPrefix(filepath.Base(path), "nginx") {
			if _, err := run(ctx, nil, "dpkg-deb", "-x", path, dir); err != nil {
				return nil, err
			}
		}
	}
	caddy := filepath.Join(dir, "caddy-server")
	if _, err := run(ctx, nil, "go", "-C", "scripts/bench/caddy", "build", "-trimpath", "-ldflags=-s -w", "-o", caddy, "."); err != nil {
		return nil, err
	}
	for name, text := range map[string]string{"nginx.conf": nginxProxyConf, "Caddyfile": caddyProxyConf} {
		if err := os.WriteFile(filepath.Join(dir, name), fmt.Appendf(nil, text, dir), 0o600); err != nil {
			return nil, err
		}
	}
	return []*contender{
		{name: "behind", address: behindAddress, args: []string{self, "serve", "behind", dir}},
		{name: "arasul", address: oursAddress, args: []string{self, "serve", "ours", dir}},
		{name: "nginx", address: nginxAddress, args: []string{filepath.Join(dir, "usr/sbin/nginx"), "-e", "stderr", "-c", filepath.Join(dir, "nginx.conf")}},
		{name: "caddy", address: caddyAddress, args: []string{caddy, "run", "--config", filepath.Join(dir, "Caddyfile")}},
	}, nil
}

// start starts the program and waits until it listens.
func (c *contender) start(ctx context.Context) error {
	var said bytes.Buffer
	c.process = exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	c.process.Stderr = &said
	c.process.Cancel = func() error { return c.process.Process.Signal(os.Interrupt) }
	c.process.WaitDelay = 10 * time.Second
	if err := c.process.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", c.name, err)
	}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", c.address); err == nil {
			return conn.Close()
		}
	}
	c.stop()
	return fmt.Errorf("starting %s: it does not listen: %s", c.name, said.String())
}

func (c *contender) stop() {
	if c.process == nil || c.process.Process == nil {
		return
	}
	_ = c.process.Process.Signal(os.Interrupt)
	_ = c.process.Wait()
	c.process = nil
}

// pss is the memory of the program and its children.
func (c *contender) pss() (total uint64) {
	pids := []string{strconv.Itoa(c.process.Process.Pid)}
	if children, err := os.ReadFile("/proc/" + pids[0] + "/task/" + pids[0] + "/children"); err == nil {
		pids = append(pids, strings.Fields(string(children))...)
	}
	for _, pid := range pids {
		text, err := os.ReadFile("/proc/" + pid + "/smaps_rollup")
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		for line := range strings.Lines(string(text)) {
			var kb uint64
			if _, err := fmt.Sscanf(line, "Pss: %d kB", &kb); err == nil {
				total += kb << 10
			}
		}
	}
	return total
}
