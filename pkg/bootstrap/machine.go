package bootstrap

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// What is recommended (spec BOOT-2). Less is a warning: a small model does.
const (
	memoryRecommended = 64e9 // bytes, as the label says; the kernel keeps some
	diskRecommended   = 128e9
	kept              = 0.9 // of the label, what is left after firmware and file system

	diskNeeded = 2e9  // bytes that have to be free for anything to work
	diskFull   = 0.95 // share in use at which the healer begins to clean up
)

// Hardware is what the machine is made of, as far as it tells.
type Hardware struct {
	Model   string // of the board, or of the computer; may be empty
	Jetson  bool
	L4T     string // Linux for Tegra, such as 36.4; empty: not told
	JetPack string // such as 6.1; empty: not told
	System  string // such as Debian GNU/Linux 12 (bookworm)

	MemoryBytes   uint64
	DiskBytes     uint64 // of the file system with /var/lib/arasul
	DiskFreeBytes uint64
	GPUs          []string // their names
	NVIDIA        bool     // there is an NVIDIA device, whether or not it can be asked
}

// Words are what people call the machine.
func (h Hardware) Words() string {
	name := h.Model
	if name == "" {
		name = "a machine that does not tell its name"
	}
	switch {
	case h.JetPack != "":
		return name + ", JetPack " + h.JetPack
	case h.L4T != "":
		return name + ", L4T " + h.L4T
	case h.System != "":
		return name + ", " + h.System
	}
	return name
}

// HardwareSteps look at the machine itself. None of them can be mended by a
// program.
func HardwareSteps(h Hardware) []Step {
	always := func(f Finding) func(context.Context) Finding {
		return func(context.Context) Finding { return f }
	}
	return []Step{
		{ID: "machine", Title: "Machine", Check: always(h.machine())},
		{ID: "memory", Title: "Memory", Check: always(h.memory())},
		{ID: "disk", Title: "Disk", Check: always(h.disk())},
		{ID: "gpu", Title: "GPU", Check: always(h.gpu())},
	}
}

// machine proves nothing about speed: it recognises what it is on.
func (h Hardware) machine() Finding {
	switch {
	case !h.Jetson:
		return Warning(h.Words()+": no Jetson", "Nothing needs to be done: Arasul runs on any Debian or Ubuntu machine, and answers slowly without a GPU.")
	case !strings.Contains(h.Model, "AGX Orin") && !strings.Contains(h.Model, "Thor"):
		return Warning(h.Words()+": a Jetson, but not the AGX Orin that Arasul is made for", "Choose a small model: arasul setup")
	case h.L4T == "":
		return Warning(h.Words()+": its version of L4T cannot be read", "cat /etc/nv_tegra_release; where it is missing, install NVIDIA's package nvidia-l4t-core.")
	case older(h.L4T, 36):
		return Warning(h.Words()+": JetPack 6 or newer is needed to use the GPU", "Flash the board with JetPack 6 or 7 (https://developer.nvidia.com/embedded/jetpack).")
	}
	return OK("%s", h.Words())
}

// older says whether a version of L4T is of a major before the one given.
func older(l4t string, major int) bool {
	var n int
	if _, err := fmt.Sscanf(l4t, "%d", &n); err != nil {
		return false
	}
	return n < major
}

func (h Hardware) memory() Finding {
	switch {
	case h.MemoryBytes == 0:
		return Warning("it is not known how much there is", "cat /proc/meminfo")
	case float64(h.MemoryBytes) < memoryRecommended*kept:
		return Warning(fmt.Sprintf("%s; 64 GB or more are recommended", size(h.MemoryBytes)), "Nothing needs to be done. arasul setup says which models fit.")
	}
	return OK("%s", size(h.MemoryBytes))
}

func (h Hardware) disk() Finding {
	used := 1 - float64(h.DiskFreeBytes)/float64(max(h.DiskBytes, 1))
	said := fmt.Sprintf("%s, %s free", size(h.DiskBytes), size(h.DiskFreeBytes))
	switch {
	case h.DiskBytes == 0:
		return Warning("it is not known how large it is", "df -h /var/lib/arasul")
	case float64(h.DiskFreeBytes) < diskNeeded:
		return Bad(said+": it is full", "arasul disk clean; then arasul models list and arasul models remove NAME for models that nobody needs, or a larger disk.")
	case used > diskFull:
		return Warning(said+": it is almost full", "arasul disk clean")
	case float64(h.DiskBytes) < diskRecommended*kept:
		return Warning(said+"; 128 GB or more are recommended", "Nothing needs to be done. arasul setup says which models there is room for.")
	}
	return OK("%s", said)
}

func (h Hardware) gpu() Finding {
	switch {
	case len(h.GPUs) > 0:
		return OK("%s", strings.Join(h.GPUs, ", "))
	case h.NVIDIA:
		return Bad("there is an NVIDIA GPU, and its driver does not answer", "nvidia-smi says why; systemctl status arasul-gpu; after a new driver or kernel: reboot.")
	}
	return Warning("none: models run on the processor, which is slow", "Nothing needs to be done. A model of 1 to 4 billion parameters is usable without a GPU: arasul setup")
}

// size writes bytes the way they are sold: in powers of ten.
func size(bytes uint64) string {
	switch {
	case bytes >= 1e12:
		return fmt.Sprintf("%.1f TB", float64(bytes)/1e12)
	case bytes >= 1e10:
		return fmt.Sprintf("%.0f GB", float64(bytes)/1e9)
	case bytes >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(bytes)/1e9)
	}
	return fmt.Sprintf("%.0f MB", float64(bytes)/1e6)
}

// System is what the system under us is like.
type System struct {
	Systemd      int    // version; 0: it does not run
	Synchronised bool   // the clock follows another one
	Podman       string // version; empty: not installed
	Ports        []Port // that others hold, of those that are ours
	MDNS         string // how far announcing has come, in words; empty: nobody told
	Announced    string // the name that is announced; empty: none
}

// Port is one that we need and another program has.
type Port struct {
	Number int
	Holder string // the program; may be empty
}

// SystemSteps look at the system that we are installed on. Install installs a
// package of the distribution.
func SystemSteps(look func(context.Context) System, install func(ctx context.Context, name string, say Progress) error) []Step {
	on := func(judge func(System) Finding) func(context.Context) Finding {
		return func(ctx context.Context) Finding { return judge(look(ctx)) }
	}
	return []Step{
		{ID: "system", Title: "System", Check: on(System.service)},
		{ID: "clock", Title: "Clock", Check: on(System.clock)},
		{ID: "ports", Title: "Ports 80 and 443", Check: on(System.ports)},
		{ID: "mdns", Title: "Name in the network", Check: on(System.mdns)},
		{
			ID: "podman", Title: "Podman", Check: on(System.podman), FixWithin: 15 * time.Minute,
			Fix: func(ctx context.Context, say Progress) error { return install(ctx, "podman", say) },
		},
	}
}

func (s System) service() Finding {
	switch {
	case s.Systemd == 0:
		return Bad("systemd does not run here", "Arasul needs a machine that was booted with systemd.")
	case s.Systemd < 249:
		return Bad(fmt.Sprintf("systemd %d is too old", s.Systemd), "Arasul needs systemd 249 or newer: Debian 12, Ubuntu 22.04 or later.")
	}
	return OK("systemd %d", s.Systemd)
}

func (s System) clock() Finding {
	if s.Synchronised {
		return OK("it follows a time server")
	}
	return Warning("it follows no time server: certificates and logins depend on the right time",
		"timedatectl set-ntp true, where the network has a time server; without one: timedatectl set-time 'YYYY-MM-DD HH:MM'")
}

// takeDoors takes the ports once they are free. A socket cannot be started while
// its service runs, which it does when it has got the other port.
const takeDoors = "systemctl stop arasul-proxy.service; systemctl reset-failed 'arasul-proxy*'; systemctl start arasul-proxy.socket arasul-proxy-tls.socket arasul-proxy.service"

func (s System) ports() Finding {
	if len(s.Ports) == 0 {
		return OK("ours")
	}
	p := s.Ports[0]
	by := "another program"
	if p.Holder != "" {
		by = p.Holder
	}
	fix := fmt.Sprintf("ss -ltnp 'sport = :%d' names it; stop it, then: %s", p.Number, takeDoors)
	if p.Holder != "" {
		fix = fmt.Sprintf("systemctl disable --now %s, where its unit is called so; then: %s", p.Holder, takeDoors)
	}
	return Bad(fmt.Sprintf("port %d belongs to %s, so nobody can reach the page there", p.Number, by), fix)
}

func (s System) mdns() Finding {
	switch {
	case s.Announced != "":
		return OK("%s", s.Announced)
	case s.MDNS != "":
		return Warning(s.MDNS, "systemctl status arasul-mdns; the machine can be reached by its address, too.")
	}
	return Warning("nothing is announced", "systemctl restart arasul-mdns; the machine can be reached by its address, too.")
}

func (s System) podman() Finding {
	if s.Podman == "" {
		return Bad("it is not installed, and applications run in it", "apt install podman")
	}
	return OK("%s", s.Podman)
}
