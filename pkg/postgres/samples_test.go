package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/arasul/arasul/migrations"
	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/postgres"
	"github.com/arasul/arasul/pkg/postgres/postgrestest"
)

const week = 7 * 24 * time.Hour

func at(text string) time.Time {
	t, err := time.Parse("2006-01-02 15:04:05", text)
	if err != nil {
		panic(err)
	}
	return t
}

func sample(t time.Time, cpu float64) api.Sample {
	return api.Sample{Time: t, CPURatio: cpu, CPUCores: 12, MemoryTotalBytes: 64 << 30, MemoryUsedBytes: 1000}
}

func store(t testing.TB, db *postgres.DB, samples ...api.Sample) {
	t.Helper()
	if err := db.StoreSamples(context.Background(), samples); err != nil {
		t.Fatal(err)
	}
}

// ask returns the rows of a query as the superuser sees them, one line each.
func ask(t testing.TB, d postgrestest.Database, sql string) []string {
	t.Helper()
	rows, err := d.Connect(t, "arasul-postgres").Query(context.Background(), sql)
	if err != nil {
		t.Fatal(err)
	}
	lines := []string{}
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.TrimSpace(fmt.Sprintln(values...)))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

const partitions = `SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'samples'::regclass ORDER BY 1`

// Proves DB-1.
func TestABatchAcrossMidnightFillsTwoPartitions(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	store(t, d.Open(t, "arasul-metrics"),
		sample(at("2026-03-01 23:59:58"), 0.1), sample(at("2026-03-02 00:00:03"), 0.2), sample(at("2026-03-02 00:00:00"), 0.3))

	got := ask(t, d, `SELECT tableoid::regclass::text, count(*) FROM samples GROUP BY 1 ORDER BY 1`)
	want := []string{"samples_20260301 1", "samples_20260302 2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// Besides those two: today and the two days ahead, ready before midnight.
	for n := range 3 {
		day := time.Now().UTC().AddDate(0, 0, n).Format("samples_20060102")
		if got := ask(t, d, partitions); !slices.Contains(got, day) {
			t.Errorf("no partition %s among %v", day, got)
		}
	}
}

func TestReplayingSamplesChangesNothing(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	db := d.Open(t, "arasul-metrics")
	first := []api.Sample{sample(at("2026-03-01 10:00:00"), 0.25), sample(at("2026-03-01 10:00:05"), 0.75)}
	store(t, db, first...)
	store(t, db, append(first, sample(at("2026-03-01 10:00:10"), 0.5))...)
	store(t, db, sample(at("2026-03-01 10:00:05"), 1)) // what is there stays

	got := ask(t, d, `SELECT 'raw', cpu_ratio FROM samples UNION ALL SELECT 'minute', cpu_ratio FROM samples_minute ORDER BY 1, 2`)
	want := []string{"minute 0.5", "raw 0.25", "raw 0.5", "raw 0.75"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Proves METRICS-2.
func TestASampleNoDatabaseCanHoldDoesNotLoseTheOthers(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	nan, huge, neither, never := sample(at("2026-03-01 10:00:01"), math.NaN()), sample(at("2026-03-01 10:00:02"), 0),
		sample(at("2026-03-01 10:00:03"), 0), sample(time.Time{}, 0)
	huge.DiskUsedBytes = math.MaxUint64
	inf := math.Inf(1)
	neither.TemperatureCelsius = &inf
	store(t, d.Open(t, "arasul-metrics"),
		sample(at("2026-03-01 10:00:00"), 0.1), nan, huge, neither, never, sample(at("2026-03-01 10:00:04"), 0.2))

	if got := ask(t, d, `SELECT extract(second FROM ts)::int FROM samples ORDER BY 1`); !slices.Equal(got, []string{"0", "4"}) {
		t.Errorf("seconds stored: %v, want 0 and 4", got)
	}
}

// Proves METRICS-1.
func TestRetainDropsWholeDaysThatAreOldEnough(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	db := d.Open(t, "arasul-metrics")
	now := time.Now().UTC().Truncate(time.Minute)
	today := now.Truncate(24 * time.Hour)
	store(t, db, sample(today.AddDate(0, 0, -400), 0.5), sample(now.Add(time.Second), 0.5))
	fill(t, d, today.AddDate(0, 0, -9), now.Sub(today.AddDate(0, 0, -9)), time.Minute)
	if err := db.Retain(context.Background(), week); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"samples", "samples_minute"} {
		got := ask(t, d, `SELECT DISTINCT date '`+today.Format(time.DateOnly)+`' - ts::date FROM `+table+` ORDER BY 1`)
		if diff := cmp.Diff([]string{"0", "1", "2", "3", "4", "5", "6", "7"}, got); diff != "" {
			t.Errorf("ages in days in %s: %s", table, diff)
		}
	}
	for _, table := range []string{"samples", "service_samples"} {
		if got := ask(t, d, strings.ReplaceAll(partitions, "samples", table)); len(got) != 10 { // 7 to 1, today and two ahead
			t.Errorf("partitions left: %v", got)
		}
	}
}

// Proves METRICS-1: seven days are kept, whatever the clock said meanwhile.
func TestClockThatIsWrongForAMinuteCostsNoHistory(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for name, jump := range map[string]time.Duration{
		"an hour": time.Hour, "a day": day, "a week": week, "ten years": 3652 * day, "a year back": -365 * day,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := postgrestest.New(t, migrations.FS)
			db := d.Open(t, "arasul-metrics")
			now := at("2026-03-10 11:00:00")
			fill(t, d, now.Add(-9*day), 9*day, time.Minute)
			retain := func(clock time.Time) {
				t.Helper()
				_, err := d.Connect(t, "arasul-metrics").Exec(context.Background(), `SELECT arasul_retain($1, $2)`, clock, week)
				if err != nil {
					t.Fatal(err)
				}
			}
			var wrong []api.Sample
			for n := range 12 {
				wrong = append(wrong, sample(now.Add(jump+time.Duration(n)*5*time.Second), 0.5))
			}
			store(t, db, wrong...)
			retain(now.Add(jump + time.Minute))
			retain(now.Add(time.Minute))
			for _, table := range []string{"samples", "samples_minute"} {
				got := ask(t, d, `SELECT count(*) FROM `+table+` WHERE ts >= timestamptz '2026-03-03 11:00+00' AND ts < timestamptz '2026-03-10 11:00+00'`)
				if want := []string{"10080"}; !slices.Equal(got, want) {
					t.Errorf("%v rows of seven days left in %s, want %v", got, table, want)
				}
			}
		})
	}
}

func TestWhatAMachineSawBeforeItWasOffStays(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	db := d.Open(t, "arasul-metrics")
	now := time.Now().UTC().Truncate(time.Minute)
	fill(t, d, now.AddDate(0, -1, 0), 24*time.Hour, time.Minute)
	store(t, db, sample(now, 0.5))
	if err := db.Retain(context.Background(), week); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, d, `SELECT count(*) FROM samples`); !slices.Equal(got, []string{"1441"}) {
		t.Errorf("%v samples left, want 1441", got)
	}
}

func TestRetainGivesUpOnAReaderThatStays(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	db := d.Open(t, "arasul-metrics")
	old := time.Now().AddDate(0, 0, -9).UTC().Truncate(time.Minute)
	fill(t, d, old, 9*24*time.Hour, time.Minute)
	ctx := context.Background()
	reader, err := d.Connect(t, "arasul-dashboard").Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Rollback(ctx)
	if _, err := reader.Exec(ctx, `SELECT count(*) FROM samples`); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := db.Retain(ctx, week); err == nil {
		t.Error("a partition that is being read was dropped")
	}
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("gave up after %v, want 2s", took)
	}
}

// Proves METRICS-3.
func TestHistoryAveragesByHand(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	start := at("2026-03-01 10:00:00")
	hot, cool := 80.5, 40.0
	var samples []api.Sample
	for n, cpu := range []float64{0.5, 0.25, 0.75, 1, 0, 0.5, 0.125, 0.375} { // every 30 s: four minutes
		s := sample(start.Add(time.Duration(n)*30*time.Second), cpu)
		s.MemoryUsedBytes = uint64(1000 * (n + 1))
		if n == 1 {
			s.TemperatureCelsius, s.PressureIORatio = &hot, new(float64)
		} else if n < 4 {
			s.TemperatureCelsius = &cool
		}
		samples = append(samples, s)
	}
	samples = slices.Delete(samples, 3, 4) // minutes of unequal weight
	store(t, d.Open(t, "arasul-metrics"), samples...)

	db := d.Open(t, "arasul-dashboard")
	point := func(seconds int, cpu float64, memory uint64, temperature, io *float64) api.Sample {
		s := sample(start.Add(time.Duration(seconds)*time.Second), cpu)
		s.MemoryUsedBytes, s.TemperatureCelsius, s.PressureIORatio = memory, temperature, io
		return s
	}
	for name, c := range map[string]struct {
		points int
		want   []api.Sample
	}{
		// Stride 2 min, from the minutes: (0.5+0.25+0.75)/3, (0+0.5+0.125+0.375)/4.
		"from minutes": {4, []api.Sample{
			point(0, 0.5, 2000, &hot, new(float64)), point(120, 0.25, 6500, nil, nil)}},
		// Stride 40 s, from the samples; nothing was seen between 80 and 120 s.
		"from samples": {7, []api.Sample{
			point(0, 0.375, 1500, &hot, new(float64)), point(60, 0.75, 3000, &cool, nil),
			point(120, 0.25, 5500, nil, nil), point(180, 0.125, 7000, nil, nil), point(210, 0.375, 8000, nil, nil)}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := db.History(context.Background(), start, start.Add(4*time.Minute), c.points)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmpopts.EquateApprox(0, 1e-6), cmpopts.EquateApproxTime(0)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Proves METRICS-1: the GPU is kept, and what it did not say in a stretch is
// neither zero nor part of an average.
func TestHistoryOfTheGPUAveragesByHand(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	start := at("2026-03-01 10:00:00")
	var samples []api.Sample
	for n, ratio := range []float64{0.5, 0.25, -1, -1, 1, -1} { // every 30 s: three minutes, the second without a GPU
		s := sample(start.Add(time.Duration(n)*30*time.Second), 0.5)
		if ratio >= 0 {
			s.GPUUtilisationRatio, s.GPUPowerWatts, s.GPUTemperatureCelsius = &ratio, new(100*ratio), new(64*ratio)
			s.GPUMemoryTotalBytes, s.GPUMemoryUsedBytes = new(uint64(64<<30)), new(uint64(1000*(n+1)))
		}
		samples = append(samples, s)
	}
	store(t, d.Open(t, "arasul-metrics"), samples...)
	point := func(seconds int, ratio, hottest float64, used uint64) api.Sample {
		s := sample(start.Add(time.Duration(seconds)*time.Second), 0.5)
		s.GPUUtilisationRatio, s.GPUPowerWatts, s.GPUTemperatureCelsius = &ratio, new(100*ratio), new(64*hottest)
		s.GPUMemoryTotalBytes, s.GPUMemoryUsedBytes = new(uint64(64<<30)), &used
		return s
	}
	dark := func(seconds int) api.Sample { return sample(start.Add(time.Duration(seconds)*time.Second), 0.5) }
	db := d.Open(t, "arasul-dashboard")
	for name, c := range map[string]struct {
		points int
		want   []api.Sample
	}{
		"from minutes":     {4, []api.Sample{point(0, 0.375, 0.5, 1500), dark(60), point(120, 1, 1, 5000)}},
		"from two minutes": {3, []api.Sample{point(0, 0.375, 0.5, 1500), point(120, 1, 1, 5000)}},
		"from samples": {7, []api.Sample{
			point(0, 0.5, 0.5, 1000), point(30, 0.25, 0.25, 2000), dark(60), dark(90), point(120, 1, 1, 5000), dark(150)}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := db.History(context.Background(), start, start.Add(3*time.Minute), c.points)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmpopts.EquateApprox(0, 1e-6), cmpopts.EquateApproxTime(0)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Proves METRICS-3.
func TestHistoryNeverHasMorePointsThanAskedFor(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	fill(t, d, at("2026-03-01 00:00:00"), 24*time.Hour, 5*time.Second)
	db := d.Open(t, "arasul-dashboard")
	from := at("2026-03-01 00:00:00")
	for _, length := range []time.Duration{time.Second, 7 * time.Second, time.Hour, time.Hour + time.Nanosecond, 24 * time.Hour} {
		for _, shift := range []time.Duration{0, 1, 17*time.Minute + 59*time.Second + 1} {
			for _, points := range []int{2, 3, 7, 60, 720, 1000} {
				got, err := db.History(context.Background(), from.Add(shift), from.Add(shift+length), points)
				if err != nil {
					t.Fatal(err)
				}
				if len(got) > points {
					t.Errorf("%v from %v: %d points, asked for %d", length, shift, len(got), points)
				}
			}
		}
	}
	got, err := db.History(context.Background(), from, from.Add(time.Hour), 1000)
	if err != nil || len(got) != 720 {
		t.Errorf("an hour at 5 s: %d points, %v; want all 720", len(got), err)
	}
}

func TestHistoryRefusesAnEmptyRange(t *testing.T) {
	t.Parallel()
	db := postgrestest.New(t, migrations.FS).Open(t, "arasul-dashboard")
	now := time.Now()
	if _, err := db.History(context.Background(), now, now, 100); err == nil {
		t.Error("empty range accepted")
	}
	if _, err := db.History(context.Background(), now.Add(-time.Hour), now, 1); err == nil {
		t.Error("one point accepted")
	}
}

// fill puts a sample every so often into the database, through SQL for speed.
func fill(t testing.TB, d postgrestest.Database, from time.Time, length, step time.Duration) {
	t.Helper()
	d.Exec(t, "arasul-postgres", fmt.Sprintf(`
		SELECT arasul_ensure_partitions(array_agg(t::date)) FROM generate_series(timestamp '%[1]s', timestamp '%[2]s' + interval '1 day', '1 day') AS t;
		INSERT INTO samples
		SELECT t, random(), 12, random() * 10, extract(epoch FROM t), 64e9, random() * 64e9, 0, 0, 1e12, random() * 1e12,
			random() * 1e8, random() * 1e8, random() * 1e8, random() * 1e8, 40 + random() * 30, random(), random(), random(),
			random(), 64e9, random() * 64e9, 40 + random() * 30, random() * 60
		FROM generate_series(timestamptz '%[1]s+00', timestamptz '%[2]s+00' - interval '1 us', '%[3]s') AS t;
		SELECT arasul_roll_up(array_agg(t)) FROM generate_series(timestamptz '%[1]s+00', timestamptz '%[2]s+00', '1 minute') AS t;
		ANALYZE samples, samples_minute`, from.Format(time.DateTime), from.Add(length).Format(time.DateTime), step))
}

// BenchmarkHistory7d reads a week at 5 s (120,960 samples) as 1000 points.
// METRICS-3 allows 50 ms.
func BenchmarkHistory7d(b *testing.B) {
	d := postgrestest.New(b, migrations.FS)
	from := at("2026-03-01 00:00:00")
	fill(b, d, from, week, 5*time.Second)
	db := d.Open(b, "arasul-dashboard")
	for b.Loop() {
		points, err := db.History(context.Background(), from, from.Add(week), 1000)
		if err != nil || len(points) < 900 {
			b.Fatal(len(points), err)
		}
	}
}

// BenchmarkStore30s stores what the metrics daemon flushes every 30 s, with ten
// services.
func BenchmarkStore30s(b *testing.B) { benchmarkStore(b, 6) }

// BenchmarkStoreReplay stores a batch from the spool: half an hour.
func BenchmarkStoreReplay(b *testing.B) { benchmarkStore(b, 360) }

func benchmarkStore(b *testing.B, n int) {
	db := postgrestest.New(b, migrations.FS).Open(b, "arasul-metrics")
	now := time.Now().Truncate(time.Minute)
	var services []api.ServiceSample
	for i := range 10 {
		services = append(services, unit(fmt.Sprint(i), 0.5, 1<<20))
	}
	for b.Loop() {
		var batch []api.Sample
		for range n {
			now = now.Add(5 * time.Second)
			s := sample(now, 0.5)
			s.Services = services
			batch = append(batch, s)
		}
		store(b, db, batch...)
	}
}

// Proves METRICS-2: a server that hangs blocks nobody beyond his deadline.
func TestStoringToAServerThatIsStoppedReturnsInTime(t *testing.T) {
	t.Parallel()
	const limit = 500 * time.Millisecond
	try := func(t *testing.T, db *postgres.DB) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		start := time.Now()
		err := db.StoreSamples(ctx, []api.Sample{sample(at("2026-03-01 10:00:00"), 0.5)})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the deadline's", err)
		}
		if took := time.Since(start); took > limit+2*time.Second {
			t.Errorf("returned after %v, deadline was %v", took, limit)
		}
	}
	t.Run("during a session", func(t *testing.T) {
		d := postgrestest.New(t, migrations.FS)
		db := d.Open(t, "arasul-metrics")
		store(t, db, sample(at("2026-03-01 09:00:00"), 0.5))
		for _, text := range ask(t, d, `SELECT pid FROM pg_stat_activity WHERE application_name = 'arasul-metrics' AND datname = current_database()`) {
			var pid int
			if _, err := fmt.Sscan(text, &pid); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
		}
		try(t, db)
	})
	t.Run("before a session", func(t *testing.T) {
		// What a stopped server looks like: the kernel takes the connection,
		// and nobody answers.
		dir := t.TempDir()
		l, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		db, err := postgres.Open(config.Database{DSN: "host=" + dir + " port=5432 user=x dbname=x"}, "arasul-metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		try(t, db)
	})
}

func TestOpenAndPingWithoutAServer(t *testing.T) {
	t.Parallel()
	db, err := postgres.Open(config.Database{DSN: "host=" + t.TempDir() + " user=x dbname=x"}, "arasul-metrics")
	if err != nil {
		t.Fatalf("opening must not need a server: %v", err)
	}
	defer db.Close()
	start := time.Now()
	if err := db.Ping(context.Background()); err == nil {
		t.Error("ping of nobody succeeded")
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("ping took %v", took)
	}
	if _, err := postgres.Open(config.Database{DSN: "postgres://u:secret@host:port/db"}, "x"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a bad DSN gives %v; want an error without the password", err)
	}
}
