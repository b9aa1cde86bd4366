package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
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
	Yes      bool   `help:"Ask nothing: what is not answered stays as it is." short:"y"`
	DryRun   bool   `help:"Only say what would change."`
	FromPage bool   `hidden:"" help:"Take the answers that the page has left."`
}

// Help is what kong adds for --help.
func (*setupCmd) Help() string {
	return `Asks what only the owner can say, and shows for each question what is in force. Run it again at any time. What
it writes is in /var/lib/arasul/settings.toml; /etc/arasul/arasul.toml stands above that. Then: arasul bootstrap.

The admin's password is not asked for here: the setup code on the page, or arasul user passwd.`
}

func (s *setupCmd) Run(ctx context.Context, c *commands, env *Env) error {
	if os.Geteuid() != 0 {
		return errors.New("only root may do this: try it with sudo")
	}
	answers, err := s.answers(ctx, env)
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

// answers are those of the page, of the flags, of a file, and of a person.
func (s *setupCmd) answers(ctx context.Context, env *Env) (api.Answers, error) {
	if s.FromPage {
		a, ok, err := env.Setup.FromPage()
		if err == nil && !ok {
			err = errors.New("the page has left no answers")
		}
		return a, err
	}
	a := api.Answers{
		Name: s.Name, Interface: s.On, LLMModel: s.LLM, EmbeddingModel: s.Embed, N8NLicence: s.Accept, MinIOUser: s.User,
	}
	if s.File != "" {
		below, err := answersIn(s.File)
		if err != nil {
			return a, err
		}
		a = setup.Over(a, below)
	}
	if s.Yes || s.File != "" || a != (api.Answers{}) || env.Stdin == nil || !term.IsTerminal(int(env.Stdin.Fd())) {
		return a, nil
	}
	return ask(ctx, env)
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
	if err := d.Decode(&in); err != nil {
		var strict *toml.StrictMissingError
		if errors.As(err, &strict) && len(strict.Errors) > 0 {
			row, _ := strict.Errors[0].Position()
			return api.Answers{}, fmt.Errorf("%s:%d: there is no answer %s", path, row, strings.Join(strict.Errors[0].Key(), "."))
		}
		return api.Answers{}, fmt.Errorf("%s: %w", path, err)
	}
	return api.Answers(in), nil
}

// ask goes through the questions. Each answer is judged at once, and what is in
// force is what Enter takes.
func ask(ctx context.Context, env *Env) (api.Answers, error) {
	machine, gpu := env.Setup.Machine(ctx)
	now, err := env.Setup.Current()
	if err != nil {
		return api.Answers{}, err
	}
	choices := setup.Choices(machine)
	q := &questions{env: env, in: bufio.NewReader(env.Stdin), machine: machine}
	var a api.Answers
	a.Name = q.ask("Name of this machine in the network (NAME.local)", now.Name, func(v string) api.Answers { return api.Answers{Name: v} })
	var names []string
	for _, i := range machine.Interfaces {
		names = append(names, i.Name+" "+strings.Join(i.Addresses, " "))
	}
	q.say("Network interfaces: %s", strings.Join(names, "; "))
	a.Interface = q.ask("Announce on one of them only (empty: on all)", now.Interface, func(v string) api.Answers { return api.Answers{Interface: v} })
	q.list("Language models that fit this machine", choices.LLMModels)
	a.LLMModel = q.ask("Language model", or(now.LLMModel, setup.Suggest(choices.LLMModels, gpu)), func(v string) api.Answers { return api.Answers{LLMModel: v} })
	q.list("Embedding models", choices.EmbeddingModels)
	a.EmbeddingModel = q.ask("Embedding model", or(now.EmbeddingModel, setup.Suggest(choices.EmbeddingModels, true)), func(v string) api.Answers { return api.Answers{EmbeddingModel: v} })
	if !now.N8NLicence {
		q.say("%s", licenceOfN8N)
		a.N8NLicence = strings.HasPrefix(strings.ToLower(q.ask("Use n8n, and accept its licence? yes or no", "no", func(string) api.Answers { return api.Answers{} })), "y")
	}
	return a, q.err
}

const licenceOfN8N = "n8n, which runs workflows, is under the Sustainable Use License: free for your own internal business and for non-commercial or\n" +
	"personal use; selling it to others, also inside a product, needs an agreement with n8n GmbH.\n" +
	"The text: https://docs.n8n.io/sustainable-use-license/"

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// questions asks a person, until there is an error.
type questions struct {
	env     *Env
	in      *bufio.Reader
	machine setup.Machine
	err     error
}

func (q *questions) say(format string, args ...any) {
	if q.err == nil {
		fmt.Fprintf(q.env.Stderr, "\n"+format+"\n", args...)
	}
}

func (q *questions) list(title string, models []api.ModelChoice) {
	if q.err != nil {
		return
	}
	fmt.Fprintf(q.env.Stderr, "\n%s:\n", title)
	for _, m := range models {
		if m.Fits {
			fmt.Fprintf(q.env.Stderr, "  %-20s %8s to fetch, about %s of memory\n", m.Name, size(uint64(m.SizeBytes)), size(uint64(m.MemoryBytes)))
		}
	}
}

func (q *questions) ask(question, now string, as func(string) api.Answers) string {
	for q.err == nil {
		fmt.Fprintf(q.env.Stderr, "%s [%s]: ", question, now)
		line, err := q.in.ReadString('\n')
		if err != nil {
			q.err = fmt.Errorf("reading the answer: %w", err)
			return ""
		}
		v := or(strings.TrimSpace(line), now)
		problems := setup.Check(as(v), q.machine)
		if len(problems) == 0 {
			return v
		}
		fmt.Fprintln(q.env.Stderr, "  "+problems[0].Text)
	}
	return ""
}
