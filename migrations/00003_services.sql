-- +goose Up

-- What each service used, a row per look and service, in partitions per day as
-- samples has them. A row is 68 bytes and its share of the index 8: ten
-- services at 5 s make 13 MB a day. Units have numbers here because their names
-- would make it twice as much.
CREATE TABLE service_units (
    id   smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    unit text     NOT NULL UNIQUE
);

-- There is no unique key, which would cost as much as the rows: a look is
-- stored in the statement that stores its sample, and that has one.
CREATE TABLE service_samples (
    ts                    timestamptz NOT NULL,
    memory_bytes          bigint,
    cpu_ratio             real        NOT NULL,
    pressure_cpu_ratio    real,
    pressure_memory_ratio real,
    pressure_io_ratio     real,
    oom_kills_total       integer,
    unit                  smallint    NOT NULL
) PARTITION BY RANGE (ts);
CREATE INDEX service_samples_ts ON service_samples (ts);

-- The same by the minute, n samples in each row.
CREATE TABLE service_minutes (
    LIKE service_samples,
    n integer NOT NULL,
    PRIMARY KEY (ts, unit)
);

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION arasul_ensure_partitions(days date[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    day    date;
    parent text;
    name   text;
BEGIN
    IF cardinality(days) > 400 THEN
        RAISE program_limit_exceeded USING MESSAGE = format('%s days at once: want at most 400', cardinality(days));
    END IF;
    FOR day, parent IN SELECT DISTINCT d, p FROM unnest(days) AS d, unnest(ARRAY['samples', 'service_samples']) AS p ORDER BY d, p LOOP
        name := parent || '_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass(name) IS NOT NULL;
        PERFORM pg_advisory_xact_lock(hashtext('arasul_ensure_partitions'));
        CONTINUE WHEN to_regclass(name) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', name, parent);
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, name,
            day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION arasul_drop_partitions(before date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    name    text;
    dropped integer := 0;
BEGIN
    FOR name IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent IN ('samples'::regclass, 'service_samples'::regclass)
            AND to_date(right(c.relname, 8), 'YYYYMMDD') < before
        ORDER BY right(c.relname, 8), c.relname
    LOOP
        EXECUTE format('DROP TABLE %I', name);
        dropped := dropped + 1;
    END LOOP;
    DELETE FROM samples_minute WHERE ts < before::timestamp AT TIME ZONE 'UTC';
    DELETE FROM service_minutes WHERE ts < before::timestamp AT TIME ZONE 'UTC';
    RETURN dropped;
END $$;
-- +goose StatementEnd

-- arasul_retain drops the days that ended longer than keep before now by the
-- caller's clock, but only those that are older than the newest samples that
-- fill this time: so long must somebody have looked at the machine since. A clock that is wrong for a minute thus
-- adds a minute to what is dropped, not the whole past; and what a machine saw
-- before it was switched off for a month is still there afterwards. It says
-- how many partitions it dropped.
-- +goose StatementBegin
CREATE FUNCTION arasul_retain(clock timestamptz, keep interval) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    seen timestamptz;
BEGIN
    SELECT ts INTO seen FROM samples_minute WHERE ts <= clock
    ORDER BY ts DESC OFFSET greatest(0, ceil(extract(epoch FROM keep) / 60)::integer - 1) LIMIT 1;
    IF seen IS NULL THEN
        RETURN 0;
    END IF;
    RETURN arasul_drop_partitions((least(seen, clock - keep) AT TIME ZONE 'UTC')::date);
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION arasul_roll_up(minutes timestamptz[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DELETE FROM samples_minute WHERE ts IN (SELECT date_bin('1 minute', t, 'epoch') FROM unnest(minutes) AS t);
    INSERT INTO samples_minute
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
            count(*)
        FROM samples WHERE ts >= minute AND ts < minute + interval '1 minute'
        HAVING count(*) > 0) AS a;
    DELETE FROM service_minutes WHERE ts IN (SELECT date_bin('1 minute', t, 'epoch') FROM unnest(minutes) AS t);
    INSERT INTO service_minutes (ts, unit, memory_bytes, cpu_ratio,
        pressure_cpu_ratio, pressure_memory_ratio, pressure_io_ratio, oom_kills_total, n)
    SELECT minute, a.*
    FROM (SELECT DISTINCT date_bin('1 minute', t, 'epoch') AS minute FROM unnest(minutes) AS t) AS m
    CROSS JOIN LATERAL (
        SELECT unit, avg(memory_bytes), avg(cpu_ratio),
            max(pressure_cpu_ratio), max(pressure_memory_ratio), max(pressure_io_ratio), max(oom_kills_total), count(*)
        FROM service_samples WHERE ts >= minute AND ts < minute + interval '1 minute'
        GROUP BY unit) AS a;
$$;
-- +goose StatementEnd

REVOKE ALL ON FUNCTION arasul_retain(timestamptz, interval) FROM PUBLIC;
