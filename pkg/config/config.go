// Package config reads /etc/arasul/arasul.toml, one table per daemon.
//
// It is strict: an unknown key or a value out of range is an error that names
// file, line and key, because a setting that is silently ignored costs its
// owner an evening. It never writes the file: what the wizard and the page set
// is kept under /var/lib/arasul, so that no upgrade asks about a changed
// conffile.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// MaxBytes bounds the file: a real one is about 2 kB.
const MaxBytes = 1 << 20

// Path is where the configuration lies on an installed machine.
const Path = "/etc/arasul/arasul.toml"

// Config is the whole file. Defaults gives its value when the file is empty.
type Config struct {
	Database Database `toml:"database"`
	Metrics  Metrics  `toml:"metrics"`
	Healer   Healer   `toml:"healer"`
	Proxy    Proxy    `toml:"proxy"`
	MDNS     MDNS     `toml:"mdns"`
}

// Database says where PostgreSQL is.
type Database struct {
	// DSN names another PostgreSQL server, as a URL or key=value string; empty
	// means the machine's own, over its unix socket.
	DSN string `toml:"dsn"`
}

// Metrics sets how often the host is looked at.
type Metrics struct {
	Interval  Duration `toml:"interval"`  // between samples, 1s to 5s: the unit watchdog waits for samples
	Flush     Duration `toml:"flush"`     // between writes to the database, interval to 10m
	Retention Duration `toml:"retention"` // how long samples are kept, 24h to 8760h; whole days
}

// Healer sets what the healer may do.
type Healer struct {
	Mode   string `toml:"mode"`   // act, or shadow: decide and record, but touch nothing
	Policy string `toml:"policy"` // a policy file to use instead of the built-in one
	Reboot bool   `toml:"reboot"` // the policy's reboots are allowed
}

// Proxy sets what the proxy serves.
type Proxy struct {
	// Hosts are names the appliance answers to, besides its .local name, its
	// host name and its addresses.
	Hosts []string `toml:"hosts"`

	// The programs behind it, as address:port on loopback: its sandbox reaches
	// no other. An empty one is not there.
	N8N          string `toml:"n8n"`
	MinIOConsole string `toml:"minio_console"`
	MinIO        string `toml:"minio"` // its S3 API
	LLM          string `toml:"llm"`
	Embeddings   string `toml:"embeddings"`
}

// MDNS sets what is announced in the local network.
type MDNS struct {
	Name       string   `toml:"name"`       // single label, announced as <name>.local
	Interfaces []string `toml:"interfaces"` // announce on these only; empty: all but containers' and tunnels
}

// Defaults is the configuration of a machine whose file is empty.
func Defaults() *Config {
	return &Config{
		Metrics: Metrics{
			Interval:  Duration(5 * time.Second),
			Flush:     Duration(30 * time.Second),
			Retention: Duration(7 * 24 * time.Hour),
		},
		Healer: Healer{Mode: ModeAct},
		Proxy: Proxy{
			N8N:          "127.0.0.1:5678",
			MinIOConsole: "127.0.0.1:9001",
			MinIO:        "127.0.0.1:9000",
			LLM:          "127.0.0.1:11434",
			Embeddings:   "127.0.0.1:11435",
		},
		MDNS: MDNS{Name: "arasul"},
	}
}

// The modes of the healer.
const (
	ModeAct    = "act"    // repair
	ModeShadow = "shadow" // decide and record what would be done
)

// Load reads the file at path. A missing file gives the defaults: the
// appliance works unconfigured. An error joins all Problems, each with file,
// line and key; the configuration that comes with it has defaults in the tables
// that have problems, and in all of them when the file is not TOML at all.
func Load(path string) (*Config, error) {
	data, err := readBounded(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Defaults(), nil
	}
	if err != nil {
		return Defaults(), fmt.Errorf("reading configuration: %w", err)
	}
	c := Defaults()
	err = Decode(path, data, c)
	if err == nil {
		return c, nil
	}
	return salvage(path, data, err)
}

// Concerns reports whether an error of Load is about one of these tables, or
// about the file as a whole.
func Concerns(err error, tables ...string) bool {
	problems := problemsOf(err)
	return len(problems) == 0 || slices.ContainsFunc(problems, func(p Problem) bool {
		return p.Key == "" || slices.Contains(tables, p.table())
	})
}

func readBounded(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Size() > MaxBytes {
		return nil, fmt.Errorf("%s: %d bytes, the limit is %d", path, st.Size(), MaxBytes)
	}
	return os.ReadFile(path)
}

// hostLabel says whether s is one part of a host name. As a regular expression
// it would take 130 kB of every daemon's memory.
func hostLabel(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-"
	return s != "" && len(s) <= 63 && s[0] != '-' && s[len(s)-1] != '-' && strings.Trim(s, letters) == ""
}

// hostName says whether s is a host name, of one part or more.
func hostName(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if !hostLabel(label) {
			return false
		}
	}
	return true
}

// Validate reports every value that is out of range.
func (c *Config) Validate(report func(key, problem string)) {
	within := func(key string, d Duration, lo, hi time.Duration) {
		if d.Std() < lo || d.Std() > hi {
			report(key, fmt.Sprintf("%s is not between %s and %s", d, Duration(lo), Duration(hi)))
		}
	}
	within("metrics.interval", c.Metrics.Interval, time.Second, 5*time.Second)
	within("metrics.flush", c.Metrics.Flush, c.Metrics.Interval.Std(), 10*time.Minute)
	within("metrics.retention", c.Metrics.Retention, 24*time.Hour, 365*24*time.Hour)
	if c.Metrics.Retention.Std()%(24*time.Hour) != 0 {
		report("metrics.retention", fmt.Sprintf("%s is not a whole number of days (24h, 168h, …)", c.Metrics.Retention))
	}
	if c.Healer.Mode != ModeAct && c.Healer.Mode != ModeShadow {
		report("healer.mode", fmt.Sprintf("%q is neither %q nor %q", c.Healer.Mode, ModeAct, ModeShadow))
	}
	if c.Healer.Policy != "" && !filepath.IsAbs(c.Healer.Policy) {
		report("healer.policy", fmt.Sprintf("%q is not an absolute path", c.Healer.Policy))
	}
	for _, h := range c.Proxy.Hosts {
		if net.ParseIP(h) == nil && !hostName(h) {
			report("proxy.hosts", fmt.Sprintf("%q is neither a lower-case host name nor an address", h))
		}
	}
	for _, to := range []struct{ key, address string }{
		{"proxy.n8n", c.Proxy.N8N},
		{"proxy.minio_console", c.Proxy.MinIOConsole},
		{"proxy.minio", c.Proxy.MinIO},
		{"proxy.llm", c.Proxy.LLM},
		{"proxy.embeddings", c.Proxy.Embeddings},
	} {
		if a, err := netip.ParseAddrPort(to.address); to.address != "" && (err != nil || !a.Addr().IsLoopback() || a.Port() == 0) {
			report(to.key, fmt.Sprintf("%q is not an address of this machine with a port, such as 127.0.0.1:8080", to.address))
		}
	}
	if !hostLabel(c.MDNS.Name) || len(c.MDNS.Name) > 59 { // room for -999 when the name is taken
		report("mdns.name", fmt.Sprintf("%q is not a single host label of at most 59 characters (a-z, 0-9, hyphen)", c.MDNS.Name))
	}
}
