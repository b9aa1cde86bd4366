package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// packageSize is what the .deb weighs, packed and unpacked.
func packageSize(ctx context.Context, h *host) (table, error) {
	t := table{Head: []string{"figure", "value"}}
	st, err := os.Stat(h.deb)
	if err != nil {
		return t, err
	}
	t.row(filepath.Base(h.deb), mb(uint64(st.Size())))
	contents, err := run(ctx, nil, "dpkg-deb", "--contents", h.deb)
	if err != nil {
		return t, err
	}
	var total uint64
	for line := range strings.Lines(contents) {
		f := strings.Fields(line)
		var size uint64
		if _, err := fmt.Sscan(f[2], &size); err != nil || f[0][0] != '-' {
			continue
		}
		total += size
		if size > 1e6 {
			t.row("of that unpacked: "+strings.TrimPrefix(f[5], "."), mb(size))
		}
	}
	t.row("all files unpacked", mb(total))
	return t, nil
}

const (
	requests  = 500
	nginxConf = "daemon off; error_log stderr; pid %[1]s/nginx.pid; worker_processes 1; events {} http { access_log off; " +
		"client_body_temp_path %[1]s/t1; proxy_temp_path %[1]s/t2; fastcgi_temp_path %[1]s/t3; uwsgi_temp_path %[1]s/t4; scgi_temp_path %[1]s/t5; " +
		"types { application/json json; } server { listen unix:%[1]s/nginx.sock; root %[1]s/www; } }"
	weekOfSamples = `SELECT arasul_ensure_partitions(array_agg(d::date)) FROM generate_series(now() AT TIME ZONE 'UTC' - interval '7 days', now() AT TIME ZONE 'UTC', '1 day') AS d;
INSERT INTO samples
SELECT t, random(), 2, random(), extract(epoch FROM t), 64e9, random() * 64e9, 0, 0, 1e12, random() * 1e12,
	random() * 1e8, random() * 1e8, random() * 1e8, random() * 1e8, 40 + random() * 30, random(), random(), random(),
	random(), 64e9, random() * 64e9, 40 + random() * 30, random() * 60
FROM generate_series(date_trunc('minute', now()) - interval '7 days', date_trunc('minute', now()) - interval '10 minutes', '5 s') AS t
ON CONFLICT DO NOTHING;
SELECT arasul_roll_up(array_agg(t)) FROM generate_series(date_trunc('minute', now()) - interval '7 days', now(), '1 minute') AS t;
ANALYZE samples, samples_minute;`
)

// answers asks the API one request after the other through the proxy, and nginx
// for a file of the same bytes, both over a unix socket.
func answers(ctx context.Context) (table, error) {
	t := table{Head: []string{"figure", "arasul", "nginx, a file of the same bytes", "ratio"}}
	if _, err := command(ctx, "systemctl", "start", "arasul-db.service"); err != nil { // it waits for the server
		return t, err
	}
	fill := exec.CommandContext(ctx, "runuser", "-u", "arasul-postgres", "--",
		"psql", "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--host=/run/arasul/postgres", "--dbname=arasul", "--output=/dev/null")
	fill.Stdin = strings.NewReader(weekOfSamples)
	if out, err := fill.CombinedOutput(); err != nil {
		return t, fmt.Errorf("filling in a week of samples: %w: %s", err, out)
	}
	conf, err := write("nginx.conf", fmt.Sprintf(nginxConf, insideDir), 0o644)
	if err != nil {
		return t, err
	}
	if err := errors.Join(os.Chmod(insideDir, 0o755), os.MkdirAll(insideDir+"/www", 0o755)); err != nil {
		return t, err
	}
	nginx, err := startPeer(ctx, "nginx", peersDir+"/usr/sbin/nginx", "-e", "stderr", "-c", conf)
	if err != nil {
		return t, err
	}
	defer nginx.stop()
	us, peer := over(proxySocket), over(insideDir+"/nginx.sock")
	for range 100 { // for nginx to listen
		if _, err := os.Stat(insideDir + "/nginx.sock"); err == nil {
			break
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return t, err
		}
	}
	for _, path := range []string{"/api/system/status", "/api/metrics/history?range=24h", "/api/metrics/history?range=7d"} {
		body, err := first(ctx, us, path)
		if err != nil {
			return t, err
		}
		if _, err := write("www/same.json", string(body), 0o644); err != nil {
			return t, err
		}
		var ours, peers []time.Duration
		for range requests { // by turns, so that both meet the same load
			for _, turn := range []struct {
				client *http.Client
				path   string
				all    *[]time.Duration
			}{{us, path, &ours}, {peer, "/same.json", &peers}} {
				begin := time.Now()
				if _, err := get(ctx, turn.client, turn.path); err != nil {
					return t, err
				}
				*turn.all = append(*turn.all, time.Since(begin))
			}
		}
		t.compare(fmt.Sprintf("%s (%.1f kB)", path, float64(len(body))/1000), ours, peers, 50, 95, 99)
	}
	took, err := logins(ctx, us)
	if err != nil {
		return t, err
	}
	t.compare("a login (bcrypt 12)", took, nil, 50, 95, 99)
	t.note("%d requests each by turns over one kept connection, not compressed, through the proxy to the dashboard and, for the history, PostgreSQL with a week of samples (120,840, one every 5 s). What TLS and the limits cost stands under the proxy.", requests)
	return t, nil
}

// first asks until there is an answer: a dashboard that has just started does not
// know yet that the database is there.
func first(ctx context.Context, client *http.Client, path string) (body []byte, err error) {
	for range 300 {
		if body, err = get(ctx, client, path); err == nil {
			return body, nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
	return nil, err
}

// logins logs in again and again, one after the other, with a password that the
// console has just set.
func logins(ctx context.Context, client *http.Client) (took []time.Duration, err error) {
	const password = "Bench-Mark-Twelve-12"
	set := exec.CommandContext(ctx, "arasul", "user", "passwd")
	set.Stdin = strings.NewReader(password + "\n")
	if out, err := set.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("setting a password: %w: %s", err, out)
	}
	for range 50 {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, dashboardURL+"/api/auth/login", strings.NewReader(`{"password":"`+password+`","bearer":true}`))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/json")
		begin := time.Now()
		resp, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("logging in: %s", resp.Status)
		}
		took = append(took, time.Since(begin))
	}
	return took, nil
}

func get(ctx context.Context, client *http.Client, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, dashboardURL+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", path, resp.Status)
	}
	return body, err
}

var benchmark = regexp.MustCompile(`(?m)^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op(?:\s+(\d+) B/op\s+(\d+) allocs/op)?`)

// goBenchmarks runs the benchmarks that live beside the code.
func goBenchmarks(ctx context.Context, _ *host) (table, error) {
	t := table{Head: []string{"benchmark", "time per operation", "allocations"}}
	for _, b := range []struct{ pkg, name, means string }{
		{"./pkg/host", "Sample", "one look at the host"},
		{"./pkg/host", "SampleTenServices", "and at ten services"},
		{"./pkg/spool", "Append", "a sample written to the spool"},
		{"./pkg/spool", "Replay", "a day at 5 s (17,280 samples) read from the spool"},
		{"./pkg/postgres", "History7d", "a week at 5 s read as 1000 points"},
		{"./pkg/postgres", "ServiceHistory7d", "a week of one of ten services read as 1000 points"},
		{"./pkg/postgres", "Store30s", "six samples with ten services stored"},
		{"./pkg/postgres", "StoreReplay", "360 samples with ten services stored"},
		{"./pkg/dashboard", "Scrape", "one answer to Prometheus"},
	} {
		out, err := run(ctx, nil, "go", "test", "-run=^$", "-bench=^Benchmark"+b.name+"$", "-benchmem", b.pkg)
		if err != nil {
			return t, fmt.Errorf("%w: %s", err, out)
		}
		m := benchmark.FindStringSubmatch(out)
		if m == nil {
			return t, fmt.Errorf("no figure of Benchmark%s in %q", b.name, out)
		}
		took, err := time.ParseDuration(m[2] + "ns")
		if err != nil {
			return t, err
		}
		t.row(fmt.Sprintf("%s Benchmark%s: %s", b.pkg, b.name, b.means), ms(took), m[4])
	}
	return t, nil
}
