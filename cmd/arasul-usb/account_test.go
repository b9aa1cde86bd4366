package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/client"
	"github.com/arasul/arasul/pkg/usb"
)

// Proves UPD-6: whatever is on a stick, the page hears of it in bounded and valid text.
func TestAccountOfAStick(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "updater")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan api.Stick, 1)
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var s api.Stick
		if err := json.NewDecoder(r.Body).Decode(&s); err != nil || r.URL.Path != "/stick" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		heard <- s
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })

	a := newAccount("a\xffb")
	a.refused("first", errors.New("no"))
	a.file("first").Version = "1.0.0"
	for i := range maxNamed {
		a.refused(fmt.Sprint("old ", i), errors.New("old"))
	}
	a.file("last").Taken = true
	a.tell(client.New(socket), usb.Report{}, errors.New("pulled"), slog.New(slog.DiscardHandler))
	s := <-heard
	if s.Label != "a\uFFFDb" || s.Error != "pulled" || s.Time.IsZero() || len(s.Files) != maxNamed {
		t.Errorf("%q, %q, at %s, %d files", s.Label, s.Error, s.Time, len(s.Files))
	}
	if f := s.Files[0]; f.Name != "last" || !f.Taken { // whatever else there is
		t.Errorf("%+v", f)
	}
	if f := s.Files[1]; f.Name != "first" || f.Version != "1.0.0" || f.Problem == nil || f.Problem.Message != "no" || f.Taken {
		t.Errorf("%+v", f)
	}

	found := usb.Report{Refused: []usb.Refusal{{Name: strings.Repeat("x", 2*maxName), Reason: "a folder, not a file"}}}
	newAccount("").tell(client.New(socket), found, nil, slog.New(slog.DiscardHandler))
	s = <-heard
	if f := s.Files[0]; len(f.Name) != maxName || f.Problem == nil || f.Problem.Message != "a folder, not a file" {
		t.Errorf("%d bytes, %+v", len(f.Name), f.Problem)
	}
}
