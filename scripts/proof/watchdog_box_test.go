//go:build box

package proof

import (
	"strings"
	"testing"
	"time"
)

// Proves OPS-2: a machine whose kernel hangs is reset by its hardware's watchdog, which
// the package has PID 1 feed, and is well after it.
func TestBoxWhoseKernelHangsComesBack(t *testing.T) {
	b := theBox.take(t)
	b.well(2 * time.Minute)
	const watchdog = "/sys/class/watchdog/watchdog0/"
	if got := strings.Fields(b.run("cat", watchdog+"state", watchdog+"timeout")); strings.Join(got, " ") != "active 120" {
		t.Errorf("the watchdog is %s, want active, and 120 s", got)
	}
	if got := b.run("systemctl", "show", "--value", "--property=RebootWatchdogUSec"); strings.TrimSpace(got) != "4min" {
		t.Errorf("at the end of a shutdown it waits %s", got)
	}

	// Two minutes less, for us.
	b.run("busctl", "set-property", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "RuntimeWatchdogUSec", "t", "20000000")
	// A kernel that panics stands still: it does not reboot by itself.
	if got := strings.TrimSpace(b.run("cat", "/proc/sys/kernel/panic")); got != "0" {
		t.Fatalf("the kernel reboots %s s after a panic, and proves nothing", got)
	}
	hung := time.Now()
	b.bootsAgain(func() {
		b.run("systemd-run", "--collect", "--on-active=1s", "sh", "-c", "echo c >/proc/sysrq-trigger")
	})
	b.well(2 * time.Minute)
	t.Logf("figure: well again %s after its kernel stood still", time.Since(hung).Round(time.Second))
}
