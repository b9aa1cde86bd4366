package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arasul/arasul/pkg/api"
)

// The names are looked up first: a sequence would run out if every insert of a
// known one took a number.
const insertUnits = `
INSERT INTO service_units (unit)
SELECT DISTINCT u FROM unnest($1::text[]) AS u WHERE NOT EXISTS (SELECT FROM service_units WHERE unit = u)
ON CONFLICT DO NOTHING`

// serviceColumns are the services of one sample as arrays of one length.
type serviceColumns struct {
	units                             []string
	memory                            []*int64
	cpu                               []float64
	pressureCPU, pressureMem, pressIO []*float64
	kills                             []*int64
}

// columns turns services into columns, and leaves out what these cannot hold.
func columns(services []api.ServiceSample) (c serviceColumns) {
	for _, s := range services {
		if err := storableService(s); err != nil {
			slog.Warn("sample of a service left out", "err", err, "unit", s.Unit)
			continue
		}
		c.units = append(c.units, clean(s.Unit))
		c.memory = append(c.memory, signed(s.MemoryBytes, math.MaxInt64))
		c.cpu = append(c.cpu, s.CPURatio)
		c.pressureCPU = append(c.pressureCPU, s.PressureCPURatio)
		c.pressureMem = append(c.pressureMem, s.PressureMemoryRatio)
		c.pressIO = append(c.pressIO, s.PressureIORatio)
		c.kills = append(c.kills, signed(s.OOMKillsTotal, math.MaxInt32))
	}
	return c
}

// storableService says what keeps a service out of its columns.
func storableService(s api.ServiceSample) error {
	for _, p := range []*float64{&s.CPURatio, s.PressureCPURatio, s.PressureMemoryRatio, s.PressureIORatio} {
		if p != nil && (math.IsNaN(*p) || math.Abs(*p) > math.MaxFloat32) {
			return fmt.Errorf("it says %v", *p)
		}
	}
	return nil
}

// signed returns a number for a signed column, cut to the largest it holds.
func signed(n *uint64, most int64) *int64 {
	if n == nil {
		return nil
	}
	return new(int64(min(*n, uint64(most))))
}

const serviceHistory = `
SELECT min(ts), sum(cpu_ratio::float8 * n) / sum(n),
	(sum(memory_bytes::float8 * n) / sum(n) FILTER (WHERE memory_bytes IS NOT NULL))::bigint,
	max(oom_kills_total)::bigint,
	max(pressure_cpu_ratio)::float8, max(pressure_memory_ratio)::float8, max(pressure_io_ratio)::float8
FROM `

const (
	serviceHistoryRaw     = serviceHistory + `(SELECT *, 1 AS n FROM service_samples) AS s WHERE ts >= $1 AND ts < $2 AND unit = (SELECT id FROM service_units WHERE unit = $4) GROUP BY date_bin($3, ts, 'epoch') ORDER BY 1`
	serviceHistoryMinutes = serviceHistory + `service_minutes WHERE ts >= date_bin('1 minute', $1, 'epoch') AND ts < $2 AND unit = (SELECT id FROM service_units WHERE unit = $4) GROUP BY date_bin($3, ts, 'epoch') ORDER BY 1`
)

// ServiceHistory returns what a unit used in [from, to), oldest first, as at
// most maxPoints points (2 or more), which are made like those of History: with
// averages of CPU and memory, and maxima of the rest. A stride in which the
// unit did not run has no point; a unit that was never seen has none at all.
func (db *DB) ServiceHistory(ctx context.Context, unit string, from, to time.Time, maxPoints int) ([]api.ServicePoint, error) {
	stride, err := strideOf(from, to, maxPoints)
	if err != nil {
		return nil, fmt.Errorf("reading history of %s: %w", unit, err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	sql := serviceHistoryRaw
	if stride >= time.Minute {
		sql = serviceHistoryMinutes
	}
	rows, _ := db.pool.Query(ctx, sql, from, to, stride, clean(unit))
	points, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (api.ServicePoint, error) {
		p := api.ServicePoint{ServiceSample: api.ServiceSample{Unit: unit}}
		err := row.Scan(&p.Time, &p.CPURatio, &p.MemoryBytes, &p.OOMKillsTotal,
			&p.PressureCPURatio, &p.PressureMemoryRatio, &p.PressureIORatio)
		return p, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading history of %s: %w", unit, err)
	}
	return points, nil
}
