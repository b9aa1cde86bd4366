//go:build machine || box

package proof

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// hand lets package systemd do one thing in the bed, in the healer's own
// sandbox, and returns the error.
func (b *bed) hand(args ...string) error {
	b.t.Helper()
	var run []string
	if _, _, code := b.try("systemctl", "is-active", "dbus.socket"); code == 0 { // systemd-run waits over the bus
		run = b.healersSandbox()
	}
	out, errOut, code := b.try(slices.Concat(run, []string{handsBinary, "-test.run=^TestHand$"}, args)...)
	b.t.Logf("%s: %s", strings.Join(args, " "), strings.Join(strings.Fields(out+errOut), " "))
	if code != 0 {
		return fmt.Errorf("%s%s", out, errOut)
	}
	return nil
}

// healersSandbox is what runs a program like the healer.
func (b *bed) healersSandbox() []string {
	b.t.Helper()
	run := []string{"systemd-run", "--quiet", "--wait", "--pipe", "--collect"}
	for line := range strings.Lines(b.run("sed", "-n", "/^UMask=/,/^$/p", "/usr/lib/systemd/system/arasul-healer.service")) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			run = append(run, "--property="+line)
		}
	}
	if len(run) < 20 {
		b.t.Fatalf("the healer's sandbox is not where it was: %q", run)
	}
	return run
}

const handsBinary = "/usr/local/bin/hands.test"

// buildHands builds the program that hand calls.
func buildHands(t testing.TB) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "hands.test")
	build := exec.Command("go", "test", "-c", "-tags=machine", "-o", path, "../../pkg/systemd")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the hands: %v\n%s", err, out)
	}
	return path
}
