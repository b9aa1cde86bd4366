package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/arasul/arasul/migrations"
	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/auth"
	"github.com/arasul/arasul/pkg/postgres"
	"github.com/arasul/arasul/pkg/postgres/postgrestest"
)

func newAdmin(t *testing.T) (postgrestest.Database, *postgres.DB) {
	t.Helper()
	d := postgrestest.New(t, migrations.FS)
	db := d.Open(t, "arasul-dashboard")
	must(t, db.CreateAccount(t.Context(), auth.Account{User: "admin", PasswordHash: "hash 0", PasswordChangedAt: at("2026-03-01 10:00:00")}))
	return d, db
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Proves AUTH-7 and ASVS 16.4: the audit is added to and read, by the dashboard
// alone, and whoever has taken the dashboard over cannot take back what it did.
func TestTheAuditCannotBeChanged(t *testing.T) {
	t.Parallel()
	d, db := newAdmin(t)
	must(t, db.Record(t.Context(), api.AuditEvent{Action: "auth.login", Result: api.ResultSuccess}))
	for role, attacks := range map[string][]string{
		"arasul-dashboard": {
			`UPDATE audit_events SET result = 'success'`, `DELETE FROM audit_events`, `TRUNCATE audit_events`, `DROP TABLE audit_events`,
			`SELECT * FROM audit_events FOR UPDATE`, `ALTER TABLE audit_events DISABLE TRIGGER ALL`,
			`INSERT INTO audit_events (at, actor, action, subject, address, user_agent, result, detail) VALUES ('2000-01-01', '', '', '', '', '', 'success', '')`,
			`INSERT INTO audit_events (id, actor, action, subject, address, user_agent, result, detail) OVERRIDING SYSTEM VALUE VALUES (0, '', '', '', '', '', 'success', '')`,
			`INSERT INTO audit_days SELECT generate_series(date '2026-01-01', date '2028-01-01', '1 day')`, `SELECT * FROM audit_days`,
			`SELECT setval('audit_events_id_seq', 1)`,
			`DELETE FROM admin_users`, `DELETE FROM token_blacklist`, `UPDATE token_blacklist SET jti = ''`, `UPDATE password_history SET password_hash = ''`,
		},
		"arasul-metrics": {`SELECT * FROM audit_events`, `SELECT * FROM admin_users`, `SELECT * FROM active_sessions`, `SELECT arasul_retain_access()`,
			`INSERT INTO active_sessions SELECT`, `SELECT * FROM setup_codes`},
		"arasul-healer": {`SELECT * FROM audit_events`, `SELECT * FROM password_history`, `DELETE FROM login_attempts`, `SELECT arasul_retain_access()`},
	} {
		conn := d.Connect(t, role)
		for _, sql := range attacks {
			_, err := conn.Exec(t.Context(), sql)
			var answer *pgconn.PgError
			if !errors.As(err, &answer) || answer.Code != "42501" { // insufficient_privilege
				t.Errorf("%s may %q: %v", role, sql, err)
			}
		}
	}
	if got := ask(t, d, `SELECT count(*) FROM audit_events`); got[0] != "1" {
		t.Errorf("%s events", got[0])
	}
}

func TestAuditEventsAreFound(t *testing.T) {
	t.Parallel()
	_, db := newAdmin(t)
	ctx := t.Context()
	for n, action := range []string{"auth.login", "auth.logout", "service.restart", "auth.login", "authority", "auth_x"} {
		must(t, db.Record(ctx, api.AuditEvent{
			Actor: "admin", Action: action, Subject: fmt.Sprint(n), Address: "192.168.1.10", UserAgent: "Fire\x00fox\xff", Detail: "because",
			Result: []api.Result{api.ResultSuccess, api.ResultRefused}[n%2],
		}))
	}
	subjects := func(q api.AuditQuery) (got []string, last int64) {
		t.Helper()
		if q.Limit == 0 {
			q.Limit = 10
		}
		events, err := db.Events(ctx, q)
		must(t, err)
		for _, e := range events {
			got, last = append(got, e.Subject), e.ID
		}
		return got, last
	}
	first, last := subjects(api.AuditQuery{Limit: 2})
	next, _ := subjects(api.AuditQuery{Limit: 2, Before: last})
	for _, tt := range []struct{ got, want []string }{
		{first, []string{"5", "4"}},
		{next, []string{"3", "2"}},
		{one(subjects(api.AuditQuery{Action: "auth"})), []string{"3", "1", "0"}},
		{one(subjects(api.AuditQuery{Action: "auth.login"})), []string{"3", "0"}},
		{one(subjects(api.AuditQuery{Action: "%"})), nil},
		{one(subjects(api.AuditQuery{Result: api.ResultSuccess})), []string{"4", "2", "0"}},
		{one(subjects(api.AuditQuery{Since: time.Now().Add(time.Hour)})), nil},
		{one(subjects(api.AuditQuery{Since: time.Now().Add(-time.Hour), Limit: 1})), []string{"5"}},
	} {
		if diff := cmp.Diff(tt.want, tt.got); diff != "" {
			t.Error(diff)
		}
	}
	events, err := db.Events(ctx, api.AuditQuery{Limit: 1})
	if err != nil || events[0].UserAgent != "Firefox\uFFFD" || events[0].Detail != "because" || time.Since(events[0].At) > time.Minute {
		t.Errorf("%v %+v", err, events)
	}
}

func one[A, B any](a A, _ B) A { return a }

// Proves AUTH-7: 400 days on which somebody looked, and by the server's clock.
func TestTheAuditIsKeptForFourHundredDays(t *testing.T) {
	t.Parallel()
	d, db := newAdmin(t)
	for _, age := range []string{"0 days", "399 days", "401 days", "500 days"} {
		must(t, db.Record(t.Context(), api.AuditEvent{Action: "a", Subject: age, Result: api.ResultSuccess}))
		d.Exec(t, "arasul-postgres", `UPDATE audit_events SET at = now() - interval '`+age+`' WHERE subject = '`+age+`'`)
	}
	kept := func(want ...string) {
		t.Helper()
		must(t, db.RetainAccess(t.Context()))
		if diff := cmp.Diff(want, ask(t, d, `SELECT subject FROM audit_events ORDER BY id`)); diff != "" {
			t.Error(diff)
		}
	}
	kept("0 days", "399 days", "401 days", "500 days") // a clock that jumped
	d.Exec(t, "arasul-postgres", `INSERT INTO audit_days SELECT current_date - n FROM generate_series(1, 450) AS n`)
	kept("0 days", "399 days")
	if got := ask(t, d, `SELECT count(*) BETWEEN 400 AND 402 FROM audit_days`); got[0] != "true" {
		t.Error("days are kept for ever")
	}
	// What strangers can make is bounded by number.
	d.Exec(t, "arasul-postgres", `INSERT INTO audit_events (actor, action, subject, address, user_agent, result, detail)
		SELECT '', 'a', 'flood', '', '', 'refused', '' FROM generate_series(1, 200050)`)
	must(t, db.RetainAccess(t.Context()))
	if got := ask(t, d, `SELECT count(*) FILTER (WHERE result = 'refused'), count(*) FILTER (WHERE result = 'success') FROM audit_events`); got[0] != "200000 2" {
		t.Errorf("refused, successful: %s", got[0])
	}
}

func TestWhatIsOverIsForgotten(t *testing.T) {
	t.Parallel()
	d, db := newAdmin(t)
	ctx, now := t.Context(), time.Now().UTC()
	for id, expires := range map[string]time.Time{"runs": now.Add(time.Hour), "over": now.Add(-time.Hour), "ended": now.Add(time.Hour), "old": now.Add(-48 * time.Hour)} {
		_, err := db.OpenSession(ctx, auth.Session{ID: id, User: "admin", CreatedAt: now, LastUsedAt: now, ExpiresAt: expires}, 50)
		must(t, err)
	}
	must(t, db.EndSession(ctx, "admin", "ended"))
	must(t, db.EndSession(ctx, "admin", "old"))
	for _, at := range []time.Time{now, now.Add(-25 * time.Hour), now.Add(25 * time.Hour)} {
		_, err := db.AddAttempt(ctx, auth.Attempt{At: at, Result: auth.AttemptFailed})
		must(t, err)
	}
	must(t, db.SetSetupCode(ctx, []byte("hash"), now.Add(-time.Hour)))
	must(t, db.RetainAccess(ctx))
	got := ask(t, d, `SELECT (SELECT string_agg(jti, ' ') FROM active_sessions), (SELECT string_agg(jti, ' ') FROM token_blacklist),
		(SELECT count(*) FROM login_attempts), (SELECT count(*) FROM setup_codes)`)
	if got[0] != "runs ended 1 0" {
		t.Errorf("left: %s", got[0])
	}
}

// Proves AUTH-2.
func TestAnEndedSessionStaysEnded(t *testing.T) {
	t.Parallel()
	d, db := newAdmin(t)
	ctx, now := t.Context(), time.Now().UTC().Truncate(time.Second)
	begin := func(id string, used time.Duration) int {
		t.Helper()
		ended, err := db.OpenSession(ctx, auth.Session{
			ID: id, User: "admin", Bearer: id == "a", Address: "192.168.1.10", Agent: "Firefox", CreatedAt: now, LastUsedAt: now.Add(used), ExpiresAt: now.Add(time.Hour),
		}, 3)
		must(t, err)
		return ended
	}
	ids := func() (ids []string) {
		t.Helper()
		all, err := db.Sessions(ctx, "admin", now)
		must(t, err)
		for _, s := range all {
			ids = append(ids, s.ID)
		}
		return ids
	}
	begin("a", 0)
	begin("b", time.Second)
	begin("c", 2*time.Second)
	got, err := db.Session(ctx, "a", now)
	want := auth.Session{ID: "a", User: "admin", Bearer: true, Address: "192.168.1.10", Agent: "Firefox", CreatedAt: now, LastUsedAt: now, ExpiresAt: now.Add(time.Hour)}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	if _, err := db.Session(ctx, "a", now.Add(2*time.Hour)); !errors.Is(err, auth.ErrNotFound) {
		t.Errorf("two hours later: %v", err)
	}
	must(t, db.TouchSession(ctx, "a", now.Add(time.Minute), "10.0.0.1"))
	if ended := begin("d", 3*time.Second); ended != 1 || !slices.Equal(ids(), []string{"a", "d", "c"}) { // b was used longest ago
		t.Errorf("ended %d, left %v", ended, ids())
	}
	must(t, db.EndSession(ctx, "admin", "c"))
	for _, id := range []string{"c", "b", "nobody's", "", "\x00"} {
		if err := db.EndSession(ctx, "admin", id); !errors.Is(err, auth.ErrNotFound) {
			t.Errorf("ending %q: %v", id, err)
		}
	}
	d.Exec(t, "arasul-postgres", `INSERT INTO active_sessions SELECT 'c', username, bearer, address, user_agent, created_at, last_used_at, expires_at FROM active_sessions WHERE jti = 'a'`)
	if _, err := db.Session(ctx, "c", now); !errors.Is(err, auth.ErrNotFound) {
		t.Errorf("one that came back: %v", err)
	}
	if ended, err := db.EndSessions(ctx, "admin", "d"); ended != 1 || err != nil || !slices.Equal(ids(), []string{"d"}) {
		t.Errorf("ended %d, %v, left %v", ended, err, ids())
	}
}

// Proves AUTH-3.
func TestTheLastFivePasswordsAreRemembered(t *testing.T) {
	t.Parallel()
	_, db := newAdmin(t)
	ctx := t.Context()
	for n := range 6 {
		_, err := db.SetPassword(ctx, "admin", fmt.Sprint("hash ", n+1), at("2026-03-02 10:00:00").Add(time.Duration(n)*time.Second), "")
		must(t, err)
	}
	hashes, err := db.PasswordHistory(ctx, "admin")
	if diff := cmp.Diff([]string{"hash 6", "hash 5", "hash 4", "hash 3", "hash 2"}, hashes); diff != "" || err != nil {
		t.Error(err, diff)
	}
	a, err := db.Account(ctx, "admin")
	if err != nil || a.PasswordHash != "hash 6" || !a.PasswordChangedAt.Equal(at("2026-03-02 10:00:05")) {
		t.Errorf("%+v, %v", a, err)
	}
	if err := db.CreateAccount(ctx, auth.Account{User: "other"}); !errors.Is(err, auth.ErrExists) {
		t.Errorf("a second admin: %v", err)
	}
	if _, err := db.SetPassword(ctx, "nobody", "hash", time.Now(), ""); !errors.Is(err, auth.ErrNotFound) {
		t.Errorf("nobody's password: %v", err)
	}
	if _, err := db.Account(ctx, "nobody\x00"); !errors.Is(err, auth.ErrNotFound) {
		t.Errorf("nobody: %v", err)
	}
}

// Proves ASVS 6.5.1: a code counts once, whoever comes at the same time.
func TestCodesAreUsedOnce(t *testing.T) {
	t.Parallel()
	_, db := newAdmin(t)
	ctx := t.Context()
	f := auth.Factor{Secret: []byte("sealed"), Step: 10, Recovery: [][]byte{[]byte("a"), []byte("b")}}
	must(t, db.SetFactor(ctx, "admin", f))
	for _, tt := range []struct {
		step int64
		want bool
	}{{10, false}, {11, true}, {11, false}, {9, false}, {12, true}} {
		if got, err := db.UseStep(ctx, "admin", tt.step); got != tt.want || err != nil {
			t.Errorf("step %d: %v, %v", tt.step, got, err)
		}
	}
	for _, tt := range []struct {
		hash string
		want bool
	}{{"b", true}, {"b", false}, {"c", false}, {"", false}} {
		if got, err := db.UseRecovery(ctx, "admin", []byte(tt.hash)); got != tt.want || err != nil {
			t.Errorf("code %q: %v, %v", tt.hash, got, err)
		}
	}
	a, err := db.Account(ctx, "admin")
	f.Step, f.Recovery = 12, f.Recovery[:1]
	if diff := cmp.Diff(f, a.Factor); diff != "" || err != nil {
		t.Error(err, diff)
	}
	must(t, db.SetFactor(ctx, "admin", auth.Factor{}))
	if a, err := db.Account(ctx, "admin"); a.Factor.Secret != nil || err != nil {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestAttemptsComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	_, db := newAdmin(t)
	ctx, now := t.Context(), time.Now().UTC().Truncate(time.Microsecond)
	want := []auth.Attempt{
		{At: now, Network: auth.Network(netip.MustParseAddr("2001:db8::1")), Device: "device x", Result: auth.AttemptSucceeded},
		{At: now.Add(-time.Minute), Result: auth.AttemptFailed},
	}
	for _, a := range append(want, auth.Attempt{At: now.Add(-time.Hour), Result: auth.AttemptFailed}) {
		result := a.Result
		a.Result = auth.AttemptFailed
		id, err := db.AddAttempt(ctx, a)
		must(t, err)
		must(t, db.SettleAttempt(ctx, id, result))
	}
	got, err := db.Attempts(ctx, now.Add(-30*time.Minute))
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" || err != nil {
		t.Error(err, diff)
	}
	must(t, db.ForgetAttempts(ctx))
	if got, err := db.Attempts(ctx, time.Time{}); len(got) != 0 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
}

func TestThereIsOneSetupCode(t *testing.T) {
	t.Parallel()
	d := postgrestest.New(t, migrations.FS)
	db, ctx, now := d.Open(t, "arasul-dashboard"), context.Background(), time.Now()
	for _, hash := range []string{"first", "second"} {
		must(t, db.SetSetupCode(ctx, []byte(hash), now.Add(time.Hour)))
	}
	if hash, err := db.SetupCode(ctx, now); string(hash) != "second" || err != nil {
		t.Errorf("%q, %v", hash, err)
	}
	if _, err := db.SetupCode(ctx, now.Add(time.Hour)); !errors.Is(err, auth.ErrNotFound) {
		t.Errorf("an hour later: %v", err)
	}
	must(t, db.CreateAccount(ctx, auth.Account{User: "admin", PasswordChangedAt: now}))
	if _, err := db.SetupCode(ctx, now); !errors.Is(err, auth.ErrNotFound) {
		t.Errorf("with an admin: %v", err)
	}
}
