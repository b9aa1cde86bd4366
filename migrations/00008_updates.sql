-- +goose Up

-- What the updater's own journal says of each transaction, so that it can be asked in
-- SQL. The journal is what counts: a way back may restore this database to the time
-- before, and what is missing here then is written again.

CREATE TABLE update_events (
    transaction text        NOT NULL,
    number      integer     NOT NULL,               -- of the step, from 1
    step        text        NOT NULL,
    state       text        NOT NULL,               -- as the API says it
    started_at  timestamptz,
    ended_at    timestamptz,
    PRIMARY KEY (transaction, number)
);

CREATE TABLE component_updates (
    transaction      text        PRIMARY KEY,
    kind             text        NOT NULL CHECK (kind IN ('update', 'rollback')),
    component        text        NOT NULL,
    from_version     text        NOT NULL,
    to_version       text        NOT NULL,
    bundle           text        NOT NULL,          -- empty: a release of before there were bundles
    actor            text        NOT NULL,
    outcome          text        NOT NULL CHECK (outcome IN ('', 'committed', 'rolled-back', 'stuck')),
    interruptions    integer     NOT NULL,
    downtime_seconds double precision NOT NULL,
    started_at       timestamptz NOT NULL,
    ended_at         timestamptz
);
CREATE INDEX component_updates_started_at ON component_updates (started_at);

-- Ways back: the automatic ones, and those that the admin wanted.
CREATE TABLE update_rollbacks (
    transaction text        PRIMARY KEY,
    from_version text       NOT NULL,
    to_version  text        NOT NULL,
    automatic   boolean     NOT NULL,
    reason      text        NOT NULL,
    ended_at    timestamptz
);

-- What was put aside for the way back.
CREATE TABLE update_backups (
    transaction text        NOT NULL,
    what        text        NOT NULL CHECK (what IN ('package', 'database')),
    taken_at    timestamptz NOT NULL,
    PRIMARY KEY (transaction, what)
);

-- Releases that were installed, or tried.
CREATE TABLE update_files (
    bundle   text        PRIMARY KEY,               -- its identity, a SHA-256
    version  text        NOT NULL,
    first_at timestamptz NOT NULL,
    last_at  timestamptz NOT NULL,
    outcome  text        NOT NULL                   -- of the last time
);
