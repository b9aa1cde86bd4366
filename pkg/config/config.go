// Package config reads /etc/arasul/arasul.toml, one table per daemon, and below
// it what the wizard and the page have set:
//
//	defaults  <  /var/lib/arasul/settings.toml  <  /etc/arasul/arasul.toml
//
// It is strict: an unknown key or a value out of range is an error that names
// file, line and key, because a setting that is silently ignored costs its
// owner an evening. The two files are apart so that no upgrade asks about a changed
// conffile. It does not write either of them.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
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

// Settings is where what arasul setup has set lies, in the same form. It is read
// below Path only: another file stands for itself.
const Settings = "/var/lib/arasul/settings.toml"

// Config is the whole file. Defaults gives its value when the file is empty.
type Config struct {
	Database Database `toml:"database"`
	Metrics  Metrics  `toml:"metrics"`
	Healer   Healer   `toml:"healer"`
	Proxy    Proxy    `toml:"proxy"`
	MDNS     MDNS     `toml:"mdns"`
	ACME     ACME     `toml:"acme"`
	Access   Access   `toml:"access"`
	Update   Update   `toml:"update"`

	Images     Images  `toml:"images"`
	LLM        Engine  `toml:"llm"`
	Embeddings Engine  `toml:"embeddings"`
	Objects    Objects `toml:"objects"`
}

// Images are where the container images of the applications come from, as podman
// names them. What is run is an image's ID, not its name: see arasul images.
type Images struct {
	LLM   string `toml:"llm"` // embeddings too
	N8N   string `toml:"n8n"`
	MinIO string `toml:"minio"`

	N8NLicence bool `toml:"n8n_licence"` // the owner has accepted it; without that n8n is not fetched
}

// Engine sets how models of one kind are served.
type Engine struct {
	Model    string    `toml:"model"`    // for who names none; empty: the one that is installed
	Parallel int       `toml:"parallel"` // requests at work at once, 1 to 64
	Queue    int       `toml:"queue"`    // requests that wait for that, 0 to 10000
	Context  int       `toml:"context"`  // tokens that this machine's own remembers, 512 to 1048576
	BackEnds []BackEnd `toml:"back_end"` // other servers of models; the machine's own is the first unless one is called local
}

// BackEnd is a server of models that speaks Ollama's or OpenAI's language.
type BackEnd struct {
	Name string `toml:"name"` // unique, a to z, 0 to 9, hyphen
	Kind string `toml:"kind"` // ollama or openai
	URL  string `toml:"url"`  // http or https, without /v1 or /api
	Key  string `toml:"key"`  // the systemd credential that holds its API key; empty: none is sent
}

// The kinds of back ends.
const (
	KindOllama = "ollama"
	KindOpenAI = "openai"
)

// Objects says where objects are kept. It is any server of S3.
type Objects struct {
	Endpoint string `toml:"endpoint"` // http or https URL; empty: the machine's own
	Region   string `toml:"region"`
	Public   bool   `toml:"public_documents"` // anybody in the network may read the bucket documents
}

// Update sets how releases come in.
type Update struct {
	USB string `toml:"usb"` // what a release on a USB stick leads to: off, stage or apply
}

// What a release on a USB stick leads to.
const (
	USBOff   = "off"   // sticks are not looked at
	USBStage = "stage" // it is copied and waits for somebody's word
	USBApply = "apply" // it is installed
)

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

// ACME sets how a certificate for a public name is obtained. Without a domain
// it is not.
type ACME struct {
	Domain    string `toml:"domain"`    // a public host name that leads to this machine's port 80
	Email     string `toml:"email"`     // where the authority writes to about trouble; may be empty
	Directory string `toml:"directory"` // https URL of the authority's directory
	CARoot    string `toml:"ca_root"`   // a PEM file: trust the authority's own https by this alone; for authorities that are not public
}

// LetsEncrypt is the directory of the authority that certificates come from
// unless another is named.
const LetsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

// Access sets what may be seen without a login.
type Access struct {
	Status string `toml:"status"` // local: states and figures, from the local network; or admin: nothing
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
		MDNS:   MDNS{Name: "arasul"},
		ACME:   ACME{Directory: LetsEncrypt},
		Access: Access{Status: StatusLocal},
		Update: Update{USB: USBApply},
		Images: Images{
			LLM:   "docker.io/ollama/ollama:0.32.15",
			N8N:   "docker.io/n8nio/n8n:2.41.3",
			MinIO: "docker.io/pgsty/silo:RELEASE.2026-09-03T13-18-01Z",
		},
		LLM:        Engine{Parallel: 4, Queue: 64, Context: 8192},
		Embeddings: Engine{Parallel: 4, Queue: 256, Context: 8192},
		Objects:    Objects{Region: "us-east-1"},
	}
}

// The modes of the healer.
const (
	ModeAct    = "act"    // repair
	ModeShadow = "shadow" // decide and record what would be done
)

// Who may see states and figures without a login.
const (
	StatusLocal = "local" // the local network
	StatusAdmin = "admin" // nobody
)

// Load reads the file at path, over [Settings] when it is the installed one. A
// missing file gives the defaults: the appliance works unconfigured. An error
// joins all Problems, each with file, line and key; the configuration that comes
// with it has defaults in the tables that have problems, and in all of them when
// the file is not TOML at all. A systemd credential stands above the file, see
// [Credential].
func Load(path string) (*Config, error) {
	if path == Path {
		return LoadOver(Settings, path)
	}
	return LoadOver("", path)
}

// LoadOver is Load with settings read below path, and none when it is empty. A
// mistake in a table of one file leaves the same table of the other in force.
func LoadOver(settings, path string) (*Config, error) {
	below, errBelow := readOver(settings, Defaults)
	above := func() *Config { return below.copied() }
	c, err := readOver(path, above)
	return c, errors.Join(errBelow, err, c.credential())
}

// readOver reads one file over what base returns, anew at each call.
func readOver(path string, base func() *Config) (*Config, error) {
	if path == "" {
		return base(), nil
	}
	data, err := readBounded(path)
	if errors.Is(err, fs.ErrNotExist) {
		return base(), nil
	}
	if err != nil {
		return base(), fmt.Errorf("reading configuration: %w", err)
	}
	c := base()
	err = Decode(path, data, c)
	if err == nil {
		return c, nil
	}
	return salvage(path, data, base, err)
}

// copied is c with lists of its own: the decoder writes into those it finds.
func (c *Config) copied() *Config {
	own := *c
	own.Proxy.Hosts = slices.Clone(c.Proxy.Hosts)
	own.MDNS.Interfaces = slices.Clone(c.MDNS.Interfaces)
	own.LLM.BackEnds = slices.Clone(c.LLM.BackEnds)
	own.Embeddings.BackEnds = slices.Clone(c.Embeddings.BackEnds)
	return &own
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
	if _, err := c.Database.pieces(); err != nil {
		report("database.dsn", err.Error())
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
	if !slices.Contains([]string{USBOff, USBStage, USBApply}, c.Update.USB) {
		report("update.usb", fmt.Sprintf("%q is none of %q, %q and %q", c.Update.USB, USBOff, USBStage, USBApply))
	}
	if c.Access.Status != StatusLocal && c.Access.Status != StatusAdmin {
		report("access.status", fmt.Sprintf("%q is neither %q nor %q", c.Access.Status, StatusLocal, StatusAdmin))
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
	if !hostLabel(c.MDNS.Name) || len(c.MDNS.Name) > 56 { // room for -s3-999 when the name is taken
		report("mdns.name", fmt.Sprintf("%q is not a single host label of at most 56 characters (a-z, 0-9, hyphen)", c.MDNS.Name))
	}
	c.ACME.validate(report)
	c.Images.validate(report)
	c.LLM.validate("llm", report)
	c.Embeddings.validate("embeddings", report)
	c.Objects.validate(report)
}

func (a ACME) validate(report func(key, problem string)) {
	if a.Domain != "" {
		switch last := a.Domain[strings.LastIndexByte(a.Domain, '.')+1:]; {
		case !hostName(a.Domain) || len(a.Domain) > 253 || last == a.Domain || net.ParseIP(a.Domain) != nil:
			report("acme.domain", fmt.Sprintf("%q is not a public host name in lower case", a.Domain))
		case last == "local" || last == "localhost" || last == "internal" || last == "lan":
			report("acme.domain", fmt.Sprintf("%q is not public: nobody outside can give a certificate for it", a.Domain))
		}
	}
	if a.Email != "" {
		if parsed, err := mail.ParseAddress(a.Email); err != nil || parsed.Address != a.Email {
			report("acme.email", fmt.Sprintf("%q is not an e-mail address", a.Email))
		}
	}
	if u, err := url.Parse(a.Directory); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		report("acme.directory", fmt.Sprintf("%q is not an https URL", a.Directory))
	}
	if a.CARoot != "" && !filepath.IsAbs(a.CARoot) {
		report("acme.ca_root", fmt.Sprintf("%q is not an absolute path", a.CARoot))
	}
}
