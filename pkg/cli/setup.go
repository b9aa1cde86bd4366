package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"golang.org/x/term"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/setup"
)

// Setup keeps the owner's answers.
type Setup interface {
	Machine(ctx context.Context) (setup.Machine, bool) // and whether it has a GPU
	Current() (api.Answers, error)
	// Plan says what answers would change.
	Plan(api.Answers) ([]setup.Change, error)
	// Apply writes settings and secrets, and has daemons take them over.
	Apply(ctx context.Context, a api.Answers) ([]setup.Change, error)
	// FromPage takes the answers that the page has left, and removes them; ok is
	// false when there are none.
	FromPage() (a api.Answers, ok bool, err error)
	// Refuse tells the page why its answers were not taken.
	Refuse(why error)
}

const maxAnswers = 64 << 10

type setupCmd struct {
	File     string `help:"Answers from a TOML file, whose keys are as in the flags with _ for -." type:"existingfile" placeholder:"FILE"`
	Name     string `help:"The machine is found as NAME.local." placeholder:"NAME"`
	On       string `help:"Announce on this network interface only." name:"interface" placeholder:"NAME"`
	LLM      string `help:"The language model." name:"llm-model" placeholder:"NAME"`
	Embed    string `help:"The embedding model." name:"embedding-model" placeholder:"NAME"`
	Accept   bool   `help:"The licence of n8n was read and is accepted." name:"accept-n8n-licence"`
	User     string `help:"Access key of the object store's root." name:"minio-user" placeholder:"KEY"`
	UserKey  string `help:"A file with its secret key; - is standard input." name:"minio-password-file" placeholder:"FILE"`
	Password string `help:"A file with the admin's new password; - is standard input." name:"admin-password-file" placeholder:"FILE"`
	Yes      bool   `help:"Ask nothing: what is not answered stays as it is." short:"y"`
	DryRun   bool   `help:"Only say what would change."`
	FromPage bool   `hidden:"" help:"Take the answers that the page has left."`
}

// Help is what kong adds for --help.
func (*setupCmd) Help() string {
	return `Asks what only the owner can say, and shows for each question what is in force. Run it again at any time. What
it writes is in /var/lib/arasul/settings.toml; /etc/arasul/arasul.toml stands above that. Then: arasul bootstrap.

Passwords are no arguments, where everybody on the machine could read them: they are typed, or lie in a file. The
admin's goes to the dashboard, which has to run for that, and all sessions end.`
}

func (s *setupCmd) Run(ctx context.Context, c *commands, env *Env) error {
	if os.Geteuid() != 0 {
		return errors.New("only root may do this: try it with sudo")
	}
	err := s.run(ctx, c, env)
	if s.FromPage && err != nil {
		env.Setup.Refuse(err)
	}
	return err
}

func (s *setupCmd) run(ctx context.Context, c *commands, env *Env) error {
	answers, password, err := s.answers(ctx, env)
	if err != nil {
		return err
	}
	machine, _ := env.Setup.Machine(ctx)
	if problems := setup.Check(answers, machine); len(problems) > 0 {
		var all []error
		for _, p := range problems {
			all = append(all, p)
		}
		return errors.Join(all...)
	}
	if s.DryRun {
		changes, err := env.Setup.Plan(answers)
		if err != nil {
			return err
		}
		return env.printChanges(c, changes, "Nothing would change.")
	}
	changes, err := env.Setup.Apply(ctx, answers)
	env.note(ctx, "setup.apply", "", err)
	if err != nil {
		return err
	}
	if password != "" { // the dashboard says whether it is good enough
		if err := env.console(ctx, http.MethodPost, "passwd", map[string]string{"password": password}, nil); err != nil {
			return fmt.Errorf("the admin's password was not set, all else was: %w", err)
		}
		changes = append(changes, setup.Change{Key: "admin's password", From: "hidden", To: "hidden"})
	}
	if err := env.printChanges(c, changes, "Nothing has changed."); err != nil || c.JSON {
		return err
	}
	fmt.Fprintln(env.Stdout, "\nNext: sudo arasul bootstrap")
	return nil
}

func (e *Env) printChanges(c *commands, changes []setup.Change, none string) error {
	if c.JSON {
		if changes == nil {
			changes = []setup.Change{}
		}
		return e.printJSON(map[string]any{"changes": changes})
	}
	for _, k := range changes {
		fmt.Fprintf(e.Stdout, "%s: %s → %s\n", k.Key, orNothing(k.From), k.To)
	}
	if len(changes) == 0 {
		fmt.Fprintln(e.Stdout, none)
	}
	return nil
}

func orNothing(s string) string {
	if s == "" {
		return "(default)"
	}
	return s
}

// answers are those of the page, of the flags, of a file, and of a person; beside
// them the admin's new password, if there is one.
func (s *setupCmd) answers(ctx context.Context, env *Env) (a api.Answers, password string, err error) {
	if s.FromPage {
		a, ok, err := env.Setup.FromPage()
		if err == nil && !ok {
			err = errors.New("the page has left no answers")
		}
		return a, "", err
	}
	a = api.Answers{
		Name: s.Name, Interface: s.On, LLMModel: s.LLM, EmbeddingModel: s.Embed, N8NLicence: s.Accept, MinIOUser: s.User,
	}
	if s.UserKey == "-" && s.Password == "-" {
		return a, "", errors.New("standard input is one password only")
	}
	if a.MinIOPassword, err = passwordIn(env, s.UserKey); err != nil {
		return a, "", err
	}
	if password, err = passwordIn(env, s.Password); err != nil {
		return a, "", err
	}
	if s.File != "" {
		below, err := answersIn(s.File)
		if err != nil {
			return a, "", err
		}
		a = setup.Over(a, below)
	}
	if s.Yes || s.File != "" || password != "" || a != (api.Answers{}) || env.Stdin == nil || !term.IsTerminal(int(env.Stdin.Fd())) {
		return a, password, nil
	}
	return ask(ctx, env)
}

// passwordIn is the one line of a file, or of standard input.
func passwordIn(env *Env, path string) (string, error) {
	switch path {
	case "":
		return "", nil
	case "-":
		if env.Stdin == nil {
			return "", errors.New("there is no standard input")
		}
		return oneLine(env.Stdin)
	}
	f, err := os.Open(path) //nolint:gosec // the file that root named
	if err != nil {
		return "", err
	}
	defer f.Close()
	password, err := oneLine(f)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return password, nil
}

func answersIn(path string) (api.Answers, error) {
	info, err := os.Stat(path)
	if err != nil {
		return api.Answers{}, err
	}
	if info.Size() > maxAnswers {
		return api.Answers{}, fmt.Errorf("%s: %d bytes, the limit is %d", path, info.Size(), maxAnswers)
	}
	data, err := os.ReadFile(path) //nolint:gosec // the file that root named
	if err != nil {
		return api.Answers{}, err
	}
	var in struct {
		Name           string `toml:"name"`
		Interface      string `toml:"interface"`
		LLMModel       string `toml:"llm_model"`
		EmbeddingModel string `toml:"embedding_model"`
		N8NLicence     bool   `toml:"n8n_licence"`
		MinIOUser      string `toml:"minio_user"`
		MinIOPassword  string `toml:"minio_password"`
	}
	d := toml.NewDecoder(strings.NewReader(string(data))).DisallowUnknownFields()
	err = d.Decode(&in)
	if err == nil && in.MinIOPassword != "" && info.Mode().Perm()&0o077 != 0 {
		return api.Answers{}, fmt.Errorf("%s has a password, and others may read it: chmod 600 %[1]s", path)
	}
	if err != nil {
		var strict *toml.StrictMissingError
		if errors.As(err, &strict) && len(strict.Errors) > 0 {
			row, _ := strict.Errors[0].Position()
			return api.Answers{}, fmt.Errorf("%s:%d: there is no answer %s", path, row, strings.Join(strict.Errors[0].Key(), "."))
		}
		return api.Answers{}, fmt.Errorf("%s: %w", path, err)
	}
	return api.Answers(in), nil
}
