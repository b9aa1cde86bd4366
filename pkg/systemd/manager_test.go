package systemd

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"sync"
	"syscall"
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
	ends   map[string]map[string]any // what a unit is like after its jobs
	refuse map[string]*dbus.Error    // by method
	locks  []inhibitor
	stuck  chan struct{} // logind answers when this is closed
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
		"Job": job{7, "/org/freedesktop/systemd1/job/7"},
	}
}

type job struct {
	ID   uint32
	Path dbus.ObjectPath
}

func newManager(t *testing.T, bus *testbus.Bus) *fakeManager {
	t.Helper()
	m := &fakeManager{t: t, units: map[string]map[string]any{}, reads: map[string]int{}, jobs: map[string]string{}, ends: map[string]map[string]any{}, refuse: map[string]*dbus.Error{}, gate: make(chan struct{})}
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
	u := m.units[name]
	maps.Copy(u, change)
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

// leaves sets properties that a unit has after its jobs.
func (m *fakeManager) leaves(unit string, change map[string]any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ends[unit] = change
}

// refuses sets the answer to a method.
func (m *fakeManager) refuses(method string, err *dbus.Error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse[method] = err
}

// locked sets logind's locks.
func (m *fakeManager) locked(locks ...inhibitor) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.locks = locks
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
				out = append(out, x.m.listed(name))
			}
		}
	}
	return out, nil
}

func (x methods) ListUnitsByNames(names []string) ([]listed, *dbus.Error) {
	x.m.answer("ListUnitsByNames")
	x.m.mu.Lock()
	defer x.m.mu.Unlock()
	out := []listed{}
	for _, name := range names {
		out = append(out, x.m.listed(name))
	}
	return out, nil
}

func (m *fakeManager) listed(name string) listed {
	l := listed{Name: name, LoadState: "not-found", ActiveState: "inactive", SubState: "dead", Path: "/", JobPath: "/"}
	u := m.units[name]
	if u == nil {
		return l
	}
	l.Description, l.LoadState = u["Description"].(string), u["LoadState"].(string)
	l.ActiveState, l.SubState = u["ActiveState"].(string), u["SubState"].(string)
	l.JobID = u["Job"].(job).ID
	return l
}

func (x methods) Get(msg dbus.Message, _, property string) (dbus.Variant, *dbus.Error) {
	object, _ := msg.Headers[dbus.FieldPath].Value().(dbus.ObjectPath)
	x.m.answer("Get " + property)
	x.m.mu.Lock()
	defer x.m.mu.Unlock()
	for name, u := range x.m.units {
		if path.Base(string(object)) == sd.PathBusEscape(name) {
			return dbus.MakeVariant(u[property]), nil
		}
	}
	return dbus.MakeVariant(uint64(0)), nil
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
		for k, v := range map[string]string{"LoadState": "not-found", "ActiveState": "inactive", "SubState": "dead"} {
			out[k] = dbus.MakeVariant(v)
		}
	}
	return out, nil
}

func (x methods) ResetFailedUnit(name string) *dbus.Error {
	x.m.answer("ResetFailedUnit " + name)
	x.m.mu.Lock()
	defer x.m.mu.Unlock()
	if err := x.m.refuse["ResetFailedUnit"]; err != nil {
		return err
	}
	if x.m.units[name] == nil {
		return dbus.NewError(managerName+".NoSuchUnit", []any{"nothing to reset"}) // must not matter
	}
	x.m.units[name]["NRestarts"] = uint32(0)
	return nil
}

func (x methods) FreezeUnit(name string) *dbus.Error { return x.freezer("FreezeUnit", name, "frozen") }

func (x methods) ThawUnit(name string) *dbus.Error { return x.freezer("ThawUnit", name, "running") }

func (x methods) freezer(method, name, state string) *dbus.Error {
	x.m.answer(method + " " + name)
	x.m.mu.Lock()
	defer x.m.mu.Unlock()
	if err := x.m.refuse[method]; err != nil {
		return err
	}
	x.m.units[name]["FreezerState"] = state
	return nil
}

func (x methods) KillUnit(name, whom string, signal int32) *dbus.Error {
	x.m.answer(fmt.Sprintf("KillUnit %s %s %s", name, whom, syscall.Signal(signal)))
	x.m.mu.Lock()
	defer x.m.mu.Unlock()
	return x.m.refuse["KillUnit"]
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
	if u := x.m.units[name]; u != nil && result == "done" {
		u["ActiveState"] = map[bool]string{true: "inactive", false: "active"}[method == "StopUnit" || u["Type"] == "oneshot"]
	}
	if u := x.m.units[name]; u != nil && result != "" {
		maps.Copy(u, x.m.ends[name])
	}
	object := managerPath + dbus.ObjectPath(fmt.Sprintf("/job/%d", id))
	if result != "" { // ends before the answer is out, as a quick job may
		_ = bus.Emit(managerPath, managerName+".Manager.JobRemoved", id, object, name, result)
	}
	return object, nil
}

// inhibitor is a lock as logind lists it.
type inhibitor struct {
	What, Who, Why, Mode string
	UID, PID             uint32
}

// login puts logind beside the manager.
func (m *fakeManager) login() {
	m.t.Helper()
	if err := m.bus.Export(logind{m}, login1Path, login1Name+".Manager"); err != nil {
		m.t.Fatal(err)
	}
	if reply, err := m.bus.RequestName(login1Name, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		m.t.Fatalf("taking logind's name: %v, %v", reply, err)
	}
}

type logind struct{ m *fakeManager }

func (l logind) ListInhibitors() ([]inhibitor, *dbus.Error) {
	l.m.answer("ListInhibitors")
	l.m.mu.Lock()
	stuck := l.m.stuck
	l.m.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	return l.m.locks, l.m.refuse["ListInhibitors"]
}

func (l logind) SetWallMessage(text string, _ bool) *dbus.Error {
	l.m.answer("SetWallMessage " + text)
	return dbus.MakeFailedError(errors.New("no terminals")) // must not matter
}

func (l logind) RebootWithFlags(flags uint64) *dbus.Error {
	l.m.answer(fmt.Sprintf("RebootWithFlags %d", flags))
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	return l.m.refuse["RebootWithFlags"]
}
