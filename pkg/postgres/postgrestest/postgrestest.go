// Package postgrestest gives tests a real PostgreSQL server, started and
// provisioned the way an installed machine does it.
//
// One server runs per test binary; each test gets a database of its own,
// cloned from one that was migrated once. The server and its files go when the
// test binary does, however it ends. A machine without PostgreSQL fails the
// test: it does not skip it.
package postgrestest

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/postgres"
)

// Roles are all that can log in.
var Roles = []string{"arasul-postgres", "arasul-metrics", "arasul-healer", "arasul-dashboard"}

const startWait = 60 * time.Second

// serverVar names the directory of the server that this process is to become.
const serverVar = "ARASUL_POSTGRESTEST"

// init turns a copy of the test binary into the server. The server refuses to
// run as root, and that copy runs as somebody else.
func init() {
	dir, ok := os.LookupEnv(serverVar)
	if !ok {
		return
	}
	o := postgres.ServerOptions{
		DataDir:   filepath.Join(dir, "data"),
		SocketDir: dir,
		// Nothing here outlives the test, let alone a power cut.
		Args: []string{"-c", "fsync=off", "-c", "full_page_writes=off"},
	}
	if address := os.Getenv(serverVar + "_TCP"); address != "" {
		o.Args = append(o.Args, "-c", "listen_addresses="+address, "-c", "password_encryption=scram-sha-256",
			"-c", "hba_file="+filepath.Join(dir, "hba"))
	}
	for _, peer := range filepath.SplitList(os.Getenv(serverVar + "_PEERS")) {
		var p postgres.Peer
		if _, err := fmt.Sscan(peer, &p.User, &p.Role); err == nil {
			o.Peers = append(o.Peers, p)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), startWait)
	defer cancel()
	err := postgres.Init(ctx, o)
	if err == nil {
		err = postgres.Exec(o)
	}
	_ = os.WriteFile(filepath.Join(dir, "failed"), []byte(err.Error()), 0o644)
	os.Exit(1)
}

// keeper runs the server in the background and ends it when its input ends,
// which happens when the test binary closes it or dies.
const keeper = `/proc/self/fd/3 & server=$!
read -r _
while kill -INT $server 2>/dev/null; do sleep 0.1; done
cd / && rm -rf "$0"`

// Start starts a server that lets in these users as these roles and returns
// its socket directory. The server is not provisioned. It ends when stop is
// called, when stop is forgotten, and at the latest with the test binary.
func Start(peers []postgres.Peer) (socketDir string, stop func(), err error) {
	return serve(peers, "")
}

// serve is Start, with a server that also listens on this address and port 5432,
// where it asks for a password.
func serve(peers []postgres.Peer, address string) (socketDir string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "arasul-postgres-")
	if err != nil {
		return "", nil, fmt.Errorf("creating directory: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(dir)
		}
	}()
	if err := os.Chmod(dir, 0o755); err != nil { // others connect, too
		return "", nil, fmt.Errorf("opening directory: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "hba"), []byte("local all all peer map=arasul\nhost all all 127.0.0.0/8 scram-sha-256\n"), 0o644); err != nil {
		return "", nil, fmt.Errorf("writing rules: %w", err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return "", nil, fmt.Errorf("creating log: %w", err)
	}
	defer log.Close()
	self, err := os.Open("/proc/self/exe") // by descriptor: go test builds in a closed directory
	if err != nil {
		return "", nil, fmt.Errorf("opening test binary: %w", err)
	}
	defer self.Close()

	cmd := exec.Command("/bin/sh", "-c", keeper, dir)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), serverVar+"="+dir, serverVar+"_PEERS="+list(peers), serverVar+"_TCP="+address)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{self}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the test alone
	if os.Geteuid() == 0 {
		cred, err := ServerUser()
		if err != nil {
			return "", nil, err
		}
		if err := os.Chown(dir, int(cred.Uid), int(cred.Gid)); err != nil {
			return "", nil, fmt.Errorf("giving directory away: %w", err)
		}
		cmd.SysProcAttr.Credential = cred
	}
	lifeline, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, fmt.Errorf("creating pipe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("starting server: %w", err)
	}
	stop = sync.OnceFunc(func() {
		_ = lifeline.Close()
		_ = cmd.Wait()
	})
	if err := answer(dir); err != nil {
		stop()
		return "", nil, err
	}
	return dir, stop, nil
}

func list(peers []postgres.Peer) string {
	var s string
	for _, p := range peers {
		s += p.User + " " + p.Role + string(filepath.ListSeparator)
	}
	return s
}

// ServerUser is who runs the server when the tests run as root: the user that
// the distribution's package brings.
func ServerUser() (*syscall.Credential, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("looking for PostgreSQL (apt install postgresql): %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("reading uid: %w", err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("reading gid: %w", err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// answer waits until the server in dir listens or has given up. It has its socket a
// moment before it listens on it.
func answer(dir string) error {
	deadline := time.Now().Add(startWait)
	for {
		if conn, err := net.Dial("unix", filepath.Join(dir, ".s.PGSQL.5432")); err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(filepath.Join(dir, "log"))
			return fmt.Errorf("no server within %v: %s", startWait, text)
		}
		if text, err := os.ReadFile(filepath.Join(dir, "failed")); err == nil {
			return fmt.Errorf("server did not start: %s", text)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// server is a running one.
type server struct {
	socketDir string
	stop      func()
}

// shared is the server of this test binary, with a database that was migrated
// by the first test to ask for one.
var shared struct {
	once sync.Once
	server
	err error
}

func provisioned(steps fs.FS) (server, error) {
	shared.once.Do(func() { shared.server, shared.err = start(steps) })
	return shared.server, shared.err
}

func start(steps fs.FS) (server, error) {
	me, err := user.Current()
	if err != nil {
		return server{}, fmt.Errorf("asking who this is: %w", err)
	}
	var peers []postgres.Peer
	for _, role := range Roles {
		peers = append(peers, postgres.Peer{User: me.Username, Role: role})
	}
	dir, stop, err := Start(peers)
	if err != nil {
		return server{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startWait)
	defer cancel()
	err = postgres.Provision(ctx, postgres.ProvisionOptions{SocketDir: dir, Migrations: steps})
	if err != nil {
		stop()
		return server{}, err
	}
	admin := Database{"postgres", dir}
	for _, role := range Roles { // the limit is for one appliance, not for all tests at once
		if err := admin.exec("arasul-postgres", "ALTER ROLE "+pgx.Identifier{role}.Sanitize()+" CONNECTION LIMIT -1"); err != nil {
			stop()
			return server{}, err
		}
	}
	return server{dir, stop}, nil
}

var clones atomic.Int64

// Database is an empty, migrated database of one test.
type Database struct{ name, socketDir string }

// New clones a database for this test, dropped when the test ends. All tests of
// a binary give the same migrations.
func New(t testing.TB, steps fs.FS) Database {
	t.Helper()
	s, err := provisioned(steps)
	if err != nil {
		t.Fatalf("PostgreSQL for tests: %v", err)
	}
	d := Database{fmt.Sprintf("test_%d", clones.Add(1)), s.socketDir}
	admin := Database{"postgres", s.socketDir}
	admin.Exec(t, "arasul-postgres", "CREATE DATABASE "+d.name+" TEMPLATE arasul")
	// What belongs to a database, not to what is in it, is not cloned.
	admin.Exec(t, "arasul-postgres", "REVOKE ALL ON DATABASE "+d.name+` FROM PUBLIC; GRANT CONNECT ON DATABASE `+d.name+
		` TO "arasul-metrics", "arasul-healer", "arasul-dashboard"`)
	t.Cleanup(func() { admin.Exec(t, "arasul-postgres", "DROP DATABASE "+d.name+" WITH (FORCE)") })
	return d
}

// Config is the configuration with which this role reaches the database.
func (d Database) Config(role string) config.Database {
	return config.Database{DSN: fmt.Sprintf("host=%s port=5432 dbname=%s user=%s", d.socketDir, d.name, role)}
}

// Open opens the database as this role until the test ends.
func (d Database) Open(t testing.TB, role string) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(d.Config(role), role)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return db
}

// Connect returns a plain connection as this role, closed when the test ends.
func (d Database) Connect(t testing.TB, role string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), d.Config(role).DSN)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// Exec executes statements as this role on a connection of their own.
func (d Database) Exec(t testing.TB, role, sql string) {
	t.Helper()
	if err := d.exec(role, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (d Database) exec(role, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startWait)
	defer cancel()
	conn, err := pgx.Connect(ctx, d.Config(role).DSN)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	return err
}
