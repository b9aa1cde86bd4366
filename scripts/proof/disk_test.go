//go:build machine

package proof

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// cleanup is what arasul disk clean --json says.
type cleanup struct {
	DryRun  bool   `json:"dry_run"`
	Total   uint64 `json:"total_bytes"`
	Before  uint64 `json:"used_before_bytes"`
	After   uint64 `json:"used_after_bytes"`
	Reached bool   `json:"target_reached"`
	Steps   []struct {
		Step    string   `json:"step"`
		Freed   uint64   `json:"freed_bytes"`
		Files   int      `json:"files"`
		Paths   []string `json:"paths"`
		Skipped string   `json:"skipped"`
		Error   string   `json:"error"`
	} `json:"steps"`
}

func (c cleanup) String() string {
	text := fmt.Sprintf("%.1f %% before, %.1f %% after, reached %v", c.percent(c.Before), c.percent(c.After), c.Reached)
	for _, s := range c.Steps {
		text += fmt.Sprintf("; %s %.1f MB %d files %s%s", s.Step, float64(s.Freed)/1e6, s.Files, s.Skipped, s.Error)
	}
	return text
}

func (c cleanup) percent(used uint64) float64 { return float64(used) / float64(c.Total) * 100 }

func (b *bed) cleanup(args ...string) cleanup {
	b.t.Helper()
	var c cleanup
	out := b.run(append([]string{"arasul", "disk", "clean", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &c); err != nil {
		b.t.Fatalf("%v\n%s", err, out)
	}
	return c
}

// used is the share of the small disk that is used, in percent.
func (b *bed) used() float64 {
	b.t.Helper()
	f := strings.Fields(b.run("stat", "--file-system", "--format=%b %f", "/var/lib/arasul"))
	total, _ := strconv.ParseFloat(f[0], 64)
	free, _ := strconv.ParseFloat(f[1], 64)
	return (total - free) / total * 100
}

// fillTo fills the small disk up with a model of the owner's.
func (b *bed) fillTo(percent int) {
	b.t.Helper()
	b.sh(fmt.Sprintf(`set -- $(stat --file-system --format="%%b %%f %%S" /var/lib/arasul)
		bytes=$((($2 - $1 * (100 - %d) / 100) * $3))
		[ $bytes -le 0 ] || { mkdir -p /var/lib/arasul/models; fallocate --length $bytes /var/lib/arasul/models/big.$(date +%%N); }`, percent))
}

// small is a machine whose data, logs and caches are on a disk of so many MiB.
func small(t *testing.T, name string, mib int) *bed {
	t.Helper()
	b := up(t, "machine", name)
	b.sh(fmt.Sprintf("mount -t tmpfs -o size=%dm,mode=755 tmpfs /mnt\n", mib) + `
		for dir in lib/arasul log/arasul cache/arasul cache/apt/archives log/journal; do
			mkdir -p /mnt/$dir /var/$dir
			mount --bind /mnt/$dir /var/$dir
		done
		systemctl restart systemd-journald`)
	b.putDeb(deb(t), shipped)
	b.apt("install", shipped)
	b.allWell()
	b.run("arasul", "heal", "maintenance", "on") // the disk is ours
	return b
}

// empty takes the owner's models away again.
func (b *bed) empty() {
	b.t.Helper()
	b.run("rm", "-r", "/var/lib/arasul/models")
	b.run("arasul", "heal", "maintenance", "off")
	b.allWell()
}

// week gives the database samples of eight days.
func (b *bed) week() {
	b.t.Helper()
	b.asOwner(`SELECT arasul_ensure_partitions(ARRAY(SELECT generate_series(current_date - 7, current_date, '1 day')::date));
		INSERT INTO samples (ts, cpu_ratio, cpu_cores, load1, uptime_seconds, memory_total_bytes, memory_used_bytes, swap_total_bytes, swap_used_bytes,
			disk_total_bytes, disk_used_bytes, disk_read_bytes_per_second, disk_write_bytes_per_second, network_receive_bytes_per_second, network_transmit_bytes_per_second)
		SELECT m, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM generate_series(now() - interval '7 days', now() - interval '1 hour', '1 minute') AS m;
		SELECT arasul_roll_up(ARRAY(SELECT generate_series(now() - interval '7 days', now() - interval '1 hour', '1 minute')))`)
}

// oldest is how many hours ago the oldest sample was taken: days go whole, so
// how many are left hangs on the time of day.
func (b *bed) oldest() (hours float64) {
	b.t.Helper()
	out := b.asOwner(`SELECT extract(epoch FROM now() - min(ts)) / 3600 FROM samples`)
	hours, err := strconv.ParseFloat(out, 64)
	if err != nil {
		b.t.Fatalf("the age of the oldest sample: %v", err)
	}
	return hours
}

// Proves HEAL-3: a full disk is cleaned up in the unit's own sandbox, the
// harmless first, and no more than is needed.
func TestFullDiskIsCleanedUp(t *testing.T) {
	beside(t)
	b := small(t, "t-disk", 600)
	b.giveHands()
	if out := b.run("arasul", "disk", "reserve"); !strings.Contains(out, "6.3 MB are in reserve") && !strings.Contains(out, "6.2 MB are in reserve") {
		t.Errorf("of a disk of 600 MiB: %s", out)
	}
	b.week()
	b.sh(`for n in 1 2 3; do fallocate --length 10M /var/cache/apt/archives/p$n.deb; done
		mkdir -m 700 -p /var/cache/arasul/metrics/deep
		fallocate --length 30M /var/cache/arasul/metrics/deep/blob
		chown -R arasul-metrics: /var/cache/arasul/metrics
		chmod 700 /var/cache/arasul/metrics/deep
		ln -s /etc /var/cache/arasul/metrics/etc
		mkdir -p /var/log/arasul/service /var/lib/arasul/updates
		fallocate --length 20M /var/log/arasul/service/n8n.log.1.gz
		fallocate --length 1M /var/log/arasul/service/n8n.log
		for n in 1 2; do fallocate --length 15M /var/lib/arasul/updates/$n.araupdate; sleep 0.1; done`)

	// A quarter of what may go is enough.
	b.fillTo(88)
	would := b.cleanup("--dry-run")
	if !would.Reached || !would.DryRun || b.used() < 87 {
		t.Errorf("dry run: %v, and %.1f %% are used", would, b.used())
	}
	b.does("run", "arasul-cleanup.service")
	if used := b.used(); used >= 85 || used < 80 {
		t.Errorf("%.1f %% are used after it", used)
	}
	b.sh(`test ! -e /var/lib/arasul/reserve/reserve && test ! -e /var/cache/apt/archives/p1.deb && test -e /var/cache/arasul/metrics/deep/blob`)
	journal := b.run("journalctl", "--boot", "--unit=arasul-cleanup.service", "--output=cat")
	t.Logf("figure: %s", journal)
	if !strings.Contains(journal, "there is room enough") {
		t.Error("no report in the journal")
	}

	// All files that may go are just enough: the days of samples stay.
	b.fillTo(97)
	b.does("run", "arasul-cleanup.service")
	t.Logf("figure: %s", b.run("journalctl", "--boot", "--unit=arasul-cleanup.service", "--output=cat"))
	b.sh(`test ! -e /var/cache/apt/archives/p3.deb && test ! -e /var/cache/arasul/metrics/deep/blob && test ! -e /var/log/arasul/service/n8n.log.1.gz &&
		test ! -e /var/lib/arasul/updates/1.araupdate && test -e /var/lib/arasul/updates/2.araupdate &&
		test -e /var/log/arasul/service/n8n.log && test -d /var/cache/arasul/metrics/deep && test -L /var/cache/arasul/metrics/etc && test -e /etc/passwd`)
	if used, oldest := b.used(), b.oldest(); used >= 85 || oldest < 7*24 {
		t.Errorf("%.1f %% are used, and of a week of samples the oldest is from %.1f hours ago", used, oldest)
	}

	// Full of what is the owner's: the days of samples go, but the last 24 hours
	// that were seen. The week lacks its last hour, and the day in which those 25
	// hours began stays whole. That it was not enough is no failure.
	b.fillTo(97)
	left := b.cleanup()
	t.Logf("figure: %v", left)
	if oldest := b.oldest(); oldest < 24 || oldest > 25+24 || left.Reached {
		t.Errorf("the oldest sample left is from %.1f hours ago, want 24 to 49: %v", oldest, left)
	}
	if out := b.run("arasul", "disk", "clean"); !strings.Contains(out, "is yours") {
		t.Errorf("it says\n%s", out)
	}
	if left := b.run("systemctl", "list-units", "--failed", "--plain", "--no-legend"); left != "" {
		t.Errorf("failed units:\n%s%s", left, b.sh("systemctl status --no-pager --lines=20 "+strings.Fields(left)[0]+" || true"))
	}
	var status systemStatus
	if err := b.get("/api/system/status", &status); err != nil {
		t.Fatal(err)
	}
	for _, r := range status.Reasons {
		if strings.Contains(r.Subject, "cleanup") || strings.Contains(r.Subject, "vacuum") || strings.Contains(r.Subject, "prune") {
			t.Errorf("the page takes a chore for a service: %+v", r)
		}
	}
	b.empty()
}

// Proves HEAL-3: every byte taken, by the journal too, and yet the database
// goes on after a clean-up: the reserve is what it needs.
func TestDiskWithoutOneFreeByteIsCleanedUp(t *testing.T) {
	beside(t)
	b := small(t, "t-disk0", 600)
	b.giveHands()
	b.run("arasul", "disk", "reserve")
	b.sh(`fallocate --length 30M /var/cache/arasul/blob`)
	b.fillTo(99)
	b.try("sh", "-c", "cat /dev/zero >/var/lib/arasul/models/rest")
	if used := b.used(); used < 99.9 {
		t.Fatalf("%.2f %% are used", used)
	}
	b.does("run", "arasul-cleanup.service")
	t.Logf("figure: from 100 %% to %.1f %%", b.used())
	b.empty()
	b.does("run", "arasul-reserve.service")
	b.sh("test -e /var/lib/arasul/reserve/reserve")
}

// Proves HEAL-3: archived journals go, the oldest first, and journald does not
// mind.
func TestOldJournalsAreRemovedFromUnderJournald(t *testing.T) {
	beside(t)
	b := small(t, "t-journal", 1000)
	b.giveHands()
	b.run("systemd-cat", "echo", "before the clean-up")
	// One real archive, and copies of it by the names of its successors.
	b.sh(`journalctl --rotate
		cd /var/log/journal/$(cat /etc/machine-id)
		archive=$(ls system@*.journal | head -n 1)
		size=$(stat --format=%s $archive)
		stem=${archive%-*-*}
		for n in $(seq 100 $((100 + 400000000 / size))); do cp $archive $stem-$(printf %016x $n)-$(printf %016x $n).journal; done`)
	usage := func() float64 {
		kib, _ := strconv.ParseFloat(strings.Fields(b.run("du", "--summarize", "/var/log/journal"))[0], 64)
		return kib / 1024
	}
	before := usage()
	b.fillTo(95)
	b.does("run", "arasul-cleanup.service")
	t.Logf("figure: the journal had %.0f MiB before, %.0f after", before, usage())
	if after := usage(); before < 350 || after > 300 || after < 200 {
		t.Errorf("the journal had %.0f MiB before and has %.0f", before, after)
	}
	b.run("systemd-cat", "echo", "after the clean-up")
	eventually(t, 10*time.Second, func() error {
		if out := b.run("journalctl", "--boot", "--output=cat", "--grep=the clean-up$"); !strings.Contains(out, "before the") || !strings.Contains(out, "after the") {
			return fmt.Errorf("the journal has %q", out)
		}
		return nil
	})
	b.empty()
}

// Proves HEAL-3: VACUUM is done, seen by the server, and its failure is a
// failure.
func TestVacuumGivesRoomBackAndSaysWhenItCannot(t *testing.T) {
	b := takeHands(t)
	b.asOwner(`INSERT INTO service_units (unit) SELECT 'proof' || i FROM generate_series(1, 10000) AS i; DELETE FROM service_units WHERE unit LIKE 'proof%'`)
	size := func() int {
		n, _ := strconv.Atoi(b.asOwner(`SELECT pg_relation_size('service_units')`))
		return n
	}
	before := size()
	b.does("run", "arasul-vacuum.service")
	if after := size(); before < 400_000 || after > before/10 {
		t.Errorf("%d bytes before, %d after", before, after)
	}
	if n := b.asOwner(`SELECT count(*) FROM pg_stat_user_tables JOIN pg_class c ON c.oid = relid WHERE relkind = 'r' AND vacuum_count = 0`); n != "0" {
		t.Errorf("%s tables were left out", n)
	}
	t.Logf("figure: %s", b.run("journalctl", "--boot", "--unit=arasul-vacuum.service", "--output=cat"))

	b.run("systemctl", "stop", "arasul-healer.service", postgresUnit)
	b.refuses("arasul-vacuum.service failed (exit-code, status 1); its log: journalctl -u arasul-vacuum.service", "run", "arasul-vacuum.service")
	b.run("systemctl", "start", postgresUnit, "arasul-healer.service")
	b.allWell()
}
