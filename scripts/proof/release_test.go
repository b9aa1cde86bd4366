//go:build machine || box

package proof

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// What the updater says, as far as these tests ask.
type (
	updateState struct {
		State   string
		Current struct {
			Version, Previous string
			Sequence          uint64
		}
		Staged *struct {
			Bundle   string
			Complete bool
			Problem  *refusal
		}
		Run   *updateRun
		Stick *struct {
			Label, Error string
			Files        []struct {
				Name    string
				Taken   bool
				Problem *refusal
			}
		}
	}
	updateRun struct {
		ID, Kind, From, To, Outcome, Reason, Step string
		Back                                      bool
		Interruptions                             int
		Downtime                                  float64   `json:"downtime_seconds"`
		Started                                   time.Time `json:"started_at"`
		Ended                                     time.Time `json:"ended_at"`
	}
	refusal struct{ Code, Message, Hint, Detail string }
)

// workshop is where releases are made: the engineer's tool and keys, and programs
// that go wrong in ways of their own.
type workshop struct {
	dir string

	mu     sync.Mutex
	builds map[string]string // of programs, by what is in them
}

// theWorkshop is one for all tests: building a program takes its time.
var theWorkshop = sync.OnceValues(func() (*workshop, error) {
	dir, err := os.MkdirTemp("", "arasul-workshop-")
	return &workshop{dir: dir, builds: map[string]string{}}, err
})

func openWorkshop(t *testing.T) *workshop {
	t.Helper()
	w, err := theWorkshop()
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := os.Stat(w.tool()); err != nil {
		command(t, "go", "build", "-o", w.tool(), "../../cmd/araupdate")
		command(t, w.tool(), "keygen", w.key())
	}
	return w
}

func (w *workshop) tool() string { return filepath.Join(w.dir, "araupdate") }
func (w *workshop) key() string  { return filepath.Join(w.dir, "release.pem") }

// command runs a command here that has to succeed.
func command(t *testing.T, args ...string) string {
	t.Helper()
	out, errOut, code := run(t, nil, 5*time.Minute, args...)
	if code != 0 {
		t.Fatalf("%s: exit status %d\n%s%s", strings.Join(args, " "), code, out, errOut)
	}
	return out
}

// program builds arasul as a version, with files added to its source or put in
// the place of others. Paths are from the top of the tree.
func (w *workshop) program(t *testing.T, version string, files map[string]string) string {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	id := fmt.Sprint(version, files)
	if w.builds[id] != "" {
		return w.builds[id]
	}
	top, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(w.dir, "program-")
	if err != nil {
		t.Fatal(err)
	}
	replace := map[string]string{}
	for name, text := range files {
		at := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(top, name)] = at
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "arasul")
	command(t, "env", "CGO_ENABLED=0", "go", "build", "-C", top, "-trimpath", "-buildvcs=false", "-overlay", filepath.Join(dir, "overlay.json"),
		"-ldflags", "-s -w -X github.com/arasul/arasul/pkg/version.Version="+version, "-o", out, "./cmd/arasul")
	w.builds[id] = out
	return out
}

// release makes a signed release. Program is what is in the package in the place
// of arasul; edit changes the rest of it. More are arguments of araupdate build.
func (w *workshop) release(t *testing.T, version string, sequence int, program string, edit func(root string), more ...string) string {
	t.Helper()
	pkg := repack(t, version, func(root string) {
		if program != "" {
			command(t, "cp", program, filepath.Join(root, "usr/lib/arasul/arasul"))
		}
		if edit != nil {
			edit(root)
		}
	})
	out := filepath.Join(t.TempDir(), "arasul-"+version+".araupdate")
	command(t, append([]string{w.tool(), "build", "--deb", pkg, "--sequence", fmt.Sprint(sequence), "--sign", w.key(), "-o", out}, more...)...)
	return out
}

// ofImages makes an archive with an image in it that nothing needs to run.
func (w *workshop) ofImages(t *testing.T, name string) string {
	t.Helper()
	out, file := filepath.Join(t.TempDir(), name+".oci"), filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(strings.Repeat(name, 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	command(t, "go", "run", "../mkoci", "-ref", "localhost/"+name+":1", "-entrypoint", "/file", "-o", out, file+"=/file")
	return out
}

// trustsWorkshop has the machine trust the workshop's key.
func (b *bed) trustsWorkshop(w *workshop) {
	b.t.Helper()
	key, err := os.ReadFile(w.key() + ".pub")
	if err != nil {
		b.t.Fatal(err)
	}
	b.put("/etc/arasul/update-keys/workshop.pem", key)
}

// updater asks the updater on its socket. What it refuses is in the answer.
func (b *bed) updater(method, path, body string, answer any) {
	b.t.Helper()
	out := b.run("curl", "--silent", "--show-error", "--max-time", "120", "--unix-socket", "/run/arasul/updater.sock",
		"--request", method, "--data-binary", body, "http://updater"+path)
	if err := json.Unmarshal([]byte(out), answer); err != nil {
		b.t.Fatalf("%s %s: %v: %q", method, path, err, out)
	}
}

// stage brings a file into the machine and to the updater, and returns what was
// received or refused.
func (b *bed) stage(file string) (received struct {
	Bundle   string
	Complete bool
	Problem  *refusal
	Code     string
	Detail   string
}) {
	b.t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		b.t.Fatal(err)
	}
	b.put("/root/release.araupdate", content)
	b.updater("POST", fmt.Sprintf("/stage?offset=0&size=%d", len(content)), "@/root/release.araupdate", &received)
	return received
}

// applies stages and installs a release, and waits until that has ended.
func (b *bed) applies(file string) updateRun {
	b.t.Helper()
	received := b.stage(file)
	if !received.Complete {
		b.t.Fatalf("%s was not received: %+v", file, received)
	}
	var s updateState
	b.updater("POST", "/apply", `{"bundle":"`+received.Bundle+`","actor":"proof"}`, &s)
	if s.Run == nil {
		b.t.Fatalf("the release was not taken: %+v", s)
	}
	return b.updated(s.Run.ID, 5*time.Minute)
}

// updated waits until a transaction has ended.
func (b *bed) updated(id string, within time.Duration) (r updateRun) {
	b.t.Helper()
	eventually(b.t, within, func() error {
		var s updateState
		out, errOut, code := b.try("curl", "--silent", "--show-error", "--max-time", "20", "--unix-socket", "/run/arasul/updater.sock", "http://updater/status")
		if code != 0 {
			return fmt.Errorf("the updater does not answer: %s", errOut)
		}
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			return err
		}
		if s.Run == nil || s.Run.ID != id || s.Run.Outcome == "" {
			return fmt.Errorf("%s", out)
		}
		r = *s.Run
		return nil
	})
	return r
}

// The migrations of releases, for the source of a program. The good one is in every
// release from the first on; of the two bad ones the second cannot be done, and the
// first takes away what only a copy of the database brings back.
var (
	goodMigrations = map[string]string{
		"migrations/00980_notes.sql": "-- +goose Up\nCREATE TABLE release_notes (text text NOT NULL);\n",
	}
	badMigrations = with(goodMigrations, map[string]string{
		"migrations/00990_forgetful.sql": "-- +goose Up\nDELETE FROM keepsake;\nDROP TABLE token_blacklist;\n",
		"migrations/00991_broken.sql":    "-- +goose Up\nSELECT 1/0;\n",
	})
)

// with returns files and more.
func with(files, more map[string]string) map[string]string {
	files = maps.Clone(files)
	maps.Copy(files, more)
	return files
}

// hasAnOwner leaves what an update must not touch: rows, and a line in the configuration.
func (b *bed) hasAnOwner() {
	b.t.Helper()
	b.asOwner("CREATE TABLE keepsake (n integer); INSERT INTO keepsake SELECT generate_series(1, 1000); ALTER TABLE keepsake OWNER TO arasul_owner")
	b.sh("echo '# of the owner' >>/etc/arasul/arasul.toml")
}

// standing is what an update changes.
type standing struct{ version, schema, rows, image, running, config string }

// standing looks at what is there. The image is that of one of the applications, as
// images.env names it.
func (b *bed) standing(app string) standing {
	b.t.Helper()
	running, _, _ := b.try("podman", "inspect", "--format", "{{.Image}}", "arasul-"+app) // if it runs
	return standing{
		version: b.version(),
		schema:  b.asOwner("SELECT max(version_id) FROM goose_db_version; SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename IN ('token_blacklist', 'release_notes')"),
		rows:    b.asOwner("SELECT count(*) FROM keepsake"),
		image:   b.image(app),
		running: strings.TrimSpace(running),
		config:  b.sh("tail -n 1 /etc/logrotate.d/arasul; tail -n 1 /etc/arasul/arasul.toml"),
	}
}

// image is the one that an application is to run.
func (b *bed) image(app string) string {
	b.t.Helper()
	return strings.TrimSpace(b.sh("sed -n 's/^" + strings.ToUpper(app) + "=//p' /var/lib/arasul/images.env 2>/dev/null || true"))
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// repack makes another version of the package, changed by edit.
func repack(t *testing.T, version string, edit func(root string)) string {
	t.Helper()
	root, out := filepath.Join(t.TempDir(), "root"), filepath.Join(t.TempDir(), "arasul.deb")
	do := func(args ...string) {
		t.Helper()
		if _, errOut, code := run(t, nil, time.Minute, args...); code != 0 {
			t.Fatalf("%s: exit status %d\n%s", strings.Join(args, " "), code, errOut)
		}
	}
	do("dpkg-deb", "--raw-extract", deb(t), root)
	do("sed", "-i", "s/^Version: .*/Version: "+version+"/", root+"/DEBIAN/control")
	if edit != nil {
		edit(root)
	}
	do("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", root, out)
	return out
}

func (b *bed) version() string {
	b.t.Helper()
	return b.run("dpkg-query", "--show", "--showformat=${Version}", "arasul")
}

// asOwner asks the database as its superuser.
func (b *bed) asOwner(query string) string {
	b.t.Helper()
	return strings.TrimSpace(b.run("setpriv", "--reuid=arasul-postgres", "--regid=arasul-postgres", "--init-groups",
		"psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--host=/run/arasul/postgres", "arasul", "--command="+query))
}
