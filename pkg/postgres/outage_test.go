package postgres_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/arasul/arasul/migrations"
	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/metrics"
	"github.com/arasul/arasul/pkg/postgres/postgrestest"
	"github.com/arasul/arasul/pkg/spool"
)

// counter is a host that numbers its samples in Load1.
type counter struct{ taken atomic.Int64 }

func (*counter) SetInterval(time.Duration) {}

func (c *counter) Sample(now time.Time) (api.Sample, error) {
	s := sample(now.UTC(), 0.5)
	s.Load1 = float64(c.taken.Add(1))
	s.Services = []api.ServiceSample{unit("proxy", 0.5, 1000), unit("mdns", 0.25, 2000)}
	return s, nil
}

// Proves METRICS-2: with the real server away, and the daemon stopped
// and started again meanwhile, every sample and its services arrive, once.
func TestNoSampleIsLostWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	name := ask(t, d, `SELECT current_database()`)[0]
	admin := d.Connect(t, "arasul-postgres")
	away := func(yes bool) {
		t.Helper()
		verb, prep := "GRANT", "TO"
		if yes {
			verb, prep = "REVOKE", "FROM"
		}
		for _, sql := range []string{
			fmt.Sprintf(`%s CONNECT ON DATABASE %s %s "arasul-metrics"`, verb, name, prep),
			`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'arasul-metrics'`,
		} {
			if _, err := admin.Exec(context.Background(), sql); err != nil {
				t.Fatal(err)
			}
		}
	}

	cfg := config.Metrics{Interval: config.Duration(20 * time.Millisecond), Flush: config.Duration(100 * time.Millisecond)}
	dir, host := t.TempDir(), &counter{}
	start := func() (r *metrics.Recorder, stop func()) {
		t.Helper()
		onDisk, err := spool.Open(dir, spool.Options{})
		if err != nil {
			t.Fatal(err)
		}
		r = metrics.New(cfg, host, d.Open(t, "arasul-metrics"), onDisk, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx, func() {}) }()
		return r, func() {
			t.Helper()
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if err := onDisk.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	until := func(what string, r *metrics.Recorder, reached func(metrics.Stats) bool) {
		t.Helper()
		for begin := time.Now(); !reached(r.Stats()); time.Sleep(10 * time.Millisecond) {
			if time.Since(begin) > 20*time.Second {
				t.Fatalf("no %s after 20 s: %+v", what, r.Stats())
			}
		}
	}
	r, stop := start()
	until("samples stored", r, func(s metrics.Stats) bool { return s.Stored > 10 })
	away(true)
	until("samples waiting", r, func(s metrics.Stats) bool { return s.Waiting > 30 && s.LastFlushError != "" })
	stop()
	r, stop = start()
	until("samples recovered", r, func(s metrics.Stats) bool { return s.Recovered > 30 && s.Waiting > int(s.Recovered)+10 })
	away(false)
	until("all stored", r, func(s metrics.Stats) bool { return s.Stored > s.Recovered+20 })
	stop()
	if s := r.Stats(); s.Dropped != 0 || s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
	// Each daemon shows nobody its first look, which has no rates.
	got := ask(t, d, `SELECT count(*), count(DISTINCT load1), (SELECT count(*) FROM service_samples) FROM samples`)
	n := host.taken.Load() - 2
	if want := strings.TrimSpace(fmt.Sprintln(n, n, 2*n)); got[0] != want {
		t.Errorf("samples, different ones and services: %s, want %s", got[0], want)
	}
}
