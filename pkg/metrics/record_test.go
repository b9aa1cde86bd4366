package metrics

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arasul/arasul/pkg/api"
)

// full returns a sample of which every field, those added later too, has a
// value of its own.
func full(services int) api.Sample {
	var s api.Sample
	s.Services = make([]api.ServiceSample, services)
	n := 0
	var fill func(v reflect.Value)
	fill = func(v reflect.Value) {
		n++
		switch v.Kind() {
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem())
		case reflect.Float64:
			v.SetFloat(float64(n) / 1024) // fits a float32
		case reflect.Uint64:
			v.SetUint(uint64(n) << 30)
		case reflect.Int:
			v.SetInt(int64(n))
		case reflect.String:
			v.SetString(fmt.Sprintf("arasul-unit%d.service", n))
		case reflect.Slice:
			for i := range v.Len() {
				fill(v.Index(i))
			}
		case reflect.Struct:
			if at, ok := v.Addr().Interface().(*time.Time); ok {
				*at = time.Date(2026, 3, 1, 10, 0, n, 123456789, time.UTC)
				return
			}
			for _, field := range reflect.VisibleFields(v.Type()) {
				fill(v.FieldByIndex(field.Index))
			}
		default:
			panic("cannot fill " + v.Kind().String())
		}
	}
	fill(reflect.ValueOf(&s).Elem())
	s.TripCelsius = nil         // which no database keeps: it is the board's, not the moment's
	for i := range s.Services { // counted by the kernel in microseconds
		s.Services[i].CPUSecondsTotal = float64(i+1) * 86_400.123456
	}
	return s
}

// Proves METRICS-2: what goes through the spool comes out as it was.
func TestRecordHoldsEveryFieldOfASample(t *testing.T) {
	odd, bare := full(1), api.Sample{Time: time.Date(1970, 1, 1, 0, 0, 0, 1, time.UTC)}
	odd.Services[0].Unit = "odd.service"
	partly := full(2)
	partly.Services[0].MemoryBytes, partly.Services[1].PressureIORatio, partly.PressureMemoryRatio = nil, nil, nil
	for name, want := range map[string]api.Sample{"full": full(3), "bare": bare, "partly": partly, "odd": odd} {
		b := appendRecord(nil, &want)
		got, err := parseRecord(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
		for n := range b {
			if _, err := parseRecord(b[:n]); err == nil {
				t.Errorf("%s: %d of %d bytes make a sample", name, n, len(b))
			}
		}
		if _, err := parseRecord(append(b, 0)); err == nil {
			t.Errorf("%s: a byte too many makes a sample", name)
		}
	}
	sample := full(10)
	const entry, week = 9, 7 * 24 * 60 * 60 / 5
	if n := len(appendRecord(nil, &sample)); week*(n+entry) > 64<<20 {
		t.Errorf("a week of records of %d bytes is more than 64 MiB", n)
	}
}

// versionOne is a record that the first release has written.
const versionOne = "\x01\xd0\xd7\x8b\xb4\xcd\xb3\xd5\xea1\x00\x00\x80>\f\x00\x00\xc0?\x00\x00\x00\x00\b\x18\xf5@" +
	"\x80\x80\x80\x80\x80\x02\x80\x80\x80\x80P\x80\x80\x80\x80\x04\x01\x80\xa0\x94\xa5\x8d\x1d\x80\x90\xca\xd2\xc6\x0e" +
	"\x00\x00\x80D\x00\x00\x00E\x00\x00\x00D\x00\x00\x80C\t\x00\x00BB\x00\x00\x00>\x02" +
	"+\x05proxy\x00\x00\x00?\x90\xd7\xeb\x05\x80 \x02\x00\x00@?\x00\vodd.service\x00\x00\x00\x00\x00"

// Proves METRICS-2: an upgrade while the database is away costs no sample.
func TestRecordOfTheFirstReleaseIsRead(t *testing.T) {
	want := api.Sample{
		Time: time.Date(2026, 11, 23, 12, 0, 5, 1000, time.UTC), CPURatio: 0.25, CPUCores: 12, Load1: 1.5, UptimeSecs: 86400.5,
		MemoryTotalBytes: 64 << 30, MemoryUsedBytes: 20 << 30, SwapTotalBytes: 1 << 30, SwapUsedBytes: 1,
		DiskTotalBytes: 1e12, DiskUsedBytes: 5e11, DiskReadBps: 1024, DiskWriteBps: 2048, NetworkReceiveBps: 512, NetworkTransmitBps: 256,
		TemperatureCelsius: new(48.5), PressureIORatio: new(0.125),
		Services: []api.ServiceSample{
			{Unit: "arasul-proxy.service", CPURatio: 0.5, CPUSecondsTotal: 12.25, MemoryBytes: new(uint64(4096)), OOMKillsTotal: new(uint64(2)), PressureMemoryRatio: new(0.75)},
			{Unit: "odd.service"},
		},
	}
	got, err := parseRecord([]byte(versionOne))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(versionOne))
	for _, n := range []int{0, 2} {
		s := full(n)
		f.Add(appendRecord(nil, &s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseRecord(b); err == nil && len(s.Services) > len(b) {
			t.Errorf("%d services in %d bytes", len(s.Services), len(b))
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	s := full(10)
	var record []byte
	b.ReportAllocs()
	for b.Loop() {
		record = appendRecord(record[:0], &s)
		if _, err := parseRecord(record); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(record)), "bytes")
}
