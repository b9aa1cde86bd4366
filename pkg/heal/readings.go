package heal

import (
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// nominalTrip is where an AGX Orin begins to slow itself down, in °C. The
// thresholds of heat are written for it.
const nominalTrip = 99.0

// heat is a temperature as it would be on a board that begins to slow itself
// down at nominalTrip. A trip point outside of what makes sense is a fan's, or
// nobody set it.
func heat(celsius float64, trip *float64) float64 {
	if trip == nil || *trip < 70 || *trip > 115 {
		return celsius
	}
	return celsius + nominalTrip - *trip
}

// Readings are what a look at the host and the GPUs measured, at the time at.
// Either may be nil. What could not be measured is left out.
func Readings(at time.Time, s *api.Sample, g *api.GPUStatus) []api.Reading {
	r := readings{at: at}
	if s != nil {
		r.host(s)
	}
	if g != nil {
		r.gpus(g)
	}
	if r.heat != nil {
		r.add("heat_celsius", "", *r.heat)
	}
	return r.list
}

type readings struct {
	at   time.Time
	list []api.Reading
	heat *float64 // the most of all sensors
}

func (r *readings) add(metric, of string, value float64) {
	r.list = append(r.list, api.Reading{Metric: metric, Of: of, Value: value, Time: r.at})
}

func (r *readings) maybe(metric string, value *float64) {
	if value != nil {
		r.add(metric, "", *value)
	}
}

func (r *readings) share(metric string, used, total uint64) {
	if total > 0 {
		r.add(metric, "", float64(used)/float64(total))
	}
}

func (r *readings) warm(celsius, trip *float64) {
	if celsius == nil {
		return
	}
	if h := heat(*celsius, trip); r.heat == nil || h > *r.heat {
		r.heat = &h
	}
}

func (r *readings) host(s *api.Sample) {
	r.add("cpu_ratio", "", s.CPURatio)
	r.share("memory_ratio", s.MemoryUsedBytes, s.MemoryTotalBytes)
	r.share("swap_ratio", s.SwapUsedBytes, s.SwapTotalBytes)
	r.share("disk_ratio", s.DiskUsedBytes, s.DiskTotalBytes)
	if s.DiskTotalBytes > 0 {
		r.add("disk_free_bytes", "", float64(s.DiskTotalBytes-min(s.DiskUsedBytes, s.DiskTotalBytes)))
	}
	r.maybe("temperature_celsius", s.TemperatureCelsius)
	r.maybe("pressure_cpu_ratio", s.PressureCPURatio)
	r.maybe("pressure_memory_ratio", s.PressureMemoryRatio)
	r.maybe("pressure_io_ratio", s.PressureIORatio)
	r.warm(s.TemperatureCelsius, s.TripCelsius)
	for i := range s.Services {
		u := &s.Services[i]
		r.add("service_cpu_ratio", u.Unit, u.CPURatio)
		if u.MemoryBytes != nil {
			r.add("service_memory_bytes", u.Unit, float64(*u.MemoryBytes))
		}
	}
}

// recoveries are the levels of gpu_recovery.
var recoveries = map[api.GPURecovery]float64{
	api.RecoverNothing: 0, api.RecoverRestart: 1, api.RecoverReset: 2, api.RecoverDrain: 3, api.RecoverReboot: 4,
}

// levels are those of gpu_memory_level.
var levels = map[api.GPULevel]float64{api.GPUWarning: 1, api.GPUCritical: 2, api.GPUAtLimit: 3}

func (r *readings) gpus(g *api.GPUStatus) {
	if len(g.GPUs) == 0 {
		return
	}
	var busy, celsius *float64
	recovery := 0.0
	for i := range g.GPUs {
		u := &g.GPUs[i]
		busy, celsius = most(busy, u.UtilisationRatio), most(celsius, u.TemperatureCelsius)
		r.warm(u.TemperatureCelsius, u.SlowdownCelsius)
		recovery = max(recovery, recoveries[u.Recovery])
	}
	hang, memory := 0.0, 0.0
	for _, p := range g.Problems {
		switch p.Kind {
		case api.GPUHang:
			hang = 1
		case api.GPUMemory:
			memory = max(memory, levels[p.Level])
		case api.GPUFault:
			recovery = max(recovery, recoveries[p.Recovery])
		default:
		}
	}
	r.maybe("gpu_utilisation_ratio", busy)
	r.maybe("gpu_temperature_celsius", celsius)
	r.add("gpu_hang", "", hang)
	r.add("gpu_memory_level", "", memory)
	r.add("gpu_recovery", "", recovery)
}

func most(a, b *float64) *float64 {
	if a == nil || (b != nil && *b > *a) {
		return b
	}
	return a
}
