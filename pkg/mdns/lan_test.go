package mdns

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// The tests of this file run the real thing in a network of two machines: two
// network namespaces joined by a cable (a veth pair), avahi-daemon on a
// private dbus-daemon. Everything ends with the processes that hold it.

const (
	addrA, addrB = "192.168.77.1", "192.168.77.2"
	nobody       = 65534
)

// TestMain runs the tests, or, inside a namespace, the program under test.
func TestMain(m *testing.M) {
	switch os.Getenv("MDNS_TEST_CHILD") {
	case "hold": // keeps a namespace until the test closes the pipe
		io.Copy(io.Discard, os.Stdin)
	case "announce":
		// As the unit runs it: an ordinary user without a capability.
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody)); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		a := Announcement{Name: "arasul", Aliases: []string{S3("arasul")}, Port: 80, TXT: []string{"path=/"}}
		log := slog.New(slog.NewTextHandler(os.Stderr, nil))
		if err := Run(ctx, a, log, func(s string) { fmt.Println(s) }, func() {}); err != nil {
			fmt.Println("error:", err)
		}
	default:
		os.Exit(m.Run())
	}
}

// need stops the test when a program is missing.
func need(t *testing.T, programs ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("needs root for network namespaces")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Fatalf("%v: run scripts/deps", err)
		}
	}
}

// machine is one network namespace.
type machine struct {
	t   *testing.T
	pid int
	bus string // address of its system bus, empty without one
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "MDNS_TEST_CHILD=hold")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("starting a network namespace: %v", err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	return &machine{t: t, pid: cmd.Process.Pid}
}

// lan joins two machines by a cable called eth0 at both ends.
func lan(t *testing.T) (a, b *machine) {
	t.Helper()
	t.Parallel() // they wait, they do not work
	need(t, "ip", "nsenter", "dbus-daemon", "avahi-daemon")
	a, b = newMachine(t), newMachine(t)
	a.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprint(b.pid))
	for m, addr := range map[*machine]string{a: addrA, b: addrB} {
		m.run("ip", "link", "set", "lo", "up")
		m.run("ip", "addr", "add", addr+"/24", "dev", "eth0")
		m.run("ip", "link", "set", "eth0", "up")
	}
	return a, b
}

// command is a command in m's network.
func (m *machine) command(args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"-t", fmt.Sprint(m.pid), "-n", "--"}, args...)...)
	bus := m.bus
	if bus == "" {
		bus = "unix:path=/nonexistent"
	}
	cmd.Env = append(os.Environ(), "DBUS_SYSTEM_BUS_ADDRESS="+bus)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

func (m *machine) run(args ...string) {
	m.t.Helper()
	if out, err := m.command(args...).CombinedOutput(); err != nil {
		m.t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

// process is a running program whose output lines can be waited for.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
	seen  []string
}

func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, lines: make(chan string, 1000)}
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	go func() { // ends with the process, whose exit stop waits for
		defer close(p.lines)
		defer out.Close()
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	t.Cleanup(func() { p.stop(syscall.SIGKILL) })
	return p
}

// stop sends sig and waits for the end of process and output.
func (p *process) stop(sig syscall.Signal) {
	if p.cmd.ProcessState != nil {
		return
	}
	p.cmd.Process.Signal(sig)
	guard := time.AfterFunc(10*time.Second, func() { p.cmd.Process.Kill() })
	p.cmd.Wait()
	if !guard.Stop() {
		p.t.Errorf("%v did not end on %v", p.cmd.Args, sig)
	}
	for range p.lines {
	}
}

// await waits until a line contains want.
func (p *process) await(want string) {
	p.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case line, ok := <-p.lines:
			p.seen = append(p.seen, line)
			if strings.Contains(line, want) {
				return
			}
			if !ok {
				p.t.Fatalf("ended before %q:\n%s", want, strings.Join(p.seen, "\n"))
			}
		case <-deadline:
			p.t.Fatalf("no %q within 20 s:\n%s", want, strings.Join(p.seen, "\n"))
		}
	}
}

// announce runs the program under test.
func (m *machine) announce() *process {
	cmd := m.command(os.Args[0])
	cmd.Env = append(cmd.Env, "MDNS_TEST_CHILD=announce")
	return start(m.t, cmd)
}

// startBus gives m a system bus with the default policy, which allows nothing,
// and the one that the distribution ships for avahi.
func (m *machine) startBus() {
	m.t.Helper()
	dir, err := os.MkdirTemp("", "mdns") // short: a socket path has 108 bytes
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		m.t.Fatal(err)
	}
	conf := filepath.Join(dir, "bus.conf")
	m.bus = "unix:path=" + filepath.Join(dir, "bus")
	m.write(conf, `<busconfig><type>system</type><listen>`+m.bus+`</listen><auth>EXTERNAL</auth>
<policy context="default">
  <allow user="*"/><deny own="*"/><deny send_type="method_call"/><allow send_type="signal"/>
  <allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/>
  <allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/><allow receive_type="signal"/>
  <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
</policy>
<include ignore_missing="yes">/usr/share/dbus-1/system.d/avahi-dbus.conf</include>
<include ignore_missing="yes">/etc/dbus-1/system.d/avahi-dbus.conf</include></busconfig>`)
	start(m.t, m.command("dbus-daemon", "--nofork", "--nopidfile", "--print-address", "--config-file="+conf)).await("unix:")
}

// startAvahi runs avahi-daemon with the given host name on m's bus. It has a
// /run of its own for its pid file.
func (m *machine) startAvahi(host string) *process {
	m.t.Helper()
	conf := filepath.Join(m.t.TempDir(), "avahi.conf")
	m.write(conf, "[server]\nhost-name="+host+"\nenable-dbus=yes\n[publish]\npublish-workstation=no\n")
	cmd := m.command("unshare", "-m", "sh", "-c", `mount -t tmpfs tmpfs /run && exec avahi-daemon --no-drop-root --no-chroot --no-rlimits --no-proc-title -f "$0"`, conf)
	p := start(m.t, cmd)
	p.await("Server startup complete")
	return p
}

func (m *machine) write(path, text string) {
	m.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// ear opens port 5353 in m's network: a socket belongs to the namespace in
// which its thread was when it was made. The thread goes back afterwards; if
// it ended instead, Pdeathsig would kill the children it once started.
func (m *machine) ear() *net.UDPConn {
	m.t.Helper()
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		m.t.Fatal(err)
	}
	defer home.Close()
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", m.pid))
	if err != nil {
		m.t.Fatal(err)
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		m.t.Fatalf("entering the namespace: %v", err)
	}
	var conn *net.UDPConn
	eth0, err := net.InterfaceByName("eth0")
	if err == nil {
		conn, err = net.ListenMulticastUDP("udp4", eth0, group4)
	}
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		m.t.Fatalf("leaving the namespace: %v", back) // the thread stays locked, and ends
	}
	runtime.UnlockOSThread()
	if err != nil {
		m.t.Fatalf("listening in the namespace: %v", err)
	}
	m.t.Cleanup(func() { conn.Close() })
	return conn
}

// hear asks for name again and again (never when qtype is zero) until a record
// satisfies ok, at most 15 seconds.
func hear(t *testing.T, ear *net.UDPConn, name string, qtype uint16, ok func(dns.RR) bool) {
	t.Helper()
	q := new(dns.Msg).SetQuestion(name, qtype)
	q.Id, q.RecursionDesired = 0, false
	ask, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, maxPacket)
	var heard []string
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); {
		if qtype != 0 {
			if _, err := ear.WriteTo(ask, group4); err != nil {
				t.Fatal(err)
			}
		}
		ear.SetReadDeadline(time.Now().Add(time.Second))
		for {
			n, _, err := ear.ReadFrom(buf)
			if err != nil {
				break
			}
			var m dns.Msg
			if m.Unpack(buf[:n]) != nil || !m.Response {
				continue
			}
			for _, rr := range append(m.Answer, m.Extra...) {
				heard = append(heard, rr.String())
				if ok(rr) {
					return
				}
			}
		}
	}
	t.Fatalf("no answer for %s; heard:\n%s", name, strings.Join(heard, "\n"))
}

// isAddress matches a live address record.
func isAddress(name, addr string) func(dns.RR) bool {
	return func(rr dns.RR) bool {
		a, ok := rr.(*dns.A)
		return ok && a.Hdr.Name == name && a.Hdr.Ttl > 0 && a.A.String() == addr
	}
}

func isService(target string) func(dns.RR) bool {
	return func(rr dns.RR) bool {
		s, ok := rr.(*dns.SRV)
		return ok && s.Port == 80 && s.Target == target && strings.HasPrefix(s.Hdr.Name, "Arasul")
	}
}

// isGoodbye matches the farewell of an address.
func isGoodbye(name string) func(dns.RR) bool {
	return func(rr dns.RR) bool {
		a, ok := rr.(*dns.A)
		return ok && a.Hdr.Name == name && a.Hdr.Ttl == 0
	}
}

// Proves PKG-1: the name and the service are found from another machine, with
// avahi and without.
func TestNameAndServiceAreFoundFromAnotherMachine(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"avahi", "zeroconf"} {
		t.Run(how, func(t *testing.T) {
			a, b := lan(t)
			if how == "avahi" {
				a.startBus()
				a.startAvahi("somehost")
			}
			p := a.announce()
			p.await("announced as arasul.local through " + how + " on eth0")
			ear := b.ear()
			hear(t, ear, "arasul.local.", dns.TypeA, isAddress("arasul.local.", addrA))
			hear(t, ear, "arasul-s3.local.", dns.TypeA, isAddress("arasul-s3.local.", addrA))
			hear(t, ear, "_http._tcp.local.", dns.TypePTR, isService("arasul.local."))
			p.cmd.Process.Signal(syscall.SIGTERM)
			hear(t, ear, "arasul.local.", 0, isGoodbye("arasul.local."))
			p.stop(syscall.SIGTERM)
		})
	}
}

func TestAvahisOwnHostNameIsUsedWhenItIsOurs(t *testing.T) {
	a, b := lan(t)
	a.startBus()
	a.startAvahi("arasul")
	a.announce().await("announced as arasul.local through avahi")
	ear := b.ear()
	hear(t, ear, "_http._tcp.local.", dns.TypePTR, isService("arasul.local."))
	hear(t, ear, "arasul.local.", dns.TypeA, isAddress("arasul.local.", addrA))
}

func TestSecondMachineOfTheSameNameGetsANumber(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"avahi", "zeroconf"} {
		t.Run(how, func(t *testing.T) {
			a, b := lan(t)
			b.announce().await("announced as arasul.local through zeroconf")
			if how == "avahi" {
				a.startBus()
				a.startAvahi("somehost")
			}
			p := a.announce()
			p.await("announced as arasul-2.local through " + how)
			ear := b.ear()
			hear(t, ear, "arasul-2.local.", dns.TypeA, isAddress("arasul-2.local.", addrA))
			hear(t, ear, "arasul-s3-2.local.", dns.TypeA, isAddress("arasul-s3-2.local.", addrA))
			hear(t, a.ear(), "arasul.local.", dns.TypeA, isAddress("arasul.local.", addrB))
			hear(t, ear, "_http._tcp.local.", dns.TypePTR, isService("arasul-2.local."))
		})
	}
}

// Two appliances that get power at the same moment must end with two names.
func TestTwoMachinesStartingTogetherEndWithTwoNames(t *testing.T) {
	a, b := lan(t)
	pa, pb := a.announce(), b.announce()
	pb.await("announced as arasul.local") // the later address keeps it
	pa.await("announced as arasul-2.local")
}

func TestAvahiTakesOverWhenItComesAndIsReplacedWhenItGoes(t *testing.T) {
	a, b := lan(t)
	a.startBus()
	p := a.announce()
	p.await("announced as arasul.local through zeroconf")
	avahi := a.startAvahi("arasul") // the hardest case: avahi wants our very name
	p.await("announced as arasul.local through avahi")
	ear := b.ear()
	hear(t, ear, "arasul.local.", dns.TypeA, isAddress("arasul.local.", addrA))
	avahi.stop(syscall.SIGKILL)
	p.await("announced as arasul.local through zeroconf")
	hear(t, ear, "arasul.local.", dns.TypeA, isAddress("arasul.local.", addrA))
	a.startAvahi("somehost")
	p.await("announced as arasul.local through avahi")
}

// Proves PKG-1: without a network the daemon stays and says so.
func TestNetworkThatComesLateOrChangesIsFollowed(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"avahi", "zeroconf"} {
		t.Run(how, func(t *testing.T) {
			a, b := lan(t)
			a.run("ip", "link", "set", "eth0", "down")
			if how == "avahi" {
				a.startBus()
				a.startAvahi("somehost")
			}
			p := a.announce()
			p.await("no network to announce on")
			a.run("ip", "link", "set", "eth0", "up")
			p.await("announced as arasul.local")
			a.run("ip", "addr", "add", "192.168.77.9/24", "dev", "eth0")
			hear(t, b.ear(), "arasul.local.", dns.TypeA, isAddress("arasul.local.", "192.168.77.9"))
			a.run("ip", "link", "del", "eth0")
			p.await("no network to announce on")
		})
	}
}
