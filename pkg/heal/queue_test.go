package heal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/spool"
)

// fullDisk takes nothing.
type fullDisk struct{}

func (d *fullDisk) Append([]byte) error        { return errors.New("no space left on device") }
func (d *fullDisk) Next(int) ([][]byte, error) { return nil, nil }
func (d *fullDisk) Ack() error                 { return nil }
func (d *fullDisk) Stats() spool.Stats         { return spool.Stats{} }
func numbered(i int) event                     { return event{Incident: &api.Incident{ID: fmt.Sprint(i)}} }
func ids(incidents []api.Incident) (list []string) {
	for _, inc := range incidents {
		list = append(list, inc.ID)
	}
	return list
}

// play runs a queue in a bubble until the test has looked at it.
func play(t *testing.T, q *queue, look func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { _ = q.run(ctx); close(done) }()
	look()
	cancel()
	<-done
}

// Proves HEAL-6: with the disk full events wait in memory, in order, and when
// that is full too it is said how many were lost.
func TestEventsWaitInMemoryWhileTheDiskIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &fakeMirror{}
		m.away.Store(true)
		q := newQueue(&fullDisk{}, m, slog.New(slog.DiscardHandler))
		for i := range keepWaiting + 20 {
			q.add(numbered(i))
		}
		play(t, q, func() {
			if waiting, lost := q.stats(); waiting != keepWaiting || lost != 20 {
				t.Errorf("%d wait, %d are lost", waiting, lost)
			}
			m.away.Store(false)
			time.Sleep(time.Minute)
			synctest.Wait()
			got := ids(m.copies)
			if len(got) != keepWaiting || got[0] != "20" || got[len(got)-1] != fmt.Sprint(keepWaiting+19) {
				t.Errorf("%d arrived, first %v", len(got), got[:1])
			}
			if waiting, _ := q.stats(); waiting != 0 {
				t.Errorf("%d still wait", waiting)
			}
		})
	})
}

// What is taken while the memory overflows is not taken for what came after it.
func TestNoEventIsForgottenUnstored(t *testing.T) {
	q := newQueue(&fullDisk{}, &fakeMirror{}, slog.New(slog.DiscardHandler))
	for i := range keepWaiting {
		q.add(numbered(i))
	}
	_, ack := q.next() // 0 to 49
	for i := range 20 {
		q.add(numbered(keepWaiting + i)) // 0 to 19 have to leave
	}
	ack()
	records, _ := q.next()
	if !strings.Contains(string(records[0]), fmt.Sprintf("%q", fmt.Sprint(mirrorBatch))) {
		t.Errorf("the next is %s", records[0])
	}
}

// refuser is a database that never takes one incident.
type refuser struct {
	fakeMirror
	id string
}

type refusedError []string

func (e refusedError) Error() string     { return "refused " + strings.Join(e, " ") }
func (e refusedError) Refused() []string { return e }

func (m *refuser) MirrorIncidents(ctx context.Context, incidents []api.Incident) error {
	rest := slices.DeleteFunc(slices.Clone(incidents), func(i api.Incident) bool { return i.ID == m.id })
	if err := m.fakeMirror.MirrorIncidents(ctx, rest); err != nil {
		return err
	}
	if len(rest) < len(incidents) {
		return fmt.Errorf("mirroring: %w", refusedError{m.id})
	}
	return nil
}

func TestOneEventThatTheDatabaseRefusesHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		s, err := spool.Open(filepath.Join(t.TempDir(), "spool"), spool.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		m := &refuser{id: "1"}
		q := newQueue(s, m, slog.New(slog.NewTextHandler(&log, nil)))
		play(t, q, func() {
			for i := range 3 {
				q.add(numbered(i))
			}
			synctest.Wait()
		})
		if got := ids(m.copies); !slices.Equal(got, []string{"0", "2"}) || !strings.Contains(log.String(), "incident=1") {
			t.Errorf("arrived %v; log %s", got, log.String())
		}
	})
}

// Proves HEAL-6 and HEAL-7: a day without PostgreSQL, in accelerated time, with
// a unit that cannot be repaired: every attempt reaches it afterwards, in order,
// and memory stays what it was.
func TestADayWithoutTheDatabaseLosesNothing(t *testing.T) {
	s, err := spool.Open(filepath.Join(t.TempDir(), "spool"), spool.Options{MaxBytes: 32 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m := &fakeMirror{}
	q := newQueue(s, m, slog.New(slog.DiscardHandler))
	tr := newTrace(t)
	h := &Healer{o: Options{Log: slog.New(slog.DiscardHandler)}, queue: q}
	tr.check = func(before State, _ []Command) { h.publish(before, tr.state) }

	attempts := 0
	end := tr.now.Add(24 * time.Hour)
	tr.fail(metricsUnit, "exit-code")
	for tr.now.Before(end) {
		if tr.state.Running != nil {
			attempts++
			tr.done("job failed")
		}
		tr.wait(10 * time.Second)
	}
	stats := s.Stats()
	t.Logf("figure: %d attempts in a day are %d events, %d kB on disk", attempts, stats.Waiting, stats.Bytes>>10)
	if stats.Dropped > 0 || len(q.waiting) > 0 || attempts < 100 {
		t.Errorf("%d attempts, %d dropped, %d in memory", attempts, stats.Dropped, len(q.waiting))
	}
	for {
		records, ack := q.next()
		if len(records) == 0 {
			break
		}
		if err := q.store(t.Context(), records); err != nil {
			t.Fatal(err)
		}
		ack()
	}
	rows := map[int]string{} // as the table recovery_actions has them
	for _, inc := range m.copies {
		for _, a := range inc.Actions {
			rows[a.Attempt] = a.Outcome
		}
	}
	for i := 1; i <= attempts; i++ {
		if rows[i] != "failed" {
			t.Fatalf("attempt %d arrived as %q", i, rows[i])
		}
	}
}

func TestNewsAreWhatIsNewOrChanged(t *testing.T) {
	failure := func(n int) api.Failure { return api.Failure{Detail: fmt.Sprint(n)} }
	before := Incident{Incident: api.Incident{
		ID: "a", Count: 2, Failures: []api.Failure{failure(1), failure(2)},
		Actions: []api.Action{{Attempt: 1, Outcome: "failed"}, {Attempt: 2, Outcome: "running"}},
	}}
	after := before
	after.Count = 3
	after.Failures = []api.Failure{failure(1), failure(2), failure(3)}
	after.Actions = []api.Action{{Attempt: 1, Outcome: "failed"}, {Attempt: 2, Outcome: "helped"}, {Attempt: 3, Outcome: "running"}}
	got := news(&before, after)
	if diff := cmp.Diff([]api.Failure{failure(3)}, got.Failures); diff != "" {
		t.Errorf("failures (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(after.Actions[1:], got.Actions); diff != "" {
		t.Errorf("actions (-want +got):\n%s", diff)
	}
	if got := news(nil, after); len(got.Actions) != 3 || len(got.Failures) != 3 {
		t.Errorf("of a new incident: %+v", got)
	}
}
