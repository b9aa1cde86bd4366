package heal

import (
	"testing"
	"time"

	"github.com/arasul/arasul/pkg/config"
)

// Proves HEAL-2: hysteresis and n-of-m, no action on one spike.
func TestDetectorFiresAndEnds(t *testing.T) {
	heat := Detector{
		Metric: "heat_celsius", Above: new(83.0), Clear: new(78.0),
		For: config.Duration(20 * time.Second), Samples: Quorum{3, 5},
	}
	probe := Detector{Metric: "probe_up", Below: new(0.5), Clear: new(1.0), Samples: Quorum{2, 2}}
	for _, tt := range []struct {
		name     string
		detector Detector
		values   []float64 // 5 s apart
		want     string    // . quiet, F firing, after each
	}{
		{"one spike is nothing", heat, []float64{60, 91, 60, 60, 60, 60, 60, 60}, "........"},
		{"two of five are nothing", heat, []float64{91, 60, 91, 60, 60, 91, 60, 91, 60, 60}, ".........."},
		{"hot for long enough", heat, []float64{84, 84, 84, 84, 84, 84, 84, 84}, "......FF"},
		{"a dip does not begin anew", heat, []float64{84, 84, 84, 60, 84, 84, 84, 84}, "......FF"},
		{"at the limit is not beyond it", heat, []float64{83, 83, 83, 83, 83, 83, 83, 83}, "........"},
		{"between clear and limit it goes on", heat, []float64{84, 84, 84, 84, 84, 84, 84, 80, 80, 80, 80, 80}, "......FFFFFF"},
		{"cool in three of five", heat, []float64{84, 84, 84, 84, 84, 84, 84, 78, 78, 78, 78}, "......FFF.."},
		{"a probe that misses twice", probe, []float64{1, 0, 0, 1, 1}, "..FF."},
		{"a probe that misses now and then", probe, []float64{1, 0, 1, 0, 1}, "....."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var trend Trend
			at, got := epoch, ""
			for _, v := range tt.values {
				at = at.Add(5 * time.Second)
				trend = trend.take(&tt.detector, v, at)
				got += map[signal]string{quiet: ".", firing: "F"}[trend.signal(&tt.detector, at)]
			}
			if got != tt.want {
				t.Errorf("%v gave %s, want %s", tt.values, got, tt.want)
			}
		})
	}
}

func TestDetectorKnowsNothingWithoutReadings(t *testing.T) {
	d := Detector{Metric: "cpu_ratio", Above: new(0.9), Clear: new(0.8), For: config.Duration(time.Minute)}
	var trend Trend
	if got := trend.signal(&d, epoch); got != unknown {
		t.Errorf("before the first reading: %v", got)
	}
	at := epoch
	for range 20 {
		at = at.Add(5 * time.Second)
		trend = trend.take(&d, 0.95, at)
	}
	if got := trend.signal(&d, at.Add(30*time.Second)); got != firing {
		t.Errorf("30 s after the last reading: %v, want firing", got)
	}
	if got := trend.signal(&d, at.Add(31*time.Second)); got != unknown {
		t.Errorf("31 s after the last reading: %v, want unknown", got)
	}
}

// Proves HEAL-2: what was before a gap, or before the clock was set back, does
// not count towards how long it has been hot.
func TestGapsProveNothing(t *testing.T) {
	d := Detector{Metric: "cpu_ratio", Above: new(0.9), Clear: new(0.8), For: config.Duration(5 * time.Minute)}
	for name, gap := range map[string]time.Duration{"a gap": time.Hour, "a clock set back": -time.Hour} {
		trend := Trend{}.take(&d, 0.95, epoch)
		trend = trend.take(&d, 0.95, epoch.Add(gap))
		if trend.Firing || !trend.Since.Equal(epoch.Add(gap)) {
			t.Errorf("%s: %+v", name, trend)
		}
	}
}

func TestQuorumIsReadStrictly(t *testing.T) {
	for _, text := range []string{"", "3", "3of5", "0 of 5", "6 of 5", "3 of 65", "a of b", "-1 of 2", "3 of 5 of 7"} {
		var q Quorum
		if err := q.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %v", text, q)
		}
	}
	var q Quorum
	if err := q.UnmarshalText([]byte("3 of 5")); err != nil || q != (Quorum{3, 5}) {
		t.Errorf("%v, %v", q, err)
	}
}
