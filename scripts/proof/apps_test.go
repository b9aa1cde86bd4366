//go:build machine

package proof

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// app is an application that scripts/apps builds: its unit is apps/arasul-NAME.service.
type app struct {
	name    string
	address string
	probe   string // what look calls the probe for it
	ready   string // a path that is answered with 200 once it does its work
}

var apps = []app{
	{"llm", "127.0.0.1:11434", "ollama", "/api/tags"},
	{"embeddings", "127.0.0.1:11435", "ollama", "/api/tags"},
	{"n8n", "127.0.0.1:5678", "n8n", "/rest/settings"}, // n8n says ready before it answers
	{"minio", "127.0.0.1:9000", "minio", "/minio/health/cluster"},
}

func (a app) unit() string { return "arasul-" + a.name + ".service" }

// appCalled finds one by its name.
func appCalled(t testing.TB, name string) app {
	t.Helper()
	for _, a := range apps {
		if a.name == name {
			return a
		}
	}
	t.Fatalf("there is no application %s", name)
	return app{}
}

// starting is how long an application may take to start: n8n needs 5 s of a quiet
// processor, and more than a minute where many machines run.
const starting = 5 * time.Minute

// withApps gives the machine applications, of llm, embeddings, n8n and minio, and
// returns when each does its work. They are the real ones, as units of their own
// below arasul.slice. The machine has to be up with --apps.
func (b *bed) withApps(names ...string) {
	b.t.Helper()
	if _, _, code := b.try("test", "-d", "/opt/apps/ollama"); code != 0 {
		b.t.Fatalf("machine %s has no applications: run scripts/apps, and bring it up with --apps", b.name)
	}
	var chosen []app
	var units []string
	for _, name := range names {
		a := appCalled(b.t, name)
		text, err := os.ReadFile(filepath.Join("apps", a.unit()))
		if err != nil {
			b.t.Fatal(err)
		}
		b.put("/etc/systemd/system/"+a.unit(), text)
		chosen, units = append(chosen, a), append(units, a.unit())
	}
	b.run("systemctl", "daemon-reload")
	b.run(append([]string{"systemctl", "start"}, units...)...)
	for _, a := range chosen {
		eventually(b.t, starting, func() error {
			out, _, code := b.try("curl", "--silent", "--fail", "--max-time", "5", "http://"+a.address+a.ready)
			if code != 0 {
				return fmt.Errorf("%s does not answer %s yet (curl: %d)", a.name, a.ready, code)
			}
			if a.name == "n8n" && !json.Valid([]byte(out)) {
				return fmt.Errorf("n8n answers with something else yet")
			}
			return nil
		})
	}
}

// withLook gives the bed the program of the folder look, as the command look.
func (b *bed) withLook() {
	b.t.Helper()
	program := filepath.Join(b.t.TempDir(), "look")
	_, errOut, code := run(b.t, nil, 5*time.Minute, "env", "CGO_ENABLED=0", "go", "build", "-o", program, "./look")
	if code != 0 {
		b.t.Fatalf("building look: exit status %d\n%s", code, errOut)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		b.t.Fatal(err)
	}
	b.put("/usr/local/bin/look", content)
	b.run("chmod", "+x", "/usr/local/bin/look")
}

// looked is what look says of one look.
type looked struct {
	Status   string
	Detail   string
	Duration float64 `json:"duration_seconds"`
}

// look looks at a service in the bed, so many times, ten seconds apart.
func (b *bed) look(probe, address string, times int) []looked {
	b.t.Helper()
	return looks(b.t, b.run("look", probe, address, strconv.Itoa(times)))
}

// looks are the lines of look.
func looks(t testing.TB, out string) (all []looked) {
	t.Helper()
	for line := range strings.Lines(out) {
		var l looked
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("look said %q: %v", line, err)
		}
		all = append(all, l)
	}
	return all
}
