package main

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/client"
	"github.com/arasul/arasul/pkg/daemon"
	"github.com/arasul/arasul/pkg/dashboard"
	"github.com/arasul/arasul/pkg/heal"
	"github.com/arasul/arasul/pkg/postgres"
	"github.com/arasul/arasul/pkg/systemd"
	"github.com/arasul/arasul/web"
)

// databaseInterval is how often the dashboard asks whether the database is
// there. It is lost for the page within 5 s (spec HEAL-9 allows 2 s per answer).
const databaseInterval = 3 * time.Second

// dashboardDaemon gathers what the other daemons know and shows it.
func dashboardDaemon(ctx context.Context, d *daemon.Daemon) error {
	listeners, err := daemon.Listeners("http")
	if err != nil {
		return err
	}
	db, err := postgres.Open(d.Config().Database, "arasul-dashboard")
	if err != nil {
		return err
	}
	defer db.Close()
	hostname, _ := os.Hostname()
	board, err := dashboard.New(dashboard.Options{
		Hostname: hostname,
		Kernel:   kernelRelease(),
		Interval: d.Config().Metrics.Interval.Std(),
		Web:      web.Dist(),
		History:  db,
		Database: databaseMemory{db},
		Healer:   healerMemory{client.New(healerSocket)},
		Log:      d.Log,
	})
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return board.Run(ctx) })
	g.Go(func() error { return daemon.Serve(ctx, listeners[0], board.Handler()) })
	g.Go(func() error { followMetrics(ctx, board); return ctx.Err() })
	g.Go(func() error { followHealer(ctx, board); return ctx.Err() })
	g.Go(func() error { return followUnits(ctx, board) })
	g.Go(func() error { return followDatabase(ctx, board, db) })
	g.Go(func() error {
		return d.Watch(ctx, func(ctx context.Context) error {
			return client.New(dashboardSocket).GetJSON(ctx, "/api/health", &struct{}{})
		})
	})
	d.Ready("answering on " + dashboardSocket)
	return g.Wait()
}

func followMetrics(ctx context.Context, board *dashboard.Dashboard) {
	client.New(metricsSocket).Follow(ctx, "/stream", func(line []byte) error {
		var s api.Sample
		if err := json.Unmarshal(line, &s); err != nil {
			return err
		}
		board.OnSample(s)
		return nil
	}, func(bool, error) {}) // missing samples show by themselves
}

func followHealer(ctx context.Context, board *dashboard.Dashboard) {
	healer := healerMemory{client.New(healerSocket)}
	healer.Follow(ctx, "/stream", func(line []byte) error {
		var i api.Incident
		if err := json.Unmarshal(line, &i); err != nil {
			return err
		}
		board.OnIncident(i)
		return nil
	}, func(connected bool, err error) {
		if connected { // what happened while nobody was listening
			missed, _ := healer.Incidents(ctx, time.Time{}, 50)
			for _, i := range slices.Backward(missed) {
				board.OnIncident(i)
			}
		}
		board.OnHealer(err)
	})
}

// followUnits tells the board about our units, in the order of their names.
func followUnits(ctx context.Context, board *dashboard.Dashboard) error {
	services := map[string]api.Service{}
	w := systemd.Watcher{Patterns: []string{"arasul-*.service"}}
	return w.Watch(ctx, func(seen systemd.Seen) {
		if seen.All {
			clear(services)
		}
		for _, u := range seen.Units {
			if !strings.Contains(u.Name, "@") { // one USB stick is no service
				services[u.Name] = heal.Service(u)
			}
		}
		board.OnServices(slices.SortedFunc(maps.Values(services), func(a, b api.Service) int { return cmp.Compare(a.Name, b.Name) }))
	}, func(error) {})
}

func followDatabase(ctx context.Context, board *dashboard.Dashboard, db *postgres.DB) error {
	tick := time.NewTicker(databaseInterval)
	defer tick.Stop()
	for {
		board.OnDatabase(db.Ping(ctx))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// databaseMemory asks the database.
type databaseMemory struct{ *postgres.DB }

func (m databaseMemory) Incidents(ctx context.Context, before time.Time, limit int) ([]api.Incident, error) {
	return m.DB.Incidents(ctx, limit, before)
}

// healerMemory asks the healer itself.
type healerMemory struct{ *client.Client }

func (h healerMemory) Status(ctx context.Context) (s api.HealerStatus, err error) {
	return s, h.GetJSON(ctx, "/status", &s)
}

func (h healerMemory) Incidents(ctx context.Context, before time.Time, limit int) ([]api.Incident, error) {
	var answer struct {
		Incidents []api.Incident `json:"incidents"`
	}
	// The memory is short, so all of it is asked for and the page cut here.
	if err := h.GetJSON(ctx, "/incidents?limit=400", &answer); err != nil {
		return nil, err
	}
	list := slices.DeleteFunc(answer.Incidents, func(i api.Incident) bool {
		return !before.IsZero() && !i.FaultAt.Before(before)
	})
	return list[:min(limit, len(list))], nil
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
