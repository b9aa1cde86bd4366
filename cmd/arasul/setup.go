package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/atomicfile"
	"github.com/arasul/arasul/pkg/bootstrap"
	"github.com/arasul/arasul/pkg/client"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/secrets"
	"github.com/arasul/arasul/pkg/setup"
	"github.com/arasul/arasul/pkg/support"
	"github.com/arasul/arasul/pkg/version"
)

// pageAnswers is where the dashboard leaves what the owner has answered on the page.
const pageAnswers = "/var/lib/arasul/dashboard/setup.json"

const maxPageAnswers = 64 << 10

// ownerSetup keeps the owner's answers.
type ownerSetup struct{}

func (ownerSetup) Machine(ctx context.Context) (setup.Machine, bool) {
	h := hardware(ctx)
	m := setup.Machine{MemoryBytes: h.MemoryBytes, FreeBytes: h.DiskFreeBytes}
	var n api.Network
	if client.New(mdnsSocket).GetJSON(ctx, "/network", &n) == nil {
		m.Interfaces = n.Interfaces
	}
	if all, _, err := (modelStore{}).List(ctx); err == nil {
		for _, i := range all {
			m.Installed = append(m.Installed, i.Name)
		}
	}
	return m, len(h.GPUs) > 0
}

func (ownerSetup) Current() (api.Answers, error) {
	cfg, err := config.Load(config.Path)
	return setup.Current(cfg), err
}

func (ownerSetup) Plan(a api.Answers) ([]setup.Change, error) {
	_, changes, err := merged(a)
	return changes, err
}

func merged(a api.Answers) ([]byte, []setup.Change, error) {
	now, err := os.ReadFile(config.Settings)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	text, changes, err := setup.Merge(now, a)
	for name := range setup.Secrets(a) {
		changes = append(changes, setup.Change{Key: "secret " + name, From: "hidden", To: "hidden"})
	}
	return text, changes, err
}

func (ownerSetup) Apply(ctx context.Context, a api.Answers) ([]setup.Change, error) {
	text, changes, err := merged(a)
	if err != nil || len(changes) == 0 {
		return changes, err
	}
	if err := atomicfile.Write(config.Settings, text, 0o644); err != nil {
		return nil, err
	}
	for name, value := range setup.Secrets(a) {
		if err := secrets.Set(secrets.Dir, name, value); err != nil {
			return nil, err
		}
	}
	return changes, takeOver(ctx, changes)
}

// takeOver has those who are concerned read what has changed. What does not run is
// not started.
func takeOver(ctx context.Context, changes []setup.Change) error {
	var reload, restart []string
	for _, c := range changes {
		switch table, _, _ := strings.Cut(c.Key, "."); table {
		case "mdns": // the name is in n8n's and MinIO's addresses, too
			reload = append(reload, "arasul-mdns.service", "arasul-proxy.service")
			restart = append(restart, "arasul-n8n.service", "arasul-minio.service")
		case "llm", "embeddings":
			reload = append(reload, "arasul-ai.service")
		default:
			if strings.HasPrefix(c.Key, "secret minio") {
				restart = append(restart, "arasul-minio.service")
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	var errs []error
	for verb, units := range map[string][]string{"try-reload-or-restart": reload, "try-restart": restart} {
		slices.Sort(units)
		if units = slices.Compact(units); len(units) == 0 {
			continue
		}
		out, err := exec.CommandContext(ctx, "systemctl", append([]string{verb}, units...)...).CombinedOutput() //nolint:gosec // of this file
		if err != nil {
			errs = append(errs, fmt.Errorf("systemctl %s: %s: %w", verb, strings.TrimSpace(string(out)), err))
		}
	}
	return errors.Join(errs...)
}

// FromPage reads the answers and removes them first: a request that is broken is
// not to come again and again. The file is the dashboard's, so no link is followed.
func (ownerSetup) FromPage() (a api.Answers, ok bool, err error) {
	f, err := os.OpenFile(pageAnswers, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return a, false, nil
	}
	if rmErr := os.Remove(pageAnswers); err == nil {
		err = rmErr
	}
	if err != nil {
		return a, false, fmt.Errorf("taking the page's answers: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxPageAnswers {
		return a, false, errors.New("what the page has left is no file of answers")
	}
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil {
		return a, false, fmt.Errorf("reading the page's answers: %w", err)
	}
	return a, true, nil
}

// Refuse leaves a report with the reason where the page looks for one.
func (ownerSetup) Refuse(why error) {
	now := time.Now().UTC()
	keepReport(reportFile, api.Report{
		Mode: bootstrap.ModeBootstrap, State: bootstrap.StateFailed, Version: version.Version, Started: now, Ended: &now, Attempts: attempts(),
		Steps: []api.Step{{
			ID: "answers", Title: "Answers of the page", State: bootstrap.StateFailed, Error: why.Error(),
			Suggestion: "Answer again; sudo arasul setup says the same in a terminal. journalctl -u arasul-setup -n 20",
		}},
	})
}

// supporter packs what somebody who helps has to see.
type supporter struct{}

func (supporter) Write(ctx context.Context, cfg *config.Config, to *os.File) error {
	var known [][]byte
	for _, name := range secrets.Keys {
		if s, err := os.ReadFile(secrets.Dir + "/" + name); err == nil && name != "minio-root-user" {
			known = append(known, s)
		}
	}
	socket := func(name, path, what string) support.Source {
		return support.Source{Name: name, Read: func(ctx context.Context) ([]byte, error) {
			var v json.RawMessage
			err := client.New(path).GetJSON(ctx, what, &v)
			return v, err
		}}
	}
	sources := []support.Source{
		support.Command("doctor.json", "/usr/bin/arasul", "doctor", "--json"),
		{Name: "config.toml", Read: func(context.Context) ([]byte, error) { return cfg.TOML() }},
		socket("status.json", dashboardSocket, "/api/system/status"),
		socket("services.json", dashboardSocket, "/api/services"),
		socket("ai.json", aiSocket, "/status"),
		socket("models.json", aiSocket, "/models"),
		socket("healer.json", healerSocket, "/status"),
		socket("incidents.json", healerSocket, "/incidents"),
		socket("network.json", mdnsSocket, "/network"),
		socket("gpu.json", gpuSocket, "/live"),
		support.Command("images.json", "/usr/bin/arasul", "images", "list", "--json"),
		support.Command("versions.txt", "dpkg-query", "--show", "arasul", "podman", "postgresql*", "systemd", "nvidia-container-toolkit", "nvidia-jetpack"),
		support.Command("kernel.txt", "uname", "-a"),
		support.Command("os-release.txt", "cat", "/etc/os-release"),
		support.Command("units.txt", "systemctl", "list-units", "--all", "--no-pager", "arasul*"),
		support.Command("failed.txt", "systemctl", "--failed", "--no-pager"),
		support.Command("disk.txt", "df", "--human-readable"),
		support.Command("memory.txt", "cat", "/proc/meminfo"),
		support.Command("addresses.txt", "ip", "-brief", "address"),
		support.Command("containers.txt", "podman", "ps", "--all"),
		support.Command("journal.txt", "journalctl", "--no-pager", "--lines=4000", "--unit=arasul*"),
		support.Command("journal-kernel.txt", "journalctl", "--no-pager", "--dmesg", "--lines=1000", "--priority=warning"),
	}
	return support.Write(ctx, to, "arasul-support", sources, support.NewHider(known...))
}
