package postgrestest

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/postgres"
)

// foreign is the second server of this test binary.
var foreign = sync.OnceValues(func() (s server, err error) {
	me, err := user.Current()
	if err != nil {
		return s, fmt.Errorf("asking who this is: %w", err)
	}
	s.socketDir, s.stop, err = serve([]postgres.Peer{{User: me.Username, Role: "arasul-postgres"}}, foreignAddress())
	if err != nil {
		return s, err
	}
	for deadline := time.Now().Add(startWait); ; time.Sleep(50 * time.Millisecond) {
		err := Database{"postgres", s.socketDir}.exec("arasul-postgres", "SELECT 1")
		var answer *pgconn.PgError
		if !errors.As(err, &answer) || answer.Code != "57P03" || time.Now().After(deadline) { // it is still starting
			return s, err
		}
	}
})

// foreignAddress is one of its own, so that the port is free: all of 127/8 is
// this machine, and the distribution's server listens on 127.0.0.1 only.
func foreignAddress() string {
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d", 100+pid>>16&0x3f, pid>>8&0xff, pid&0xff)
}

// NewForeign is a database on somebody else's server, which is another one than
// that of New: reached over TCP with a password, by a user who owns it and has
// no other right. The server ends with the test binary.
func NewForeign(t testing.TB) config.Database {
	t.Helper()
	s, err := foreign()
	if err != nil {
		t.Fatalf("PostgreSQL for tests: %v", err)
	}
	admin := Database{"postgres", s.socketDir}
	name := fmt.Sprintf("customer_%d", clones.Add(1))
	admin.Exec(t, "arasul-postgres", `CREATE ROLE `+name+` LOGIN PASSWORD 'Ge/heim@%42: ?' NOCREATEDB NOCREATEROLE`)
	admin.Exec(t, "arasul-postgres", `CREATE DATABASE `+name+` OWNER `+name)
	return config.Database{DSN: "postgres://" + name + ":Ge%2Fheim%40%2542%3A%20%3F@" + foreignAddress() + ":5432/" + name + "?sslmode=disable"}
}
