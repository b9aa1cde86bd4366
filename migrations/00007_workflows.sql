-- +goose Up

-- Which workflows ran in n8n, and how. n8n tells when one ends; what it could not
-- tell is read from its own database afterwards.

CREATE TABLE workflow_activity (
    id          text        PRIMARY KEY,            -- n8n's
    seq         bigint      GENERATED ALWAYS AS IDENTITY UNIQUE,
    workflow_id text        NOT NULL,
    workflow    text        NOT NULL,
    status      text        NOT NULL CHECK (status IN ('running', 'waiting', 'success', 'error', 'crashed', 'canceled')),
    mode        text        NOT NULL,
    started_at  timestamptz,
    ended_at    timestamptz,
    error       text        NOT NULL,
    failed_node text        NOT NULL,
    source      text        NOT NULL CHECK (source IN ('hook', 'reconciled')),
    seen_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX workflow_activity_seen_at ON workflow_activity (seen_at);
CREATE INDEX workflow_activity_status ON workflow_activity (status, seq);
CREATE INDEX workflow_activity_open ON workflow_activity (id) WHERE status IN ('running', 'waiting');

-- arasul_retain_workflows forgets runs of more than 30 days ago, and all but the
-- newest 100,000.
-- +goose StatementBegin
CREATE FUNCTION arasul_retain_workflows() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    forgotten integer;
    more      integer;
BEGIN
    DELETE FROM workflow_activity WHERE seen_at < now() - interval '30 days';
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    DELETE FROM workflow_activity WHERE seq <= (
        SELECT seq FROM workflow_activity ORDER BY seq DESC OFFSET 100000 LIMIT 1);
    GET DIAGNOSTICS more = ROW_COUNT;
    RETURN forgotten + more;
END $$;
-- +goose StatementEnd

REVOKE ALL ON FUNCTION arasul_retain_workflows() FROM PUBLIC;
