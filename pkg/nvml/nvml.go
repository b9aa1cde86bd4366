// Package nvml sees NVIDIA GPUs through the driver's own library: cards, and
// Jetson Thor.
//
// It is the only package that loads the library, and it keeps to its traps. A
// symbol that the installed library lacks ends the process when it is called, so
// each is looked up first. Nothing but Init is called before Init succeeded.
// Init and every other call may hang in the kernel with a broken GPU: a caller
// that must not hang lets its watchdog end the process.
//
// The package does not decide what a value means. It does not trust the library
// on a Jetson up to Orin either: that is a stub, which callers know by its names
// (see pkg/gpu).
package nvml

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	nv "github.com/NVIDIA/go-nvml/pkg/nvml"
	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/api"
)

const (
	maxDevices   = 64
	maxProcesses = 256
)

// Client is the library, loaded. Its methods must not be called at the same
// time. While it is open the driver counts us as a user of every GPU, and none
// can be reset.
type Client struct {
	lib     nv.Interface
	driver  string
	devices []device
	lost    []string    // GPUs that the driver counts and cannot reach
	events  nv.EventSet // nil when the driver sends none
	known   map[string]bool
	machine func() *uint64 // its memory
}

type device struct {
	id string
	nv.Device
}

// Library is the library of this machine.
func Library() nv.Interface { return nv.New() }

// Open loads the library and finds the GPUs. It fails when there is no driver,
// or no GPU.
func Open(lib nv.Interface) (*Client, error) {
	switch ret := lib.Init(); ret {
	case nv.SUCCESS:
	case nv.ERROR_LIBRARY_NOT_FOUND:
		return nil, fmt.Errorf("no NVIDIA driver (%w)", ret)
	default:
		return nil, fmt.Errorf("starting NVML: %w", ret)
	}
	c := &Client{lib: lib, known: map[string]bool{}, machine: machineMemory}
	if err := c.find(); err != nil {
		_ = c.Close()
		return nil, err
	}
	c.listen()
	return c, nil
}

// find opens the GPUs.
func (c *Client) find() error {
	n, ret := c.lib.DeviceGetCount()
	if ret != nv.SUCCESS {
		return fmt.Errorf("counting GPUs: %w", ret)
	}
	if n == 0 {
		return errors.New("a driver without a GPU")
	}
	if v, ret := c.lib.SystemGetDriverVersion(); ret == nv.SUCCESS {
		c.driver = v
	}
	for i := range min(n, maxDevices) {
		d, ret := c.lib.DeviceGetHandleByIndex(i)
		switch ret {
		case nv.SUCCESS:
			c.devices = append(c.devices, device{busID(d, i), d})
		case nv.ERROR_GPU_IS_LOST:
			c.lost = append(c.lost, fmt.Sprintf("gpu%d", i))
		default:
			return fmt.Errorf("opening GPU %d: %w", i, ret)
		}
	}
	return nil
}

// busID names a GPU by its PCI address, which is the same after a reset.
func busID(d nv.Device, index int) string {
	if pci, ret := d.GetPciInfo(); ret == nv.SUCCESS {
		id := make([]byte, 0, len(pci.BusId))
		for _, c := range pci.BusId {
			if c <= ' ' || c > '~' {
				break
			}
			id = append(id, byte(c))
		}
		if len(id) > 0 {
			return string(id)
		}
	}
	return fmt.Sprintf("gpu%d", index)
}

// Close lets go of the library and of all GPUs. It must be called once.
func (c *Client) Close() error {
	if c.events != nil {
		_ = c.events.Free()
		c.events = nil
	}
	if ret := c.lib.Shutdown(); ret != nv.SUCCESS {
		return fmt.Errorf("ending NVML: %w", ret)
	}
	return nil
}

// has says whether the library has a symbol that not every version has.
func (c *Client) has(symbol string) bool {
	ok, asked := c.known[symbol]
	if !asked {
		ok = c.lib.Extensions().LookupSymbol(symbol) == nil
		c.known[symbol] = ok
	}
	return ok
}

// value asks for one value, and gives nil when this GPU or this library has
// none, or when it is above what we believe.
func value[T uint32 | uint64](c *Client, symbol string, most T, ask func() (T, nv.Return)) *T {
	if !c.has(symbol) {
		return nil
	}
	v, ret := ask()
	if ret != nv.SUCCESS || v > most {
		return nil
	}
	return &v
}

// Sample looks at all GPUs once. It fails when the driver is gone; a GPU that is
// lost is still listed, with the recovery that it needs.
func (c *Client) Sample() ([]api.GPU, error) {
	list := make([]api.GPU, 0, len(c.devices))
	for _, d := range c.devices {
		g, err := c.sample(d)
		if err != nil {
			return nil, fmt.Errorf("GPU %s: %w", d.id, err)
		}
		list = append(list, g)
	}
	for _, id := range c.lost {
		list = append(list, gone(id))
	}
	return list, nil
}

// gone is all there is to say about a GPU that fell off the bus.
func gone(id string) api.GPU {
	return api.GPU{ID: id, Throttle: []string{}, Processes: []api.GPUProcess{}, Recovery: api.RecoverReboot}
}

func (c *Client) sample(d device) (api.GPU, error) {
	g := api.GPU{ID: d.id, Driver: c.driver, Throttle: []string{}, Processes: []api.GPUProcess{}}
	name, ret := d.GetName()
	switch ret {
	case nv.ERROR_GPU_IS_LOST:
		return gone(d.id), nil
	case nv.ERROR_RESET_REQUIRED:
		g.Recovery = api.RecoverReset
		return g, nil
	case nv.ERROR_UNINITIALIZED, nv.ERROR_DRIVER_NOT_LOADED, nv.ERROR_LIB_RM_VERSION_MISMATCH, nv.ERROR_UNKNOWN:
		return g, ret
	default:
		g.Name = name
	}
	g.Recovery = c.verdict(d)
	if c.has("nvmlDeviceGetUtilizationRates") {
		if u, ret := d.GetUtilizationRates(); ret == nv.SUCCESS && u.Gpu <= 100 {
			g.UtilisationRatio = new(float64(u.Gpu) / 100)
		}
	}
	running, all := c.processes(d)
	g.Processes = append(g.Processes, running...)
	if c.has("nvmlDeviceGetMemoryInfo") {
		switch m, ret := d.GetMemoryInfo(); {
		case ret == nv.SUCCESS && m.Total > 0 && m.Used <= m.Total:
			g.MemoryTotalBytes, g.MemoryUsedBytes = &m.Total, &m.Used
		case ret == nv.ERROR_NOT_SUPPORTED: // it has none of its own, as Thor
			g.MemoryUnified = true
			g.MemoryTotalBytes = c.machine()
			if all {
				g.MemoryUsedBytes = held(running)
			}
		}
	}
	g.TemperatureCelsius = float(value(c, "nvmlDeviceGetTemperature", 200, func() (uint32, nv.Return) {
		return d.GetTemperature(nv.TEMPERATURE_GPU)
	}), 1)
	g.SlowdownCelsius = float(value(c, "nvmlDeviceGetTemperatureThreshold", 200, func() (uint32, nv.Return) {
		return d.GetTemperatureThreshold(nv.TEMPERATURE_THRESHOLD_SLOWDOWN)
	}), 1)
	g.PowerWatts = float(value(c, "nvmlDeviceGetPowerUsage", 10_000_000, d.GetPowerUsage), 1e-3)
	clock := func(symbol string, ask func(nv.ClockType) (uint32, nv.Return), kind nv.ClockType) *uint64 {
		mhz := value(c, symbol, 100_000, func() (uint32, nv.Return) { return ask(kind) })
		if mhz == nil {
			return nil
		}
		return new(uint64(*mhz) * 1e6)
	}
	g.ClockHertz = clock("nvmlDeviceGetClockInfo", d.GetClockInfo, nv.CLOCK_SM)
	g.ClockMaxHertz = clock("nvmlDeviceGetMaxClockInfo", d.GetMaxClockInfo, nv.CLOCK_SM)
	g.MemoryClockHertz = clock("nvmlDeviceGetClockInfo", d.GetClockInfo, nv.CLOCK_MEM)
	g.Throttle = append(g.Throttle, c.throttle(d)...)
	g.ECCUncorrectedTotal = value(c, "nvmlDeviceGetTotalEccErrors", 1<<53, func() (uint64, nv.Return) {
		return d.GetTotalEccErrors(nv.MEMORY_ERROR_TYPE_UNCORRECTED, nv.VOLATILE_ECC)
	})
	return g, nil
}

func float(v *uint32, unit float64) *float64 {
	if v == nil {
		return nil
	}
	return new(float64(*v) * unit)
}

// verdict is what the driver itself says that the GPU needs: drivers from 560 on
// keep it in a field, older ones say nothing.
func (c *Client) verdict(d device) api.GPURecovery {
	if !c.has("nvmlDeviceGetFieldValues") {
		return ""
	}
	fields := []nv.FieldValue{{FieldId: nv.FI_DEV_GET_GPU_RECOVERY_ACTION}}
	if ret := d.GetFieldValues(fields); ret != nv.SUCCESS || nv.Return(fields[0].NvmlReturn) != nv.SUCCESS {
		return ""
	}
	switch nv.DeviceGpuRecoveryAction(binary.NativeEndian.Uint32(fields[0].Value[:4])) {
	case nv.GPU_RECOVERY_ACTION_NONE:
		return api.RecoverNothing
	case nv.GPU_RECOVERY_ACTION_GPU_RESET, nv.GPU_RECOVERY_ACTION_BUS_RESET:
		return api.RecoverReset
	case nv.GPU_RECOVERY_ACTION_DRAIN_P2P, nv.GPU_RECOVERY_ACTION_DRAIN_AND_RESET:
		return api.RecoverDrain
	case nv.GPU_RECOVERY_ACTION_NODE_REBOOT, nv.GPU_RECOVERY_ACTION_SYSTEM_REBOOT:
		return api.RecoverReboot
	default:
		return ""
	}
}

// reasons are the bits of the driver's answer that mean "slower than it could".
var reasons = []struct {
	bit  uint64
	name string
}{
	{nv.ClocksEventReasonApplicationsClocksSetting, "clock-limit"},
	{nv.ClocksEventReasonSwPowerCap, "power-cap"},
	{nv.ClocksThrottleReasonHwSlowdown, "hw-slowdown"},
	{nv.ClocksEventReasonSwThermalSlowdown, "sw-thermal"},
	{nv.ClocksThrottleReasonHwThermalSlowdown, "hw-thermal"},
	{nv.ClocksThrottleReasonHwPowerBrakeSlowdown, "power-brake"},
}

func (c *Client) throttle(d device) (names []string) {
	ask := d.GetCurrentClocksThrottleReasons
	symbol := "nvmlDeviceGetCurrentClocksThrottleReasons"
	if c.has("nvmlDeviceGetCurrentClocksEventReasons") { // its name since driver 535
		ask, symbol = d.GetCurrentClocksEventReasons, "nvmlDeviceGetCurrentClocksEventReasons"
	}
	bits := value(c, symbol, 1<<63, ask)
	if bits == nil {
		return nil
	}
	for _, r := range reasons {
		if *bits&r.bit != 0 {
			names = append(names, r.name)
		}
	}
	return names
}

// processes are those that compute and those that draw, and whether these are
// all. One may do both: each list then tells of all its memory.
func (c *Client) processes(d device) (list []api.GPUProcess, all bool) {
	all = true
	for _, kind := range []struct {
		symbol string
		ask    func() ([]nv.ProcessInfo, nv.Return)
	}{
		{"nvmlDeviceGetComputeRunningProcesses", d.GetComputeRunningProcesses},
		{"nvmlDeviceGetGraphicsRunningProcesses", d.GetGraphicsRunningProcesses},
	} {
		if !c.has(kind.symbol+"_v3") && !c.has(kind.symbol+"_v2") && !c.has(kind.symbol) {
			all = false
			continue
		}
		running, ret := kind.ask()
		if ret != nv.SUCCESS {
			all = all && ret == nv.ERROR_NOT_SUPPORTED // then it has none of these
			continue
		}
		for _, p := range running {
			known := slices.ContainsFunc(list, func(k api.GPUProcess) bool { return k.PID == p.Pid })
			if known {
				continue
			}
			if len(list) == maxProcesses {
				return list, false
			}
			process := api.GPUProcess{PID: p.Pid}
			if p.UsedGpuMemory != 0 && p.UsedGpuMemory < 1<<53 { // all ones: not available
				process.MemoryBytes = new(p.UsedGpuMemory)
			}
			list = append(list, process)
		}
	}
	return list, all
}

// held is what these processes hold together, nil when one of them cannot say.
func held(processes []api.GPUProcess) *uint64 {
	var sum uint64
	for _, p := range processes {
		if p.MemoryBytes == nil {
			return nil
		}
		sum += *p.MemoryBytes
	}
	return &sum
}

// machineMemory is the memory of this machine, which a GPU without any of its
// own shares.
func machineMemory() *uint64 {
	var s unix.Sysinfo_t
	if unix.Sysinfo(&s) != nil {
		return nil
	}
	return new(uint64(s.Totalram) * uint64(s.Unit)) //nolint:unconvert // 32 bits elsewhere
}

// Limit says how much power a GPU may draw.
func (c *Client) Limit(id string) (api.GPULimit, error) {
	d, err := c.device(id)
	if err != nil {
		return api.GPULimit{}, err
	}
	for _, symbol := range []string{"nvmlDeviceGetPowerManagementLimit", "nvmlDeviceGetPowerManagementLimitConstraints",
		"nvmlDeviceGetPowerManagementDefaultLimit", "nvmlDeviceSetPowerManagementLimit"} {
		if !c.has(symbol) {
			return api.GPULimit{}, fmt.Errorf("the driver has no %s", symbol)
		}
	}
	now, ret := d.GetPowerManagementLimit()
	lo, _, ret2 := d.GetPowerManagementLimitConstraints()
	full, ret3 := d.GetPowerManagementDefaultLimit()
	for _, r := range []nv.Return{ret, ret2, ret3} {
		if r != nv.SUCCESS {
			return api.GPULimit{}, fmt.Errorf("reading the power limit: %w", r)
		}
	}
	if lo > full {
		return api.GPULimit{}, fmt.Errorf("the lowest power limit, %d mW, is above the default of %d mW", lo, full)
	}
	return api.GPULimit{Unit: "milliwatts", Now: uint64(now), Min: uint64(lo), Full: uint64(full)}, nil
}

// SetLimit sets how much power a GPU may draw, until the driver is loaded anew.
// It needs CAP_SYS_ADMIN.
func (c *Client) SetLimit(id string, milliwatts uint64) error {
	d, err := c.device(id)
	if err != nil {
		return err
	}
	if milliwatts > 10_000_000 {
		return fmt.Errorf("%d mW is no power limit", milliwatts)
	}
	if ret := d.SetPowerManagementLimit(uint32(milliwatts)); ret != nv.SUCCESS {
		return fmt.Errorf("setting the power limit: %w", ret)
	}
	return nil
}

func (c *Client) device(id string) (device, error) {
	for _, d := range c.devices {
		if d.id == id {
			return d, nil
		}
	}
	return device{}, fmt.Errorf("no GPU %q", id)
}

// wanted are the events that mean trouble.
const wanted = nv.EventTypeXidCriticalError | nv.EventTypeDoubleBitEccError | nv.EventTypeFatalPoisonError |
	nv.EventTypeDramRetirementFailure | nv.EventTypeGpuUnavailableError | nv.EventTypeGpuRecoveryAction

// listen asks for the events that each GPU can send.
func (c *Client) listen() {
	if !c.has("nvmlEventSetCreate") {
		return
	}
	set, ret := c.lib.EventSetCreate()
	if ret != nv.SUCCESS {
		return
	}
	heard := false
	for _, d := range c.devices {
		if can, ret := d.GetSupportedEventTypes(); ret == nv.SUCCESS && can&wanted != 0 {
			heard = d.RegisterEvents(can&wanted, set) == nv.SUCCESS || heard
		}
	}
	if !heard {
		_ = set.Free()
		return
	}
	c.events = set
}

// Wait returns the next event, or nil when there was none within d. It fails at
// once when the driver sends no events.
func (c *Client) Wait(d time.Duration) (*api.GPUEvent, error) {
	if c.events == nil {
		return nil, errors.New("the driver sends no events")
	}
	data, ret := c.events.Wait(uint32(d.Milliseconds()))
	switch ret {
	case nv.SUCCESS:
	case nv.ERROR_TIMEOUT:
		return nil, nil
	default:
		return nil, fmt.Errorf("waiting for events: %w", ret)
	}
	e := &api.GPUEvent{Time: time.Now(), Count: 1}
	for _, d := range c.devices {
		if d.Device == data.Device {
			e.GPU = d.id
		}
	}
	switch data.EventType {
	case nv.EventTypeXidCriticalError:
		e.Kind, e.Code = api.GPUEventXid, data.EventData
		e.Message = fmt.Sprintf("Xid %d", data.EventData)
	case nv.EventTypeGpuUnavailableError:
		e.Kind, e.Message = api.GPUEventLost, "the GPU is unavailable"
	case nv.EventTypeGpuRecoveryAction:
		e.Kind, e.Message = api.GPUEventRecovery, "the driver changed what it asks for"
	case nv.EventTypeDramRetirementFailure:
		e.Kind, e.Message = api.GPUEventECC, "broken memory could not be retired"
	default:
		e.Kind, e.Message = api.GPUEventECC, "an error in memory that could not be corrected"
	}
	return e, nil
}
