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

func FuzzRecord(f *testing.F) {
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
