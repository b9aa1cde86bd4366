package postgres_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arasul/arasul/migrations"
	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/postgres"
	"github.com/arasul/arasul/pkg/postgres/postgrestest"
)

// A real second server, over the network and with a password: what the daemons
// do on the machine's own, they do there.
//
// Proves DB-2.
func TestAnotherServerOverTheNetworkIsEnough(t *testing.T) {
	t.Parallel()
	theirs := postgrestest.NewForeign(t)
	ctx := context.Background()
	for range 2 {
		if err := postgres.Provision(ctx, postgres.ProvisionOptions{Database: theirs, Migrations: migrations.FS}); err != nil {
			t.Fatal(err)
		}
	}
	db := map[string]*postgres.DB{}
	for _, role := range []string{"arasul-metrics", "arasul-healer", "arasul-dashboard"} {
		opened, err := postgres.Open(theirs, role)
		if err != nil {
			t.Fatal(err)
		}
		defer opened.Close()
		if err := opened.Ping(ctx); err != nil {
			t.Fatal(err)
		}
		if r := opened.Probe(ctx); r.Status != api.Up {
			t.Errorf("probe: %+v", r)
		}
		db[role] = opened
	}

	begin := at("2026-03-01 10:00:00")
	store(t, db["arasul-metrics"], sample(begin, 0.5))
	store(t, db["arasul-metrics"], sample(begin.Add(5e9), 0.7))
	mirror(t, db["arasul-healer"], incident("a", begin))
	history, err := db["arasul-dashboard"].History(ctx, begin.Add(-60e9), begin.Add(3600e9), 100)
	if err != nil || len(history) == 0 {
		t.Errorf("history: %v, %v", history, err)
	}
	incidents, err := db["arasul-dashboard"].Incidents(ctx, api.IncidentQuery{Limit: 10})
	if err != nil || len(incidents) != 1 {
		t.Errorf("incidents: %v, %v", incidents, err)
	}
	if err := db["arasul-metrics"].Retain(ctx, week); err != nil {
		t.Error(err)
	}
	if v, err := postgres.Vacuum(ctx, postgres.VacuumOptions{Database: theirs}); err != nil || len(v.Tables) == 0 {
		t.Errorf("vacuum: %+v, %v", v, err)
	}

	// All of that came over the network, as the one user there is.
	conn, err := pgx.Connect(ctx, theirs.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	var network bool
	var super bool
	if err := conn.QueryRow(ctx, `SELECT inet_server_addr() IS NOT NULL, usesuper FROM pg_user WHERE usename = current_user`).Scan(&network, &super); err != nil || !network || super {
		t.Errorf("network %v, superuser %v, %v", network, super, err)
	}
}

// Proves AUTH-7: what goes wrong on the way to a server is told without the
// password.
func TestNoErrorAboutAServerHasItsPassword(t *testing.T) {
	t.Parallel()
	theirs := postgrestest.NewForeign(t)
	swap := func(from, to string) config.Database {
		return config.Database{DSN: strings.Replace(theirs.DSN, from, to, 1)}
	}
	for name, tt := range map[string]struct {
		cfg  config.Database
		want string
	}{
		"wrong password":       {swap("Ge%2Fheim", "Ge%2Fheimer"), "password authentication failed"},
		"no such database":     {swap("?sslmode", "_too?sslmode"), "does not exist"},
		"nobody listens":       {swap(":5432", ":5433"), "connection refused"},
		"no TLS there":         {swap("sslmode=disable", "sslmode=verify-full"), "refused TLS"},
		"no such mode":         {swap("sslmode=disable", "sslmode=geheim-nicht"), "sslmode is invalid"},
		"no such file":         {swap("sslmode=disable", "sslmode=verify-ca&sslrootcert=/missing"), "open /missing"},
		"no number":            {swap(":5432", ":port"), "invalid port"},
		"password ends early":  {config.Database{DSN: "postgres://customer:Ge/heim@127.0.0.1/theirs"}, "/ as %2F"},
		"password is no URL":   {config.Database{DSN: "postgres://customer:Ge%heim@127.0.0.1/theirs"}, "% is written as %25"},
		"pairs without an end": {config.Database{DSN: "host=127.0.0.1 password='Ge/heim"}, "neither a URL"},
		"unknown setting":      {swap("sslmode=disable", "sslmode=disable&colour=green"), "unrecognized configuration parameter"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second) // a server that is away is waited for
			defer cancel()
			err := postgres.Provision(ctx, postgres.ProvisionOptions{Database: tt.cfg, Migrations: migrations.FS})
			if err == nil {
				t.Error("something was provisioned")
			}
			ctx = context.Background()
			db, openErr := postgres.Open(tt.cfg, "arasul-metrics")
			if openErr == nil {
				defer db.Close()
				r := db.Probe(ctx)
				if openErr = db.Ping(ctx); openErr == nil || r.Status != api.Down {
					t.Errorf("it can be reached: %+v", r)
				}
				if strings.Contains(r.Detail, "heim") {
					t.Errorf("the probe says %s", r.Detail)
				}
			}
			for _, err := range []error{err, openErr} {
				if err != nil && strings.Contains(strings.ReplaceAll(err.Error(), "geheim-nicht", ""), "heim") {
					t.Errorf("said: %v", err)
				}
			}
			if !strings.Contains(openErr.Error(), tt.want) {
				t.Errorf("%v, want %s", openErr, tt.want)
			}
		})
	}
}
