package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
)

// shutdownGrace is how long open requests may finish after SIGTERM. Streams
// end at once: their request context is the daemon's.
const shutdownGrace = 5 * time.Second

// Listeners returns the sockets that systemd passed under the given
// FileDescriptorName. It is an error when there is none: a daemon that is
// socket-activated has no other way to its address.
func Listeners(name string) ([]net.Listener, error) {
	named, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("taking sockets from systemd: %w", err)
	}
	if len(named[name]) == 0 {
		return nil, fmt.Errorf("systemd passed no socket named %q: start the .socket unit", name)
	}
	return named[name], nil
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
	return l, nil
}

// Serve answers HTTP on the listener until ctx ends, then lets open requests
// finish for up to five seconds. Headers are limited to 64 KiB and must arrive
// within 5 s; bodies and answers are the handler's to limit, since some are
// streams.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	ended := make(chan struct{})
	var failure error
	go func() {
		defer close(ended)
		failure = server.Serve(l)
	}()
	select {
	case <-ended:
		return fmt.Errorf("serving %s: %w", l.Addr(), failure)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		_ = server.Close()
	}
	<-ended
	return ctx.Err()
}
