//go:build machine

package proof

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// soakTime is how long the machine is under full load: ARASUL_SOAK, or a minute.
func soakTime(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("ARASUL_SOAK")
	if text == "" {
		return time.Minute
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("ARASUL_SOAK: %v", err)
	}
	return d
}

// hogs are what keeps every processor, the disk and the memory of the machine
// busy, politely: the test beds beside it have work to do too.
var hogs = []string{
	`while :; do :; done`,
	`while :; do :; done`,
	`while :; do sha256sum /dev/zero; done`,
	`while :; do dd if=/dev/zero of=/var/tmp/hog bs=1M count=128 conv=fsync status=none; done`,
	`while :; do tar -cf - /usr | gzip -1 >/dev/null; done`,
}

// Proves HEAL-2, HEAL-5 and OPS-1: under full load nothing is done that was not
// needed, nothing dies, no sample is missing and memory does not grow.
func TestFullLoadLeadsToNoAction(t *testing.T) {
	beside(t)
	long := soakTime(t)
	b := up(t, "machine", "t-soak", "--deb", deb(t))
	b.allWell()
	pids := strings.Join(b.mainPIDs(), " ")
	before := b.resident()
	began := time.Now()
	for i, hog := range hogs {
		b.run("systemd-run", "--quiet", "--unit=hog-"+strconv.Itoa(i), "--nice=15", "sh", "-c", hog)
	}
	for range 10 {
		page := b.listen()
		go func() {
			for {
				if _, _, err := page.next(t.Context()); err != nil {
					return
				}
			}
		}()
	}
	visitors := b.visit()
	for time.Since(began) < long {
		time.Sleep(min(15*time.Second, long-time.Since(began)))
		if n := b.actions(); n != "0" {
			list, err := b.incidents()
			t.Fatalf("after %s of load %s actions: %v %v", time.Since(began).Round(time.Second), n, list, err)
		}
	}
	visitors.stop()
	for i := range hogs {
		b.run("systemctl", "stop", "hog-"+strconv.Itoa(i))
	}
	t.Logf("figure: %s of full load: %d requests, %d answered badly, resident memory %s before and %s after",
		long, visitors.requests, len(visitors.failures), before, b.resident())
	if now := strings.Join(b.mainPIDs(), " "); now != pids {
		t.Errorf("processes were %s and are %s", pids, now)
	}
	if len(visitors.failures) > 0 {
		t.Errorf("%d of %d requests answered badly, first %s", len(visitors.failures), visitors.requests, visitors.failures[0])
	}
	eventually(t, time.Minute, func() error { // the newest samples are on their way
		gap := b.sql(fmt.Sprintf(`SELECT coalesce(max(gap), interval '1 hour') < interval '16 seconds' AND max(ts) > now() - interval '45 seconds'
			FROM (SELECT ts, ts - lag(ts) OVER (ORDER BY ts) AS gap FROM samples WHERE ts > to_timestamp(%d)) AS s`, began.Unix()))
		if gap != "t" {
			return fmt.Errorf("samples are missing, or the newest are not stored")
		}
		return nil
	})
	if list, err := b.incidents(); err != nil || len(list) > 0 { // not even one that was only watched
		t.Errorf("incidents %v, %v", list, err)
	}
}

// actions counts what the healer did.
func (b *bed) actions() string {
	b.t.Helper()
	return b.sql("SELECT count(*) FROM recovery_actions")
}

// resident is the memory of our daemons, in words.
func (b *bed) resident() string {
	b.t.Helper()
	return strings.TrimSpace(b.sh(`for p in $(pidof -c $(ls /usr/lib/arasul/)); do
		awk -v p="$(tr '\0' ' ' </proc/$p/cmdline | sed 's:.*/arasul-::; s: .*::')" '/^VmRSS/ {printf "%s %d MB, ", p, $2/1024}' /proc/$p/status; done`))
}
