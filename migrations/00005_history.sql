-- +goose Up

-- The GPU in the history: all GPUs together, null where there is none.
ALTER TABLE samples
    ADD COLUMN gpu_utilisation_ratio   real,
    ADD COLUMN gpu_memory_total_bytes  bigint,
    ADD COLUMN gpu_memory_used_bytes   bigint,
    ADD COLUMN gpu_temperature_celsius real,
    ADD COLUMN gpu_power_watts         real;
ALTER TABLE samples_minute
    ADD COLUMN gpu_utilisation_ratio   real,
    ADD COLUMN gpu_memory_total_bytes  bigint,
    ADD COLUMN gpu_memory_used_bytes   bigint,
    ADD COLUMN gpu_temperature_celsius real,
    ADD COLUMN gpu_power_watts         real;

-- A history is asked of one service; by time first, it had to pass over all the
-- others: 18 ms for a week of one of ten.
ALTER TABLE service_minutes DROP CONSTRAINT service_minutes_pkey, ADD PRIMARY KEY (unit, ts);

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION arasul_roll_up(minutes timestamptz[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DELETE FROM samples_minute WHERE ts IN (SELECT date_bin('1 minute', t, 'epoch') FROM unnest(minutes) AS t);
    INSERT INTO samples_minute (ts, cpu_ratio, cpu_cores, load1, uptime_seconds,
        memory_total_bytes, memory_used_bytes, swap_total_bytes, swap_used_bytes,
        disk_total_bytes, disk_used_bytes, disk_read_bytes_per_second, disk_write_bytes_per_second,
        network_receive_bytes_per_second, network_transmit_bytes_per_second,
        temperature_celsius, pressure_cpu_ratio, pressure_memory_ratio, pressure_io_ratio,
        gpu_utilisation_ratio, gpu_memory_total_bytes, gpu_memory_used_bytes, gpu_temperature_celsius, gpu_power_watts, n)
    SELECT minute, a.*
    FROM (SELECT DISTINCT date_bin('1 minute', t, 'epoch') AS minute FROM unnest(minutes) AS t) AS m
    CROSS JOIN LATERAL (
        SELECT
            avg(cpu_ratio), max(cpu_cores), avg(load1), max(uptime_seconds),
            max(memory_total_bytes), avg(memory_used_bytes), max(swap_total_bytes), avg(swap_used_bytes),
            max(disk_total_bytes), avg(disk_used_bytes),
            avg(disk_read_bytes_per_second), avg(disk_write_bytes_per_second),
            avg(network_receive_bytes_per_second), avg(network_transmit_bytes_per_second),
            max(temperature_celsius), max(pressure_cpu_ratio), max(pressure_memory_ratio), max(pressure_io_ratio),
            avg(gpu_utilisation_ratio), max(gpu_memory_total_bytes), avg(gpu_memory_used_bytes),
            max(gpu_temperature_celsius), avg(gpu_power_watts),
            count(*)
        FROM samples WHERE ts >= minute AND ts < minute + interval '1 minute'
        HAVING count(*) > 0) AS a;
    INSERT INTO service_minutes (ts, unit, memory_bytes, cpu_ratio,
        pressure_cpu_ratio, pressure_memory_ratio, pressure_io_ratio, oom_kills_total, n)
    SELECT minute, a.*
    FROM (SELECT DISTINCT date_bin('1 minute', t, 'epoch') AS minute FROM unnest(minutes) AS t) AS m
    CROSS JOIN LATERAL (
        SELECT unit, avg(memory_bytes), avg(cpu_ratio),
            max(pressure_cpu_ratio), max(pressure_memory_ratio), max(pressure_io_ratio), max(oom_kills_total), count(*)
        FROM service_samples WHERE ts >= minute AND ts < minute + interval '1 minute'
        GROUP BY unit) AS a
    ON CONFLICT (unit, ts) DO UPDATE SET (memory_bytes, cpu_ratio,
            pressure_cpu_ratio, pressure_memory_ratio, pressure_io_ratio, oom_kills_total, n)
        = (excluded.memory_bytes, excluded.cpu_ratio,
            excluded.pressure_cpu_ratio, excluded.pressure_memory_ratio, excluded.pressure_io_ratio, excluded.oom_kills_total, excluded.n);
$$;
-- +goose StatementEnd
