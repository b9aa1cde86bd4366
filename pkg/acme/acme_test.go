package acme

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/arasul/arasul/pkg/daemon"
	"github.com/arasul/arasul/pkg/proxy"
)

const domain = "box.example.com"

// authority is letsencrypt/pebble, which asks port for the answers.
type authority struct {
	directory, rootFile string
	root                *x509.CertPool // of the certificates that it gives
}

func startAuthority(t *testing.T, port int) authority {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "pebble")
	build := exec.Command("go", "build", "-o", bin, ".")
	build.Dir = "../../scripts/pebble"
	build.Env = append(os.Environ(), "GOFLAGS=-mod=readonly")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building pebble: %v\n%s", err, out)
	}
	a := authority{rootFile: filepath.Join(t.TempDir(), "root.pem")}
	cmd := exec.Command(bin, a.rootFile, fmt.Sprint(port))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	lines := bufio.NewScanner(out)
	var said []string
	for len(said) < 2 && lines.Scan() {
		said = append(said, lines.Text())
	}
	if len(said) < 2 {
		t.Fatalf("pebble said %q", said)
	}
	a.directory = said[0]
	trust := x509.NewCertPool()
	pem, err := os.ReadFile(a.rootFile)
	if err != nil || !trust.AppendCertsFromPEM(pem) {
		t.Fatalf("pebble's own root: %v", err)
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}}}
	resp, err := client.Get(said[1])
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	pem, _ = io.ReadAll(resp.Body)
	if a.root = x509.NewCertPool(); !a.root.AppendCertsFromPEM(pem) {
		t.Fatalf("pebble's root: %s", pem)
	}
	return a
}

// The whole way, with a real authority: it asks the proxy's plain port, which
// asks the daemon's socket; the certificate is then what the proxy's other port
// shows.
func TestAuthorityGivesACertificateThatTheProxyShows(t *testing.T) {
	folder := t.TempDir()
	socket := filepath.Join(t.TempDir(), "acme.sock")
	keyring := proxy.NewKeyring(proxy.Files{ACME: folder}, nil)
	hosts := func() []string { return []string{domain} }
	doors := proxy.NewDoors(proxy.TLSOptions{Keyring: keyring, Hosts: hosts, Challenges: socket, PublicACME: func() bool { return true }})
	dashboard := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "page") })
	plain := httptest.NewServer(doors.Plain(dashboard))
	defer plain.Close()
	a := startAuthority(t, plain.Listener.Addr().(*net.TCPAddr).Port)

	// A certificate of a name that was configured before.
	old := filepath.Join(folder, "old.example.com.crt")
	if err := os.WriteFile(old, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := New(Options{Domain: domain, Email: "owner@example.com", Directory: a.directory, CARoot: a.rootFile, Folder: folder, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	l, err := daemon.ListenUnix(socket, 0o660)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	done := make(chan error, 3)
	go func() { done <- daemon.Serve(ctx, l, c.Handler()) }()
	go func() { done <- c.Run(ctx) }()
	go func() { done <- keyring.Run(ctx) }()
	defer func() { cancel(); <-done; <-done; <-done }()

	secure, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: doors.Secure(dashboard), TLSConfig: keyring.TLSConfig(), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	go server.ServeTLS(secure, "", "")
	defer server.Close()

	browser := http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: a.root},
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", secure.Addr().String())
		},
	}}
	var resp *http.Response
	for {
		if resp, err = browser.Get("https://" + domain + "/"); err == nil {
			break
		}
		select {
		case err := <-done:
			done <- err
			t.Fatal(err)
		case <-ctx.Done():
			t.Fatalf("no certificate in a minute: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	resp.Body.Close()
	if got := resp.Header.Get("Strict-Transport-Security"); got != "max-age=31536000" {
		t.Errorf("with a certificate that everybody trusts, HSTS is %q", got)
	}
	if _, err := os.Lstat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old name's certificate: %v", err)
	}
	for name, mode := range map[string]os.FileMode{domain + ".key": 0o640, domain + ".crt": 0o644, "store": os.ModeDir | 0o700} {
		st, err := os.Stat(filepath.Join(folder, name))
		if err != nil {
			t.Error(err)
		} else if st.Mode() != mode {
			t.Errorf("%s is %s, want %s", name, st.Mode(), mode)
		}
	}

	// What the port without TLS does now.
	r, err := http.NewRequest(http.MethodGet, plain.URL+"/n8n/?a=b", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = domain
	if resp, err = http.DefaultTransport.RoundTrip(r); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusPermanentRedirect || resp.Header.Get("Location") != "https://"+domain+"/n8n/?a=b" {
		t.Errorf("without TLS: %s to %q", resp.Status, resp.Header.Get("Location"))
	}
}

func TestRootThatIsNoneIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(file, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, root := range []string{file, file + ".missing"} {
		_, err := New(Options{Domain: domain, Directory: "https://127.0.0.1:1/", CARoot: root, Folder: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.HasPrefix(err.Error(), "reading the authority's root") {
			t.Errorf("%s: %v", root, err)
		}
	}
}

func TestQuestionsThatNobodyAskedForAreNotAnswered(t *testing.T) {
	c, err := New(Options{Domain: domain, Directory: "https://127.0.0.1:1/", Folder: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, path := range []string{"/", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/token", "/.well-known/acme-challenge/../store"} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.Path, r.Host = path, domain
		c.Handler().ServeHTTP(w, r)
		if w.Code != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}
