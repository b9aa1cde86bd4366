package main

import (
	"testing"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

func TestPercentileIsAMeasuredValue(t *testing.T) {
	var all []time.Duration
	for i := range 200 {
		all = append(all, time.Duration(200-i)) // 200 to 1
	}
	for p, want := range map[int]time.Duration{50: 100, 95: 190, 99: 198, 100: 200, 0: 1} {
		if got := percentile(all, p); got != want {
			t.Errorf("p%d of 1 to 200 is %d, want %d", p, got, want)
		}
	}
	if got := percentile(nil, 50); got != 0 {
		t.Errorf("p50 of nothing is %d", got)
	}
}

func TestNoticesOfTheFaultBeforeDoNotCount(t *testing.T) {
	f := fault{unit: victim, done: time.Unix(100, 500)}
	f.stamp("gone 99000000000")
	f.unit = victim
	f.heal(api.Incident{Unit: victim, Failures: []api.Failure{{At: time.Unix(99, 0)}}})
	if f.how != "" || f.settled || !f.at.IsZero() {
		t.Fatalf("took %+v from what was before the fault", f)
	}
	f.stamp("back 100000000600") // of the fault before, too
	if f.settled {
		t.Fatal("settled by a repair that came before the notice")
	}
	f.stamp("gone 100200000000")
	f.stamp("pid 101200000000")
	if f.how != "gone" || !f.monit.Equal(time.Unix(100, 200e6)) || !f.settled {
		t.Errorf("the first notice counts: %+v", f)
	}
	// systemd's time stamps are cut to microseconds.
	f.unit = victim
	f.heal(api.Incident{Unit: victim, Failures: []api.Failure{{At: time.Unix(100, 0)}}})
	if f.at.IsZero() {
		t.Error("missed the death in the microsecond of the kill")
	}
}
