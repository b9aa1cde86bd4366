// Package testbus gives a test a D-Bus system bus of its own: a real
// dbus-daemon (Debian's package dbus) that can die, freeze and come back.
//
// It does not put anything on the bus.
package testbus

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// config lets everybody on the bus do everything.
const config = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
`

// Bus is a system bus.
type Bus struct {
	t      *testing.T
	dir    string
	cmd    *exec.Cmd
	output bytes.Buffer
}

// New starts a bus and makes it the system bus of this process until the test
// ends.
func New(t *testing.T) *Bus {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Fatalf("%v: run scripts/deps", err)
	}
	b := &Bus{t: t, dir: t.TempDir()}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+b.socket())
	if err := os.WriteFile(b.file(), fmt.Appendf(nil, config, b.socket()), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Kill)
	b.Start()
	return b
}

func (b *Bus) socket() string { return filepath.Join(b.dir, "bus") }
func (b *Bus) file() string   { return filepath.Join(b.dir, "bus.conf") }

// Start starts the bus, at the address it had before, and waits until it
// listens.
func (b *Bus) Start() {
	b.t.Helper()
	_ = os.Remove(b.socket())
	b.cmd = exec.Command("dbus-daemon", "--nofork", "--nopidfile", "--config-file="+b.file())
	b.cmd.Stdout, b.cmd.Stderr = &b.output, &b.output
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // also when the test panics
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		conn, err := dbus.ConnectSystemBus(dbus.WithContext(b.t.Context()))
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(end) {
			b.Kill()
			b.t.Fatalf("dbus-daemon does not answer: %v\n%s", err, &b.output)
		}
	}
}

// Kill ends the bus at once, and with it all connections.
func (b *Bus) Kill() {
	if b.cmd == nil {
		return
	}
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
	b.cmd = nil
}

// Freeze stops the bus without ending it: it accepts connections and answers
// nothing, until Thaw.
func (b *Bus) Freeze() { b.signal(syscall.SIGSTOP) }

// Thaw lets a frozen bus go on.
func (b *Bus) Thaw() { b.signal(syscall.SIGCONT) }

func (b *Bus) signal(s syscall.Signal) {
	b.t.Helper()
	if err := b.cmd.Process.Signal(s); err != nil {
		b.t.Fatal(err)
	}
}

// Connect joins the bus until the test ends or the bus dies.
func (b *Bus) Connect() *dbus.Conn {
	b.t.Helper()
	conn, err := dbus.ConnectSystemBus()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = conn.Close() })
	return conn
}
