package update

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"strings"
	"testing"

	"github.com/arasul/arasul/pkg/stable"
	"github.com/arasul/arasul/pkg/stable/stabletest"
)

// world is a machine made for tests: its disk forgets what was not synced, and
// what stands for dpkg, podman and PostgreSQL can be interrupted in the middle, as
// they can, and is as durable as they are. Everything that an update does to it
// passes a point where the power can be cut.
type world struct {
	disk *stabletest.Disk

	installed string            // version of the package; "" in the middle of an installation
	databases map[string]schema // by name
	images    map[string]*image // by ID
	running   string            // what the daemons run: package, schema, image; empty: stopped
	broken    map[string]bool   // what a test has go wrong
	boots     int
}

type schema struct{ version, rows string }

type image struct{ synced, hollow bool }

const (
	oldImage = "sha256:old"
	newImage = "sha256:new"
	root     = "/var/lib/arasul/update"
)

func newWorld(t testing.TB, broken ...string) *world {
	t.Helper()
	w := &world{
		disk:      stabletest.New(),
		installed: "1",
		databases: map[string]schema{"arasul": {"1", "rows of 1"}},
		images:    map[string]*image{oldImage: {synced: true}},
		broken:    map[string]bool{},
		boots:     1,
	}
	for _, b := range broken {
		w.broken[b] = true
	}
	for _, dir := range []string{root + "/txn", root + "/kept", "/staging"} {
		if err := stable.MkdirAll(w.disk, dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"/var/lib/arasul/images.env":  "# images\nLLM=" + oldImage + "\nN8N=sha256:other\n",
		root + "/current.json":        `{"version":"1","sequence":1,"floor":1}`,
		"/staging/new.deb":            "package 2",
		"/staging/llm.oci":            newImage,
		"/var/cache/arasul/1.deb":     "package 1",
		"/var/lib/arasul/nothing.txt": "",
	} {
		if err := stable.MkdirAll(w.disk, name[:strings.LastIndexByte(name, '/')], 0o700); err != nil {
			t.Fatal(err)
		}
		if err := stable.Replace(w.disk, name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.running = w.stand()
	w.disk.PowerCut(stabletest.All) // counts from here
	return w
}

// stand is what daemons that start now would run; an error of theirs is in it.
func (w *world) stand() string {
	env, err := w.disk.Read("/var/lib/arasul/images.env", 1<<10)
	if err != nil {
		return "no images.env"
	}
	id := ""
	for line := range strings.Lines(string(env)) {
		if v, ok := strings.CutPrefix(line, "LLM="); ok {
			id = strings.TrimSpace(v)
		}
	}
	img := w.images[id]
	switch {
	case img == nil:
		return "image missing: " + id
	case img.hollow:
		return "image hollow: " + id
	case w.installed == "":
		return "package half installed"
	case w.databases["arasul"].version > w.installed:
		return fmt.Sprintf("package %s on schema %s", w.installed, w.databases["arasul"].version)
	}
	return "package " + w.installed + ", schema " + w.databases["arasul"].version + ", " + id
}

// effect is something that a program outside does: begun, and done.
func (w *world) effect(do func()) {
	w.disk.Point()
	do()
	w.disk.Point()
}

func (w *world) fails(what string) error {
	if w.broken[what] {
		return errors.New(what + " is broken")
	}
	return nil
}

// powerCut takes the power away and brings it back.
func (w *world) powerCut(s stabletest.Survival) {
	w.disk.PowerCut(s)
	for id, img := range w.images {
		if !img.synced && s != stabletest.All { // podman says it is there, and its files are empty
			w.images[id] = &image{synced: true, hollow: true}
		}
	}
	w.running = ""
	w.boots++
}

// The tools of the update.

func (w *world) Check(context.Context) error { return w.fails("check") }

func (w *world) Keep(_ context.Context, path string) error {
	data, err := w.disk.Read("/var/cache/arasul/"+w.installed+".deb", 1<<10)
	if err != nil {
		return err
	}
	return w.disk.Write(path, data, 0o600)
}

func (w *world) Install(_ context.Context, path string) error {
	data, err := w.disk.Read(path, 1<<10)
	if err != nil {
		return err
	}
	version, ok := strings.CutPrefix(string(data), "package ")
	if !ok {
		return fmt.Errorf("%s is no package: %q", path, data)
	}
	w.effect(func() { w.installed = "" })
	if version == "2" {
		if err := w.fails("install"); err != nil {
			return err
		}
	}
	w.effect(func() { w.installed = version })
	return nil
}

func (w *world) Load(_ context.Context, archive string, again bool) (string, error) {
	if err := w.fails("load"); err != nil {
		return "", err
	}
	data, err := w.disk.Read(archive, 1<<10)
	if err != nil {
		return "", err
	}
	id := string(data)
	if again && w.images[id] != nil {
		w.effect(func() { delete(w.images, id) })
	}
	w.effect(func() {
		if w.images[id] == nil { // what is there is not loaded again, hollow or not
			w.images[id] = &image{}
		}
	})
	return id, nil
}

func (w *world) Sync(context.Context) error {
	w.effect(func() {
		for _, img := range w.images {
			img.synced = true
		}
	})
	return nil
}

func (w *world) Pin(context.Context, string, string) error { return nil }

func (w *world) Room(context.Context, string) error { return w.fails("room") }

func (w *world) Snapshot(_ context.Context, name string) error {
	if err := w.fails("snapshot"); err != nil {
		return err
	}
	w.effect(func() { delete(w.databases, name) })
	w.effect(func() { w.databases[name] = w.databases["arasul"] })
	return nil
}

func (w *world) Restore(_ context.Context, name string) error {
	if w.running != "" {
		return errors.New("somebody is connected")
	}
	w.effect(func() {
		if copied, ok := w.databases[name]; ok {
			w.databases["arasul"] = copied
			delete(w.databases, name)
		}
	})
	return nil
}

func (w *world) Drop(_ context.Context, name string) error {
	w.effect(func() { delete(w.databases, name) })
	return nil
}

func (w *world) Migrate(context.Context) error {
	if w.installed != "2" {
		return fmt.Errorf("package %q migrates", w.installed)
	}
	if w.broken["migrate"] {
		w.effect(func() { w.databases["arasul"] = schema{"2", "some rows of 1"} })
		return w.fails("migrate")
	}
	w.effect(func() { w.databases["arasul"] = schema{"2", w.databases["arasul"].rows} })
	return nil
}

func (w *world) Stop(context.Context) error {
	w.effect(func() { w.running = "" })
	return nil
}

func (w *world) Start(context.Context) error {
	w.effect(func() { w.running = w.stand() })
	if strings.Contains(w.running, "package 2") {
		return w.fails("start")
	}
	return nil
}

func (w *world) Look(context.Context) (map[string]bool, error) {
	return map[string]bool{"llm": true}, nil
}

func (w *world) Prove(_ context.Context, before map[string]bool) error {
	if !maps.Equal(before, map[string]bool{"llm": true}) {
		return errors.New("the baseline was lost")
	}
	if !strings.HasPrefix(w.running, "package ") || strings.Contains(w.running, " on ") {
		return errors.New(w.running)
	}
	if strings.Contains(w.running, "package 2") {
		return w.fails("health")
	}
	return nil
}

// run runs the transaction as the updater does at a boot: it reads the journal,
// starts the transaction when it is new, and goes on. A power cut comes back as
// cut.
func (w *world) run() (outcome Outcome, cut bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(stabletest.Cut); !ok {
				panic(r)
			}
			cut = true
		}
	}()
	if err := stable.MkdirAll(w.disk, root+"/txn/t1", 0o700); err != nil {
		return "", false, err
	}
	journal, err := OpenJournal(w.disk, root+"/txn/t1/journal")
	if err != nil {
		return "", false, err
	}
	e := &Engine{
		Steps: Steps(Order{ID: "t1", From: "1", Release: Release{
			Version: "2", Sequence: 2, Floor: 2, Package: "/staging/new.deb",
			Images: []Image{{Variable: "LLM", ID: newImage, Archive: "/staging/llm.oci"}},
		}}, Files{Current: root + "/current.json", Images: "/var/lib/arasul/images.env", Kept: root + "/kept"},
			Tools{w.disk, w, w, w, w, w}),
		Commit: CommitStep, Journal: journal, Boot: fmt.Sprint(w.boots), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if len(journal.Records()) == 0 {
		if err := e.Start(); err != nil {
			return "", false, err
		}
	}
	outcome, err = e.Run(context.Background())
	return outcome, false, err
}

// verdict says whether the machine is wholly old or wholly new, and why not.
func (w *world) verdict() (string, error) {
	current, err := w.disk.Read(root+"/current.json", 1<<10)
	if err != nil {
		return "", err
	}
	env, err := w.disk.Read("/var/lib/arasul/images.env", 1<<10)
	if err != nil {
		return "", err
	}
	if !strings.Contains(string(env), "# images\n") || !strings.Contains(string(env), "N8N=sha256:other\n") {
		return "", fmt.Errorf("images.env lost lines: %q", env)
	}
	for name := range w.databases {
		if name != "arasul" {
			return "", fmt.Errorf("the copy %s was left behind", name)
		}
	}
	isNew := strings.Contains(string(current), `"version": "2"`)
	want, rows := "package 1, schema 1, "+oldImage, "rows of 1"
	if isNew {
		want = "package 2, schema 2, " + newImage
	}
	if w.running != want {
		return "", fmt.Errorf("it runs %q, and should %q", w.running, want)
	}
	if got := w.databases["arasul"].rows; got != rows {
		return "", fmt.Errorf("the rows are %q", got)
	}
	if isNew {
		return "new", nil
	}
	return "old", nil
}
