package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/migrations"
	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/atomicfile"
	"github.com/arasul/arasul/pkg/bootstrap"
	"github.com/arasul/arasul/pkg/client"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/container"
	"github.com/arasul/arasul/pkg/n8n"
	"github.com/arasul/arasul/pkg/podman"
	"github.com/arasul/arasul/pkg/secrets"
	"github.com/arasul/arasul/pkg/setup"
	"github.com/arasul/arasul/pkg/systemd"
	"github.com/arasul/arasul/pkg/version"
)

// Where the report of bootstrap lies: for all to read while it runs, and until the
// next one.
const (
	reportFile = "/run/arasul/bootstrap/report.json"
	lastReport = "/var/lib/arasul/bootstrap.json"
)

// bootstrapper takes this machine to where it is ready.
type bootstrapper struct{}

// Run runs the plan, or only some of its steps, and tells how it goes.
func (bootstrapper) Run(ctx context.Context, cfg *config.Config, mode string, only []string, tell func(api.Report)) (api.Report, error) {
	units := &systemd.Hands{}
	defer units.Close()
	h := hardware(ctx)
	plan, err := bootstrap.NewPlan(steps(ctx, cfg, h, units)...)
	if err == nil && len(only) > 0 {
		plan, err = plan.Only(only...)
	}
	if err != nil {
		return api.Report{}, err
	}
	o := bootstrap.Options{Mode: mode, Version: version.Version, Machine: h.Words(), Tell: tell}
	if mode == bootstrap.ModeBootstrap {
		turn, err := takeTurn(reportFile + ".lock")
		if err != nil {
			return api.Report{}, err
		}
		defer turn.Close()
		o.Attempts = attempts() + 1
		o.Tell = func(r api.Report) {
			keepReport(reportFile, r)
			tell(r)
		}
	}
	report := plan.Run(ctx, o)
	if mode == bootstrap.ModeBootstrap {
		keepReport(reportFile, report)
		keepReport(lastReport, report)
	}
	return report, nil
}

// takeTurn keeps two from mending at once, the page's and the terminal's. The turn
// ends with the file, and so with the process.
func takeTurn(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // for all to read
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, errors.New("arasul bootstrap runs already, from the page or in another terminal: journalctl -u arasul-bootstrap -f, or wait for it")
	}
	return f, nil
}

// attempts is how often bootstrap ran before.
func attempts() int {
	var last api.Report
	data, err := os.ReadFile(lastReport)
	if err != nil || json.Unmarshal(data, &last) != nil {
		return 0
	}
	return last.Attempts
}

// keepReport is for others to look at; that it cannot be kept stops nobody.
func keepReport(path string, r api.Report) {
	if data, err := json.MarshalIndent(r, "", "\t"); err == nil {
		_ = os.MkdirAll(filepath.Dir(path), 0o755) //nolint:gosec // for all to read
		_ = atomicfile.Write(path, append(data, '\n'), 0o644)
	}
}

func steps(ctx context.Context, cfg *config.Config, h bootstrap.Hardware, units *systemd.Hands) []bootstrap.Step {
	base := bootstrap.Base{
		Folders: folders{}, Secrets: keys{}, Units: ourUnits{units}, Dashboard: client.New(dashboardSocket),
		Foreign: cfg.Database.DSN != "", Schema: newestMigration(),
	}
	apps := applications(ctx, cfg, h, units)
	all := bootstrap.HardwareSteps(h)
	all = append(all, bootstrap.SystemSteps(system, install)...)
	all = append(all, base.Steps()...)
	all = append(all, apps.Steps()...)
	all = append(all, base.SmokeSteps(openPage, func(ctx context.Context) (s api.HealerStatus, err error) {
		err = client.New(healerSocket).GetJSON(ctx, "/status", &s)
		return s, err
	})...)
	return append(all, apps.SmokeSteps()...)
}

func applications(ctx context.Context, cfg *config.Config, h bootstrap.Hardware, units *systemd.Hands) bootstrap.Apps {
	choices := setup.Choices(setup.Machine{MemoryBytes: h.MemoryBytes, FreeBytes: h.DiskFreeBytes})
	gpu := len(h.GPUs) > 0
	return bootstrap.Apps{
		Units: ourUnits{units}, Images: imageSteps{cfg}, Storage: storageSteps{cfg}, Workflows: workflowSteps{cfg}, AI: client.New(aiSocket),
		GPU:     gpuSteps(ctx, h, units),
		Licence: cfg.Images.N8NLicence || chosenAlready("N8N"), StorageHere: cfg.Objects.Endpoint == "",
		LLMOnly: len(cfg.LLM.BackEnds) == 0, EmbeddingsOnly: len(cfg.Embeddings.BackEnds) == 0,
		LLMModel:        bootstrap.Model{Name: cfg.LLM.Model, Suggest: setup.Suggest(choices.LLMModels, gpu)},
		EmbeddingsModel: bootstrap.Model{Name: cfg.Embeddings.Model, Suggest: setup.Suggest(choices.EmbeddingModels, true)},
	}
}

// chosenAlready says whether the owner has brought an image himself.
func chosenAlready(variable string) bool {
	chosen, err := container.Chosen(container.EnvPath)
	return err == nil && chosen[variable] != ""
}

func newestMigration() (newest int64) {
	entries, err := migrations.FS.ReadDir(".")
	if err != nil {
		return 0
	}
	for _, e := range entries {
		number, _, _ := strings.Cut(e.Name(), "_")
		if n, err := strconv.ParseInt(number, 10, 64); err == nil {
			newest = max(newest, n)
		}
	}
	return newest
}

// ourUnits are systemd's.
type ourUnits struct{ *systemd.Hands }

func (u ourUnits) All(ctx context.Context) ([]api.Unit, error) {
	return u.Units(ctx, "arasul-*.service")
}

// folderList is what arasul.tmpfiles makes, with whose it is.
var folderList = map[string]string{
	"/var/lib/arasul": "root", "/var/log/arasul": "root", "/var/cache/arasul": "root", "/run/arasul": "root",
	"/var/lib/arasul/minio": "arasul-minio", "/var/lib/arasul/llm": "arasul-llm",
	"/var/lib/arasul/embeddings": "arasul-embeddings", "/var/lib/arasul/n8n": "arasul-n8n",
}

type folders struct{}

func (folders) Wrong() (problems []string, err error) {
	for path, owner := range folderList {
		info, err := os.Stat(path)
		if err != nil {
			problems = append(problems, path+" is missing")
			continue
		}
		uid, _, err := ids(owner)
		if err != nil {
			return problems, err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || ok && int(st.Uid) != uid {
			problems = append(problems, path+" does not belong to "+owner)
		}
		if err := unix.Access(path, unix.W_OK); errors.Is(err, unix.EROFS) {
			problems = append(problems, path+" cannot be written to")
		}
	}
	slices.Sort(problems)
	return problems, nil
}

func (folders) Make(ctx context.Context) error {
	return run(ctx, nil, "systemd-tmpfiles", "--create", "arasul.conf")
}

func (keys) Missing() ([]string, error) { return secrets.Missing(secrets.Dir) }

// run runs a program, with its last words in the error.
func run(ctx context.Context, say bootstrap.Progress, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...) //nolint:gosec // the programs are named here
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if say != nil {
		cmd.Stdout = io.MultiWriter(&out, lineWriter{func(l string) { say(l, 0, 0) }})
	}
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8")
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		all := strings.Split(strings.TrimSpace(out.String()), "\n")
		return fmt.Errorf("%s: %s: %w", argv[0], all[len(all)-1], err)
	}
	return nil
}

// lineWriter calls with the last line of what is written at once.
type lineWriter struct{ each func(string) }

func (l lineWriter) Write(p []byte) (int, error) {
	text := strings.TrimSpace(string(p))
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		text = text[i+1:]
	}
	l.each(text[:min(len(text), 200)])
	return len(p), nil
}

func install(ctx context.Context, name string, say bootstrap.Progress) error {
	return bootstrap.Advise(run(ctx, say, "apt-get", "install", "--yes", "--no-install-recommends", name), "apt update && apt install "+name+", where the machine has internet or a mirror")
}

// system is what the system under us is like.
func system(ctx context.Context) bootstrap.System {
	var s bootstrap.System
	if out, err := exec.CommandContext(ctx, "systemctl", "--version").Output(); err == nil {
		_, _ = fmt.Sscanf(string(out), "systemd %d", &s.Systemd)
	}
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		s.Systemd = 0
	}
	var t unix.Timex
	const errorState = 5 // TIME_ERROR: the clock follows nobody
	if state, err := unix.Adjtimex(&t); err == nil {
		s.Synchronised = state != errorState
	}
	s.Podman, _ = podman.Client{}.Version(ctx)
	for number, socket := range map[int]string{80: "arasul-proxy.socket", 443: "arasul-proxy-tls.socket"} {
		if exec.CommandContext(ctx, "systemctl", "--quiet", "is-active", socket).Run() == nil { //nolint:gosec // of this map
			continue
		}
		if conn, err := net.DialTimeout("tcp", "127.0.0.1:"+strconv.Itoa(number), time.Second); err == nil {
			_ = conn.Close()
			s.Ports = append(s.Ports, bootstrap.Port{Number: number, Holder: holder(ctx, number)})
		}
	}
	var n api.Network
	if err := client.New(mdnsSocket).GetJSON(ctx, "/network", &n); err == nil {
		s.MDNS, s.Announced = n.MDNS, n.MDNSName
	}
	return s
}

// holder is the program that listens on a port, as ss names it.
func holder(ctx context.Context, port int) string {
	out, err := exec.CommandContext(ctx, "ss", "-Hltnp", fmt.Sprintf("sport = :%d", port)).Output() //nolint:gosec // a number
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(out), `(("`)
	name, _, _ := strings.Cut(rest, `"`)
	return name
}

// hardware is what the machine is made of.
func hardware(ctx context.Context) bootstrap.Hardware {
	h := bootstrap.Hardware{Model: firstLine("/proc/device-tree/model"), System: osName()}
	h.Jetson = strings.Contains(h.Model, "Jetson")
	if h.Model == "" {
		h.Model = strings.TrimSpace(firstLine("/sys/class/dmi/id/sys_vendor") + " " + firstLine("/sys/class/dmi/id/product_name"))
	}
	if text := firstLine("/etc/nv_tegra_release"); text != "" {
		var release int
		var revision string
		if _, err := fmt.Sscanf(text, "# R%d (release), REVISION: %s", &release, &revision); err == nil {
			h.L4T = fmt.Sprintf("%d.%s", release, strings.TrimSuffix(revision, ","))
		}
	}
	if out, err := exec.CommandContext(ctx, "dpkg-query", "--show", "--showformat=${Version}", "nvidia-jetpack").Output(); err == nil {
		h.JetPack, _, _ = strings.Cut(string(out), "-")
	}
	var memory unix.Sysinfo_t
	if unix.Sysinfo(&memory) == nil {
		h.MemoryBytes = memory.Totalram * uint64(memory.Unit)
	}
	var disk unix.Statfs_t
	if unix.Statfs("/var/lib/arasul", &disk) == nil {
		h.DiskBytes, h.DiskFreeBytes = disk.Blocks*uint64(disk.Bsize), disk.Bavail*uint64(disk.Bsize) //nolint:gosec // not negative
	}
	_, err := os.Stat("/dev/nvidiactl")
	_, errTegra := os.Stat("/dev/nvhost-gpu")
	h.NVIDIA = err == nil || errTegra == nil
	var g api.GPUStatus
	if client.New(gpuSocket).GetJSON(ctx, "/live", &g) == nil {
		for _, one := range g.GPUs {
			h.GPUs = append(h.GPUs, one.Name)
		}
	}
	return h
}

func firstLine(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSpace(strings.Trim(line, "\x00"))
}

func osName() string {
	data, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			return strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	return ""
}

// The applications, as the steps see them.

type imageSteps struct{ cfg *config.Config }

func (i imageSteps) Images(ctx context.Context) (api.Images, error) { return images{}.Look(ctx, i.cfg) }

func (i imageSteps) Fetch(ctx context.Context, name string, say bootstrap.Progress) error {
	_, err := images{}.Pull(ctx, i.cfg, name, lineWriter{func(l string) { say(l, 0, 0) }})
	return err
}

type storageSteps struct{ cfg *config.Config }

func (s storageSteps) Check(ctx context.Context) (string, error) {
	names, err := objectStore{}.List(ctx, s.cfg)
	if err != nil {
		return "", err
	}
	if missing := missingBuckets(names); len(missing) > 0 {
		return "", errors.New("missing: " + strings.Join(missing, ", "))
	}
	if err := (objectStore{}).Check(ctx, s.cfg); err != nil {
		return "", err
	}
	return strings.Join(names, ", ") + "; what is written is read as it was written", nil
}

func (s storageSteps) Provision(ctx context.Context) error {
	_, _, err := objectStore{}.Provision(ctx, s.cfg)
	return err
}

type workflowSteps struct{ cfg *config.Config }

func (w workflowSteps) Check(ctx context.Context) (string, error) {
	if _, err := os.Stat(n8nBrought); err != nil {
		return "", errors.New("n8n has not been brought its credentials yet")
	}
	return "owner, credentials and templates are there", nil
}

func (w workflowSteps) Provision(ctx context.Context) error {
	_, err := workflows{}.Provision(ctx, w.cfg)
	return err
}

func (w workflowSteps) Test(ctx context.Context) (string, error) {
	answer, err := n8n.New(w.cfg.Proxy.N8N).Hook(ctx, "arasul-self-test")
	if err != nil {
		return "", err
	}
	if !strings.Contains(answer, "works") {
		return "", errors.New("the workflow Arasul: self-test has answered something else: " + answer[:min(len(answer), 200)])
	}
	return "the workflow Arasul: self-test ran", nil
}
