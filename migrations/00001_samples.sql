-- +goose Up

-- One row per look at the host, one partition per day in UTC. There is no
-- default partition: it would have to be searched whenever a day is attached.
-- Retention drops whole partitions, which gives the space back at once where
-- DELETE and VACUUM would not.
CREATE TABLE samples (
    ts                                timestamptz      PRIMARY KEY,
    cpu_ratio                         real             NOT NULL,
    cpu_cores                         integer          NOT NULL,
    load1                             real             NOT NULL,
    uptime_seconds                    double precision NOT NULL,
    memory_total_bytes                bigint           NOT NULL,
    memory_used_bytes                 bigint           NOT NULL,
    swap_total_bytes                  bigint           NOT NULL,
    swap_used_bytes                   bigint           NOT NULL,
    disk_total_bytes                  bigint           NOT NULL,
    disk_used_bytes                   bigint           NOT NULL,
    disk_read_bytes_per_second        real             NOT NULL,
    disk_write_bytes_per_second       real             NOT NULL,
    network_receive_bytes_per_second  real             NOT NULL,
    network_transmit_bytes_per_second real             NOT NULL,
    temperature_celsius               real,
    pressure_cpu_ratio                real,
    pressure_memory_ratio             real,
    pressure_io_ratio                 real
) PARTITION BY RANGE (ts);

-- The same by the minute, n samples in each row: averaging the 120,960 rows of
-- a week takes 150 ms, its 10,080 minutes 15 ms.
CREATE TABLE samples_minute (
    LIKE samples,
    n integer NOT NULL,
    PRIMARY KEY (ts)
);

-- The functions below run with the rights of the schema's owner, so that the
-- daemon that writes samples needs no right to create or drop anything else.

-- arasul_ensure_partitions creates the partitions of these days where they are
-- missing. It refuses more than 400, so that nobody who may call it can fill the
-- catalogue at a stroke. ATTACH lets readers and writers of other days go on meanwhile;
-- CREATE TABLE … PARTITION OF would wait for them all.
-- +goose StatementBegin
CREATE FUNCTION arasul_ensure_partitions(days date[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    day  date;
    name text;
BEGIN
    IF cardinality(days) > 400 THEN
        RAISE program_limit_exceeded USING MESSAGE = format('%s days at once: want at most 400', cardinality(days));
    END IF;
    FOR day IN SELECT DISTINCT d FROM unnest(days) AS d ORDER BY d LOOP
        name := 'samples_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass(name) IS NOT NULL;
        PERFORM pg_advisory_xact_lock(hashtext('arasul_ensure_partitions'));
        CONTINUE WHEN to_regclass(name) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I (LIKE samples INCLUDING ALL)', name);
        EXECUTE format('ALTER TABLE samples ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name,
            day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
    END LOOP;
END $$;
-- +goose StatementEnd

-- arasul_drop_partitions forgets all days before this one and says how many
-- partitions it dropped.
-- +goose StatementBegin
CREATE FUNCTION arasul_drop_partitions(before date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    name    text;
    dropped integer := 0;
BEGIN
    FOR name IN
        SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'samples'::regclass AND to_date(right(c.relname, 8), 'YYYYMMDD') < before
        ORDER BY c.relname
    LOOP
        EXECUTE format('DROP TABLE %I', name);
        dropped := dropped + 1;
    END LOOP;
    DELETE FROM samples_minute WHERE ts < before::timestamp AT TIME ZONE 'UTC';
    RETURN dropped;
END $$;
-- +goose StatementEnd

-- arasul_roll_up computes the rows of these minutes anew from their samples.
-- +goose StatementBegin
CREATE FUNCTION arasul_roll_up(minutes timestamptz[]) RETURNS void
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
$$;
-- +goose StatementEnd

REVOKE ALL ON FUNCTION arasul_ensure_partitions(date[]), arasul_drop_partitions(date), arasul_roll_up(timestamptz[]) FROM PUBLIC;
