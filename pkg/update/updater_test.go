package update

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/bundle"
	"github.com/arasul/arasul/pkg/stable"
)

// house is an Updater with a disk, a key that it trusts and a release installed.
type house struct {
	*Updater
	t       *testing.T
	keys    string
	private ed25519.PrivateKey
	started int
	lacks   string // what the machine has to have before a package fits
	full    bool   // the disk
}

func newHouse(t *testing.T, current Current, schema int) *house {
	t.Helper()
	dir := t.TempDir()
	h := &house{t: t, keys: filepath.Join(dir, "keys"), private: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
	public, err := x509.MarshalPKIXPublicKey(h.private.Public())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(current)
	if err != nil {
		t.Fatal(err)
	}
	h.put("keys/ours.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
	h.put("os-release", []byte("ID=debian\nVERSION_ID=\"12\"\n"))
	h.put("machine-id", []byte("0123456789abcdef0123456789abcdef\n"))
	h.put("update/current.json", text)
	h.Updater, err = New(Options{
		Store: Store{FS: stable.OS{}, Dir: filepath.Join(dir, "update")}, KeyDir: h.keys,
		OS: filepath.Join(dir, "os-release"), ID: filepath.Join(dir, "machine-id"), Arch: "amd64", Schema: schema,
		Program:  func() ([]byte, error) { return []byte("program"), nil },
		Version:  func(context.Context) (string, error) { return current.Version, nil },
		Lacks:    func(_ context.Context, path string) (string, error) { _, err := os.Stat(path); return h.lacks, err },
		Run:      func(context.Context) error { h.started++; return nil },
		Halt:     func(context.Context) error { return nil },
		Progress: func() *api.Update { return nil },
		Chosen:   func() (map[string]string, error) { return map[string]string{}, nil },
		Free: func() (int64, error) {
			if h.full {
				return 200 << 20, nil
			}
			return 1 << 40, nil
		},
		Synced: func() bool { return false },
		Log:    slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// put writes a file beside the keys.
func (h *house) put(name string, text []byte) {
	h.t.Helper()
	path := filepath.Join(filepath.Dir(h.keys), name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, text, 0o644)); err != nil {
		h.t.Fatal(err)
	}
}

// file makes the file of a release, and returns its identity.
func (h *house) file(sequence uint64, schema int, pkg []byte) (id string, file []byte) {
	h.t.Helper()
	d := &bundle.Draft{
		Manifest: bundle.Manifest{
			Release:  bundle.Release{Version: fmt.Sprintf("1.%d", sequence), Sequence: sequence, Built: time.Unix(1, 0)},
			Requires: bundle.Requires{Arch: []string{"amd64"}, OS: []string{"debian:12"}},
			Data:     bundle.Data{Class: bundle.Compatible, Schema: schema},
			Payloads: []bundle.Payload{{Kind: bundle.Deb, Name: "a.deb", Package: "arasul", Version: "1", Arch: "amd64"}},
		},
		Parts: []io.ReadSeeker{bytes.NewReader(pkg)},
	}
	var text bytes.Buffer
	sum := sha256.Sum256(signed(h.t, d, h.private, &text))
	return hex.EncodeToString(sum[:]), text.Bytes()
}

// receive hands in a release, and returns its identity and why it was refused.
func (h *house) receive(sequence uint64, schema int) (id string, refused bundle.Code) {
	h.t.Helper()
	id, file := h.file(sequence, schema, []byte("a package"))
	err := h.Receive(h.t.Context(), int64(len(file)), 0, bytes.NewReader(file))
	if e, ok := errors.AsType[*bundle.Error](err); ok {
		return id, e.Code
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return id, ""
}

// signed writes a release, and returns its manifest.
func signed(t testing.TB, d *bundle.Draft, key ed25519.PrivateKey, w io.Writer) []byte {
	t.Helper()
	text, err := d.Seal()
	if err != nil {
		t.Fatal(err)
	}
	s, err := bundle.Sign(key, bundle.ToBeSigned(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Write(w, []bundle.Signature{s}); err != nil {
		t.Fatal(err)
	}
	return text
}

// permit puts a permit for a release where the owner puts it.
func (h *house) permit(name, id, machine string) {
	h.t.Helper()
	text, err := bundle.Permit{Bundle: id, Machine: machine}.Encode()
	if err != nil {
		h.t.Fatal(err)
	}
	s, err := bundle.Sign(h.private, bundle.PermitToBeSigned(text))
	if err != nil {
		h.t.Fatal(err)
	}
	file, err := json.Marshal(bundle.SignedPermit{Permit: text, Signatures: []bundle.Signature{s}})
	if err != nil {
		h.t.Fatal(err)
	}
	h.put("keys/"+name, file)
}

// install wants a release received, and begun.
func (h *house) install(sequence uint64, schema int) {
	h.t.Helper()
	id, refused := h.receive(sequence, schema)
	if refused != "" {
		h.t.Fatalf("refused: %s", refused)
	}
	err := h.Apply(h.t.Context(), api.ApplyUpdate{Bundle: id, Actor: "test", AllowDowngrade: true, Reason: "try"}, true)
	if err != nil || h.started != 1 {
		h.t.Errorf("begun %d times, %v", h.started, err)
	}
}

// Proves UPD-2: what is below the floor is received by a signed permit only, which
// the owner puts beside the keys and which may be for this machine alone.
func TestPermitInTheFolderOfKeys(t *testing.T) {
	h := newHouse(t, Current{Version: "1.9", Sequence: 9, Floor: 8}, 3)
	id, refused := h.receive(7, 3)
	if refused != bundle.BelowFloor {
		t.Errorf("without a permit: %q", refused)
	}
	h.permit("another.permit", id, "ffffffffffffffffffffffffffffffff")
	if _, refused := h.receive(7, 3); refused != bundle.BelowFloor {
		t.Errorf("with that of another machine: %q", refused)
	}
	h.permit("ours.permit", id, "0123456789abcdef0123456789abcdef")
	h.install(7, 3)
}

// Proves UPD-2: going down is refused when the older release does not know the
// schema of the database.
func TestDowngradeNeedsTheSchema(t *testing.T) {
	h := newHouse(t, Current{Version: "1.9", Sequence: 9}, 3)
	for _, schema := range []int{0, 2} {
		if _, refused := h.receive(7, schema); refused != bundle.Downgrade {
			t.Errorf("schema %d: %q", schema, refused)
		}
	}
	h.install(7, 3)
}

// A machine without a battery for its clock begins in the past at each boot, and may do
// two updates in what it takes for the same second: the newest is the newest.
//
// Proves UPD-4.
func TestNamesGrowWhateverTheClockSays(t *testing.T) {
	h := newHouse(t, Current{}, 0)
	then := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		now  time.Time
		want string
	}{
		{then, "20261126T120000"},
		{then, "20261126T120001"},
		{then.Add(-time.Hour), "20261126T120002"},
		{time.Unix(0, 0), "20261126T120003"},
		{then.Add(time.Hour), "20261126T130000"},
	} {
		id, err := h.o.Store.NewID(c.now)
		if err != nil || id != c.want {
			t.Errorf("at %s: %q, %v; want %q", c.now, id, err, c.want)
		}
		o := Order{ID: id, Kind: "update"}
		if err := h.o.Store.Accept(o, "", nil); err != nil {
			t.Fatal(err)
		}
		if err := h.o.Store.Archive(o); err != nil {
			t.Fatal(err)
		}
		if runs := h.History().Runs; runs[0].ID != c.want {
			t.Errorf("the newest is %s", runs[0].ID)
		}
	}
}

// Proves UPD-6: what came of a stick is told until the next one, also after a restart of
// the updater, which an update brings.
func TestStickIsRemembered(t *testing.T) {
	h := newHouse(t, Current{}, 0)
	if s := h.Status(t.Context()); s.Stick != nil {
		t.Errorf("before there was one: %+v", s.Stick)
	}
	body := `{"label":"KING\u001bSTON","files":[{"name":"a.araupdate","taken":false,"problem":{"code":"bad-signature","message":"no"}}],"timestamp":"2026-11-26T10:00:00Z"}`
	w := httptest.NewRecorder()
	h.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "POST", "/stick", strings.NewReader(body)))
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	again, err := New(h.o)
	if err != nil {
		t.Fatal(err)
	}
	if s := again.Status(t.Context()).Stick; s == nil || s.Label != "KING\x1bSTON" || len(s.Files) != 1 || s.Files[0].Problem.Code != "bad-signature" {
		t.Errorf("%+v", s)
	}
	h.put("update/stick.json", []byte("{"))
	if s := again.Status(t.Context()); s.Stick != nil {
		t.Errorf("a damaged file: %+v", s.Stick)
	}
}

// Proves UPD-4: a release that needs what the machine lacks is refused before anything is
// done, and waits.
func TestReleaseWaitsForWhatItNeeds(t *testing.T) {
	h := newHouse(t, Current{Version: "1.1", Sequence: 1}, 0)
	id, _ := h.receive(2, 0)
	h.lacks = "no podman"
	err := h.Apply(t.Context(), api.ApplyUpdate{Bundle: id, Actor: "test"}, true)
	if e, ok := errors.AsType[*bundle.Error](err); !ok || e.Code != NotReady || !strings.HasSuffix(e.Text, ": "+h.lacks) || h.started > 0 || len(h.History().Runs) > 0 {
		t.Errorf("%v; begun %d times", err, h.started)
	}
	h.lacks, h.full = "", true // since it was received
	err = h.Apply(t.Context(), api.ApplyUpdate{Bundle: id, Actor: "test"}, true)
	if r := refusedBy(err); r == nil || r.Code != string(NoSpace) || h.started > 0 || len(h.History().Runs) > 0 {
		t.Errorf("on a full disk: %v; begun %d times", err, h.started)
	}
	h.full = false
	if err := h.Apply(t.Context(), api.ApplyUpdate{Bundle: id, Actor: "test"}, true); err != nil || h.started != 1 {
		t.Errorf("begun %d times, %v", h.started, err)
	}
}

// Proves UPD-2: what is removed while it is sent is gone as a whole, and who sends it
// hears of it; it can be sent again.
func TestRemovedWhileItIsReceived(t *testing.T) {
	h := newHouse(t, Current{Version: "1.1", Sequence: 1}, 0)
	id, file := h.file(2, 0, make([]byte, 3<<20))
	r, w := io.Pipe()
	ended := make(chan error)
	go func() { ended <- h.Receive(t.Context(), int64(len(file)), 0, r) }()
	half := len(file) - 1<<20
	if _, err := w.Write(file[:half]); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(file[half : half+1]); err != nil { // what was before is taken
		t.Fatal(err)
	}
	if s := h.Staged(t.Context()); s == nil || s.ReceivedBytes == 0 || !h.Busy() {
		t.Fatalf("while it is sent: %+v, busy %t", s, h.Busy())
	}
	if err := h.Receive(t.Context(), 1, 0, bytes.NewReader(nil)); refusedBy(err).Code != string(Busy) {
		t.Errorf("a second one: %v", err)
	}
	if err := h.Cancel(t.Context(), api.UndoUpdate{Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(file[half+1:]); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	if err := <-ended; refusedBy(err) == nil || refusedBy(err).Code != string(Busy) {
		t.Errorf("who sends it hears %v", err)
	}
	if _, err := os.Stat(h.stage.Dir); h.Staged(t.Context()) != nil || !errors.Is(err, fs.ErrNotExist) || h.Busy() {
		t.Errorf("left: %+v, %v, busy %t", h.Staged(t.Context()), err, h.Busy())
	}

	if err := h.Receive(t.Context(), int64(len(file)), 0, bytes.NewReader(file)); err != nil {
		t.Fatal(err)
	}
	at := h.stage.get()
	if _, refused := h.receive(3, 0); refused != "" { // another takes its place
		t.Fatal(refused)
	}
	if err := h.stage.Take(at, func(string) error { return errors.New("it was had") }); refusedBy(err).Code != string(Busy) {
		t.Errorf("what is not there any more: %v", err)
	}
	if err := h.Apply(t.Context(), api.ApplyUpdate{Bundle: id, Actor: "test"}, true); refusedBy(err).Code != string(Unknown) {
		t.Errorf("what is not there any more is installed: %v", err)
	}
}

// Proves UPD-4: what was accepted begins, though the one that carries it out was just
// about to end.
func TestWhatWasAcceptedBegins(t *testing.T) {
	h := newHouse(t, Current{Version: "1.1", Sequence: 1}, 0)
	if h.goOn(t.Context()); h.started != 0 {
		t.Errorf("begun %d times without an order", h.started)
	}
	if err := h.o.Store.Accept(Order{ID: "20261126T120000", Kind: "update"}, "", nil); err != nil {
		t.Fatal(err)
	}
	if h.goOn(t.Context()); h.started != 1 {
		t.Errorf("begun %d times", h.started)
	}
}

// Proves UPD-4: whatever of a release a power cut has left is no hindrance to sending it
// again.
func TestPartsThatAreGoneAreReceivedAgain(t *testing.T) {
	h := newHouse(t, Current{Version: "1.1", Sequence: 1}, 0)
	h.receive(2, 0)
	if err := os.RemoveAll(h.stage.parts()); err != nil {
		t.Fatal(err)
	}
	var err error
	if h.Updater, err = New(h.o); err != nil {
		t.Fatal(err)
	}
	if s := h.Staged(t.Context()); s == nil || s.Complete {
		t.Fatalf("without its parts: %+v", s)
	}
	_, file := h.file(2, 0, []byte("a package"))
	at := h.Staged(t.Context()).ReceivedBytes
	if err := h.Receive(t.Context(), int64(len(file)), at, bytes.NewReader(file[at:])); err != nil {
		t.Fatal(err)
	}
	h.install(2, 0)
}

// Proves UPD-4: who cancels an update may have it later, and a stick that is still in
// does not begin it again. One that had to be taken back needs more than that.
func TestWhatWasBegunBefore(t *testing.T) {
	for name, c := range map[string]struct {
		last   string // step that was begun
		person bundle.Code
	}{
		"cancelled while images are loaded": {stepLoad, ""},
		"taken back":                        {stepProbation, bundle.FailedBefore},
	} {
		h := newHouse(t, Current{Version: "1.1", Sequence: 1}, 0)
		id, refused := h.receive(2, 0)
		if refused != "" {
			t.Fatal(refused)
		}
		h.ended(id, c.last)
		at := h.stage.get()
		for _, asks := range []struct {
			person bool
			want   bundle.Code
		}{{true, c.person}, {false, bundle.FailedBefore}} {
			got := bundle.Code("")
			if p := h.describe(t.Context(), at.Verified, asks.person).Problem; p != nil {
				got = bundle.Code(p.Code)
			}
			if got != asks.want {
				t.Errorf("%s, a person %t: %q, want %q", name, asks.person, got, asks.want)
			}
		}
	}
}

// ended puts a transaction into the history that came to a step, and went back.
func (h *house) ended(id, last string) {
	h.t.Helper()
	store := h.o.Store
	order := Order{ID: "20261126T120000", Kind: "update", Release: Release{Bundle: id}}
	if err := store.Accept(order, "", nil); err != nil {
		h.t.Fatal(err)
	}
	journal, err := store.Journal()
	if err != nil {
		h.t.Fatal(err)
	}
	e := Engine{Steps: Steps(order, Files{}, Tools{}), Commit: CommitStep, Journal: journal}
	if err := e.Start(); err != nil {
		h.t.Fatal(err)
	}
	for _, s := range e.Steps {
		if err := journal.Append(Record{Phase: Begun, Step: s.Name}); err != nil {
			h.t.Fatal(err)
		}
		if s.Name == last {
			break
		}
	}
	for _, r := range []Record{{Phase: Back, Reason: "a test"}, {Phase: Finished, Outcome: RolledBack}} {
		if err := journal.Append(r); err != nil {
			h.t.Fatal(err)
		}
	}
	if err := store.Archive(order); err != nil {
		h.t.Fatal(err)
	}
}
