package dashboard

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/bundle"
	"github.com/arasul/arasul/pkg/client"
	"github.com/arasul/arasul/pkg/daemon"
	"github.com/arasul/arasul/pkg/stable"
	updates "github.com/arasul/arasul/pkg/update"
)

// updater is a real one on a real socket, on a machine of files alone: what it
// decides is counted and not carried out.
type updater struct {
	client *client.Client
	key    ed25519.PrivateKey
	runs   int
	t      *testing.T
}

func newUpdater(t *testing.T) *updater {
	t.Helper()
	dir := t.TempDir()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	u := &updater{key: key, t: t}
	for name, text := range map[string]string{
		"keys/me.pem": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		"os-release":  "ID=debian\nVERSION_ID=\"12\"\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	real, err := updates.New(updates.Options{
		Store: updates.Store{FS: stable.OS{}, Dir: filepath.Join(dir, "update")}, KeyDir: filepath.Join(dir, "keys"),
		OS: filepath.Join(dir, "os-release"), Arch: "amd64",
		Program:  func() ([]byte, error) { return []byte("program"), nil },
		Version:  func(context.Context) (string, error) { return "1.0.0", nil },
		Lacks:    func(context.Context, string) (string, error) { return "", nil },
		Run:      func(context.Context) error { u.runs++; return nil },
		Halt:     func(context.Context) error { return nil },
		Progress: func() *api.Update { return nil },
		Chosen:   func() (map[string]string, error) { return nil, nil },
		Free:     func() (int64, error) { return 1 << 40, nil },
		Synced:   func() bool { return true },
		Log:      slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "updater.sock")
	l, err := daemon.ListenUnix(socket, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = daemon.Serve(ctx, l, real.Handler()) }()
	t.Cleanup(func() { stop(); <-done })
	u.client = client.New(socket)
	return u
}

// release is a file of three MiB.
func (u *updater) release(sequence uint64) []byte {
	u.t.Helper()
	d := &bundle.Draft{
		Manifest: bundle.Manifest{
			Release:  bundle.Release{Version: fmt.Sprintf("1.%d.0", sequence), Sequence: sequence, Built: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)},
			Requires: bundle.Requires{Arch: []string{"amd64"}, OS: []string{"debian:12"}},
			Data:     bundle.Data{Class: bundle.Compatible},
			Payloads: []bundle.Payload{{Kind: bundle.Deb, Name: "arasul.deb", Package: "arasul", Version: "1", Arch: "amd64"}},
		},
		Parts: []io.ReadSeeker{bytes.NewReader(bytes.Repeat([]byte("arasul! "), 3<<17))},
	}
	text, err := d.Seal()
	if err != nil {
		u.t.Fatal(err)
	}
	s, err := bundle.Sign(u.key, bundle.ToBeSigned(text))
	if err != nil {
		u.t.Fatal(err)
	}
	var b bytes.Buffer
	if err := d.Write(&b, []bundle.Signature{s}); err != nil {
		u.t.Fatal(err)
	}
	return b.Bytes()
}

// slice sends a part of a file as the page does.
func slice(b *browser, file []byte, from, to int) (*httptest.ResponseRecorder, api.StagedBundle, UpdateProblem) {
	r := httptest.NewRequest(http.MethodPost, "https://arasul.local/api/update/upload", bytes.NewReader(file[from:to]))
	r.Header.Set("Content-Type", "application/octet-stream")
	r.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(file)))
	w := b.ask(r)
	var staged api.StagedBundle
	var no UpdateProblem
	_ = json.Unmarshal(w.Body.Bytes(), &staged)
	_ = json.Unmarshal(w.Body.Bytes(), &no)
	return w, staged, no
}

// Proves UPD-1 and UPD-5 as far as the API goes: a release comes in slices, goes on
// where it broke off, and is installed by its id; all of it is in the audit.
func TestReleaseComesInSlices(t *testing.T) {
	h, u := newHouse(t), newUpdater(t)
	h.opts.Updater = u.client
	owner := h.setUp()
	file := u.release(2)
	// The first slice ends within a chunk, which comes again.
	w, staged, _ := slice(owner, file, 0, 2<<20)
	if w.Code != 200 || staged.Complete || staged.ReceivedBytes >= 2<<20 || staged.ReceivedBytes < 1<<20 || staged.Version != "1.2.0" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	at := int(staged.ReceivedBytes)
	if w, _, no := slice(owner, file, at+1, len(file)); w.Code != 409 || no.Received != int64(at) {
		t.Errorf("a hole: %d %s", w.Code, w.Body)
	}
	if w, again, _ := slice(owner, file, 0, 2<<20); w.Code != 200 || again.ReceivedBytes != int64(at) {
		t.Errorf("from the beginning: %d %s", w.Code, w.Body)
	}
	w, staged, _ = slice(owner, file, at, len(file))
	if w.Code != 200 || !staged.Complete || staged.Problem != nil || len(staged.Signers) != 1 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if r := owner.send("POST", "/api/update/apply", map[string]any{"bundle": strings.Repeat("0", 64)}); r.code != 404 {
		t.Errorf("another release: %d", r.code)
	}
	if r := owner.send("POST", "/api/update/apply", map[string]any{"bundle": staged.ID, "actor": "somebody else"}); r.code != 422 {
		t.Errorf("as somebody else: %d", r.code)
	}
	if r := owner.send("POST", "/api/update/apply", map[string]any{"bundle": staged.ID}); r.code != 202 || u.runs != 1 {
		t.Errorf("%d, begun %d times", r.code, u.runs)
	}
	if r := owner.send("POST", "/api/update/rollback", map[string]any{}); r.code != 404 {
		t.Errorf("a rollback to nothing: %d", r.code)
	}
	if r := owner.send("POST", "/api/update/apply", map[string]any{"bundle": staged.ID}); r.code != 404 || u.runs != 1 {
		t.Errorf("once more: %d, begun %d times", r.code, u.runs)
	}
	if got := h.audit("update.apply"); len(got) != 3 || !strings.Contains(got[1], staged.ID) {
		t.Errorf("audit: %q", got)
	}
	if got := h.audit("update.upload"); len(got) != 3 { // begun twice, refused once
		t.Errorf("audit: %q", got)
	}
}

// Proves UPD-2 as far as the API goes: a reason, and nothing is stored.
func TestBadReleaseIsRefusedInWords(t *testing.T) {
	h, u := newHouse(t), newUpdater(t)
	h.opts.Updater = u.client
	owner := h.setUp()
	other := newUpdater(t)
	damaged := u.release(2)
	damaged[len(damaged)-1] ^= 1
	for name, tc := range map[string]struct {
		file []byte
		code int
		kind string
	}{
		"no release":    {bytes.Repeat([]byte("x"), 1<<20), 400, "bad-format"},
		"another's key": {other.release(2), 422, "bad-signature"},
		"damaged":       {damaged, 422, "corrupt"},
		"cut off":       {u.release(2)[:2<<20], 422, "corrupt"},
	} {
		w, _, no := slice(owner, tc.file, 0, len(tc.file))
		if w.Code != tc.code || no.Code != tc.kind || no.Hint == "" || no.Detail == "" {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		_ = owner.send("DELETE", "/api/update/upload", nil)
	}
	if r := owner.send("GET", "/api/update/upload", nil); r.code != 404 {
		t.Errorf("something was kept: %d", r.code)
	}
	if r := h.from("192.168.1.77").send("GET", "/api/update/status", nil); r.code != 401 {
		t.Errorf("without a login: %d", r.code)
	}
}

// past is an updater that has a history.
type past struct {
	Updater
	runs []api.UpdateRun
}

func (p *past) GetJSON(_ context.Context, _ string, v any) error {
	*v.(*api.UpdateHistory) = api.UpdateHistory{Runs: p.runs}
	return nil
}

// Proves UPD-5: what a stick began, of which nobody tells the dashboard, and what ended
// without stopping it, is in the database soon after.
func TestHistoryHearsOfSticks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended atomic.Value
		ended.Store("")
		u, store := &past{}, &kept{said: make(chan []api.UpdateRun, 1)}
		d := newDashboard(t, Options{Updater: u, UpdateEnded: func() string { return ended.Load().(string) }})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.KeepUpdates(ctx, store) }()
		if runs := <-store.said; len(runs) != 0 {
			t.Errorf("before anything: %+v", runs)
		}
		synctest.Wait()
		u.runs = []api.UpdateRun{{ID: "20261126T120000", Outcome: "rolled-back"}}
		ended.Store(u.runs[0].ID)
		began := time.Now()
		if runs := <-store.said; len(runs) != 1 || time.Since(began) > historySoon {
			t.Errorf("%+v after %s", runs, time.Since(began))
		}
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// kept is where a history is kept that can be away.
type kept struct {
	away bool
	said chan []api.UpdateRun
}

func (k *kept) RecordUpdates(_ context.Context, runs []api.UpdateRun) error {
	if k.away {
		k.away = false
		return errors.New("the database is away")
	}
	k.said <- runs
	return nil
}

// Proves UPD-5: the database has the history from the start on, and hears of what a
// client begins.
func TestHistoryIsKept(t *testing.T) {
	h, u := newHouse(t), newUpdater(t)
	h.opts.Updater = u.client
	owner := h.setUp()
	ctx, stop := context.WithCancel(context.Background())
	store, done := &kept{said: make(chan []api.UpdateRun)}, make(chan error, 1)
	go func() { done <- h.KeepUpdates(ctx, store) }()
	if runs := <-store.said; len(runs) != 0 {
		t.Errorf("before anything: %+v", runs)
	}
	_, staged, _ := slice(owner, u.release(2), 0, len(u.release(2)))
	if r := owner.send("POST", "/api/update/apply", map[string]any{"bundle": staged.ID}); r.code != 202 {
		t.Fatal(r.code)
	}
	if runs := <-store.said; len(runs) != 1 || runs[0].To != "1.2.0" || runs[0].Outcome != "" {
		t.Errorf("while it is under way: %+v", runs)
	}
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if settled, err := h.keepUpdates(context.Background(), &kept{away: true}); settled || err == nil {
		t.Errorf("the database is away: %t, %v", settled, err)
	}
}
