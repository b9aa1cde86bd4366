package systemd

import (
	"fmt"
	"maps"
	"path"
	"sync"
	"testing"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"

	"github.com/arasul/arasul/pkg/systemd/testbus"
)

const (
	managerName = "org.freedesktop.systemd1"
	managerPath = dbus.ObjectPath("/org/freedesktop/systemd1")
)

// fakeManager is the part of systemd that we speak to, on a real bus.
type fakeManager struct {
	t   *testing.T
	bus *dbus.Conn

	mu     sync.Mutex
	units  map[string]map[string]any
	reads  map[string]int // how often a unit was read
	calls  []string       // "RestartUnit a.service replace"
	jobs   map[string]string
	jobSeq uint32
	gate   chan struct{} // closed when questions may be answered
}

// properties of a unit that runs, in systemd's types.
func running() map[string]any {
	return map[string]any{
		"Description": "A unit", "LoadState": "loaded", "ActiveState": "active", "SubState": "running", "Result": "success",
		"Type": "notify", "InvocationID": []byte{0xca, 0xfe}, "NRestarts": uint32(1), "MainPID": uint32(42),
		"ExecMainCode": int32(2), "ExecMainStatus": int32(9),
		"StateChangeTimestamp": uint64(1_700_000_000_000_001), "ExecMainStartTimestamp": uint64(1_700_000_000_000_000), "ExecMainExitTimestamp": uint64(0),
		"Job": struct {
			ID   uint32
			Path dbus.ObjectPath
		}{7, "/org/freedesktop/systemd1/job/7"},
	}
}

func newManager(t *testing.T, bus *testbus.Bus) *fakeManager {
	t.Helper()
	m := &fakeManager{t: t, units: map[string]map[string]any{}, reads: map[string]int{}, jobs: map[string]string{}, gate: make(chan struct{})}
	close(m.gate)
	m.join(bus)
	return m
}

// join puts the manager on the bus, again after the bus was killed.
func (m *fakeManager) join(bus *testbus.Bus) {
	m.t.Helper()
	conn := bus.Connect()
	m.mu.Lock()
	m.bus = conn
	m.mu.Unlock()
	for path, iface := range map[dbus.ObjectPath]string{managerPath: managerName + ".Manager", managerPath + "/unit": "org.freedesktop.DBus.Properties"} {
		if err := conn.ExportSubtree(methods{m}, path, iface); err != nil {
			m.t.Fatal(err)
		}
	}
	if reply, err := conn.RequestName(managerName, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		m.t.Fatalf("taking systemd's name: %v, %v", reply, err)
	}
}

// set changes properties of a unit and signals that, as often as asked.
func (m *fakeManager) set(name string, change map[string]any, signals int) {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.units[name] == nil {
		m.units[name] = running()
	}
	maps.Copy(m.units[name], change)
	for range signals {
		object := managerPath + "/unit/" + dbus.ObjectPath(sd.PathBusEscape(name))
		if err := m.bus.Emit(object, "org.freedesktop.DBus.Properties.PropertiesChanged", managerName+".Unit", map[string]dbus.Variant{}, []string{}); err != nil {
			m.t.Error(err)
		}
	}
}

// hold lets questions wait until the returned function is called.
func (m *fakeManager) hold() (release func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	gate := make(chan struct{})
	m.gate = gate
	return sync.OnceFunc(func() { close(gate) })
}

// jobsEnd sets how jobs for a unit end; "" is never.
func (m *fakeManager) jobsEnd(unit, result string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.jobs[unit] = result
}

func (m *fakeManager) called() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.calls...)
}

func (m *fakeManager) readsOf(name string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reads[name]
}

func (m *fakeManager) answer(call string) {
	m.mu.Lock()
	gate := m.gate
	m.calls = append(m.calls, call)
	m.mu.Unlock()
	<-gate
}

// methods are what the bus calls.
type methods struct{ m *fakeManager }

func (x methods) Subscribe() *dbus.Error {
	x.m.answer("Subscribe")
	return nil
}

type listed struct {
	Name, Description, LoadState, ActiveState, SubState, Following string
	Path                                                           dbus.ObjectPath
	JobID                                                          uint32
	JobType                                                        string
	JobPath                                                        dbus.ObjectPath
}

func (x methods) ListUnitsByPatterns(_, patterns []string) ([]listed, *dbus.Error) {
	x.m.answer("ListUnitsByPatterns")
	x.m.mu.Lock()
	defer x.m.mu.Unlock()
	out := []listed{}
	for name := range x.m.units {
		for _, p := range patterns {
			if ok, _ := path.Match(p, name); ok {
				out = append(out, listed{Name: name, Path: "/", JobPath: "/"})
			}
		}
	}
	return out, nil
}

func (x methods) GetAll(msg dbus.Message, _ string) (map[string]dbus.Variant, *dbus.Error) {
	object, _ := msg.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	x.m.mu.Lock()
	gate := x.m.gate
	var name string
	for n := range x.m.units {
		if path.Base(string(object)) == sd.PathBusEscape(n) {
			name = n
		}
	}
	x.m.reads[name]++
	x.m.mu.Unlock()
	<-gate
	x.m.mu.Lock()
	defer x.m.mu.Unlock()
	out := map[string]dbus.Variant{}
	for k, v := range x.m.units[name] {
		out[k] = dbus.MakeVariant(v)
	}
	if name == "" {
		out["LoadState"] = dbus.MakeVariant("not-found")
	}
	return out, nil
}

func (x methods) ResetFailedUnit(name string) *dbus.Error {
	x.m.answer("ResetFailedUnit " + name)
	return dbus.NewError(managerName+".NoSuchUnit", []any{"nothing to reset"}) // must not matter
}

func (x methods) RestartUnit(name, mode string) (dbus.ObjectPath, *dbus.Error) {
	return x.job("RestartUnit", name, mode)
}

func (x methods) StopUnit(name, mode string) (dbus.ObjectPath, *dbus.Error) {
	return x.job("StopUnit", name, mode)
}

func (x methods) StartUnit(name, mode string) (dbus.ObjectPath, *dbus.Error) {
	return x.job("StartUnit", name, mode)
}

func (x methods) job(method, name, mode string) (dbus.ObjectPath, *dbus.Error) {
	x.m.answer(method + " " + name + " " + mode)
	x.m.mu.Lock()
	defer x.m.mu.Unlock()
	result, known := x.m.jobs[name]
	if !known {
		return "/", dbus.NewError(managerName+".NoSuchUnit", []any{"Unit " + name + " not found."})
	}
	x.m.jobSeq++
	id, bus := x.m.jobSeq, x.m.bus
	object := managerPath + dbus.ObjectPath(fmt.Sprintf("/job/%d", id))
	if result != "" { // ends before the answer is out, as a quick job may
		_ = bus.Emit(managerPath, managerName+".Manager.JobRemoved", id, object, name, result)
	}
	return object, nil
}
