-- +goose Up

-- Who may come in. Nothing here opens anything by itself: passwords are bcrypt,
-- codes and TOTP secrets are sealed with keys that are not in the database, and
-- a session's id is worthless without the signature of its token.

CREATE TABLE admin_users (
    username            text        PRIMARY KEY,
    password_hash       text        NOT NULL,
    password_changed_at timestamptz NOT NULL,
    created_at          timestamptz NOT NULL DEFAULT now(),
    totp_secret         bytea,                          -- in use
    totp_pending        bytea,                          -- shown, not confirmed yet
    totp_step           bigint      NOT NULL DEFAULT 0, -- of the last code used
    recovery_codes      bytea[]     NOT NULL DEFAULT '{}'
);
-- There is one admin.
CREATE UNIQUE INDEX admin_users_one ON admin_users ((true));

CREATE TABLE password_history (
    id            bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    username      text        NOT NULL REFERENCES admin_users ON DELETE CASCADE,
    password_hash text        NOT NULL,
    set_at        timestamptz NOT NULL
);

CREATE TABLE active_sessions (
    jti          text        PRIMARY KEY,
    username     text        NOT NULL REFERENCES admin_users ON DELETE CASCADE,
    bearer       boolean     NOT NULL,
    address      text        NOT NULL,
    user_agent   text        NOT NULL,
    created_at   timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL
);
CREATE INDEX active_sessions_expires_at ON active_sessions (expires_at);

-- Tokens that were ended before their time, until it has come.
CREATE TABLE token_blacklist (
    jti        text        PRIMARY KEY,
    revoked_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX token_blacklist_expires_at ON token_blacklist (expires_at);

CREATE TABLE login_attempts (
    id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL,
    network text        NOT NULL, -- empty: the machine itself
    device  text        NOT NULL, -- empty: a stranger
    result  text        NOT NULL CHECK (result IN ('failed', 'succeeded', 'incomplete'))
);
CREATE INDEX login_attempts_at ON login_attempts (at);

CREATE TABLE setup_codes (
    one        boolean     PRIMARY KEY DEFAULT true CHECK (one),
    hash       bytea       NOT NULL,
    expires_at timestamptz NOT NULL
);

-- What was done, by whom. The dashboard's role adds to it and reads it; when
-- something happened is the server's word.
CREATE TABLE audit_events (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor      text        NOT NULL,
    action     text        NOT NULL,
    subject    text        NOT NULL,
    address    text        NOT NULL,
    user_agent text        NOT NULL,
    result     text        NOT NULL CHECK (result IN ('success', 'refused', 'failed')),
    detail     text        NOT NULL
);
CREATE INDEX audit_events_action ON audit_events (action, id);
CREATE INDEX audit_events_refused ON audit_events (id) WHERE result = 'refused';

-- The days on which somebody kept the audit.
CREATE TABLE audit_days (day date PRIMARY KEY);

-- arasul_retain_access forgets sessions and blacklisted tokens that are over,
-- attempts of yesterday, and audit events of more than 400 days ago. Nobody who
-- calls it can make it forget more: how long is written here, the time is the
-- server's, and age is counted in days on which this was called, too, so that
-- a clock that is wrong for an hour costs a day of the audit at most. What
-- strangers can fill it with, refusals, is kept to the newest 200,000.
-- +goose StatementBegin
CREATE FUNCTION arasul_retain_access() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    today     date := (now() AT TIME ZONE 'UTC')::date;
    lived     date;
    forgotten integer;
BEGIN
    DELETE FROM active_sessions WHERE expires_at < now();
    DELETE FROM token_blacklist WHERE expires_at < now() - interval '1 day';
    DELETE FROM login_attempts WHERE at < now() - interval '1 day' OR at > now() + interval '1 day';
    DELETE FROM setup_codes WHERE expires_at < now();
    INSERT INTO audit_days VALUES (today) ON CONFLICT DO NOTHING;
    SELECT day INTO lived FROM audit_days WHERE day <= today ORDER BY day DESC OFFSET 400 LIMIT 1;
    DELETE FROM audit_events WHERE at < least(lived::timestamp AT TIME ZONE 'UTC', now() - interval '400 days')
        AND lived IS NOT NULL;
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    DELETE FROM audit_events WHERE result = 'refused' AND id <= (
        SELECT id FROM audit_events WHERE result = 'refused' ORDER BY id DESC OFFSET 200000 LIMIT 1);
    DELETE FROM audit_days WHERE day < lived;
    RETURN forgotten;
END $$;
-- +goose StatementEnd

REVOKE ALL ON FUNCTION arasul_retain_access() FROM PUBLIC;
