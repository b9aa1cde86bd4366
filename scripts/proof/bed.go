// Package proof tests the package as its owner meets it: installed by apt on a
// machine that boots its own systemd (build tag machine), and on one with a
// kernel, a USB port and a power cord of its own (build tag box).
//
// It knows nothing of the code: it drives scripts/machine and scripts/box, the
// programs of the package and its HTTP API, and looks at what a person could
// look at. Run it with scripts/proof/run, which builds what it needs.
package proof

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// bed is one test machine or box.
type bed struct {
	t      testing.TB
	script string // scripts/machine or scripts/box
	name   string
	addr   string // http://…/, as up printed it
	web    string // https://…, without a slash at its end
}

// up boots a bed and takes it down when the test ends. Args go to up.
func up(t testing.TB, script, name string, args ...string) *bed {
	t.Helper()
	b := boot(t, script, name, args...)
	t.Cleanup(func() { b.do("down") })
	return b
}

// tests says whose a bed is, by its name: two tests that run beside each other need two
// names, and those that share one by mistake fail in every run and not just in some.
var tests sync.Map

// boot boots a bed. One that could not come up leaves nothing behind.
func boot(t testing.TB, script, name string, args ...string) *bed {
	t.Helper()
	if other, _ := tests.LoadOrStore(name, t.Name()); other != t.Name() {
		t.Fatalf("%s calls its %s %s too", other, script, name)
	}
	b := &bed{t: t, script: filepath.Join("..", script), name: name}
	for _, word := range strings.Fields(b.do("up", args...)) {
		switch {
		case strings.HasPrefix(word, "https://"):
			b.web = strings.TrimSuffix(word, "/")
		case strings.HasPrefix(word, "http://"):
			b.addr = word
		}
	}
	if b.web == "" { // a machine has an address of its own, with both ports
		b.web = "https://" + strings.TrimSuffix(strings.TrimPrefix(b.addr, "http://"), "/")
	}
	if script == "machine" { // where dialFrom says to come from
		b.sh("ip route replace local 10.99.0.0/16 dev lo; ip route replace local 198.18.0.0/15 dev lo")
	}
	return b
}

// deb is the package under test.
func deb(t testing.TB) string {
	t.Helper()
	path := os.Getenv("ARASUL_DEB")
	if path == "" {
		t.Fatal("ARASUL_DEB names no package: run scripts/proof/run")
	}
	return path
}

// do runs one command of the bed's script and returns its output; the test
// ends when it fails.
func (b *bed) do(command string, args ...string) string {
	b.t.Helper()
	out, errOut, code := run(b.t, nil, 10*time.Minute, append([]string{b.script, command, "--name", b.name}, args...)...)
	if code != 0 {
		b.t.Fatalf("%s %s: exit status %d\n%s%s", b.script, command, code, out, errOut)
	}
	return out
}

// try runs a command in the bed.
func (b *bed) try(args ...string) (stdout, stderr string, code int) {
	b.t.Helper()
	return run(b.t, nil, 5*time.Minute, append([]string{b.script, "exec", "--name", b.name, "--"}, args...)...)
}

// run runs a command in the bed and returns what it printed; the test ends when
// it fails.
func (b *bed) run(args ...string) string {
	b.t.Helper()
	out, errOut, code := b.try(args...)
	if code != 0 {
		b.t.Fatalf("%s: exit status %d\n%s%s", strings.Join(args, " "), code, out, errOut)
	}
	return out
}

// sh runs a shell script in the bed.
func (b *bed) sh(script string) string {
	b.t.Helper()
	return b.run("sh", "-c", script)
}

// run runs a command here, with a limit.
func run(t testing.TB, stdin []byte, limit time.Duration, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &errOut
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		code = exit.ExitCode()
	default:
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return out.String(), errOut.String(), code
}

// eventually asks until the answer is nil, for at most the given time. A
// machine does things in its own time, so there is no moment to wait for.
func eventually(t testing.TB, within time.Duration, ask func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %v", within, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
