package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/arasul/arasul/pkg/atomicfile"
)

// Where things lie on an installed machine.
const (
	DataDir   = "/var/lib/arasul/postgres" // one directory per major version
	SocketDir = "/run/arasul/postgres"
	binDir    = "/usr/lib/postgresql" // <major>/bin, as Debian and Ubuntu lay it out
)

// oldest is the first major version that has date_bin.
const oldest = 14

// superuser owns the instance and provisions it.
const superuser = "arasul-postgres"

// ServerOptions describes an instance. The zero value is the machine's own.
type ServerOptions struct {
	DataDir   string   // empty: [DataDir]
	SocketDir string   // empty: [SocketDir]
	BinDir    string   // holds <major>/bin/postgres; empty: the distribution's
	Peers     []Peer   // empty: the users of the package
	Args      []string // more arguments for postgres
}

// Peer allows a user of the operating system to log in as a role.
type Peer struct{ User, Role string }

// peers are the users of the package. The healer runs as root, without any
// capability; so root is the healer here, and not the superuser.
var peers = []Peer{
	{superuser, superuser},
	{"arasul-metrics", "arasul-metrics"},
	{"arasul-dashboard", "arasul-dashboard"},
	{"root", "arasul-healer"},
	{workflowsOwner, workflowsOwner},
}

func (o ServerOptions) withDefaults() ServerOptions {
	if o.DataDir == "" {
		o.DataDir = DataDir
	}
	if o.SocketDir == "" {
		o.SocketDir = SocketDir
	}
	if o.BinDir == "" {
		o.BinDir = binDir
	}
	if o.Peers == nil {
		o.Peers = peers
	}
	return o
}

// Init prepares the data directory: it creates the cluster when there is none
// and writes the configuration. It must run as the user that will run the
// server. Power may fail at any instant: the cluster is made beside its place
// and renamed into it when it is complete and on stable storage.
func Init(ctx context.Context, o ServerOptions) error {
	o = o.withDefaults()
	major, err := o.major()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
		return fmt.Errorf("creating data directory: %w", err)
	}
	dir := o.cluster(major)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := o.initdb(ctx, major); err != nil {
			return err
		}
	} else if err != nil {
		return fmt.Errorf("looking for cluster: %w", err)
	}
	for name, content := range map[string]string{
		"postgresql.conf": o.serverConf(),
		"pg_hba.conf":     hbaConf,
		"pg_ident.conf":   o.identConf(),
	} {
		if err := atomicfile.Write(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return fmt.Errorf("writing %s: %w", name, err)
		}
	}
	return nil
}

// Exec replaces this process with the server. It returns only an error.
func Exec(o ServerOptions) error {
	o = o.withDefaults()
	major, err := o.major()
	if err != nil {
		return err
	}
	program := o.program(major, "postgres")
	// The server finds its share directory from its own path.
	args := append([]string{program, "-D", o.cluster(major)}, o.Args...)
	return fmt.Errorf("executing %s: %w", program, syscall.Exec(program, args, os.Environ())) //nolint:gosec // the distribution's postgres, chosen by the version of the data
}

func (o ServerOptions) cluster(major int) string {
	return filepath.Join(o.DataDir, strconv.Itoa(major))
}

func (o ServerOptions) program(major int, name string) string {
	return filepath.Join(o.BinDir, strconv.Itoa(major), "bin", name)
}

// major says which major version to run: that of the data as long as there
// are data, else the newest installed. Data whose program is gone are an error
// and not a reason to begin anew beside them.
func (o ServerOptions) major() (int, error) {
	installed := versions(o.BinDir, "bin/postgres")
	if len(installed) == 0 {
		return 0, fmt.Errorf("no PostgreSQL server of version %d or newer in %s: install the package postgresql", oldest, o.BinDir)
	}
	data := versions(o.DataDir, "PG_VERSION")
	if len(data) == 0 {
		return installed[len(installed)-1], nil
	}
	major := data[len(data)-1]
	version, err := os.ReadFile(filepath.Join(o.cluster(major), "PG_VERSION"))
	if err != nil {
		return 0, fmt.Errorf("reading version of the data: %w", err)
	}
	if v := strings.TrimSpace(string(version)); v != strconv.Itoa(major) {
		return 0, fmt.Errorf("%s holds data of PostgreSQL %.20q", o.cluster(major), v)
	}
	if !slices.Contains(installed, major) {
		return 0, fmt.Errorf("the data in %s need PostgreSQL %d, but installed is %v: install the package postgresql-%d",
			o.cluster(major), major, installed, major)
	}
	return major, nil
}

// versions lists the major versions v, oldest first, for which dir/v/file exists.
func versions(dir, file string) []int {
	found, _ := filepath.Glob(filepath.Join(dir, "[1-9]*", file))
	var majors []int
	for _, path := range found {
		rel, _ := filepath.Rel(dir, path)
		name, _, _ := strings.Cut(rel, "/")
		if v, err := strconv.Atoi(name); err == nil && v >= oldest {
			majors = append(majors, v)
		}
	}
	slices.Sort(majors)
	return majors
}

func (o ServerOptions) initdb(ctx context.Context, major int) error {
	half := filepath.Join(o.DataDir, "initdb.tmp")
	if err := os.RemoveAll(half); err != nil {
		return fmt.Errorf("removing half-made cluster: %w", err)
	}
	cmd := exec.CommandContext(ctx, o.program(major, "initdb"), "-D", half, "-U", superuser, "-A", "peer", //nolint:gosec // the distribution's initdb, with arguments of ours
		"-E", "UTF8", "--locale=C.UTF-8", "--data-checksums", "--no-instructions")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("running initdb: %w: %s", err, lastLine(out))
	}
	if err := os.Rename(half, o.cluster(major)); err != nil {
		return fmt.Errorf("putting cluster in place: %w", err)
	}
	d, err := os.Open(o.DataDir)
	if err != nil {
		return fmt.Errorf("opening data directory: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("syncing data directory: %w", err)
	}
	return nil
}

func lastLine(out []byte) string {
	text := strings.TrimSpace(string(out))
	return text[strings.LastIndexByte(text, '\n')+1:]
}

const notice = "# Written by arasul whenever the server starts; changes here are lost.\n"

const hbaConf = notice + "local all all peer map=arasul\n"

func (o ServerOptions) identConf() string {
	var b strings.Builder
	b.WriteString(notice)
	for _, p := range o.Peers {
		fmt.Fprintf(&b, "arasul %q %q\n", p.User, p.Role)
	}
	return b.String()
}

// serverConf is sized for an appliance whose memory belongs to its models and
// whose disk is flash: a week of samples is some 30 MB. What an administrator
// sets by ALTER SYSTEM has the last word.
func (o ServerOptions) serverConf() string {
	return notice + `
# Only the socket; who connects is asked of the kernel.
listen_addresses = ''
unix_socket_directories = '` + o.SocketDir + `'
max_connections = 40

shared_buffers = 64MB
work_mem = 8MB
maintenance_work_mem = 32MB
jit = off                       # needs writable code, which the unit forbids

# Fewer and smaller writes.
wal_compression = on
min_wal_size = 32MB
max_wal_size = 256MB
checkpoint_timeout = 15min

idle_in_transaction_session_timeout = 1min

# The journal adds time and unit.
log_destination = 'stderr'
logging_collector = off
log_line_prefix = '%q%u@%d: '
log_checkpoints = off
log_min_duration_statement = 1s
cluster_name = 'arasul'
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C.UTF-8'
`
}
