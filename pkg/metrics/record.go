package metrics

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// A sample in the spool is at most 545 bytes with ten services, a fifth of its
// JSON, so that 64 MiB last for more than a week. It holds what the database keeps,
// in the database's precision: version, then fields in the order below;
// integers as varints, sizes and counts unsigned, reals as float32, optional
// ones after a byte that says which there are.
//
// Version 1 knew no GPU. It is still read: an upgrade finds what waits.
const recordVersion = 2

// maxServices bounds what a record is believed to hold.
const maxServices = 1024

// The units of ours are written without these.
const unitPrefix, unitSuffix = "arasul-", ".service"

// Which optional fields of a service there are.
const (
	hasMemory = 1 << iota
	hasKills
	hasPressureCPU
	hasPressureMemory
	hasPressureIO
	isOurs // the unit's name is written short
)

var errRecord = errors.New("record is cut short")

// appendRecord appends a sample as a record.
func appendRecord(b []byte, s *api.Sample) []byte {
	b = append(b, recordVersion)
	b = binary.AppendVarint(b, s.Time.UnixNano())
	b = appendReal(b, s.CPURatio)
	b = binary.AppendUvarint(b, uint64(s.CPUCores))
	b = appendReal(b, s.Load1)
	b = binary.LittleEndian.AppendUint64(b, math.Float64bits(s.UptimeSecs))
	for _, n := range [...]uint64{s.MemoryTotalBytes, s.MemoryUsedBytes, s.SwapTotalBytes, s.SwapUsedBytes, s.DiskTotalBytes, s.DiskUsedBytes} {
		b = binary.AppendUvarint(b, n)
	}
	for _, f := range [...]float64{s.DiskReadBps, s.DiskWriteBps, s.NetworkReceiveBps, s.NetworkTransmitBps} {
		b = appendReal(b, f)
	}
	b = appendReals(b, s.TemperatureCelsius, s.PressureCPURatio, s.PressureMemoryRatio, s.PressureIORatio)
	b = appendReals(b, s.GPUUtilisationRatio, s.GPUTemperatureCelsius, s.GPUPowerWatts)
	b = appendCounts(b, s.GPUMemoryTotalBytes, s.GPUMemoryUsedBytes)
	b = binary.AppendUvarint(b, uint64(len(s.Services)))
	for i := range s.Services {
		b = appendService(b, &s.Services[i])
	}
	return b
}

func appendService(b []byte, s *api.ServiceSample) []byte {
	var flags byte
	for i, there := range [...]bool{
		s.MemoryBytes != nil, s.OOMKillsTotal != nil, s.PressureCPURatio != nil, s.PressureMemoryRatio != nil, s.PressureIORatio != nil,
	} {
		if there {
			flags |= 1 << i
		}
	}
	name := s.Unit
	if short, ok := strings.CutPrefix(name, unitPrefix); ok && strings.HasSuffix(short, unitSuffix) {
		name = strings.TrimSuffix(short, unitSuffix)
		flags |= isOurs
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(len(name)))
	b = append(b, name...)
	b = appendReal(b, s.CPURatio)
	b = binary.AppendUvarint(b, uint64(math.Round(s.CPUSecondsTotal*1e6)))
	if s.MemoryBytes != nil {
		b = binary.AppendUvarint(b, *s.MemoryBytes)
	}
	if s.OOMKillsTotal != nil {
		b = binary.AppendUvarint(b, *s.OOMKillsTotal)
	}
	for _, p := range [...]*float64{s.PressureCPURatio, s.PressureMemoryRatio, s.PressureIORatio} {
		if p != nil {
			b = appendReal(b, *p)
		}
	}
	return b
}

// record reads what appendRecord has written. The first thing that does not
// fit makes everything after it zero.
type record struct {
	rest []byte
	err  error
}

// parseRecord returns the sample that a record holds.
func parseRecord(b []byte) (s api.Sample, err error) {
	r := record{rest: b}
	version := r.byte()
	if r.err == nil && (version < 1 || version > recordVersion) {
		return s, fmt.Errorf("record of version %d", version)
	}
	s.Time = time.Unix(0, r.varint()).UTC()
	s.CPURatio = r.real()
	s.CPUCores = int(r.uvarint())
	s.Load1 = r.real()
	if b := r.bytes(8); b != nil {
		s.UptimeSecs = math.Float64frombits(binary.LittleEndian.Uint64(b))
	}
	for _, n := range [...]*uint64{&s.MemoryTotalBytes, &s.MemoryUsedBytes, &s.SwapTotalBytes, &s.SwapUsedBytes, &s.DiskTotalBytes, &s.DiskUsedBytes} {
		*n = r.uvarint()
	}
	for _, f := range [...]*float64{&s.DiskReadBps, &s.DiskWriteBps, &s.NetworkReceiveBps, &s.NetworkTransmitBps} {
		*f = r.real()
	}
	r.optionals(&s.TemperatureCelsius, &s.PressureCPURatio, &s.PressureMemoryRatio, &s.PressureIORatio)
	if version >= 2 {
		r.optionals(&s.GPUUtilisationRatio, &s.GPUTemperatureCelsius, &s.GPUPowerWatts)
		flags := r.byte()
		for i, p := range [...]**uint64{&s.GPUMemoryTotalBytes, &s.GPUMemoryUsedBytes} {
			if flags&(1<<i) != 0 {
				*p = new(r.uvarint())
			}
		}
	}
	n := r.uvarint()
	if n > maxServices {
		return api.Sample{}, fmt.Errorf("record of %d services", n)
	}
	for range n {
		if r.err != nil {
			break
		}
		s.Services = append(s.Services, r.service())
	}
	if r.err == nil && len(r.rest) > 0 {
		r.err = fmt.Errorf("record with %d bytes too many", len(r.rest))
	}
	if r.err != nil {
		return api.Sample{}, r.err
	}
	return s, nil
}

func (r *record) service() (s api.ServiceSample) {
	flags := r.byte()
	s.Unit = string(r.bytes(r.uvarint()))
	if flags&isOurs != 0 {
		s.Unit = unitPrefix + s.Unit + unitSuffix
	}
	s.CPURatio = r.real()
	s.CPUSecondsTotal = float64(r.uvarint()) / 1e6
	if flags&hasMemory != 0 {
		s.MemoryBytes = new(r.uvarint())
	}
	if flags&hasKills != 0 {
		s.OOMKillsTotal = new(r.uvarint())
	}
	s.PressureCPURatio = r.optional(flags, hasPressureCPU)
	s.PressureMemoryRatio = r.optional(flags, hasPressureMemory)
	s.PressureIORatio = r.optional(flags, hasPressureIO)
	return s
}

func appendReal(b []byte, f float64) []byte {
	return binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(f)))
}

// appendReals appends a byte that says which of these there are, and those.
func appendReals(b []byte, reals ...*float64) []byte {
	var flags byte
	for i, p := range reals {
		if p != nil {
			flags |= 1 << i
		}
	}
	b = append(b, flags)
	for _, p := range reals {
		if p != nil {
			b = appendReal(b, *p)
		}
	}
	return b
}

// appendCounts is appendReals for sizes.
func appendCounts(b []byte, counts ...*uint64) []byte {
	var flags byte
	for i, p := range counts {
		if p != nil {
			flags |= 1 << i
		}
	}
	b = append(b, flags)
	for _, p := range counts {
		if p != nil {
			b = binary.AppendUvarint(b, *p)
		}
	}
	return b
}

func (r *record) bytes(n uint64) []byte {
	if r.err != nil || n > uint64(len(r.rest)) {
		r.err = errRecord
		return nil
	}
	var b []byte
	b, r.rest = r.rest[:n], r.rest[n:]
	return b
}

func (r *record) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *record) real() float64 {
	if b := r.bytes(4); b != nil {
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	}
	return 0
}

func (r *record) optional(flags, flag byte) *float64 {
	if flags&flag == 0 {
		return nil
	}
	return new(r.real())
}

// optionals reads what appendReals has written.
func (r *record) optionals(reals ...**float64) {
	flags := r.byte()
	for i, p := range reals {
		*p = r.optional(flags, 1<<i)
	}
}

func (r *record) uvarint() uint64 {
	n, size := binary.Uvarint(r.rest)
	if r.bytes(uint64(max(size, 0))); size <= 0 {
		r.err = errRecord
		return 0
	}
	return n
}

func (r *record) varint() int64 {
	n, size := binary.Varint(r.rest)
	if r.bytes(uint64(max(size, 0))); size <= 0 {
		r.err = errRecord
		return 0
	}
	return n
}
