package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/arasul/arasul/pkg/daemon"
	"github.com/arasul/arasul/pkg/proxy"
)

// TestMain runs the tests, or is the proxy that systemd would have started.
func TestMain(m *testing.M) {
	dashboard := os.Getenv("PROXY_TEST_DASHBOARD")
	if dashboard == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	listeners, err := daemon.Listeners("http")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("ready")
	if err := daemon.Serve(ctx, listeners[0], proxy.New(proxy.Options{Dashboard: dashboard}).Handler()); !errors.Is(err, context.Canceled) {
		fmt.Println(err)
	}
}

// start starts a proxy that was handed a listening socket.
func start(t *testing.T, socket *os.File, dashboard string) *exec.Cmd {
	t.Helper()
	// LISTEN_PID is known only after the fork.
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0"`, os.Args[0])
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "PROXY_TEST_DASHBOARD="+dashboard, "LISTEN_FDS=1", "LISTEN_FDNAMES=http")
	cmd.ExtraFiles = []*os.File{socket}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return cmd
}

func stop(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// Proves PROXY-4 in part: the socket is not the proxy's, so that a restart
// refuses no connection and loses no request, those under way included.
func TestRestartLosesNoRequest(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket, err := l.(*net.TCPListener).File() // as systemd holds it
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	dashboard := filepath.Join(t.TempDir(), "s")
	behind, err := net.Listen("unix", dashboard)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	go func() { _ = server.Serve(behind) }()
	defer server.Close()

	var asked, restarts atomic.Int64
	progress := make(chan struct{}, 50) // room for those asked while it restarts
	var clients sync.WaitGroup
	ctx, finish := context.WithCancel(t.Context())
	for i := range 4 {
		clients.Go(func() {
			// Half of them keep their connections, half open one each time.
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: i%2 == 0}}
			for ctx.Err() == nil {
				begin := time.Now()
				resp, err := client.Get("http://" + l.Addr().String() + "/")
				if err != nil || resp.StatusCode != 200 {
					t.Errorf("client %d after %d requests and %d restarts: %v, %v after %v", i, asked.Load(), restarts.Load(), resp, err, time.Since(begin))
					return
				}
				_ = resp.Body.Close()
				asked.Add(1)
				select {
				case progress <- struct{}{}:
				case <-ctx.Done():
				}
			}
		})
	}
	running := start(t, socket, dashboard)
	for range 5 {
		for range 100 {
			select {
			case <-progress:
			case <-time.After(20 * time.Second):
				t.Fatal("no answers")
			}
		}
		stop(t, running) // nobody accepts: clients wait in the kernel
		running = start(t, socket, dashboard)
		restarts.Add(1)
	}
	finish()
	clients.Wait()
	stop(t, running)
	t.Logf("%d requests, %d restarts", asked.Load(), restarts.Load())
}
