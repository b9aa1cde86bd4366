//go:build machine

package proof

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

// Each application is the real one, stopped as if it hung: it listens and the
// kernel takes connections, but nobody answers.
//
// Proves HEAL-9.
func TestProbesSeeTheRealApplicationsWellAndHung(t *testing.T) {
	beside(t)
	b := up(t, "machine", "t-apphung", "--apps")
	b.withLook()
	b.withApps("llm", "embeddings", "n8n", "minio")
	for _, a := range apps {
		t.Run(a.name, func(t *testing.T) {
			b := b.of(t)
			b.is(a, "up", "")
			b.kill(a.unit(), "STOP")
			limit := map[string]float64{"n8n": 2, "minio": 1}[a.name]
			if limit == 0 {
				limit = 3
			}
			hung := b.is(a, "down", "answer")
			if hung.Duration < limit || hung.Duration > limit+0.3 {
				t.Errorf("given up after %g s; the limit is %g s", hung.Duration, limit)
			}
			b.kill(a.unit(), "CONT")
			b.becomes(a, "up")

			b.run("systemctl", "stop", a.unit())
			b.is(a, "down", "nothing listens on "+a.address)
			b.run("systemctl", "start", a.unit())
			b.becomes(a, "up")
		})
	}
}

// Proves HEAL-9.
func TestProbesSeeOurDaemonsWellAndHung(t *testing.T) {
	b := takePatient(t)
	b.withLook()
	for _, d := range []struct {
		unit  string
		door  app
		limit float64 // seconds
	}{
		{"arasul-proxy.service", app{name: "proxy", probe: "proxy", address: "127.0.0.1:80"}, 3},
		{dashboardUnit, app{name: "dashboard", probe: "dashboard", address: "/run/arasul/dashboard.sock"}, 1},
		{metricsUnit, app{name: "metrics", probe: "metrics", address: "/run/arasul/metrics/metrics.sock"}, 1},
	} {
		b.is(d.door, "up", "")
		b.kill(d.unit, "STOP")
		hung := b.is(d.door, "down", "no answer to GET ")
		b.kill(d.unit, "CONT")
		if hung.Duration < d.limit || hung.Duration > d.limit+0.3 {
			t.Errorf("%s: given up after %g s; the limit is %g s", d.unit, hung.Duration, d.limit)
		}
		b.becomes(d.door, "up")
	}
}

// n8n listens before it has its database; MinIO goes on listening when its drive
// is gone.
//
// Proves HEAL-9.
func TestAnApplicationThatIsAliveButOfNoUseIsDegraded(t *testing.T) {
	beside(t)
	b := up(t, "machine", "t-appsick", "--apps")
	b.withLook()
	b.withApps("minio")
	minio := appCalled(t, "minio")
	b.run("mv", "/var/lib/private/arasul-minio/data", "/var/lib/private/arasul-minio/gone")
	b.becomes(minio, "degraded")
	b.is(minio, "degraded", "it cannot write")
	b.run("mv", "/var/lib/private/arasul-minio/gone", "/var/lib/private/arasul-minio/data")
	b.becomes(minio, "up")
}

// Proves HEAL-9.
func TestALongAnswerIsNoReasonToCallTheModelsDown(t *testing.T) {
	beside(t)
	b := up(t, "machine", "t-appbusy", "--apps")
	b.withLook()
	b.withApps("llm")
	llm := appCalled(t, "llm")

	// Kept for ever, so that it is asked each minute; two answers that outlast one.
	b.prompt(llm, "slow-chat", `"keep_alive":-1,"options":{"num_predict":1}`)
	for range 4 {
		b.run("systemd-run", "--quiet", "--collect", "curl", "--silent", llm.address+"/api/generate",
			"--data", `{"model":"slow-chat","prompt":"hi","stream":false}`)
	}
	late := 0
	for _, l := range b.look("ollama", llm.address, 9) {
		if l.Status == "down" || l.Duration > 3 {
			t.Errorf("a busy model is %s after %g s: %s", l.Status, l.Duration, l.Detail)
		}
		if strings.Contains(l.Detail, "may be busy") {
			late++
		}
	}
	if late == 0 {
		t.Error("nothing was asked of the model while it was busy")
	}
	if out, _, _ := b.try("pgrep", "-c", "curl"); strings.TrimSpace(out) == "0" {
		t.Error("the answers did not last as long as the looks")
	}
}

// Proves HEAL-2.
func TestModelsAreUnloadedAndLoadedAnew(t *testing.T) {
	beside(t)
	b := up(t, "machine", "t-appmodels", "--apps")
	b.withLook()
	b.withApps("llm", "embeddings")
	llm, embeddings := appCalled(t, "llm"), appCalled(t, "embeddings")

	b.prompt(llm, "tiny-chat", `"keep_alive":-1`)
	b.prompt(llm, "slow-chat", `"keep_alive":"20m","options":{"num_ctx":1024,"num_predict":1}`)
	b.sh("curl -s --fail " + embeddings.address + `/api/embed -d '{"model":"tiny-embed","input":"text"}'`)
	before := b.models(llm)
	runners := b.runners()
	if len(before) != 2 || len(b.models(embeddings)) != 1 {
		t.Fatalf("loaded: %v", before)
	}

	b.figure("reset", llm, embeddings)
	after := b.models(llm)
	for name, m := range before {
		if n := after[name]; n.Context != m.Context || n.Expires.Sub(m.Expires).Abs() > time.Minute {
			t.Errorf("%s was loaded as %v and is loaded as %v", name, m, n)
		}
	}
	if len(after) != 2 || len(b.models(embeddings)) != 1 {
		t.Errorf("loaded after the reset: %v", after)
	}
	if now := b.runners(); now == runners {
		t.Error("the processes of the models are the same")
	}

	b.figure("unload", llm, embeddings)
	if n := len(b.models(llm)) + len(b.models(embeddings)); n != 0 {
		t.Errorf("%d models are still loaded", n)
	}
	if left := b.runners(); left != "" {
		t.Errorf("processes of models are left: %s", left)
	}
	b.is(llm, "up", "")

	// Loaded on the CPU, which is right only where there is no GPU.
	b.prompt(llm, "tiny-chat", `"keep_alive":-1`)
	b.is(llm, "up", "")
	if l := b.look("ollama-gpu", llm.address, 1)[0]; l.Status != "degraded" || !strings.Contains(l.Detail, "runs on the CPU although there is a GPU") {
		t.Errorf("with a GPU it would be %s: %s", l.Status, l.Detail)
	}
}

// A question neither keeps a model in memory that was to go, nor makes Ollama load
// it anew, whatever context it was loaded with.
//
// Proves HEAL-9.
func TestBeingAskedLeavesAModelAsItIs(t *testing.T) {
	beside(t)
	b := up(t, "machine", "t-appasked", "--apps")
	b.withLook()
	b.withApps("llm", "embeddings")
	llm, embeddings := appCalled(t, "llm"), appCalled(t, "embeddings")
	b.prompt(llm, "tiny-chat", `"keep_alive":"80s","options":{"num_ctx":1024}`)
	b.sh("curl -s --fail " + embeddings.address + `/api/embed -d '{"model":"tiny-embed","input":"text","keep_alive":-1}'`)

	out := b.sh("look ollama " + embeddings.address + " 17 >/tmp/looks & look ollama " + llm.address + " 17; wait; cat /tmp/looks")
	for _, l := range looks(t, out) {
		if l.Status == "down" {
			t.Errorf("it is %s: %s", l.Status, l.Detail)
		}
	}
	if m := b.models(llm); len(m) > 0 {
		t.Errorf("still loaded: %v", m)
	}
	for _, test := range []struct {
		a       app
		request string
		asked   int // by this test, and once or each minute by the probe
	}{{llm, "/api/generate", 2}, {embeddings, "/api/embed", 3}} {
		journal := b.run("journalctl", "--output=cat", "--unit="+test.a.unit())
		if n := strings.Count(journal, `"`+test.request+`"`); n != test.asked {
			t.Errorf("%s was asked %d times; want %d", test.a.name, n, test.asked)
		}
		if n := strings.Count(journal, " --model "); n != 1 {
			t.Errorf("%s has loaded its model %d times", test.a.name, n)
		}
	}
}

// is looks at an application once.
func (b *bed) is(a app, status, detail string) looked {
	b.t.Helper()
	l := b.look(a.probe, a.address, 1)[0]
	if l.Status != status || !strings.Contains(l.Detail, detail) {
		b.t.Errorf("%s is %s, %q; want %s, %q", a.name, l.Status, l.Detail, status, detail)
	}
	b.t.Logf("figure: the look at %s that said %s took %.3f s", a.name, l.Status, l.Duration)
	return l
}

// becomes looks at an application until it has that status.
func (b *bed) becomes(a app, status string) {
	b.t.Helper()
	seen := map[string]bool{}
	start := time.Now()
	eventually(b.t, starting, func() error {
		l := b.look(a.probe, a.address, 1)[0]
		seen[strings.TrimSpace(l.Status+" "+l.Detail)] = true
		if l.Status != status {
			return errors.New(l.Status + ": " + l.Detail)
		}
		return nil
	})
	b.t.Logf("figure: %s was %s again after %s; on the way: %v", a.name, status, time.Since(start).Round(10*time.Millisecond), seen)
}

// prompt asks a model, with more fields of the request.
func (b *bed) prompt(a app, model, fields string) {
	b.t.Helper()
	b.sh("curl -s --fail " + a.address + `/api/generate -d '{"model":"` + model + `","prompt":"hi","stream":false,` + fields + `}'`)
}

// runners are the processes that Ollama has started, one for each model.
func (b *bed) runners() string {
	b.t.Helper()
	return b.sh("pgrep --full 'ollama [r]unner' | sort") // the brackets keep this shell out
}

type loadedModel struct {
	Context int       `json:"context_length"`
	Expires time.Time `json:"expires_at"`
}

// models are those that an instance has loaded, by name.
func (b *bed) models(a app) map[string]loadedModel {
	b.t.Helper()
	var all []struct {
		Name string
		loadedModel
	}
	if err := json.Unmarshal([]byte(b.run("look", "models", a.address)), &all); err != nil {
		b.t.Fatal(err)
	}
	byName := map[string]loadedModel{}
	for _, m := range all {
		byName[m.Name] = m.loadedModel
	}
	return byName
}

// figure runs one hand on each instance and says how long that took.
func (b *bed) figure(hand string, instances ...app) {
	b.t.Helper()
	for _, a := range instances {
		start := time.Now()
		b.run("look", hand, a.address)
		b.t.Logf("figure: %s of %s took %s", hand, a.name, time.Since(start).Round(10*time.Millisecond))
	}
}
