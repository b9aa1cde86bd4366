-- +goose Up

-- Incidents are about a rule of the policy now, and not always about one unit:
-- unit is empty when it is the machine. The defaults are what the version
-- before, which knows one rule, would have said.
ALTER TABLE self_healing_events
    ADD rule   text NOT NULL DEFAULT 'down',
    ADD class  text NOT NULL DEFAULT 'A',
    ADD policy text NOT NULL DEFAULT '', -- whose rule it was: the beginning of its digest
    ADD cause  text NOT NULL DEFAULT ''; -- what is waited for

-- What an action was done to: empty for the machine, NULL from the version
-- before, which acted on the unit of the incident only.
ALTER TABLE recovery_actions ADD unit text;

-- Two rules may see a fault at the same instant, so a failure is known by its
-- incident, which says the unit, too.
ALTER TABLE service_failures DROP CONSTRAINT service_failures_pkey, ALTER unit DROP NOT NULL;
ALTER TABLE service_failures ADD PRIMARY KEY (incident, at);
DROP INDEX service_failures_incident;

-- The version before still says ON CONFLICT (unit, at), which needs this key.
-- What it inserts takes the place of what is there, and loses its unit, so that
-- the key never stands in the way.
UPDATE service_failures SET unit = NULL;
CREATE UNIQUE INDEX service_failures_unit_at ON service_failures (unit, at);
-- +goose StatementBegin
CREATE FUNCTION arasul_failure_by_unit() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    DELETE FROM service_failures WHERE incident = NEW.incident AND at = NEW.at;
    NEW.unit := NULL;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER arasul_failure_by_unit BEFORE INSERT ON service_failures
    FOR EACH ROW WHEN (NEW.unit IS NOT NULL) EXECUTE FUNCTION arasul_failure_by_unit();

-- One row per reboot that the healer asked for, by the boot that it ended.
CREATE TABLE reboot_events (
    boot_id      text        PRIMARY KEY,
    rule         text        NOT NULL,
    incident     text        NOT NULL, -- which may be forgotten already
    reason       text        NOT NULL,
    requested_at timestamptz NOT NULL,
    booted_at    timestamptz,          -- when the healer ran again
    validated_at timestamptz,          -- when it was judged whether it helped
    helped       boolean
);

-- The days on which somebody kept this history.
CREATE TABLE healing_days (day date PRIMARY KEY);

-- arasul_retain_incidents notes that the history is kept today, by the caller's
-- clock, and forgets incidents that are over: those that ended longer than keep
-- ago, and the oldest beyond this many. Age is counted by the clock and in days
-- on which this was called: so a clock that is wrong for an hour costs a day of
-- history at most, and a year in a cupboard nothing. Of incidents that are still
-- open, failures and actions of that age go. It takes 10,000 incidents at a time
-- and says how many it forgot.
-- +goose StatementBegin
CREATE FUNCTION arasul_retain_incidents(clock timestamptz, keep interval, most integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    today     date := (clock AT TIME ZONE 'UTC')::date;
    lived     date;
    until     timestamptz;
    forgotten integer;
BEGIN
    INSERT INTO healing_days VALUES (today) ON CONFLICT DO NOTHING;
    SELECT day INTO lived FROM healing_days WHERE day <= today
    ORDER BY day DESC OFFSET ceil(extract(epoch FROM keep) / 86400) LIMIT 1;
    until := least(lived::timestamp AT TIME ZONE 'UTC', clock - keep);
    IF lived IS NULL THEN
        until := '-infinity';
    END IF;
    DELETE FROM self_healing_events WHERE id IN (
        SELECT id FROM self_healing_events
        WHERE closed_at < until OR closed_at IS NOT NULL AND (fault_at, id) <= (
            SELECT fault_at, id FROM self_healing_events ORDER BY fault_at DESC, id DESC OFFSET most LIMIT 1)
        ORDER BY fault_at, id LIMIT 10000);
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    DELETE FROM service_failures WHERE at < until;
    DELETE FROM recovery_actions WHERE started_at < until;
    DELETE FROM reboot_events WHERE requested_at < until;
    DELETE FROM healing_days WHERE day < lived;
    RETURN forgotten;
END $$;
-- +goose StatementEnd

REVOKE ALL ON FUNCTION arasul_retain_incidents(timestamptz, interval, integer), arasul_failure_by_unit() FROM PUBLIC;
