package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arasul/arasul/pkg/api"
)

// maxReconciled bounds how many runs are read of n8n's at once.
const maxReconciled = 5000

// prepareWorkflows lets the dashboard see which runs there were in n8n, and nothing
// else of its database: credentials and users are in there, too. The tables are
// n8n's to make, later; a function finds them when it is called.
func prepareWorkflows(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `
		REVOKE ALL ON SCHEMA public FROM PUBLIC;
		GRANT ALL ON SCHEMA public TO "arasul-n8n";
		CREATE SCHEMA IF NOT EXISTS arasul AUTHORIZATION "arasul-n8n";
		GRANT USAGE ON SCHEMA arasul TO "arasul-dashboard";
		SET ROLE "arasul-n8n";
		CREATE OR REPLACE FUNCTION arasul.executions(since timestamptz, most integer)
		RETURNS TABLE (id text, workflow_id text, workflow text, status text, mode text, started_at timestamptz, ended_at timestamptz)
		LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
		BEGIN
			IF to_regclass('public.execution_entity') IS NULL OR to_regclass('public.workflow_entity') IS NULL THEN
				RETURN;
			END IF;
			RETURN QUERY EXECUTE
				'SELECT e.id::text, e."workflowId"::text, coalesce(w.name::text, ''''), e.status::text, e.mode::text, e."startedAt"::timestamptz, e."stoppedAt"::timestamptz
				FROM public.execution_entity e LEFT JOIN public.workflow_entity w ON w.id = e."workflowId"
				WHERE coalesce(e."stoppedAt", e."startedAt", e."createdAt") >= $1 OR e.status IN (''running'', ''waiting'', ''new'')
				ORDER BY e.id DESC LIMIT $2' USING since, most;
		END $$;
		REVOKE ALL ON FUNCTION arasul.executions(timestamptz, integer) FROM PUBLIC;
		GRANT EXECUTE ON FUNCTION arasul.executions(timestamptz, integer) TO "arasul-dashboard";
		RESET ROLE`)
	return err
}

// RecordExecutions keeps runs. A run that ended is not made one that goes on by
// what comes late, and what n8n told itself is not replaced by what was read of its
// database, which knows no errors.
func (db *DB) RecordExecutions(ctx context.Context, all []api.Execution) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var batch pgx.Batch
	for _, e := range all {
		batch.Queue(`
			INSERT INTO workflow_activity AS a (id, workflow_id, workflow, status, mode, started_at, ended_at, error, failed_node, source)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
			ON CONFLICT (id) DO UPDATE SET
				workflow_id = excluded.workflow_id, workflow = excluded.workflow, status = excluded.status, mode = excluded.mode,
				started_at = coalesce(excluded.started_at, a.started_at), ended_at = excluded.ended_at,
				error = excluded.error, failed_node = excluded.failed_node, source = excluded.source
			WHERE a.status IN ('running', 'waiting') AND (excluded.status <> a.status OR excluded.ended_at IS DISTINCT FROM a.ended_at)
				OR a.source = 'reconciled' AND excluded.source = 'hook' AND excluded.status NOT IN ('running', 'waiting')`,
			clean(e.ID), clean(e.WorkflowID), clean(e.Workflow), e.Status, clean(e.Mode), e.Started, e.Ended, clean(e.Error), clean(e.FailedNode), e.Source)
	}
	return access("recording runs of workflows", db.pool.SendBatch(ctx, &batch).Close())
}

// Executions returns the runs that q asks for, those known last first.
func (db *DB) Executions(ctx context.Context, q api.ExecutionQuery) ([]api.Execution, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	rows, _ := db.pool.Query(ctx, `
		SELECT seq, id, workflow_id, workflow, status, mode, started_at, ended_at, error, failed_node, source FROM workflow_activity
		WHERE ($1 = '' OR status = $1) AND ($2 = '' OR workflow_id = $2) AND ($3::bigint = 0 OR seq < $3)
		ORDER BY seq DESC LIMIT $4`, q.Status, clean(q.Workflow), q.Before, q.Limit)
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e api.Execution, err error) {
		err = row.Scan(&e.Number, &e.ID, &e.WorkflowID, &e.Workflow, &e.Status, &e.Mode, &e.Started, &e.Ended, &e.Error, &e.FailedNode, &e.Source)
		if e.Started != nil && e.Ended != nil {
			seconds := e.Ended.Sub(*e.Started).Seconds()
			e.DurationSeconds = &seconds
		}
		return e, err
	})
	return all, access("reading runs of workflows", err)
}

// CountExecutions counts the runs since then by status.
func (db *DB) CountExecutions(ctx context.Context, since time.Time) (map[string]int, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	rows, _ := db.pool.Query(ctx, `SELECT status, count(*)::int FROM workflow_activity WHERE seen_at >= $1 GROUP BY status`, since)
	counts := map[string]int{}
	var status string
	var n int
	_, err := pgx.ForEachRow(rows, []any{&status, &n}, func() error {
		counts[status] = n
		return nil
	})
	return counts, access("counting runs of workflows", err)
}

// RetainExecutions forgets old runs.
func (db *DB) RetainExecutions(ctx context.Context) error {
	_, err := db.exec(ctx, "forgetting runs of workflows", `SELECT arasul_retain_workflows()`)
	return err
}

// ReadExecutions reads from n8n's own database which runs ended since then, and
// which go on; at most 5,000, the newest first. The pool has to lead there.
func (db *DB) ReadExecutions(ctx context.Context, since time.Time) ([]api.Execution, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	rows, _ := db.pool.Query(ctx, `SELECT id, workflow_id, workflow, status, mode, started_at, ended_at FROM arasul.executions($1, $2)`, since, maxReconciled)
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e api.Execution, err error) {
		var id, workflow *string
		err = row.Scan(&e.ID, &id, &workflow, &e.Status, &e.Mode, &e.Started, &e.Ended)
		if id != nil {
			e.WorkflowID = *id
		}
		if workflow != nil {
			e.Workflow = *workflow
		}
		e.Source = "reconciled"
		return e, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading n8n's runs: %w", err)
	}
	return all, nil
}
