//go:build machine

package proof

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// samplerStats is what the metrics daemon says about itself.
type samplerStats struct {
	Taken      uint64 `json:"samples_taken_total"`
	Recovered  uint64 `json:"samples_recovered_total"`
	Stored     uint64 `json:"samples_stored_total"`
	Dropped    uint64 `json:"samples_dropped_total"`
	Waiting    int    `json:"samples_waiting"`
	InMemory   int    `json:"samples_waiting_in_memory"`
	SpoolBytes int64  `json:"spool_bytes"`
	FlushError string `json:"last_flush_error"`
}

func (b *bed) samplerStats() (s samplerStats) {
	b.t.Helper()
	out := b.run("curl", "--silent", "--fail", "--unix-socket", "/run/arasul/metrics/metrics.sock", "http://metrics/stats")
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		b.t.Fatal(err)
	}
	return s
}

// peak is the most memory that the main process of a unit ever held, in kB.
func (b *bed) peak(unit string) (kb int) {
	b.t.Helper()
	out := b.run("sed", "-n", `s/^VmHWM:[[:space:]]*\([0-9]*\) kB/\1/p`, "/proc/"+b.property(unit, "MainPID")+"/status")
	if _, err := fmt.Sscan(out, &kb); err != nil {
		b.t.Fatal(err)
	}
	return kb
}

// Proves METRICS-2: PostgreSQL is away for ARASUL_OUTAGE, 45 s when that is not
// set. Every sample that was shown meanwhile is stored afterwards, once and in
// order, no look was late, and the memory of the sampler did not grow.
func TestNoSampleIsLostWhileTheDatabaseIsAway(t *testing.T) {
	outage := 45 * time.Second
	if text := os.Getenv("ARASUL_OUTAGE"); text != "" {
		var err error
		if outage, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	beside(t)
	b := up(t, "machine", "t-outage", "--deb", deb(t))
	b.allWell()
	b.aSampleOrTwo()
	const shown = "/tmp/shown"
	b.run("systemd-run", "--quiet", "--unit=listener", "sh", "-c",
		"exec curl --silent --no-buffer --unix-socket /run/arasul/metrics/metrics.sock http://metrics/stream >"+shown)
	pid, before, peak := b.property(metricsUnit, "MainPID"), b.samplerStats(), b.peak(metricsUnit)
	b.run("systemctl", "stop", postgresUnit)
	b.databaseAway()
	time.Sleep(outage)
	away := b.samplerStats()
	if least := int(outage/(5*time.Second)) - 1; away.Waiting < least || away.FlushError == "" {
		t.Errorf("after %s without a database: %+v", outage, away)
	}
	grown := b.peak(metricsUnit) - peak // mostly pages of the program that it had not needed before
	if grown > 6<<10 {
		t.Errorf("the sampler took %d kB more while it waited", grown)
	}

	b.run("systemctl", "start", postgresUnit)
	back := time.Now()
	eventually(t, 3*time.Minute, func() error { // it tries every two minutes by then
		if s := b.samplerStats(); s.FlushError != "" || s.Waiting > 6 {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	stored := time.Since(back)
	after := b.samplerStats()
	b.run("systemctl", "stop", "listener")
	if b.property(metricsUnit, "MainPID") != pid {
		t.Error("the sampler was restarted")
	}
	if after.Dropped != 0 || after.Taken+after.Recovered != after.Stored+uint64(after.Waiting) {
		t.Errorf("samples are unaccounted for: %+v", after)
	}

	var times []string
	for line := range strings.Lines(b.run("cat", shown)) {
		var s sample
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			break // cut by the stop
		}
		times = append(times, "('"+s.Timestamp.Truncate(time.Microsecond).Format(time.RFC3339Nano)+"'::timestamptz)")
	}
	if kept := len(times) - after.Waiting; kept > 0 {
		times = times[:kept] // the newest are on their way
	}
	if least := int(outage / (5 * time.Second)); len(times) < least {
		t.Fatalf("%d samples were shown in %s", len(times), outage)
	}
	// Rows lie in the table as they came.
	got := b.sql(`WITH shown (ts) AS (VALUES ` + strings.Join(times, ", ") + `), stretch AS (
			SELECT ts, tableoid, ctid FROM samples WHERE ts BETWEEN (SELECT min(ts) FROM shown) AND (SELECT max(ts) FROM shown))
		SELECT (SELECT count(*) FROM shown WHERE NOT EXISTS (SELECT FROM stretch WHERE stretch.ts = shown.ts)),
			(SELECT count(*) FROM stretch) - (SELECT count(*) FROM shown),
			(SELECT extract(epoch FROM max(gap)) < 7.5 FROM (SELECT ts - lag(ts) OVER (ORDER BY ts) AS gap FROM stretch) AS s),
			(SELECT bool_and(coalesce(ts > before, true)) FROM (SELECT ts, lag(ts) OVER (PARTITION BY tableoid ORDER BY ctid) AS before FROM stretch) AS s)`)
	if want := "0|0|t|t"; got != want {
		t.Errorf("missing, too many, no gap, in order: %s, want %s", got, want)
	}
	t.Logf("figure: away for %s: %d samples waited in %d kB on disk, peak memory %d kB before and %d kB more after; all %d stored %s after the server was asked to start",
		outage, away.Waiting, away.SpoolBytes>>10, peak, grown, after.Stored-before.Stored, stored.Round(100*time.Millisecond))
}
