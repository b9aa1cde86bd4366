package main

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/arasul/arasul/pkg/daemon"
	"github.com/arasul/arasul/pkg/host"
)

// serveNetwork answers GET /network: this daemon sees the network, which the
// dashboard does not. Said is the newest word of package mdns on how far it has
// come.
func serveNetwork(ctx context.Context, d *daemon.Daemon, said *atomic.Pointer[string]) error {
	socket, err := daemon.ListenUnix(mdnsSocket, 0o660)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /network", func(w http.ResponseWriter, _ *http.Request) {
		n, err := host.Network()
		if err != nil {
			d.Log.Warn("network not looked at", "err", err)
			http.Error(w, "the network cannot be looked at", http.StatusServiceUnavailable)
			return
		}
		if text := said.Load(); text != nil {
			n.MDNS = *text
			if name, ok := strings.CutPrefix(*text, "announced as "); ok {
				n.MDNSName, _, _ = strings.Cut(name, " ")
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(n) // the client has gone: nobody is left to tell
	})
	return daemon.Serve(ctx, socket, mux)
}
