package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/activation"

	"github.com/arasul/arasul/pkg/stream"
)

const (
	drain         = 500 * time.Millisecond // an ordinary answer takes less than 200 ms (spec API)
	shutdownGrace = 5 * time.Second
	newcomer      = 250 * time.Millisecond // for a new connection to ask for something
	socketCheck   = 5 * time.Second
	writeWithin   = time.Minute // for a client of HTTP/2 to take something of what waits for it
)

// Listeners returns the sockets that systemd passed under the given
// FileDescriptorName. It is an error when there is none: a daemon that is
// socket-activated has no other way to its address.
func Listeners(name string) ([]net.Listener, error) {
	named, err := passed()
	if err != nil {
		return nil, fmt.Errorf("taking sockets from systemd: %w", err)
	}
	if len(named[name]) == 0 {
		return nil, fmt.Errorf("systemd passed no socket named %q: start the .socket unit", name)
	}
	return named[name], nil
}

// passed are all sockets of systemd's: it tells of them once.
var passed = sync.OnceValues(activation.ListenersWithNames)

// File returns the file that systemd opened for us under the given
// FileDescriptorName, or nil.
func File(name string) *os.File {
	for _, f := range activation.Files(false) {
		if f.Name() == name {
			return f
		}
	}
	return nil
}

// ListenUnix listens on a new unix socket at path with the given mode. A
// leftover of an earlier run is replaced; the runtime directory belongs to one
// unit, so nobody else can be using it.
func ListenUnix(path string, mode os.FileMode) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing old socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, mode); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("opening socket to its group: %w", err)
	}
	return ownSocket{l, path}, nil
}

// ownSocket is a socket that this process made itself.
type ownSocket struct {
	net.Listener
	path string
}

// lost waits until somebody has removed the socket's name: nobody can come in
// any more, and only a new start makes it again.
func (s ownSocket) lost(ctx context.Context) error {
	tick := time.NewTicker(socketCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if _, err := os.Lstat(s.path); errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("serving %s: the socket was removed", s.path)
			}
		}
	}
}

// Serve answers HTTP on the listener until ctx ends. Then requests under way
// have half a second to finish before their contexts end, and five until they
// are cut off; streams of package stream end at once. Headers are limited to 64 KiB and must arrive
// within 5 s; bodies and answers are the handler's to limit, since some are
// streams. A socket of ListenUnix whose name is removed ends it with an error.
// Options change the server before it begins, such as its ConnContext.
func Serve(ctx context.Context, l net.Listener, h http.Handler, options ...func(*http.Server)) error {
	return serveHTTP(ctx, l, h, nil, options...)
}

// ServeTLS is Serve for HTTPS, in HTTP/2 where the client can. The handshake,
// too, must be done within 5 s.
func ServeTLS(ctx context.Context, l net.Listener, h http.Handler, cfg *tls.Config) error {
	return serveHTTP(ctx, l, h, cfg)
}

func serveHTTP(ctx context.Context, l net.Listener, h http.Handler, secure *tls.Config, options ...func(*http.Server)) error {
	requests, release := context.WithCancel(context.WithoutCancel(ctx))
	defer release()
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		TLSConfig:         secure,
		HTTP2:             &http.HTTP2Config{WriteByteTimeout: writeWithin}, // HTTP/1 leaves it to the handler
		ErrorLog:          slog.NewLogLogger(serverLog{slog.Default().Handler()}, slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return stream.WithEnd(requests, ctx.Done()) },
	}
	for _, change := range options {
		change(server)
	}
	var fresh newcomers
	fresh.watch(server)
	door := &closedOnce{Listener: l}
	ended := make(chan struct{})
	var failure error
	go func() {
		defer close(ended)
		if secure != nil {
			failure = server.ServeTLS(door, "", "")
		} else {
			failure = server.Serve(door)
		}
	}()
	lost := make(chan error, 1)
	if own, ok := l.(ownSocket); ok {
		go func() { lost <- own.lost(requests) }()
	}
	select {
	case <-ended:
		return fmt.Errorf("serving %s: %w", l.Addr(), failure)
	case err := <-lost:
		_ = server.Close()
		<-ended
		return err
	case <-ctx.Done():
	}
	defer time.AfterFunc(drain, release).Stop()
	// A server that shuts down drops the request that a new connection has just
	// sent (go.dev/issue/75591). So nobody else comes in first, and who came in
	// last is answered; then it shuts down.
	_ = door.Close()
	<-ended
	server.SetKeepAlivesEnabled(false)
	fresh.wait(newcomer)
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		_ = server.Close()
	}
	return ctx.Err()
}

// serverLog passes on what net/http has to say, but for handshakes that failed:
// any scanner, and any browser that does not trust us yet, could fill the log.
type serverLog struct{ slog.Handler }

// Handle is for slog.
func (h serverLog) Handle(ctx context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "http: TLS handshake error") {
		return nil
	}
	said := slog.NewRecord(r.Time, r.Level, "http server", r.PC)
	said.AddAttrs(slog.String("err", r.Message))
	return h.Handler.Handle(ctx, said)
}
