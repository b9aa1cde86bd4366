package healer1

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/systemd/testbus"
)

// fakeHealer has a status, 500 incidents and a switch.
type fakeHealer struct {
	status  api.HealerStatus
	mu      sync.Mutex
	refusal error
}

func (f *fakeHealer) Status() api.HealerStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

func (f *fakeHealer) Incidents(limit int) []api.Incident {
	return make([]api.Incident, min(limit, 500))
}

func (f *fakeHealer) SetMaintenance(_ context.Context, on bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refusal == nil {
		f.status.Maintenance = on
	}
	return f.refusal
}

func (f *fakeHealer) Explain(incident string) (string, bool) { return "because", incident == "1" }

func (f *fakeHealer) SetLease(_ context.Context, lease api.Lease) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.Lease = &lease
	return f.refusal
}

func (f *fakeHealer) Restart(_ context.Context, unit, actor string) (string, error) {
	if unit == "ssh.service" {
		return "", &api.Refusal{Code: api.RefusedUnknown, Reason: "ssh.service is not ours"}
	}
	return unit + " for " + actor, nil
}

func (f *fakeHealer) ResetBreaker(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.BreakerOpen = nil
	return f.refusal
}

// served is a Healer on the bus, and what Serve logged.
type served struct {
	t   *testing.T
	mu  sync.Mutex
	log bytes.Buffer
}

func (s *served) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(p)
}

func (s *served) logged(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.log.String(), text)
}

// offer serves h until the test ends. Lost buses and taken names are tried
// again soon.
func offer(t *testing.T, h Healer) *served {
	t.Helper()
	s := &served{t: t}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serveAgain(ctx, h, slog.New(slog.NewTextHandler(s, nil)), 50*time.Millisecond) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("serving ended with %v", err)
			}
		case <-time.After(5 * time.Second):
			t.Error("serving did not end with its context")
		}
	})
	return s
}

// eventually waits until ok says so.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for begin := time.Now(); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begin) > 5*time.Second {
			t.Fatalf("waited 5 s for %s", what)
		}
	}
}

func answers(t *testing.T) func() bool {
	return func() bool { _, err := Client{}.Status(t.Context()); return err == nil }
}

func TestClientHearsWhatTheHealerSays(t *testing.T) {
	testbus.New(t)
	now := time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.UTC)
	h := &fakeHealer{status: api.HealerStatus{Mode: "act", Open: 2, Mirrored: true, LastCheck: now, Timestamp: now}}
	offer(t, h)
	eventually(t, "the healer", answers(t))

	status, err := Client{}.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(h.status, status); diff != "" {
		t.Errorf("status (-healer +client):\n%s", diff)
	}
	for limit, want := range map[int]int{1: 1, 50: 50, 100000: maxList} {
		if list, err := (Client{}).Incidents(t.Context(), limit); err != nil || len(list) != want {
			t.Errorf("asked for %d incidents, got %d and %v", limit, len(list), err)
		}
	}
}

// Proves HEAL-5: a maintenance mode.
func TestMaintenanceIsSwitchedOverTheBus(t *testing.T) {
	testbus.New(t)
	h := &fakeHealer{}
	offer(t, h)
	eventually(t, "the healer", answers(t))
	for _, on := range []bool{true, false} {
		if err := (Client{}).SetMaintenance(t.Context(), on); err != nil || h.Status().Maintenance != on {
			t.Errorf("switched to %v: %v", on, err)
		}
	}
	h.mu.Lock()
	h.refusal = errors.New("stopping")
	h.mu.Unlock()
	if err := (Client{}).SetMaintenance(t.Context(), true); err == nil || !strings.Contains(err.Error(), "asking the healer: stopping") {
		t.Errorf("got %v, want the healer's reason", err)
	}
}

func TestIncidentsAreExplained(t *testing.T) {
	testbus.New(t)
	offer(t, &fakeHealer{})
	eventually(t, "the healer", answers(t))
	if text, err := (Client{}).Explain(t.Context(), "1"); text != "because" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := (Client{}).Explain(t.Context(), "2"); err == nil || !strings.Contains(err.Error(), `no incident "2" is remembered`) {
		t.Errorf("one that is not known: %v", err)
	}
}

// Proves HEAL-5: a lease that the updater holds, and a breaker that somebody
// closes.
func TestLeaseAndBreakerAreSetOverTheBus(t *testing.T) {
	testbus.New(t)
	now := time.Now()
	h := &fakeHealer{status: api.HealerStatus{BreakerOpen: &now}}
	offer(t, h)
	eventually(t, "the healer", answers(t))
	if err := (Client{}).Lease(t.Context(), "updater", 10*time.Minute); err != nil {
		t.Fatal(err)
	}
	l := h.Status().Lease
	if d := l.Until.Sub(now); l.Holder != "updater" || d < 10*time.Minute || d > 11*time.Minute {
		t.Errorf("lease %+v", l)
	}
	for _, holder := range []string{"", "Up dater", strings.Repeat("a", 41), "a\nb"} {
		if err := (Client{}).Lease(t.Context(), holder, time.Minute); err == nil {
			t.Errorf("holder %q was taken", holder)
		}
	}
	if err := (Client{}).Lease(t.Context(), "updater", 2*time.Hour); err == nil {
		t.Error("a lease of two hours was taken")
	}
	if err := (Client{}).ResetBreaker(t.Context()); err != nil || h.Status().BreakerOpen != nil {
		t.Errorf("the breaker is still open: %v", err)
	}
}

func TestInterfaceDescribesItself(t *testing.T) {
	bus := testbus.New(t)
	offer(t, &fakeHealer{})
	eventually(t, "the healer", answers(t))
	var text string
	if err := bus.Connect().Object(object.Name, object.Path).Call("org.freedesktop.DBus.Introspectable.Introspect", 0).Store(&text); err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"Status", "Incidents", "Explain", "SetMaintenance", "Lease", "ResetBreaker"} {
		if !strings.Contains(text, `<method name="`+method+`">`) {
			t.Errorf("%s is not described:\n%s", method, text)
		}
	}
}

func TestNameThatIsTakenIsWaitedFor(t *testing.T) {
	bus := testbus.New(t)
	other := bus.Connect()
	if _, err := other.RequestName(object.Name, dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	s := offer(t, &fakeHealer{})
	eventually(t, "a warning", func() bool { return s.logged("another process has the name") > 0 })
	time.Sleep(200 * time.Millisecond) // four more attempts
	if n := s.logged("not on the bus"); n != 1 {
		t.Errorf("warned %d times, want once", n)
	}
	if _, err := other.ReleaseName(object.Name); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the healer", answers(t))
}

// Proves HEAL-6: works with D-Bus down, and is there again when the bus is.
func TestBusThatComesBackIsJoinedAgain(t *testing.T) {
	bus := testbus.New(t)
	s := offer(t, &fakeHealer{})
	eventually(t, "the healer", answers(t))
	for lost := 1; lost <= 2; lost++ {
		bus.Kill()
		eventually(t, "a warning", func() bool { return s.logged("not on the bus") == lost })
		if err := (Client{}).SetMaintenance(t.Context(), true); err == nil || !strings.Contains(err.Error(), "connecting to the system bus") {
			t.Errorf("got %v, want that there is no bus", err)
		}
		bus.Start()
		eventually(t, "the healer", answers(t))
	}
}

func TestMissingHealerIsAnError(t *testing.T) {
	testbus.New(t)
	if _, err := (Client{}).Status(t.Context()); err == nil || !strings.Contains(err.Error(), "asking the healer") {
		t.Errorf("got %v", err)
	}
}

func TestFrozenBusIsNotWaitedForBeyondTheContext(t *testing.T) {
	bus := testbus.New(t)
	bus.Freeze()
	defer bus.Thaw()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, err := (Client{}).Status(ctx); err == nil {
		t.Error("no error")
	}
	if d := time.Since(begin); d > 2*time.Second {
		t.Errorf("gave up after %s", d)
	}
	offer(t, &fakeHealer{}) // whose end is not held up either
}

func TestAnswerThatIsNoJSONIsAnError(t *testing.T) {
	bus := testbus.New(t)
	other := bus.Connect()
	if err := other.Export(liar{}, object.Path, object.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := other.RequestName(object.Name, dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	if _, err := (Client{}).Status(t.Context()); err == nil || !strings.Contains(err.Error(), "reading the healer's answer") {
		t.Errorf("got %v", err)
	}
}

type liar struct{}

func (liar) Status() (string, *dbus.Error) { return "all is well", nil }

func TestRestartIsAnsweredWithItsIncidentOrARefusal(t *testing.T) {
	testbus.New(t)
	offer(t, &fakeHealer{})
	eventually(t, "the healer", answers(t))
	incident, err := Client{}.Restart(t.Context(), "arasul-proxy.service", "admin")
	if err != nil || incident != "arasul-proxy.service for admin" {
		t.Errorf("%q, %v", incident, err)
	}
	_, err = Client{}.Restart(t.Context(), "ssh.service", "admin")
	var r *api.Refusal
	if !errors.As(err, &r) || r.Code != api.RefusedUnknown || r.Reason != "ssh.service is not ours" {
		t.Errorf("the refusal did not arrive: %v", err)
	}
}
