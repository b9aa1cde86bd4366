package postgres_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/arasul/arasul/migrations"
	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/postgres/postgrestest"
)

func unit(name string, cpu float64, memory uint64) api.ServiceSample {
	return api.ServiceSample{Unit: "arasul-" + name + ".service", CPURatio: cpu, MemoryBytes: &memory, PressureIORatio: new(cpu)}
}

// Proves METRICS-1.
func TestServicesAreStoredOnceWithTheirSample(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	db := d.Open(t, "arasul-metrics")
	first, second := sample(at("2026-03-01 23:59:55"), 0.1), sample(at("2026-03-02 00:00:00"), 0.2)
	odd := unit("odd\x00", 0.25, math.MaxUint64)
	odd.OOMKillsTotal = new(uint64(math.MaxUint64))
	first.Services = []api.ServiceSample{unit("proxy", 0.5, 1000), {Unit: "arasul-llm.service"}}
	second.Services = []api.ServiceSample{unit("proxy", 0.25, 2000), unit("bad", math.NaN(), 1), odd}
	store(t, db, first)
	store(t, db, first, second)
	store(t, db, second)

	got := ask(t, d, `SELECT to_char(ts AT TIME ZONE 'UTC', 'SS'), u.unit, cpu_ratio, memory_bytes, oom_kills_total, pressure_io_ratio
		FROM service_samples JOIN service_units u ON u.id = service_samples.unit ORDER BY ts, u.unit`)
	want := []string{
		"55 arasul-llm.service 0 <nil> <nil> <nil>",
		"55 arasul-proxy.service 0.5 1000 <nil> 0.5",
		"00 arasul-odd.service 0.25 9223372036854775807 2147483647 0.25",
		"00 arasul-proxy.service 0.25 2000 <nil> 0.25",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := ask(t, d, `SELECT max(id) FROM service_units`); !slices.Equal(got, []string{"3"}) {
		t.Errorf("three units have numbers up to %v", got)
	}
}

// Proves METRICS-1 and METRICS-3.
func TestHistoryOfAServiceAveragesByHand(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	start := at("2026-03-01 10:00:00")
	var samples []api.Sample
	for n, cpu := range []float64{0.5, 0.25, -1, -1, 0, 0.5, 0.125, 0.375} { // every 30 s; for a minute it did not run
		s := sample(start.Add(time.Duration(n)*30*time.Second), 0)
		s.Services = []api.ServiceSample{unit("other", 1, 1)}
		if cpu >= 0 {
			s.Services = append(s.Services, unit("proxy", cpu, uint64(1000*(n+1))))
		}
		samples = append(samples, s)
	}
	samples[1].Services[1].MemoryBytes = nil
	samples[1].Services[1].OOMKillsTotal = new(uint64(3))
	store(t, d.Open(t, "arasul-metrics"), samples...)

	db := d.Open(t, "arasul-dashboard")
	point := func(seconds int, cpu float64, memory uint64, kills *uint64, io float64) api.ServicePoint {
		p := api.ServicePoint{Time: start.Add(time.Duration(seconds) * time.Second), ServiceSample: unit("proxy", cpu, memory)}
		p.OOMKillsTotal, p.PressureIORatio = kills, &io
		return p
	}
	bare := point(30, 0.25, 0, new(uint64(3)), 0.25)
	bare.MemoryBytes = nil
	for name, c := range map[string]struct {
		points int
		want   []api.ServicePoint
	}{
		"from minutes": {5, []api.ServicePoint{
			point(0, 0.375, 1000, new(uint64(3)), 0.5), point(120, 0.25, 5500, nil, 0.5), point(180, 0.25, 7500, nil, 0.375)}},
		"from samples": {9, []api.ServicePoint{
			point(0, 0.5, 1000, nil, 0.5), bare, point(120, 0, 5000, nil, 0),
			point(150, 0.5, 6000, nil, 0.5), point(180, 0.125, 7000, nil, 0.125), point(210, 0.375, 8000, nil, 0.375)}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := db.ServiceHistory(context.Background(), "arasul-proxy.service", start, start.Add(4*time.Minute), c.points)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmpopts.EquateApprox(0, 1e-6), cmpopts.EquateApproxTime(0)); diff != "" {
				t.Error(diff)
			}
		})
	}
	if got, err := db.ServiceHistory(context.Background(), "arasul-none.service", start, start.Add(time.Hour), 10); err != nil || len(got) != 0 {
		t.Errorf("history of a unit that was never seen: %v, %v", got, err)
	}
	if _, err := db.ServiceHistory(context.Background(), "arasul-proxy.service", start, start, 10); err == nil {
		t.Error("empty range accepted")
	}
}

// fillServices puts a look at ten services every so often into the database.
func fillServices(t testing.TB, d postgrestest.Database, from time.Time, length, step time.Duration) {
	t.Helper()
	d.Exec(t, "arasul-postgres", fmt.Sprintf(`
		INSERT INTO service_units (unit) SELECT 'arasul-' || n || '.service' FROM generate_series(0, 9) AS n;
		SELECT arasul_ensure_partitions(array_agg(t::date)) FROM generate_series(timestamp '%[1]s', timestamp '%[2]s', '1 day') AS t;
		INSERT INTO service_samples
		SELECT t, random() * 1e9, random(), random(), random(), random(), 0, u.id
		FROM generate_series(timestamptz '%[1]s+00', timestamptz '%[2]s+00' - interval '1 us', '%[3]s') AS t, service_units AS u;
		SELECT arasul_roll_up(array_agg(t)) FROM generate_series(timestamptz '%[1]s+00', timestamptz '%[2]s+00', '1 minute') AS t;
		ANALYZE service_samples, service_minutes`, from.Format(time.DateTime), from.Add(length).Format(time.DateTime), step))
}

// BenchmarkServiceHistory7d reads a week of one of ten services as 1000 points,
// from minutes.
func BenchmarkServiceHistory7d(b *testing.B) {
	d := postgrestest.New(b, migrations.FS)
	from := at("2026-03-01 00:00:00")
	fillServices(b, d, from, week, time.Minute)
	db := d.Open(b, "arasul-dashboard")
	for b.Loop() {
		points, err := db.ServiceHistory(context.Background(), "arasul-3.service", from, from.Add(week), 1000)
		if err != nil || len(points) < 900 {
			b.Fatal(len(points), err)
		}
	}
}

// BenchmarkServiceHistory1h reads the last hour of a day of ten services at
// 5 s, from the looks themselves, and says what a day takes on disk.
func BenchmarkServiceHistory1h(b *testing.B) {
	d := postgrestest.New(b, migrations.FS)
	from, to := at("2026-03-01 00:00:00"), at("2026-03-02 00:00:00")
	fillServices(b, d, from, 24*time.Hour, 5*time.Second)
	db := d.Open(b, "arasul-dashboard")
	for b.Loop() {
		points, err := db.ServiceHistory(context.Background(), "arasul-3.service", to.Add(-time.Hour), to, 1000)
		if err != nil || len(points) != 720 {
			b.Fatal(len(points), err)
		}
	}
	var raw, minutes float64
	err := d.Connect(b, "arasul-postgres").QueryRow(context.Background(),
		`SELECT pg_total_relation_size('service_samples_20260301'), pg_total_relation_size('service_minutes')`).Scan(&raw, &minutes)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(raw/1e6, "MB/day")
	b.ReportMetric(minutes/1e6, "minutes-MB/day")
}
