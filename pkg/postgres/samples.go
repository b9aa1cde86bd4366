package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arasul/arasul/pkg/api"
)

// A sample and its services are stored in one statement: the services of a
// sample that was there already are left out with it.
const insertSample = `
WITH new AS (
	INSERT INTO samples (
		ts, cpu_ratio, cpu_cores, load1, uptime_seconds,
		memory_total_bytes, memory_used_bytes, swap_total_bytes, swap_used_bytes,
		disk_total_bytes, disk_used_bytes, disk_read_bytes_per_second, disk_write_bytes_per_second,
		network_receive_bytes_per_second, network_transmit_bytes_per_second,
		temperature_celsius, pressure_cpu_ratio, pressure_memory_ratio, pressure_io_ratio,
		gpu_utilisation_ratio, gpu_memory_total_bytes, gpu_memory_used_bytes, gpu_temperature_celsius, gpu_power_watts)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)
	ON CONFLICT DO NOTHING RETURNING ts)
INSERT INTO service_samples (
	ts, unit, memory_bytes, cpu_ratio, pressure_cpu_ratio, pressure_memory_ratio, pressure_io_ratio, oom_kills_total)
SELECT new.ts, u.id, s.memory, s.cpu, s.pressure_cpu, s.pressure_memory, s.pressure_io, s.kills
FROM new, unnest($25::text[], $26::bigint[], $27::real[], $28::real[], $29::real[], $30::real[], $31::integer[])
	AS s (unit, memory, cpu, pressure_cpu, pressure_memory, pressure_io, kills)
JOIN service_units AS u ON u.unit = s.unit`

// StoreSamples adds samples and their services; those already there (by time, to the microsecond)
// are left as they are, so a batch may be sent again. All are on their way to
// the disk when it returns nil, or none after an error. The server may lose
// the last half second before a power cut.
//
// A sample that no database could hold is logged and left out: sending it
// again would not help, and it must not keep the others waiting.
func (db *DB) StoreSamples(ctx context.Context, samples []api.Sample) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()

	// Tomorrow's partition exists before midnight comes.
	now := time.Now().UTC()
	days := []time.Time{now, now.AddDate(0, 0, 1), now.AddDate(0, 0, 2)}
	var minutes []time.Time
	units := []string{}
	var batch pgx.Batch
	for _, s := range samples {
		if err := storable(s); err != nil {
			slog.Warn("sample left out", "err", err)
			continue
		}
		t := s.Time.UTC().Truncate(time.Microsecond)
		if day := t.Truncate(24 * time.Hour); !day.Equal(days[len(days)-1]) {
			days = append(days, day)
		}
		if minute := t.Truncate(time.Minute); len(minutes) == 0 || !minute.Equal(minutes[len(minutes)-1]) {
			minutes = append(minutes, minute)
		}
		c := columns(s.Services)
		for _, unit := range c.units {
			if !slices.Contains(units, unit) {
				units = append(units, unit)
			}
		}
		batch.Queue(insertSample, t, s.CPURatio, s.CPUCores, s.Load1, s.UptimeSecs,
			s.MemoryTotalBytes, s.MemoryUsedBytes, s.SwapTotalBytes, s.SwapUsedBytes,
			s.DiskTotalBytes, s.DiskUsedBytes, s.DiskReadBps, s.DiskWriteBps,
			s.NetworkReceiveBps, s.NetworkTransmitBps,
			s.TemperatureCelsius, s.PressureCPURatio, s.PressureMemoryRatio, s.PressureIORatio,
			s.GPUUtilisationRatio, signed(s.GPUMemoryTotalBytes, math.MaxInt64), signed(s.GPUMemoryUsedBytes, math.MaxInt64),
			s.GPUTemperatureCelsius, s.GPUPowerWatts,
			c.units, c.memory, c.cpu, c.pressureCPU, c.pressureMem, c.pressIO, c.kills)
	}
	if len(minutes) == 0 {
		return nil
	}
	batch.Queue(`SELECT arasul_roll_up($1)`, minutes)

	err := pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `SELECT set_config('synchronous_commit', 'off', true), arasul_ensure_partitions($1)`, days)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, insertUnits, units); err != nil {
			return err
		}
		return tx.SendBatch(ctx, &batch).Close()
	})
	if err != nil {
		return fmt.Errorf("storing samples: %w", err)
	}
	return nil
}

// storable says what keeps a sample out of its columns.
func storable(s api.Sample) error {
	if y := s.Time.Year(); y < 1970 || y > 2200 {
		return fmt.Errorf("its time is %s", s.Time.Format(time.RFC3339))
	}
	reals := []float64{s.CPURatio, s.Load1, s.UptimeSecs, s.DiskReadBps, s.DiskWriteBps, s.NetworkReceiveBps, s.NetworkTransmitBps}
	for _, p := range []*float64{
		s.TemperatureCelsius, s.PressureCPURatio, s.PressureMemoryRatio, s.PressureIORatio,
		s.GPUUtilisationRatio, s.GPUTemperatureCelsius, s.GPUPowerWatts,
	} {
		if p != nil {
			reals = append(reals, *p)
		}
	}
	for _, r := range reals {
		if math.IsNaN(r) || math.Abs(r) > math.MaxFloat32 {
			return fmt.Errorf("it says %v at %s", r, s.Time.Format(time.RFC3339))
		}
	}
	for _, n := range []uint64{
		s.MemoryTotalBytes, s.MemoryUsedBytes, s.SwapTotalBytes, s.SwapUsedBytes, s.DiskTotalBytes, s.DiskUsedBytes, uint64(s.CPUCores),
	} {
		if n > math.MaxInt64 {
			return fmt.Errorf("it says %d bytes at %s", n, s.Time.Format(time.RFC3339))
		}
	}
	return nil
}

// Retain drops the days (in UTC) that ended longer than keep ago, both by the
// clock and by the samples: so much of them always stays, so that a clock that
// is wrong for a while costs no history. It waits at most two seconds for
// readers; after an error the next call drops what is left.
func (db *DB) Retain(ctx context.Context, keep time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL lock_timeout = '2s'`); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `SELECT arasul_retain($1, $2)`, time.Now(), keep)
		return err
	})
	if err != nil {
		return fmt.Errorf("dropping old samples: %w", err)
	}
	return nil
}

// Strides of a minute and more are whole minutes and read the rows made for
// them; $1 to $3 are the start, the end and the stride.
const history = `
SELECT min(ts),
	sum(cpu_ratio::float8 * n) / sum(n), max(cpu_cores), sum(load1::float8 * n) / sum(n), max(uptime_seconds),
	max(memory_total_bytes), (sum(memory_used_bytes::float8 * n) / sum(n))::bigint,
	max(swap_total_bytes), (sum(swap_used_bytes::float8 * n) / sum(n))::bigint,
	max(disk_total_bytes), (sum(disk_used_bytes::float8 * n) / sum(n))::bigint,
	sum(disk_read_bytes_per_second::float8 * n) / sum(n), sum(disk_write_bytes_per_second::float8 * n) / sum(n),
	sum(network_receive_bytes_per_second::float8 * n) / sum(n), sum(network_transmit_bytes_per_second::float8 * n) / sum(n),
	max(temperature_celsius)::float8, max(pressure_cpu_ratio)::float8,
	max(pressure_memory_ratio)::float8, max(pressure_io_ratio)::float8,
	sum(gpu_utilisation_ratio::float8 * n) / sum(n) FILTER (WHERE gpu_utilisation_ratio IS NOT NULL),
	max(gpu_memory_total_bytes), (sum(gpu_memory_used_bytes::float8 * n) / sum(n) FILTER (WHERE gpu_memory_used_bytes IS NOT NULL))::bigint,
	max(gpu_temperature_celsius)::float8,
	sum(gpu_power_watts::float8 * n) / sum(n) FILTER (WHERE gpu_power_watts IS NOT NULL)
FROM `

const (
	historyRaw     = history + `(SELECT *, 1 AS n FROM samples) AS s WHERE ts >= $1 AND ts < $2 GROUP BY date_bin($3, ts, 'epoch') ORDER BY 1`
	historyMinutes = history + `samples_minute WHERE ts >= date_bin('1 minute', $1, 'epoch') AND ts < $2 GROUP BY date_bin($3, ts, 'epoch') ORDER BY 1`
)

// History returns the samples of [from, to), oldest first, as at most
// maxPoints points (2 or more). A point stands for all samples of its stride,
// which is the same for the whole answer: it carries the time of the first,
// their averages, and the maxima of temperatures, pressure, uptime and totals.
// A stride without samples has no point.
func (db *DB) History(ctx context.Context, from, to time.Time, maxPoints int) ([]api.Sample, error) {
	stride, err := strideOf(from, to, maxPoints)
	if err != nil {
		return nil, fmt.Errorf("reading history: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	sql := historyRaw
	if stride >= time.Minute {
		sql = historyMinutes
	}
	rows, _ := db.pool.Query(ctx, sql, from, to, stride)
	points, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (api.Sample, error) {
		var s api.Sample
		err := row.Scan(&s.Time, &s.CPURatio, &s.CPUCores, &s.Load1, &s.UptimeSecs,
			&s.MemoryTotalBytes, &s.MemoryUsedBytes, &s.SwapTotalBytes, &s.SwapUsedBytes,
			&s.DiskTotalBytes, &s.DiskUsedBytes, &s.DiskReadBps, &s.DiskWriteBps,
			&s.NetworkReceiveBps, &s.NetworkTransmitBps,
			&s.TemperatureCelsius, &s.PressureCPURatio, &s.PressureMemoryRatio, &s.PressureIORatio,
			&s.GPUUtilisationRatio, &s.GPUMemoryTotalBytes, &s.GPUMemoryUsedBytes, &s.GPUTemperatureCelsius, &s.GPUPowerWatts)
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading history: %w", err)
	}
	return points, nil
}

// strideOf returns how much time a point of a history stands for. Strides are
// counted from 1970, so that a chart that is drawn again a little later shows
// the same points; the first and the last are cut, so one more than fits into
// the range.
func strideOf(from, to time.Time, maxPoints int) (time.Duration, error) {
	if maxPoints < 2 || !from.Before(to) {
		return 0, errors.New("an empty range, or fewer than two points")
	}
	strides := time.Duration(maxPoints - 1)
	stride := roundUp((to.Sub(from)+strides-1)/strides, time.Second)
	if stride >= time.Minute {
		stride = roundUp(stride, time.Minute)
	}
	return stride, nil
}

// roundUp returns the smallest multiple of unit that is not below d.
func roundUp(d, unit time.Duration) time.Duration { return (d + unit - 1).Truncate(unit) }
