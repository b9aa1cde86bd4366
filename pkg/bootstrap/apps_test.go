package bootstrap

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// rack is a machine's systemd: units by name, and their state.
type rack struct {
	units   map[string]string
	stuck   map[string]bool // do not start
	started []string
}

func (r *rack) All(context.Context) (all []api.Unit, err error) {
	if r.units == nil {
		return nil, errors.New("systemd is away")
	}
	for name, state := range r.units {
		all = append(all, api.Unit{Name: name, LoadState: "loaded", ActiveState: state})
	}
	return all, nil
}

func (r *rack) Start(_ context.Context, unit string) error {
	r.started = append(r.started, unit)
	if r.stuck[unit] {
		return errors.New(unit + ": job failed")
	}
	r.units[unit] = "active"
	return nil
}

func (r *rack) Run(ctx context.Context, unit string) error { return r.Start(ctx, unit) }

// running is a rack on which these units run.
func rackOf(units ...string) *rack {
	r := &rack{units: map[string]string{}, stuck: map[string]bool{}}
	for _, u := range units {
		r.units[u] = "active"
	}
	return r
}

// shelf is the images of a machine.
type shelf struct {
	images []api.Image
	away   error // of the registry
}

func (s *shelf) Images(context.Context) (api.Images, error) { return api.Images{Images: s.images}, nil }
func (s *shelf) Fetch(_ context.Context, name string, say Progress) error {
	say("copying", 1, 2)
	if s.away != nil {
		return s.away
	}
	i := slices.IndexFunc(s.images, func(i api.Image) bool { return i.Name == name })
	s.images[i].Present, s.images[i].Reason = true, ""
	return nil
}

func TestImagesAreFetchedUnlessTheyAreThereOrNotWanted(t *testing.T) {
	missing := func(name string) api.Image {
		return api.Image{Name: name, Reference: "example.org/" + name + ":1", Reason: "it is not there"}
	}
	for name, tt := range map[string]struct {
		apps  Apps
		shelf shelf
		step  string
		state string
		words string
	}{
		"there":           {Apps{}, shelf{images: []api.Image{{Name: "llm", Reference: "example.org/llm:1", Present: true}}}, "image-llm", StateOK, "example.org/llm:1"},
		"fetched":         {Apps{}, shelf{images: []api.Image{missing("llm")}}, "image-llm", stateChanged, ""},
		"no network":      {Apps{}, shelf{images: []api.Image{missing("llm")}, away: errors.New("no route to host")}, "image-llm", StateFailed, "arasul images load"},
		"wrong one":       {Apps{}, shelf{images: []api.Image{{Name: "llm", Present: true, Reason: "it is for arm64"}}, away: errors.New("no route")}, "image-llm", StateFailed, "no route"},
		"no licence":      {Apps{}, shelf{images: []api.Image{missing("n8n")}}, "image-n8n", StateWarning, "--accept-n8n-licence"},
		"a licence":       {Apps{Licence: true}, shelf{images: []api.Image{missing("n8n")}}, "image-n8n", stateChanged, ""},
		"other server":    {Apps{}, shelf{images: []api.Image{missing("minio")}}, "image-minio", stateSkipped, "[objects] endpoint"},
		"our own storage": {Apps{StorageHere: true}, shelf{images: []api.Image{missing("minio")}}, "image-minio", stateChanged, ""},
	} {
		tt.apps.Images, tt.apps.Units = &tt.shelf, rackOf()
		steps := append(stubs("podman", "disk", "daemons", "secrets", "database"), tt.apps.Steps()...)
		p, err := NewPlan(steps...)
		if err != nil {
			t.Fatal(err)
		}
		if p, err = p.Only(tt.step); err != nil {
			t.Fatal(err)
		}
		r := p.Run(t.Context(), Options{Mode: ModeBootstrap})
		s := r.Steps[len(r.Steps)-1]
		if s.State != tt.state || !strings.Contains(s.Detail+s.Error+s.Suggestion, tt.words) {
			t.Errorf("%s: %+v, want %s with %q", name, s, tt.state, tt.words)
		}
	}
}

// stubs are steps that are well.
func stubs(ids ...string) (steps []Step) {
	for _, id := range ids {
		steps = append(steps, (&part{id: id, found: []Finding{OK("")}}).step())
	}
	return steps
}

// gateway is the way to the models, by a script.
type gateway struct {
	installed []api.InstalledModel
	tasks     []api.ModelTask // one for each look at the tasks
	answer    func(path string, out any) error
	asked     []string
}

func (g *gateway) Call(_ context.Context, method, path string, in, out any) error {
	g.asked = append(g.asked, method+" "+path)
	switch list := out.(type) {
	case *models:
		list.Models = g.installed
		if len(g.tasks) > 0 {
			list.Tasks = g.tasks[:1]
			if g.tasks[0].State == "done" {
				g.installed = append(g.installed, api.InstalledModel{Name: g.tasks[0].Model, Kind: g.tasks[0].Kind, BackEnd: "local"})
				list.Models = g.installed
			}
			if len(g.tasks) > 1 {
				g.tasks = g.tasks[1:]
			}
		}
		return nil
	case *api.ModelTask:
		asked, ok := in.(map[string]string)
		if !ok {
			return errors.New("not a request for a model")
		}
		*list = api.ModelTask{ID: "1", State: "running", Model: asked["model"], Kind: asked["kind"]}
		return nil
	}
	if g.answer != nil {
		return g.answer(path, out)
	}
	return nil
}

// modelStep runs the step for the language model.
func modelStep(ctx context.Context, t *testing.T, a Apps) api.Step {
	t.Helper()
	p, err := NewPlan(append(stubs("gateway", "llm"), a.model("model-llm", "Language model", kindChat, a.LLMModel))...)
	if err != nil {
		t.Fatal(err)
	}
	steps := p.Run(ctx, Options{Mode: ModeBootstrap}).Steps
	return steps[len(steps)-1]
}

func TestModelIsFetchedAndFollowed(t *testing.T) {
	task := func(state string, done int64, problem string) api.ModelTask {
		return api.ModelTask{ID: "1", Model: "llama3.2:3b", Kind: kindChat, State: state, DoneBytes: done, TotalBytes: 100, Error: problem}
	}
	for name, tt := range map[string]struct {
		model   Model
		gateway gateway
		state   string
		words   string
	}{
		"there":                     {Model{Name: "llama3.2:3b"}, gateway{installed: []api.InstalledModel{{Name: "llama3.2:3b", Kind: kindChat}}}, StateOK, "llama3.2:3b"},
		"there, named without tag":  {Model{Name: "nice"}, gateway{installed: []api.InstalledModel{{Name: "nice:latest", Kind: kindChat}}}, StateOK, "nice:latest"},
		"any will do":               {Model{Suggest: "x"}, gateway{installed: []api.InstalledModel{{Name: "own:1b", Kind: kindChat}}}, StateOK, "own:1b"},
		"of the other kind":         {Model{}, gateway{installed: []api.InstalledModel{{Name: "embed", Kind: kindEmbedding}}}, StateFailed, "arasul setup"},
		"fetched":                   {Model{Name: "llama3.2:3b"}, gateway{tasks: []api.ModelTask{task("running", 1, ""), task("running", 50, ""), task("done", 100, "")}}, stateChanged, ""},
		"suggested":                 {Model{Suggest: "llama3.2:3b"}, gateway{tasks: []api.ModelTask{task("running", 1, ""), task("done", 100, "")}}, stateChanged, ""},
		"not to be had":             {Model{Name: "llama3.2:3b"}, gateway{tasks: []api.ModelTask{task("running", 1, ""), task("failed", 1, "no route to host")}}, StateFailed, "no route to host"},
		"not to be had, suggestion": {Model{Name: "llama3.2:3b"}, gateway{tasks: []api.ModelTask{task("failed", 1, "no route to host")}}, StateFailed, "arasul models load"},
		"cancelled":                 {Model{Name: "llama3.2:3b"}, gateway{tasks: []api.ModelTask{task("cancelled", 1, "")}}, StateFailed, "cancelled"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := modelStep(t.Context(), t, Apps{AI: &tt.gateway, LLMOnly: true, LLMModel: tt.model})
			if s.State != tt.state || !strings.Contains(s.Detail+s.Error+s.Suggestion, tt.words) {
				t.Errorf("%s: %+v, want %s with %q", name, s, tt.state, tt.words)
			}
		})
	}
}

func TestInterruptedModelIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{tasks: []api.ModelTask{{ID: "1", State: "running"}}}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if s := modelStep(ctx, t, Apps{AI: g, LLMModel: Model{Name: "a:1b"}}); s.State != StateFailed || s.Error != "interrupted" {
			t.Errorf("%+v", s)
		}
		if !slices.Contains(g.asked, "POST /tasks/1/cancel") {
			t.Errorf("asked %q", g.asked)
		}
	})
}

// Proves BOOT-8: a prompt is proven by an answer, and its time is that of a model
// in memory. Each row is an engine.
func TestPromptIsAnsweredInTime(t *testing.T) {
	none := 0.0
	for name, tt := range map[string]struct {
		takes   []time.Duration // first, second
		says    string
		err     error
		gpu     bool
		outcome Outcome
		words   string
	}{
		"a cold model":    {[]time.Duration{time.Minute, time.Second}, "Paris", nil, false, Well, "answered in 1s"},
		"a slow model":    {[]time.Duration{time.Second, 3 * time.Second}, "Paris", nil, false, Warn, "smaller model"},
		"a silent model":  {[]time.Duration{0, 0}, "  ", nil, false, Wrong, "arasul models verify"},
		"no engine":       {[]time.Duration{0, 0}, "", errors.New("no back end"), false, Wrong, "journalctl -u arasul-llm"},
		"on no GPU of it": {[]time.Duration{0, 0}, "Paris", nil, true, Warn, "from the processor"},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := 0
			g := &gateway{
				installed: []api.InstalledModel{{Name: "a", Kind: kindChat, BackEnd: "local", Loaded: true, GPURatio: &none}},
				answer: func(_ string, out any) error {
					time.Sleep(tt.takes[n])
					n = min(n+1, 1)
					if answer, ok := out.(*struct {
						Response string `json:"response"`
						Model    string `json:"model"`
					}); ok {
						answer.Response = tt.says
					}
					return tt.err
				},
			}
			f := Apps{AI: g, GPU: GPU{Present: tt.gpu}}.prompt(t.Context())
			if !f.is(tt.outcome, tt.words) {
				t.Errorf("%s: %+v, want %d with %q", name, f, tt.outcome, tt.words)
			}
		})
	}
}

// Proves BOOT-8: a vector that is empty or all zeros is none.
func TestEmbeddingIsAVector(t *testing.T) {
	for name, tt := range map[string]struct {
		vectors [][]float64
		outcome Outcome
		words   string
	}{
		"a vector":  {[][]float64{{0, 0.5}}, Well, "2 dimensions"},
		"none":      {nil, Wrong, "no vector"},
		"empty":     {[][]float64{{}}, Wrong, "no vector"},
		"all zeros": {[][]float64{{0, 0}}, Wrong, "no vector"},
	} {
		g := &gateway{answer: func(_ string, out any) error {
			if answer, ok := out.(*struct {
				Embeddings [][]float64 `json:"embeddings"`
			}); ok {
				answer.Embeddings = tt.vectors
			}
			return nil
		}}
		if f := (Apps{AI: g}).embed(t.Context()); !f.is(tt.outcome, tt.words) {
			t.Errorf("%s: %+v, want %d with %q", name, f, tt.outcome, tt.words)
		}
	}
}

// desk is folders and keys, of which some may be missing.
type desk struct{ wrong, missing []string }

func (d *desk) Wrong() ([]string, error)    { return d.wrong, nil }
func (d *desk) Make(context.Context) error  { d.wrong = nil; return nil }
func (d *desk) Missing() ([]string, error)  { return d.missing, nil }
func (d *desk) Generate() ([]string, error) { d.missing = nil; return []string{"made"}, nil }

// Proves BOOT-1: what the package has made and somebody has broken is made again,
// in its order.
func TestBaseIsMendedInItsOrder(t *testing.T) {
	for name, tt := range map[string]struct {
		base  Base
		rack  *rack
		want  string
		words string // of the first step that failed
	}{
		"all well":     {Base{Folders: &desk{}, Secrets: &desk{}}, rackOf(append([]string{unitPostgres}, daemons...)...), "ok directories:ok secrets:ok database:ok daemons:ok", ""},
		"all broken":   {Base{Folders: &desk{wrong: []string{"x is missing"}}, Secrets: &desk{missing: []string{"totp-key"}}}, idle(), "ok directories:changed secrets:changed database:changed daemons:changed", ""},
		"no database":  {Base{Folders: &desk{}, Secrets: &desk{}}, broken(rackOf(daemons...), unitPostgres), "failed directories:ok secrets:ok database:failed daemons:ok", "journalctl -u arasul-postgres"},
		"another's":    {Base{Folders: &desk{}, Secrets: &desk{}, Foreign: true}, rackOf(daemons...), "ok directories:ok secrets:ok database:ok daemons:ok", ""},
		"a daemon":     {Base{Folders: &desk{}, Secrets: &desk{}}, broken(rackOf(append([]string{unitPostgres}, daemons[1:]...)...), daemons[0]), "failed directories:ok secrets:ok database:ok daemons:failed", "journalctl -u arasul-metrics.service"},
		"no migration": {Base{Folders: &desk{}, Secrets: &desk{}}, unmigrated(), "failed directories:ok secrets:ok database:failed daemons:ok", "journalctl -u arasul-db"},
	} {
		tt.base.Units = tt.rack
		p, err := NewPlan(append(stubs("system"), tt.base.Steps()...)...)
		if err != nil {
			t.Fatal(err)
		}
		r := p.Run(t.Context(), Options{Mode: ModeBootstrap})
		if got := strings.Replace(states(r), "system:ok ", "", 1); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
		for _, s := range r.Steps {
			if s.State == StateFailed && !strings.Contains(s.Suggestion, tt.words) {
				t.Errorf("%s: %+v, want %q", name, s, tt.words)
			}
		}
	}
}

// idle is a rack on which nothing runs.
func idle() *rack {
	r := rackOf(append([]string{unitPostgres, unitDatabase}, daemons...)...)
	for name := range r.units {
		r.units[name] = "inactive"
	}
	return r
}

func broken(r *rack, unit string) *rack {
	r.units[unit], r.stuck[unit] = "failed", true
	return r
}

func unmigrated() *rack {
	return broken(rackOf(append([]string{unitPostgres}, daemons...)...), unitDatabase)
}

// Proves BOOT-8: schema, page and healer do their work, or it is told what does not.
func TestBaseIsProven(t *testing.T) {
	now := time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC)
	beat := api.HealerStatus{LastCheck: now.Add(-2 * time.Second), Timestamp: now}
	for name, tt := range map[string]struct {
		found   Finding
		outcome Outcome
		words   string
	}{
		"a healer":                {heals(t.Context(), says(beat, nil)), Well, "2s ago"},
		"a healer that hangs":     {heals(t.Context(), says(api.HealerStatus{LastCheck: now.Add(-time.Minute), Timestamp: now}, nil)), Wrong, "systemctl restart arasul-healer"},
		"a healer without a look": {heals(t.Context(), says(api.HealerStatus{Timestamp: now}, nil)), Wrong, "too long ago"},
		"no healer":               {heals(t.Context(), says(beat, errors.New("refused"))), Wrong, "refused"},
		"hands off":               {heals(t.Context(), says(api.HealerStatus{LastCheck: now, Timestamp: now, Maintenance: true}, nil)), Warn, "arasul heal maintenance off"},
		"a page":                  {loads(t.Context(), func(context.Context) error { return nil }), Well, "loads in"},
		"no page":                 {loads(t.Context(), func(context.Context) error { return errors.New("refused") }), Wrong, "journalctl -u arasul-proxy"},
		"a schema":                {schemaAt(t, 7, 7), Well, "schema 7"},
		"an old schema":           {schemaAt(t, 6, 7), Wrong, "6 of 7"},
	} {
		if !tt.found.is(tt.outcome, tt.words) {
			t.Errorf("%s: %+v, want %d with %q", name, tt.found, tt.outcome, tt.words)
		}
	}
}

func says(s api.HealerStatus, err error) func(context.Context) (api.HealerStatus, error) {
	return func(context.Context) (api.HealerStatus, error) { return s, err }
}

func schemaAt(t *testing.T, at, want int64) Finding {
	t.Helper()
	g := &gateway{answer: func(_ string, out any) error {
		if h, ok := out.(*api.DatabaseHealth); ok {
			*h = api.DatabaseHealth{Status: api.Up, Version: "15.14", MigrationVersion: at}
		}
		return nil
	}}
	return Base{Dashboard: g, Schema: want}.schema(t.Context())
}
