package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/setup"
)

// owner is a machine that is being set up. What it is told, it keeps.
type owner struct {
	settings []byte
	given    api.Answers
	page     *api.Answers // left by the page
	refused  error
}

func (*owner) Machine(context.Context) (setup.Machine, bool) {
	return setup.Machine{Interfaces: []api.Interface{{Name: "eth0", Addresses: []string{"192.0.2.7/24"}}}, MemoryBytes: 16e9, FreeBytes: 100e9}, false
}

func (o *owner) Current() (api.Answers, error) {
	c := config.Defaults()
	err := config.Decode("settings.toml", o.settings, c)
	return setup.Current(c), err
}

func (o *owner) Plan(a api.Answers) ([]setup.Change, error) {
	_, changes, err := setup.Merge(o.settings, a)
	return changes, err
}

func (o *owner) Apply(_ context.Context, a api.Answers) (changes []setup.Change, err error) {
	o.settings, changes, err = setup.Merge(o.settings, a)
	o.given = a
	return changes, err
}

func (o *owner) FromPage() (api.Answers, bool, error) {
	if o.page == nil {
		return api.Answers{}, false, nil
	}
	a := *o.page
	o.page = nil
	return a, true, nil
}

func (o *owner) Refuse(why error) { o.refused = why }

// walker is a bootstrap that comes to the report in a file.
type walker struct{ dir string }

func (w walker) Run(_ context.Context, _ *config.Config, mode string, only []string, tell func(api.Report)) (r api.Report, err error) {
	if len(only) > 0 && only[0] != "llm" {
		return r, errors.New(`there is no step "` + only[0] + `"`)
	}
	if err := readJSON(filepath.Join(w.dir, mode+".json"), &r); err != nil {
		return r, err
	}
	for i := range r.Steps { // as it grows
		part := r
		part.Steps = append([]api.Step(nil), r.Steps...)
		part.Steps[i].State = "running"
		for j := i + 1; j < len(part.Steps); j++ {
			part.Steps[j].State = "pending"
		}
		tell(part)
	}
	return r, nil
}

// keyboard is a console that keeps the password that it is given.
type keyboard struct{ password string }

func (k *keyboard) Call(_ context.Context, method, path string, in, _ any) error {
	if m, ok := in.(map[string]string); ok && method == http.MethodPost && strings.HasSuffix(path, "/passwd") {
		k.password = m["password"]
	}
	return nil
}

// person answers questions on a terminal, one after the other, whether or not it
// shows what is typed.
type person struct {
	tty     *os.File
	answers []string
	said    bytes.Buffer
}

func (p *person) Write(said []byte) (int, error) {
	p.said.Write(said)
	if text := string(said); len(p.answers) > 0 && strings.HasSuffix(text, ": ") {
		_, _ = io.WriteString(p.tty, p.answers[0]+"\n")
		p.answers = p.answers[1:]
	}
	return len(said), nil
}

// Proves BOOT-4: the wizard asks one thing after the other, judges each answer at
// once, and takes Enter for what is in force.
func TestWizardAsksAndJudgesEachAnswer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may set up")
	}
	tty, program := terminal(t)
	p := &person{tty: tty, answers: []string{"My Box", "box", "eth7", "eth0", "", "bge-m3", "yes", "yes", "ab", "keeper", "no"}}
	o, console := &owner{}, &keyboard{}
	var stdout bytes.Buffer
	// The secret key is typed when the terminal has stopped to echo.
	secret := &typist{t: t, person: tty, program: program, lines: []string{"short\n", "long enough\n", "long-enough\n"}}
	env := Env{Stdin: program, Stdout: &stdout, Stderr: both{p, secret}, Setup: o, Console: console}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if code := Run(ctx, env, []string{"setup"}); code != 0 {
		t.Fatalf("exit code %d\n%s\n%s", code, &stdout, &p.said)
	}
	secret.typing.Wait()
	want := api.Answers{Name: "box", Interface: "eth0", LLMModel: "gemma3:4b", EmbeddingModel: "bge-m3", N8NLicence: true, MinIOUser: "keeper", MinIOPassword: "long-enough"}
	if diff := cmp.Diff(want, o.given); diff != "" {
		t.Errorf("taken:\n%s\n%s", diff, &p.said)
	}
	for _, words := range []string{"other characters than", "there are eth0", "3 to 20 characters", "8 to 40 characters", "no blanks", "Sustainable Use License"} {
		if !strings.Contains(p.said.String(), words) {
			t.Errorf("%q was not said", words)
		}
	}
	if said := p.said.String() + stdout.String(); strings.Contains(said, "long-enough") {
		t.Error("the secret key was shown")
	}
	if console.password != "" {
		t.Error("a password was set that nobody gave")
	}
}

// both is a screen at which two look: one answers open questions, the other those
// whose answers are not shown.
type both struct {
	open   *person
	hidden *typist
}

func (b both) Write(said []byte) (int, error) {
	if strings.HasPrefix(string(said), "Secret key") {
		b.open.said.Write(said)
		return b.hidden.Write(said)
	}
	return b.open.Write(said)
}

func TestWizardThatIsInterruptedChangesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may set up")
	}
	tty, program := terminal(t)
	ctx, cancel := context.WithCancel(t.Context())
	o := &owner{}
	p := &person{tty: tty, answers: []string{"box"}}
	stop := stopAt{p, "Announce on one", cancel}
	var stdout bytes.Buffer
	if code := Run(ctx, Env{Stdin: program, Stdout: &stdout, Stderr: stop, Setup: o}, []string{"setup"}); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if o.given != (api.Answers{}) || !strings.Contains(p.said.String(), "nothing was changed") {
		t.Errorf("%+v\n%s", o.given, &p.said)
	}
}

// stopAt interrupts when something is asked.
type stopAt struct {
	io.Writer
	question string
	stop     func()
}

func (s stopAt) Write(said []byte) (int, error) {
	if strings.Contains(string(said), s.question) {
		s.stop()
	}
	return s.Writer.Write(said)
}

// Proves BOOT-4: the admin's password comes from a file, for who sets up many
// machines, and is no argument.
func TestPasswordsComeFromFiles(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may set up")
	}
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	admin, key := write("admin", "Geheim-1234-lang\n", 0o600), write("key", "object-store-key\n", 0o600)
	o, console := &owner{}, &keyboard{}
	var stdout, stderr bytes.Buffer
	env := Env{Stdout: &stdout, Stderr: &stderr, Setup: o, Console: console}
	if code := Run(t.Context(), env, []string{"setup", "--name=box", "--admin-password-file=" + admin, "--minio-password-file=" + key}); code != 0 {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	if console.password != "Geheim-1234-lang" || o.given.MinIOPassword != "object-store-key" || o.given.Name != "box" {
		t.Errorf("%+v, %q", o.given, console.password)
	}
	if said := stdout.String() + stderr.String(); strings.Contains(said, "Geheim") || strings.Contains(said, "object-store-key") {
		t.Errorf("a password is shown: %s", said)
	}

	answers := write("answers.toml", "name = 'box'\nminio_password = 'long-enough'\n", 0o644)
	stderr.Reset()
	if code := Run(t.Context(), env, []string{"setup", "--file", answers}); code != 1 || !strings.Contains(stderr.String(), "chmod 600 "+answers) {
		t.Errorf("exit code %d: %s", code, &stderr)
	}
	if err := os.Chmod(answers, 0o600); err != nil {
		t.Fatal(err)
	}
	if code := Run(t.Context(), env, []string{"setup", "--file", answers}); code != 0 || o.given.MinIOPassword != "long-enough" {
		t.Errorf("exit code %d: %s", code, &stderr)
	}
}

// Proves BOOT-4: the page's answers are judged again by root, and the page is told
// when they are not taken.
func TestAnswersOfThePageAreJudgedAgain(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may set up")
	}
	for name, tt := range map[string]struct {
		left    *api.Answers
		code    int
		refused string
	}{
		"good":                      {&api.Answers{Name: "box", Interface: "eth0"}, 0, ""},
		"to run it again":           {&api.Answers{}, 0, ""},
		"an interface that is gone": {&api.Answers{Interface: "wlan0"}, 1, "there are eth0"},
		"none":                      {nil, 1, "has left no answers"},
	} {
		o := &owner{page: tt.left}
		code := Run(t.Context(), Env{Stdout: io.Discard, Stderr: io.Discard, Setup: o}, []string{"setup", "--from-page"})
		if code != tt.code || (o.refused == nil) != (tt.refused == "") || o.refused != nil && !strings.Contains(o.refused.Error(), tt.refused) {
			t.Errorf("%s: exit code %d, refused %v", name, code, o.refused)
		}
		if o.page != nil {
			t.Errorf("%s: the answers are still there", name)
		}
	}
}

// What bootstrap says in the scripts is what the API has.
func TestRecordedReportsAreUpToDate(t *testing.T) {
	reports, err := filepath.Glob("testdata/bootstrap/*/*.json")
	if err != nil || len(reports) == 0 {
		t.Fatal(err)
	}
	for _, path := range reports {
		var r api.Report
		if err := readJSON(path, &r); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}
