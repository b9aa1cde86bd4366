package bootstrap

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// is compares a finding with its outcome and words of it.
func (f Finding) is(outcome Outcome, words string) bool {
	return f.Outcome == outcome && strings.Contains(f.Detail+"|"+f.Error+"|"+f.Suggestion, words)
}

// look runs the check of a step.
func look(t *testing.T, steps []Step, id string) Finding {
	t.Helper()
	for _, s := range steps {
		if s.ID == id {
			return s.Check(t.Context())
		}
	}
	t.Fatalf("there is no step %s", id)
	return Finding{}
}

// Proves BOOT-2: each row is a machine. One that is no Jetson, or smaller than is
// recommended, gets a warning; only one on which nothing can work fails.
func TestMachinesAreRecognised(t *testing.T) {
	orin := Hardware{Model: "NVIDIA Jetson AGX Orin Developer Kit", Jetson: true, L4T: "36.4", JetPack: "6.1", MemoryBytes: 65.9e9, DiskBytes: 985e9, DiskFreeBytes: 900e9, GPUs: []string{"Orin"}, NVIDIA: true}
	with := func(change func(*Hardware)) Hardware { h := orin; change(&h); return h }
	for name, tt := range map[string]struct {
		machine Hardware
		step    string
		outcome Outcome
		words   string
	}{
		"an AGX Orin":                 {orin, "machine", Well, "AGX Orin Developer Kit, JetPack 6.1"},
		"a Thor":                      {with(func(h *Hardware) { h.Model, h.L4T, h.JetPack = "NVIDIA Jetson AGX Thor Developer Kit", "38.2", "" }), "machine", Well, "L4T 38.2"},
		"an Orin of JetPack 5":        {with(func(h *Hardware) { h.L4T, h.JetPack = "35.4", "5.1.2" }), "machine", Warn, "JetPack 6 or newer"},
		"an Orin that does not tell":  {with(func(h *Hardware) { h.L4T, h.JetPack = "", "" }), "machine", Warn, "cannot be read"},
		"a smaller Jetson":            {with(func(h *Hardware) { h.Model = "NVIDIA Jetson Orin Nano" }), "machine", Warn, "not the AGX Orin"},
		"a server":                    {Hardware{Model: "Dell R740", System: "Debian GNU/Linux 12 (bookworm)"}, "machine", Warn, "Dell R740, Debian GNU/Linux 12 (bookworm): no Jetson"},
		"a machine without a name":    {Hardware{}, "machine", Warn, "does not tell its name"},
		"64 GB":                       {orin, "memory", Well, "66 GB"},
		"64 GB with a carve-out":      {with(func(h *Hardware) { h.MemoryBytes = 61.5e9 }), "memory", Well, "GB"},
		"32 GB":                       {with(func(h *Hardware) { h.MemoryBytes = 33e9 }), "memory", Warn, "64 GB or more"},
		"memory that is not told":     {Hardware{}, "memory", Warn, "not known"},
		"1 TB":                        {orin, "disk", Well, "985 GB, 900 GB free"},
		"128 GB as sold":              {with(func(h *Hardware) { h.DiskBytes, h.DiskFreeBytes = 118e9, 90e9 }), "disk", Well, "118 GB"},
		"64 GB of disk":               {with(func(h *Hardware) { h.DiskBytes, h.DiskFreeBytes = 58e9, 40e9 }), "disk", Warn, "128 GB or more"},
		"an almost full disk":         {with(func(h *Hardware) { h.DiskFreeBytes = 40e9 }), "disk", Warn, "arasul disk clean"},
		"a full disk":                 {with(func(h *Hardware) { h.DiskFreeBytes = 1.5e9 }), "disk", Wrong, "arasul disk clean"},
		"a disk that is not told":     {Hardware{}, "disk", Warn, "not known"},
		"a GPU":                       {orin, "gpu", Well, "Orin"},
		"a GPU whose driver is stuck": {with(func(h *Hardware) { h.GPUs = nil }), "gpu", Wrong, "nvidia-smi"},
		"no GPU":                      {with(func(h *Hardware) { h.GPUs, h.NVIDIA = nil, false }), "gpu", Warn, "processor"},
	} {
		if f := look(t, HardwareSteps(tt.machine), tt.step); !f.is(tt.outcome, tt.words) {
			t.Errorf("%s: %+v, want %d with %q", name, f, tt.outcome, tt.words)
		}
	}
}

func TestSystemsAreJudged(t *testing.T) {
	well := System{Systemd: 252, Synchronised: true, Podman: "4.3.1", Announced: "arasul.local"}
	with := func(change func(*System)) System { s := well; change(&s); return s }
	for name, tt := range map[string]struct {
		system  System
		step    string
		outcome Outcome
		words   string
	}{
		"systemd of Debian 12":      {well, "system", Well, "systemd 252"},
		"systemd that is too old":   {with(func(s *System) { s.Systemd = 247 }), "system", Wrong, "249 or newer"},
		"no systemd":                {with(func(s *System) { s.Systemd = 0 }), "system", Wrong, "booted with systemd"},
		"a clock that follows":      {well, "clock", Well, "time server"},
		"a clock that runs alone":   {with(func(s *System) { s.Synchronised = false }), "clock", Warn, "timedatectl set-ntp true"},
		"ports of ours":             {well, "ports", Well, "ours"},
		"a port of nginx's":         {with(func(s *System) { s.Ports = []Port{{80, "nginx"}} }), "ports", Wrong, "systemctl disable --now nginx"},
		"a port of somebody's":      {with(func(s *System) { s.Ports = []Port{{443, ""}} }), "ports", Wrong, "ss -ltnp 'sport = :443'"},
		"a name that is announced":  {well, "mdns", Well, "arasul.local"},
		"a name that is not":        {with(func(s *System) { s.Announced, s.MDNS = "", "no network" }), "mdns", Warn, "no network"},
		"an announcer that is away": {with(func(s *System) { s.Announced = "" }), "mdns", Warn, "systemctl restart arasul-mdns"},
		"podman":                    {well, "podman", Well, "4.3.1"},
		"no podman":                 {with(func(s *System) { s.Podman = "" }), "podman", Wrong, "apt install podman"},
	} {
		steps := SystemSteps(func(context.Context) System { return tt.system }, nil)
		if f := look(t, steps, tt.step); !f.is(tt.outcome, tt.words) {
			t.Errorf("%s: %+v, want %d with %q", name, f, tt.outcome, tt.words)
		}
	}
}

// Proves BOOT-3: the toolkit is installed when it is missing, the GPU described
// for containers, and a container looks for it; what went wrong says what to do.
func TestGPUComesIntoContainers(t *testing.T) {
	type machine struct{ gpu, old, toolkit, obtainable, described, describable, seen bool }
	all := machine{gpu: true, toolkit: true, obtainable: true, described: true, describable: true, seen: true}
	with := func(change func(*machine)) machine { m := all; change(&m); return m }
	for name, tt := range map[string]struct {
		machine machine
		want    string // states of the steps
		words   string // of the first that failed
	}{
		"no GPU":              {machine{}, "ok gpu-toolkit:skipped gpu-cdi:skipped gpu-container:skipped", ""},
		"all there":           {all, "ok gpu-toolkit:ok gpu-cdi:ok gpu-container:ok", ""},
		"from nothing":        {with(func(m *machine) { m.toolkit, m.described = false, false }), "ok gpu-toolkit:changed gpu-cdi:changed gpu-container:ok", ""},
		"no package":          {with(func(m *machine) { m.toolkit, m.obtainable = false, false }), "failed gpu-toolkit:failed gpu-cdi:skipped gpu-container:skipped", "add NVIDIA's repository"},
		"podman 3.4":          {with(func(m *machine) { m.old, m.described = true, false }), "ok gpu-toolkit:ok gpu-cdi:ok gpu-container:ok", ""},
		"nothing to describe": {with(func(m *machine) { m.described, m.describable = false, false }), "failed gpu-toolkit:ok gpu-cdi:failed gpu-container:skipped", "systemctl restart arasul-cdi"},
		"no device inside":    {with(func(m *machine) { m.seen = false }), "failed gpu-toolkit:ok gpu-cdi:ok gpu-container:failed", "nvidia-ctk cdi list"},
	} {
		m := tt.machine
		g := GPU{
			Present: m.gpu, Modern: !m.old,
			Toolkit: func() string {
				if m.toolkit {
					return "1.18.2"
				}
				return ""
			},
			Install: func(_ context.Context, name string, _ Progress) error {
				if m.toolkit = m.obtainable && name == "nvidia-container-toolkit"; !m.toolkit {
					return errors.New("apt-get: unable to locate package")
				}
				return nil
			},
			Spec: func() bool { return m.described },
			Write: func(context.Context) error {
				if m.described = m.describable; !m.described {
					return errors.New("arasul-cdi.service: failed")
				}
				return nil
			},
			Test: func(context.Context) (string, error) {
				if !m.seen {
					return "", errors.New("no such device")
				}
				return "/dev/nvidia0", nil
			},
		}
		steps := append([]Step{(&part{id: "podman", found: []Finding{OK("")}}).step(), (&part{id: "image-llm", found: []Finding{OK("")}}).step()}, g.steps()...)
		p, err := NewPlan(steps...)
		if err != nil {
			t.Fatal(err)
		}
		r := p.Run(t.Context(), Options{Mode: ModeBootstrap})
		if got := strings.Replace(states(r), "podman:ok image-llm:ok ", "", 1); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
		for _, s := range r.Steps {
			if s.State == StateFailed && !strings.Contains(s.Suggestion, tt.words) {
				t.Errorf("%s: %s suggests %q", name, s.ID, s.Suggestion)
			}
		}
	}
}
