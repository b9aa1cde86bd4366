package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/setup"
)

// ask goes through the questions. Each answer is judged at once, and what is in
// force is what Enter takes.
func ask(ctx context.Context, env *Env) (a api.Answers, password string, err error) {
	machine, gpu := env.Setup.Machine(ctx)
	now, err := env.Setup.Current()
	if err != nil {
		return a, "", err
	}
	choices := setup.Choices(machine)
	q := &questions{ctx: ctx, env: env, in: bufio.NewReader(env.Stdin), machine: machine}
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
		a.N8NLicence = q.yes("Use n8n, and accept its licence?")
	}
	q.say("The object store has keys of its own, which nobody needs to know.")
	if q.yes("Choose them yourself?") {
		a.MinIOUser = q.ask("Access key, 3 to 20 characters", "arasul", func(v string) api.Answers { return api.Answers{MinIOUser: v} })
		a.MinIOPassword = q.hidden("Secret key, 8 to 40 characters: ", func(v string) api.Answers { return api.Answers{MinIOPassword: v} })
	}
	q.say("The first login in the browser takes a setup code (arasul user setup-code), or the admin's password.")
	if q.yes("Set the admin's password now, and end all sessions?") && q.err == nil {
		password, q.err = newPassword(ctx, env)
	}
	return a, password, q.err
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
	ctx     context.Context //nolint:containedctx // of one run of the wizard
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
		line, err := q.line()
		if err != nil {
			q.err = err
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

// yes asks what is no unless somebody says otherwise.
func (q *questions) yes(question string) bool {
	said := q.ask(question+" yes or no", "no", func(string) api.Answers { return api.Answers{} })
	return strings.HasPrefix(strings.ToLower(said), "y")
}

// hidden asks for what is not shown.
func (q *questions) hidden(prompt string, as func(string) api.Answers) string {
	for q.err == nil {
		text, err := unseen(q.ctx, q.env, prompt)
		if err != nil {
			q.err = err
			return ""
		}
		problems := setup.Check(as(text), q.machine)
		if text != "" && len(problems) == 0 {
			return text
		}
		if len(problems) > 0 {
			fmt.Fprintln(q.env.Stderr, "  "+problems[0].Text)
		}
	}
	return ""
}

// line reads what was typed. The read itself cannot be interrupted, but nobody has
// to wait for it.
func (q *questions) line() (string, error) {
	type line struct {
		text string
		err  error
	}
	read := make(chan line, 1)
	go func() {
		text, err := q.in.ReadString('\n')
		read <- line{text, err}
	}()
	select {
	case l := <-read:
		if l.err != nil {
			return "", fmt.Errorf("reading the answer: %w", l.err)
		}
		return l.text, nil
	case <-q.ctx.Done():
		fmt.Fprintln(q.env.Stderr)
		return "", errors.New("interrupted; nothing was changed")
	}
}
