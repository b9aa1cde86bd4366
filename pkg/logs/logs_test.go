package logs

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/journal"
	"github.com/arasul/arasul/pkg/journal/journaltest"
)

// machine has these units, and others.
var machine = Catalogue{Root: fstest.MapFS{
	"usr/lib/systemd/system/arasul-proxy.service": {},
	"usr/lib/systemd/system/arasul-proxy.socket":  {},
	"usr/lib/systemd/system/arasul-usb@.service":  {},
	"usr/lib/systemd/system/ssh.service":          {},
	"usr/lib/systemd/system/arasul-core.slice":    {},
	"run/systemd/generator/arasul-n8n.service":    {},
	"etc/systemd/system/arasul-proxy.service":     {},
	"etc/systemd/system/arasul-proxy.service.d/a": {},
	"etc/systemd/system/arasul-*.service":         {},
}}

// Proves LOG-1 in part: no name reaches the journal but those of our units.
func TestOnlyUnitsThatAreOursHaveALog(t *testing.T) {
	for service, want := range map[string][]string{
		"":                                 {"arasul-n8n.service", "arasul-proxy.service", "arasul-proxy.socket", "arasul-usb@*.service"},
		"proxy":                            {"arasul-proxy.service"},
		"n8n":                              {"arasul-n8n.service"},
		"usb":                              {"arasul-usb@*.service"},
		"usb@sda1":                         {"arasul-usb@sda1.service"},
		"kernel":                           {"kernel"},
		"ssh":                              nil,
		"metrics":                          nil, // not installed
		"proxy@x":                          nil,
		"*":                                nil,
		"prox?":                            nil,
		"usb@*":                            nil,
		"usb@":                             nil,
		"@sda1":                            nil,
		"kernel ":                          nil,
		"Proxy":                            nil,
		"../ssh":                           nil,
		"proxy\nx":                         nil,
		"proxy.service --file=/etc/shadow": nil,
		"--file=/etc/shadow":               nil,
		"_UID=0":                           nil,
		"'; DROP TABLE logs; --":           nil,
		strings.Repeat("a", 10_000):        nil,
	} {
		got, err := machine.Units(service)
		if diff := cmp.Diff(want, got); diff != "" || (want == nil) != errors.Is(err, ErrUnknown) {
			t.Errorf("%.40q: %v, %s", service, err, diff)
		}
	}
	if _, err := (Catalogue{Root: fstest.MapFS{}}).Units(""); err == nil {
		t.Error("a machine without us has our logs")
	}
}

// box is the handler over a journal with a few entries.
func box(t *testing.T) (http.Handler, *journal.Journal) {
	t.Helper()
	j := &journal.Journal{Dir: t.TempDir()}
	worse := journaltest.Said(2, "arasul-n8n.service", "bad")
	worse.Fields["PRIORITY"] = "3"
	journaltest.Write(t, j.Dir,
		journaltest.Said(0, "arasul-proxy.service", "one"),
		journaltest.Said(1, "ssh.service", "secret"),
		worse,
	)
	return Handler(j, machine, slog.New(slog.DiscardHandler)), j
}

func get(h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w
}

func TestEntriesAreThoseThatAreAskedFor(t *testing.T) {
	h, _ := box(t)
	for query, want := range map[string]string{
		"lines=10":                            "bad one",
		"lines=1":                             "bad",
		"lines=10&service=proxy":              "one",
		"lines=10&severity=err":               "bad",
		"lines=10&since=2026-09-21T14:13:22Z": "bad",
		"lines=10&service=kernel":             "",
	} {
		w := get(h, "/entries?"+query)
		var page api.LogPage
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != 200 {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
			continue
		}
		var got []string
		for _, e := range page.Entries {
			got = append(got, e.Message)
		}
		if strings.Join(got, " ") != want || (page.Next != "") != (query == "lines=1") {
			t.Errorf("%s: %q, next %q", query, got, page.Next)
		}
	}
	for query, want := range map[string]int{
		"lines=10&service=ssh": 404, "lines=0": 400, "lines=1001": 400, "": 400, "lines=1&severity=bad": 400, "lines=1&since=now": 400,
		"lines=1&before=x": 400, "lines=1&after=x": 400,
	} {
		if w := get(h, "/entries?"+query); w.Code != want {
			t.Errorf("%s: %d, want %d", query, w.Code, want)
		}
	}
}

// place is a cursor.
func place(x string) string {
	id := strings.Repeat(x, 32)
	return "s=" + id + ";i=1;b=" + id + ";m=2;t=3;x=4"
}

func TestWhatQueryWritesIsWhatTheHandlerReads(t *testing.T) {
	h := &handler{units: machine}
	want := api.LogQuery{Service: "usb@sda1", Severity: "err", Since: time.Unix(1790000000, 0).UTC(), Before: place("a"), After: place("f"), Lines: 7}
	_, got, _, err := h.query(&http.Request{URL: &url.URL{RawQuery: Query(want)}}, 0)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
}

func TestFollowingSendsEachEntryAndEndsWithTheClient(t *testing.T) {
	h, j := box(t)
	server := httptest.NewServer(h)
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/follow?lines=1&service=proxy", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := json.NewDecoder(resp.Body)
	var first, second api.LogEntry
	if err := in.Decode(&first); err != nil || first.Message != "one" {
		t.Fatal(first, err)
	}
	journaltest.Write(t, j.Dir, journaltest.Said(5, "ssh.service", "no"), journaltest.Said(6, "arasul-proxy.service", "two"))
	if err := in.Decode(&second); err != nil || second.Message != "two" {
		t.Fatal(second, err)
	}
}

// A crowd must not run a journalctl each.
func TestFollowersAreCounted(t *testing.T) {
	h := &handler{journal: nil, units: machine, log: slog.New(slog.DiscardHandler), follows: make(chan struct{}, 1), reads: make(chan struct{}, 1)}
	h.follows <- struct{}{}
	w := httptest.NewRecorder()
	h.follow(w, httptest.NewRequest("GET", "/follow?lines=0", nil))
	if w.Code != 503 {
		t.Errorf("status %d", w.Code)
	}
}

// copied runs Files until the copy of system.log ends with a line that has this
// text, and returns the folder.
func copied(t *testing.T, j *journal.Journal, dir, until string) {
	t.Helper()
	f := &Files{Journal: j, Units: machine, Dir: dir, Cursor: filepath.Join(dir, "cursor"), Log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if strings.Contains(text(t, dir, "system.log"), until) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %q in %q", until, text(t, dir, "system.log"))
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func text(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(data)
}

// Proves LOG-1: the files for those who expect them.
func TestFilesAreACopyThatGoesOnWhereItEnded(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "service"), 0o755); err != nil {
		t.Fatal(err)
	}
	units := fstest.MapFS{"usr/lib/systemd/system/arasul-healer.service": {}}
	for name, f := range machine.Root.(fstest.MapFS) {
		units[name] = f
	}
	was := machine
	machine = Catalogue{Root: units}
	defer func() { machine = was }()
	j := &journal.Journal{Dir: t.TempDir()}
	journaltest.Write(t, j.Dir,
		journaltest.Said(0, "arasul-proxy.service", "one\nforged"),
		journaltest.Said(1, "ssh.service", "secret"),
		journaltest.Said(2, "arasul-healer.service", "repairing"),
		journaltest.Said(3, "arasul-usb@sda1.service", "a stick"),
	)
	copied(t, j, dir, "a stick")
	if err := os.Rename(filepath.Join(dir, "system.log"), filepath.Join(dir, "system.log.1")); err != nil {
		t.Fatal(err)
	}
	journaltest.Write(t, j.Dir, journaltest.Said(9, "arasul-proxy.service", "two"))
	copied(t, j, dir, "two")
	for name, want := range map[string]string{
		"system.log.1":      "2026-09-21T14:13:20.000Z arasul-proxy.service info: one␊forged\n2026-09-21T14:13:22.000Z arasul-healer.service info: repairing\n2026-09-21T14:13:23.000Z arasul-usb@sda1.service info: a stick\n",
		"system.log":        "2026-09-21T14:13:29.000Z arasul-proxy.service info: two\n",
		"self_healing.log":  "2026-09-21T14:13:22.000Z arasul-healer.service info: repairing\n",
		"service/usb.log":   "2026-09-21T14:13:23.000Z arasul-usb@sda1.service info: a stick\n",
		"service/proxy.log": "2026-09-21T14:13:20.000Z arasul-proxy.service info: one␊forged\n2026-09-21T14:13:29.000Z arasul-proxy.service info: two\n",
	} {
		if diff := cmp.Diff(want, text(t, dir, name)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if st, err := os.Stat(filepath.Join(dir, "system.log")); err != nil || st.Mode() != 0o640 {
		t.Error(st.Mode(), err)
	}
}

// The log must not fill the disk, nor follow a link to another file.
func TestFilesAreOnlyFilesAndNotEndless(t *testing.T) {
	dir := t.TempDir()
	f := &Files{Dir: dir, open: map[string]*os.File{}}
	victim := filepath.Join(dir, "victim")
	for _, step := range []error{
		os.WriteFile(victim, nil, 0o600), os.Symlink(victim, filepath.Join(dir, "link.log")),
		os.Mkdir(filepath.Join(dir, "dir.log"), 0o700),
		os.WriteFile(filepath.Join(dir, "full.log"), nil, 0o600), os.Truncate(filepath.Join(dir, "full.log"), maxFile+1),
	} {
		if step != nil {
			t.Fatal(step)
		}
	}
	for _, name := range []string{"link.log", "dir.log", "missing/x.log"} {
		if err := f.write(name, "x\n"); err == nil {
			t.Errorf("%s was written", name)
		}
	}
	if err := f.write("full.log", "x\n"); err != nil {
		t.Error(err)
	}
	if st, _ := os.Stat(filepath.Join(dir, "full.log")); st.Size() != maxFile+1 || text(t, dir, "victim") != "" {
		t.Error("it was written to")
	}
}
