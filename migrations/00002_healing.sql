-- +goose Up

-- What the healer saw and did. Its own memory is a file; these tables are the
-- copy that people and the dashboard ask. Every write is an upsert, so that
-- the healer may send an incident again whenever it is not sure.

-- One row per incident: one stretch of trouble with one unit.
CREATE TABLE self_healing_events (
    id            text        PRIMARY KEY,
    unit          text        NOT NULL,
    fault         text        NOT NULL,
    detail        text        NOT NULL,
    state         text        NOT NULL,
    failure_count integer     NOT NULL,
    fault_at      timestamptz NOT NULL, -- when systemd says it happened
    detected_at   timestamptz NOT NULL, -- when the healer knew
    acted_at      timestamptz,          -- when the first repair began
    recovered_at  timestamptz,          -- when the unit was up again
    verified_at   timestamptz,          -- when the repair was proven
    closed_at     timestamptz,
    updated_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX self_healing_events_fault_at ON self_healing_events (fault_at DESC, id DESC);

-- One row per attempt at repair.
CREATE TABLE recovery_actions (
    incident    text        NOT NULL REFERENCES self_healing_events ON DELETE CASCADE,
    attempt     integer     NOT NULL,
    action      text        NOT NULL,
    reason      text        NOT NULL,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz,
    outcome     text        NOT NULL,
    error       text        NOT NULL,
    PRIMARY KEY (incident, attempt)
);

-- One row per fault of a unit. An incident keeps its newest fifty in memory;
-- here all stay that came, which are fewer only if more than fifty happened
-- while the database was away.
CREATE TABLE service_failures (
    incident    text        NOT NULL REFERENCES self_healing_events ON DELETE CASCADE,
    unit        text        NOT NULL,
    fault       text        NOT NULL,
    detail      text        NOT NULL,
    at          timestamptz NOT NULL,
    detected_at timestamptz NOT NULL,
    PRIMARY KEY (unit, at)
);
CREATE INDEX service_failures_incident ON service_failures (incident, at);
