package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// once is a stream that opens, says its lines and stays.
type once struct{ lines []string }

func (o once) Follow(ctx context.Context, _ string, each func([]byte) error, onState func(bool, error)) {
	onState(true, nil)
	for _, l := range o.lines {
		_ = each([]byte(l))
	}
	<-ctx.Done()
}

// follow runs f until everything it does at once is done, then ends it.
func follow(t *testing.T, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	synctest.Wait()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// What the healer forgot, as when its state was lost, would else stay open for
// ever. What it still knows reaches open pages once, oldest first.
func TestHealerThatComesBackReplacesWhatWasKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		closed := func(id string, ago time.Duration) api.Incident {
			i, at := incident(id, now.Add(-time.Hour)), now.Add(-ago)
			i.State, i.ClosedAt = api.IncidentResolved, &at
			return i
		}
		same, changed := incident("same", now.Add(-3*time.Second)), incident("changed", now.Add(-2*time.Second))
		healer := &recorded{}
		d := newDashboard(t, Options{Healer: healer, Interval: time.Hour})
		for _, i := range []api.Incident{incident("forgotten", now), incident("over", now.Add(-time.Hour)), same, changed} {
			d.OnIncident(i)
		}
		changed.State = api.IncidentVerifying
		healer.incidents = []api.Incident{incident("new", now), changed, same, closed("over", 20*time.Minute), closed("old", 30*time.Minute)}

		events, leave := d.hub.Subscribe()
		defer leave()
		<-events // what was last, again
		follow(t, func(ctx context.Context) error { return d.FollowHealer(ctx, once{}) })
		var kept, told []string
		for _, i := range d.kept() {
			kept = append(kept, i.ID)
		}
		for len(events) > 0 {
			var e api.Event
			if err := json.Unmarshal(<-events, &e); err != nil {
				t.Fatal(err)
			}
			if e.Incident != nil {
				told = append(told, e.Incident.ID)
			}
		}
		if want := []string{"same", "changed", "new"}; !slices.Equal(kept, want) {
			t.Errorf("kept %v, want %v", kept, want)
		}
		if want := []string{"over", "changed", "new"}; !slices.Equal(told, want) {
			t.Errorf("told %v, want %v", told, want)
		}

		healer.err = errors.New("gone again")
		healer.incidents = nil
		follow(t, func(ctx context.Context) error { return d.FollowHealer(ctx, once{}) })
		if n := len(d.kept()); n != 3 {
			t.Errorf("%d kept though the healer said nothing", n)
		}
	})
}

func TestPausedRepairIsAWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDashboard(t, Options{Interval: time.Hour})
		healer := &mood{}
		healer.now.Store(&said{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.FollowHealerStatus(ctx, healer) }()
		synctest.Wait()
		for _, step := range []struct {
			set  said
			want string
		}{
			{said{status: api.HealerStatus{Mode: "act"}}, "OK"},
			{said{status: api.HealerStatus{Mode: "act", Maintenance: true}}, "WARNING healer-paused"},
			{said{err: errors.New("busy")}, "WARNING healer-paused"}, // one answer that does not come is none
			{said{status: api.HealerStatus{Mode: "shadow"}}, "WARNING healer-paused"},
			{said{status: api.HealerStatus{Mode: "act"}}, "OK"},
		} {
			healer.now.Store(&step.set)
			time.Sleep(healerInterval)
			synctest.Wait()
			if got := overallNow(d); got != step.want {
				t.Errorf("%+v: %s, want %s", step.set, got, step.want)
			}
		}
		cancel()
		<-done
	})
}

// mood is a healer that says how it is.
type mood struct {
	recorded
	now atomic.Pointer[said]
}

type said struct {
	status api.HealerStatus
	err    error
}

func (m *mood) Status(context.Context) (api.HealerStatus, error) {
	s := m.now.Load()
	return s.status, s.err
}

func TestReloadTakesTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDashboard(t, Options{Interval: 5 * time.Second})
		d.OnSample(api.Sample{})
		d.Reload(time.Minute)
		time.Sleep(2 * time.Minute)
		d.OnDatabase(nil)
		if got := overallNow(d); got != "OK" {
			t.Errorf("two minutes without a sample, one every minute: %s", got)
		}
		d.Reload(30 * time.Second)
		if got := overallNow(d); got != "WARNING metrics-stale" {
			t.Errorf("two minutes without a sample, one every 30 s: %s", got)
		}
	})
}

// crowded is a database that takes its time and has two connections.
type crowded struct {
	recorded
	conns chan struct{}
	takes time.Duration
}

func (c *crowded) work(ctx context.Context) error {
	select {
	case c.conns <- struct{}{}:
		defer func() { <-c.conns }()
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-time.After(c.takes):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *crowded) History(ctx context.Context, _, _ time.Time, _ int) ([]api.Sample, error) {
	return nil, c.work(ctx)
}

func (c *crowded) Incidents(ctx context.Context, _ api.IncidentQuery) ([]api.Incident, error) {
	return nil, c.work(ctx)
}

// A crowd that asks for the past must not make the database look gone; those
// who would wait for too long are told when to come back.
func TestCrowdLeavesAConnectionForTheProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := &crowded{conns: make(chan struct{}, 2), takes: 900 * time.Millisecond}
		d := newDashboard(t, Options{History: db, Database: db})
		answers := make(chan *httptest.ResponseRecorder, 20)
		for n := range cap(answers) {
			path := []string{"/api/metrics/history", "/api/self-healing/events"}[n%2]
			go func() {
				w := httptest.NewRecorder()
				d.Handler().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
				answers <- w
			}()
		}
		synctest.Wait()
		if n := len(db.conns); n != 1 {
			t.Errorf("%d of the two connections are taken", n)
		}
		codes := map[int]int{}
		for range cap(answers) {
			w := <-answers
			codes[w.Code]++
			if w.Code == 503 && (w.Header().Get("Retry-After") != "2" || w.Header().Get("Content-Type") != "application/problem+json") {
				t.Errorf("503 with %v", w.Header())
			}
		}
		if codes[200] != 3 || codes[503] != 17 {
			t.Errorf("answered %v", fmt.Sprint(codes))
		}
	})
}

// Whoever asks and leaves would else cost a connection each time.
func TestQueryOutlivesItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDashboard(t, Options{})
		ctx, leave := context.WithCancel(t.Context())
		err := d.query(ctx, queryWithin, func(ctx context.Context) error {
			leave()
			return ctx.Err()
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// unitsOnce are seen once.
type unitsOnce []api.Unit

func (u unitsOnce) Watch(ctx context.Context, seen func(time.Time, []api.Unit)) error {
	seen(time.Now(), u)
	<-ctx.Done()
	return ctx.Err()
}

// A clean-up that failed is no service that is down.
func TestChoresAndSticksAreNoServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDashboard(t, Options{Interval: time.Hour})
		var all unitsOnce
		for _, name := range []string{"arasul-metrics.service", "arasul-usb@sda1.service", "arasul-cleanup.service", "arasul-vacuum.service"} {
			all = append(all, api.Unit{Name: name, LoadState: "loaded", ActiveState: "failed"})
		}
		follow(t, func(ctx context.Context) error { return d.FollowUnits(ctx, all) })
		if got := d.seen.Services; len(got) != 1 || got[0].Unit != "arasul-metrics.service" {
			t.Errorf("services %+v", got)
		}
	})
}

// arasul-acme without a domain is off, and nobody has to do anything about it.
func TestUnitWithoutAnythingToDoIsNoService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDashboard(t, Options{Interval: time.Hour})
		all := unitsOnce{
			{Name: "arasul-acme.service", LoadState: "loaded", ActiveState: "active", Result: "success"},
			{Name: "arasul-acme.service", LoadState: "loaded", ActiveState: "inactive", Result: "exec-condition"},
			{Name: "arasul-mdns.service", LoadState: "loaded", ActiveState: "inactive", Result: "success"},
		}
		follow(t, func(ctx context.Context) error { return d.FollowUnits(ctx, all) })
		if got := d.seen.Services; len(got) != 1 || got[0].Unit != "arasul-mdns.service" || got[0].Reason != "stopped" {
			t.Errorf("services %+v", got)
		}
	})
}
