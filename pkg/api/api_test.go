package api

import (
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// words are all types that cross a socket.
var words = []any{Sample{}, Service{}, Incident{}, Failure{}, Action{}, HealerStatus{}, SystemStatus{}, Reason{}, Event{}, Unit{}}

var snakeCase = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

func TestEveryFieldHasAnExplicitNameOnTheWire(t *testing.T) {
	for field := range fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if !snakeCase.MatchString(name) {
			t.Errorf("field %s is called %q on the wire", field.Name, name)
		}
	}
}

func TestFieldsOfOneTypeHaveDifferentNames(t *testing.T) {
	for _, w := range words {
		var names []string
		for i := range reflect.TypeOf(w).NumField() {
			names = append(names, reflect.TypeOf(w).Field(i).Tag.Get("json"))
		}
		slices.Sort(names)
		if len(slices.Compact(slices.Clone(names))) != len(names) {
			t.Errorf("%T: %q", w, names)
		}
	}
}

// The numbers carry their unit, so that nobody has to guess it.
func TestNumbersCarryTheirUnit(t *testing.T) {
	units := []string{"_ratio", "_seconds", "_bytes", "_celsius", "_bytes_per_second", "_watts"}
	for field := range fields() {
		kind := field.Type
		if kind.Kind() == reflect.Pointer {
			kind = kind.Elem()
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		hasUnit := slices.ContainsFunc(units, func(u string) bool { return strings.HasSuffix(name, u) })
		if kind.Kind() == reflect.Float64 && !hasUnit && name != "load1" {
			t.Errorf("%s has no unit in its name", name)
		}
	}
}

// What the machine cannot say is absent, never zero; what it can say is there
// even when it is zero.
func TestMissingSensorIsNotZero(t *testing.T) {
	zero := 0.0
	for name, tt := range map[string]struct {
		sample Sample
		want   bool
	}{
		"no sensor":       {Sample{}, false},
		"freezing":        {Sample{TemperatureCelsius: &zero}, true},
		"round the world": {roundTrip(t, Sample{TemperatureCelsius: &zero}), true},
	} {
		data, err := json.Marshal(tt.sample)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(data), `"temperature_celsius":0`); got != tt.want {
			t.Errorf("%s: %s", name, data)
		}
		if !strings.Contains(string(data), `"cpu_ratio":0`) {
			t.Errorf("%s: an idle machine's cpu_ratio is left out", name)
		}
	}
}

// The lists in the schema are the constants in the code.
func TestEnumsAreTheConstants(t *testing.T) {
	tests := map[reflect.Type][]string{
		reflect.TypeFor[Status]():        {string(Up), string(Degraded), string(Down), string(Unknown)},
		reflect.TypeFor[Fault]():         {string(Crashed), string(Hung), string(Exited), string(Failed), string(StartLimit), string(OOMKilled), string(Unresponsive), string(Measured), string(Requested)},
		reflect.TypeFor[IncidentState](): {string(IncidentOpen), string(IncidentSuppressed), string(IncidentActing), string(IncidentVerifying), string(IncidentHolding), string(IncidentResolved), string(IncidentExhausted)},
		reflect.TypeFor[Class]():         {string(ClassService), string(ClassOverload), string(ClassCritical)},
		reflect.TypeFor[KernelEventKind](): {
			string(KernelOOMKill), string(KernelIOError), string(KernelFilesystemError), string(KernelHungTask), string(KernelXid), string(KernelGPUError),
		},
		reflect.TypeFor[Overall](): {string(OK), string(Warning), string(Critical)},
	}
	for field := range fields() {
		tag, ok := field.Tag.Lookup("enum")
		if !ok {
			continue
		}
		want, known := tests[field.Type]
		for _, value := range strings.Split(tag, ",") {
			if known && !slices.Contains(want, value) {
				t.Errorf("%s: %q is no %s", field.Name, value, field.Type)
			}
		}
		if n := strings.Count(tag, ",") + 1; known && field.Name != "Severity" && n != len(want) { // OK is no severity
			t.Errorf("%s lists %d values of %d", field.Name, n, len(want))
		}
	}
}

func TestTimesKeepTheirNanoseconds(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.UTC)
	if got := roundTrip(t, Incident{FaultAt: at, ClosedAt: &at}); !got.FaultAt.Equal(at) || !got.ClosedAt.Equal(at) {
		t.Errorf("sent %s, got %s and %s", at, got.FaultAt, got.ClosedAt)
	}
}

func roundTrip[T any](t *testing.T, v T) (out T) {
	t.Helper()
	data, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// fields are those of all words.
func fields() func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for _, w := range words {
			for i := range reflect.TypeOf(w).NumField() {
				if !yield(reflect.TypeOf(w).Field(i)) {
					return
				}
			}
		}
	}
}
