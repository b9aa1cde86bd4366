package nvml

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	nv "github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"
	"github.com/google/go-cmp/cmp"

	"github.com/arasul/arasul/pkg/api"
)

// card is a GPU that answers everything. What a test does not expect to be
// called is not set, and panics.
func card() *mock.Device {
	pci := nv.PciInfo{}
	for i, c := range []byte("00000000:65:00.0") {
		pci.BusId[i] = int8(c)
	}
	limit := uint32(700_000)
	return &mock.Device{
		GetNameFunc:             func() (string, nv.Return) { return "NVIDIA H200", nv.SUCCESS },
		GetPciInfoFunc:          func() (nv.PciInfo, nv.Return) { return pci, nv.SUCCESS },
		GetUtilizationRatesFunc: func() (nv.Utilization, nv.Return) { return nv.Utilization{Gpu: 37}, nv.SUCCESS },
		GetMemoryInfoFunc: func() (nv.Memory, nv.Return) {
			return nv.Memory{Total: 150 << 30, Used: 30 << 30, Free: 120 << 30}, nv.SUCCESS
		},
		GetTemperatureFunc:          func(nv.TemperatureSensors) (uint32, nv.Return) { return 41, nv.SUCCESS },
		GetTemperatureThresholdFunc: func(nv.TemperatureThresholds) (uint32, nv.Return) { return 87, nv.SUCCESS },
		GetPowerUsageFunc:           func() (uint32, nv.Return) { return 123_400, nv.SUCCESS },
		GetClockInfoFunc: func(kind nv.ClockType) (uint32, nv.Return) {
			return map[nv.ClockType]uint32{nv.CLOCK_SM: 1980, nv.CLOCK_MEM: 3201}[kind], nv.SUCCESS
		},
		GetMaxClockInfoFunc: func(nv.ClockType) (uint32, nv.Return) { return 1980, nv.SUCCESS },
		GetCurrentClocksThrottleReasonsFunc: func() (uint64, nv.Return) {
			return nv.ClocksEventReasonSwPowerCap | nv.ClocksThrottleReasonHwThermalSlowdown | nv.ClocksEventReasonGpuIdle, nv.SUCCESS
		},
		GetComputeRunningProcessesFunc: func() ([]nv.ProcessInfo, nv.Return) {
			return []nv.ProcessInfo{{Pid: 4711, UsedGpuMemory: 29 << 30}, {Pid: 12, UsedGpuMemory: math.MaxUint64}}, nv.SUCCESS
		},
		GetGraphicsRunningProcessesFunc: func() ([]nv.ProcessInfo, nv.Return) {
			return []nv.ProcessInfo{{Pid: 4711, UsedGpuMemory: 29 << 30}, {Pid: 13, UsedGpuMemory: 1 << 20}}, nv.SUCCESS
		},
		GetTotalEccErrorsFunc: func(nv.MemoryErrorType, nv.EccCounterType) (uint64, nv.Return) { return 2, nv.SUCCESS },
		GetFieldValuesFunc: func(f []nv.FieldValue) nv.Return {
			f[0].NvmlReturn, f[0].Value[0] = uint32(nv.SUCCESS), 1
			return nv.SUCCESS
		},
		GetSupportedEventTypesFunc:         func() (uint64, nv.Return) { return nv.EventTypeXidCriticalError | nv.EventTypeClock, nv.SUCCESS },
		RegisterEventsFunc:                 func(uint64, nv.EventSet) nv.Return { return nv.SUCCESS },
		GetPowerManagementLimitFunc:        func() (uint32, nv.Return) { return limit, nv.SUCCESS },
		GetPowerManagementDefaultLimitFunc: func() (uint32, nv.Return) { return 700_000, nv.SUCCESS },
		GetPowerManagementLimitConstraintsFunc: func() (uint32, uint32, nv.Return) {
			return 200_000, 750_000, nv.SUCCESS
		},
		SetPowerManagementLimitFunc: func(mw uint32) nv.Return { limit = mw; return nv.SUCCESS },
	}
}

// library is a driver with the given GPUs that lacks the given symbols.
func library(events *mock.EventSet, missing []string, cards ...*mock.Device) *mock.Interface {
	return &mock.Interface{
		InitFunc:                   func() nv.Return { return nv.SUCCESS },
		ShutdownFunc:               func() nv.Return { return nv.SUCCESS },
		DeviceGetCountFunc:         func() (int, nv.Return) { return len(cards), nv.SUCCESS },
		SystemGetDriverVersionFunc: func() (string, nv.Return) { return "580.65.06", nv.SUCCESS },
		DeviceGetHandleByIndexFunc: func(i int) (nv.Device, nv.Return) { return cards[i], nv.SUCCESS },
		EventSetCreateFunc:         func() (nv.EventSet, nv.Return) { return events, nv.SUCCESS },
		ExtensionsFunc: func() nv.ExtendedInterface {
			return &mock.ExtendedInterface{LookupSymbolFunc: func(symbol string) error {
				if slices.Contains(missing, symbol) {
					return errors.New("undefined symbol: " + symbol)
				}
				return nil
			}}
		},
	}
}

func silent() *mock.EventSet {
	return &mock.EventSet{
		FreeFunc: func() nv.Return { return nv.SUCCESS },
		WaitFunc: func(uint32) (nv.EventData, nv.Return) { return nv.EventData{}, nv.ERROR_TIMEOUT },
	}
}

func open(t *testing.T, lib *mock.Interface) *Client {
	t.Helper()
	c, err := Open(lib)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// old are the symbols that drivers before 535 lack.
var old = []string{"nvmlDeviceGetCurrentClocksEventReasons"}

// Proves GPU-1.
func TestCardIsSeen(t *testing.T) {
	got, err := open(t, library(silent(), old, card())).Sample()
	if err != nil {
		t.Fatal(err)
	}
	want := []api.GPU{{
		ID: "00000000:65:00.0", Name: "NVIDIA H200", Driver: "580.65.06",
		UtilisationRatio: new(0.37),
		MemoryTotalBytes: new(uint64(150 << 30)), MemoryUsedBytes: new(uint64(30 << 30)),
		TemperatureCelsius: new(41.0), SlowdownCelsius: new(87.0), PowerWatts: new(123.4),
		ClockHertz: new(uint64(1980e6)), ClockMaxHertz: new(uint64(1980e6)), MemoryClockHertz: new(uint64(3201e6)),
		Throttle:            []string{"power-cap", "hw-thermal"},
		Processes:           []api.GPUProcess{{PID: 4711, MemoryBytes: new(uint64(29 << 30))}, {PID: 12}, {PID: 13, MemoryBytes: new(uint64(1 << 20))}},
		ECCUncorrectedTotal: new(uint64(2)),
		Recovery:            api.RecoverReset,
	}}
	near := cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-9 })
	if diff := cmp.Diff(want, got, near); diff != "" {
		t.Error(diff)
	}
}

// Proves GPU-1 and GPU-2: Thor shares the machine's memory. Its driver says
// "not supported" to the question for memory, but tells what each process holds.
func TestGPUWithoutMemoryOfItsOwnSharesTheMachines(t *testing.T) {
	thor := card()
	thor.GetMemoryInfoFunc = func() (nv.Memory, nv.Return) { return nv.Memory{}, nv.ERROR_NOT_SUPPORTED }
	thor.GetComputeRunningProcessesFunc = func() ([]nv.ProcessInfo, nv.Return) {
		return []nv.ProcessInfo{{Pid: 4711, UsedGpuMemory: 29 << 30}}, nv.SUCCESS
	}
	c := open(t, library(silent(), old, thor))
	look := func(used *uint64) {
		t.Helper()
		got, err := c.Sample()
		if err != nil {
			t.Fatal(err)
		}
		g := got[0]
		if !g.MemoryUnified || g.MemoryTotalBytes == nil || *g.MemoryTotalBytes < 64<<20 {
			t.Errorf("total %v of a GPU that shares it: %v", g.MemoryTotalBytes, g.MemoryUnified)
		}
		if diff := cmp.Diff(used, g.MemoryUsedBytes); diff != "" {
			t.Errorf("used: %s", diff)
		}
	}
	look(new(uint64(29<<30 + 1<<20)))
	thor.GetGraphicsRunningProcessesFunc = func() ([]nv.ProcessInfo, nv.Return) {
		return []nv.ProcessInfo{{Pid: 13, UsedGpuMemory: math.MaxUint64}}, nv.SUCCESS
	}
	look(nil) // one cannot say
	thor.GetGraphicsRunningProcessesFunc = func() ([]nv.ProcessInfo, nv.Return) { return nil, nv.ERROR_NOT_SUPPORTED }
	look(new(uint64(29 << 30)))
	thor.GetGraphicsRunningProcessesFunc = func() ([]nv.ProcessInfo, nv.Return) { return nil, nv.ERROR_UNKNOWN }
	look(nil)
	thor.GetComputeRunningProcessesFunc = func() ([]nv.ProcessInfo, nv.Return) { return nil, nv.SUCCESS }
	thor.GetGraphicsRunningProcessesFunc = thor.GetComputeRunningProcessesFunc
	look(new(uint64(0)))
}

// An empty mock panics on every call, as the real library ends the process.
func TestSymbolThatIsMissingIsNotCalled(t *testing.T) {
	lib := library(silent(), nil, &mock.Device{
		GetNameFunc:    card().GetNameFunc,
		GetPciInfoFunc: card().GetPciInfoFunc,
	})
	lib.ExtensionsFunc = func() nv.ExtendedInterface {
		return &mock.ExtendedInterface{LookupSymbolFunc: func(string) error { return errors.New("undefined") }}
	}
	c := open(t, lib)
	got, err := c.Sample()
	if err != nil || len(got) != 1 || got[0].UtilisationRatio != nil || got[0].Recovery != "" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := c.Limit(got[0].ID); err == nil {
		t.Error("a limit without the symbols")
	}
	if _, err := c.Wait(0); err == nil {
		t.Error("events without the symbols")
	}
}

// Calling anything after a failed Init ends the process with some versions.
func TestNothingIsCalledAfterInitFailed(t *testing.T) {
	for _, ret := range []nv.Return{nv.ERROR_LIBRARY_NOT_FOUND, nv.ERROR_DRIVER_NOT_LOADED, nv.ERROR_LIB_RM_VERSION_MISMATCH} {
		lib := &mock.Interface{InitFunc: func() nv.Return { return ret }}
		if _, err := Open(lib); !errors.Is(err, ret) {
			t.Errorf("got %v, want %v", err, ret)
		}
	}
}

func TestLibraryIsLetGoWhenOpeningFails(t *testing.T) {
	lib := library(silent(), nil)
	if _, err := Open(lib); err == nil || len(lib.ShutdownCalls()) != 1 {
		t.Errorf("%v, %d times shut down", err, len(lib.ShutdownCalls()))
	}
}

// NVML on this machine, which has no driver: no crash, and a reason.
func TestMachineWithoutDriverIsToldSo(t *testing.T) {
	c, err := Open(Library())
	if err == nil {
		_ = c.Close()
		t.Skip("this machine has a driver")
	}
	if !errors.Is(err, nv.ERROR_LIBRARY_NOT_FOUND) && !errors.Is(err, nv.ERROR_DRIVER_NOT_LOADED) {
		t.Errorf("got %v", err)
	}
}

func TestLostCardIsStillListed(t *testing.T) {
	lost, broken := card(), card()
	lost.GetNameFunc = func() (string, nv.Return) { return "", nv.ERROR_GPU_IS_LOST }
	broken.GetNameFunc = func() (string, nv.Return) { return "", nv.ERROR_RESET_REQUIRED }
	lib := library(silent(), old, lost, broken, card())
	handle := lib.DeviceGetHandleByIndexFunc
	lib.DeviceGetHandleByIndexFunc = func(i int) (nv.Device, nv.Return) {
		if i == 2 {
			return nil, nv.ERROR_GPU_IS_LOST
		}
		return handle(i)
	}
	got, err := open(t, lib).Sample()
	if err != nil {
		t.Fatal(err)
	}
	var recoveries []api.GPURecovery
	for _, g := range got {
		recoveries = append(recoveries, g.Recovery)
	}
	want := []api.GPURecovery{api.RecoverReboot, api.RecoverReset, api.RecoverReboot}
	if diff := cmp.Diff(want, recoveries); diff != "" {
		t.Error(diff)
	}
}

func TestDriverThatWentAwayIsAnError(t *testing.T) {
	d := card()
	c := open(t, library(silent(), old, d))
	d.GetNameFunc = func() (string, nv.Return) { return "", nv.ERROR_DRIVER_NOT_LOADED }
	if _, err := c.Sample(); !errors.Is(err, nv.ERROR_DRIVER_NOT_LOADED) {
		t.Errorf("got %v", err)
	}
}

func TestGarbageIsLeftOut(t *testing.T) {
	d := card()
	d.GetUtilizationRatesFunc = func() (nv.Utilization, nv.Return) { return nv.Utilization{Gpu: 4_000_000}, nv.SUCCESS }
	d.GetMemoryInfoFunc = func() (nv.Memory, nv.Return) { return nv.Memory{Total: 1, Used: 2}, nv.SUCCESS }
	d.GetTemperatureFunc = func(nv.TemperatureSensors) (uint32, nv.Return) { return 0xffffffff, nv.SUCCESS }
	d.GetPowerUsageFunc = func() (uint32, nv.Return) { return 0xffffffff, nv.SUCCESS }
	got, err := open(t, library(silent(), old, d)).Sample()
	if err != nil {
		t.Fatal(err)
	}
	if g := got[0]; g.UtilisationRatio != nil || g.MemoryUsedBytes != nil || g.TemperatureCelsius != nil || g.PowerWatts != nil {
		t.Errorf("%+v", g)
	}
}

// Proves GPU-1.
func TestXidArrivesWithItsCard(t *testing.T) {
	first, second := card(), card()
	second.GetPciInfoFunc = func() (nv.PciInfo, nv.Return) { return nv.PciInfo{BusId: [32]int8{'b'}}, nv.SUCCESS }
	events := silent()
	c := open(t, library(events, nil, first, second))
	if n := first.RegisterEventsCalls()[0].V; n != nv.EventTypeXidCriticalError {
		t.Errorf("asked for events %#x, which the card does not all send", n)
	}
	events.WaitFunc = func(ms uint32) (nv.EventData, nv.Return) {
		if ms != 500 {
			t.Errorf("waited %d ms", ms)
		}
		return nv.EventData{Device: second, EventType: nv.EventTypeXidCriticalError, EventData: 79}, nv.SUCCESS
	}
	e, err := c.Wait(500 * time.Millisecond)
	if err != nil || e == nil || e.Kind != api.GPUEventXid || e.Code != 79 || e.GPU != "b" {
		t.Errorf("%+v, %v", e, err)
	}
	events.WaitFunc = silent().WaitFunc
	if e, err := c.Wait(time.Millisecond); e != nil || err != nil {
		t.Errorf("%+v, %v", e, err)
	}
}

// Proves GPU-3.
func TestPowerLimitIsSetAndRead(t *testing.T) {
	c := open(t, library(silent(), nil, card()))
	id := "00000000:65:00.0"
	l, err := c.Limit(id)
	if diff := cmp.Diff(api.GPULimit{Unit: "milliwatts", Now: 700_000, Min: 200_000, Full: 700_000}, l); diff != "" || err != nil {
		t.Fatal(err, diff)
	}
	if err := c.SetLimit(id, 560_000); err != nil {
		t.Fatal(err)
	}
	if l, err = c.Limit(id); err != nil || l.Now != 560_000 {
		t.Errorf("%+v, %v", l, err)
	}
	if c.SetLimit("other", 1) == nil || c.SetLimit(id, 1<<40) == nil {
		t.Error("nonsense was accepted")
	}
}
