package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/command"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/heal"
)

type healSimulateCmd struct {
	File   string `arg:"" help:"The story, as TOML; docs/healing.md says how to write one." type:"path"`
	Policy string `help:"Play it to this policy instead of the one in force." placeholder:"FILE" type:"path"`
}

// Help is what kong adds for --help.
func (*healSimulateCmd) Help() string {
	return `A story is a machine on which all is well, but for what its steps say. For example:

  title = "The LLM is killed, and the disk fills up"
  for   = "10m"

  [[step]]
  at   = "1m"
  unit = "llm"
  is   = "crashed"       # up, crashed, hung, failed, stopped, starting, absent

  [[step]]
  at     = "2m"
  until  = "cleanup"     # a time, or what puts an end to it
  metric = "disk_ratio"
  value  = 0.97

  [expect]
  actions = ["2m15s cleanup"]

What is seen, decided and done is printed. Nothing on this machine is touched.
Exits with 1 when it is not what [expect] says.`
}

func (h *healSimulateCmd) Run(c *commands, env *Env) error {
	policy, err := c.policy(h.Policy)
	if err != nil {
		return err
	}
	story, err := heal.LoadScenario(h.File, policy)
	if err != nil {
		return err
	}
	out := heal.Simulate(policy, story)
	if c.JSON {
		err = env.printJSON(out)
	} else {
		printSimulation(env.Stdout, out)
	}
	if err == nil && len(out.Problems) > 0 {
		return command.Exit(1)
	}
	return err
}

// policy reads a policy file, or the policy in force when path is empty.
func (c *commands) policy(path string) (*heal.Policy, error) {
	cfg, err := config.Load(c.Config)
	if path == "" {
		if err != nil {
			return nil, err
		}
		path = cfg.Healer.Policy
	}
	p, err := heal.LoadPolicy(path)
	if err == nil {
		p.AllowReboot = cfg.Healer.Reboot
	}
	return p, err
}

func printSimulation(w io.Writer, s *heal.Simulation) {
	fmt.Fprintf(w, "%s\npolicy %s\n\n", s.Title, s.Policy)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, m := range s.Timeline {
		fmt.Fprintf(t, "%s\t%s\t%s\n", config.Duration(m.At.Round(time.Millisecond)), m.Kind, m.Text)
	}
	_ = t.Flush()
	fmt.Fprintf(w, "\n%s, %s\n", counted(len(s.Began), "incident"), counted(len(s.Actions), "action"))
	for _, p := range s.Problems {
		fmt.Fprintf(w, "not as expected: %s\n", p)
	}
}

// counted is "no action", "1 action", "2 actions".
func counted(n int, what string) string {
	switch n {
	case 0:
		return "no " + what
	case 1:
		return "1 " + what
	default:
		return fmt.Sprintf("%d %ss", n, what)
	}
}

type healReplayCmd struct {
	Since  time.Duration `help:"How far back to begin." default:"24h"`
	Policy string        `help:"The policy to compare with; the one in force now unless given." placeholder:"FILE" type:"path"`
	Dir    string        `help:"Where the recording is." default:"/var/lib/arasul/healer/observations" type:"path"`
}

// Help is what kong adds for --help.
func (*healReplayCmd) Help() string {
	return `The healer records what it sees and keeps more than a week of it. This runs that again through the
policy that was in force and through another one, and compares what they do:

    both alike
  - only the policy that was in force
  + only the other one

What was not really done is assumed to have worked after a second, and what was
observed later judges it: a unit stays down until it came up in reality. So you
see what a policy would have begun, and not how that would have ended.`
}

func (h *healReplayCmd) Run(c *commands, env *Env) error {
	policy, err := c.policy(h.Policy)
	if err != nil {
		return err
	}
	out, err := heal.Replay(h.Dir, time.Now().Add(-h.Since), policy)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w (root is needed)", err)
	case err != nil:
		return err
	case c.JSON:
		return env.printJSON(out)
	}
	printReplay(env.Stdout, out)
	return nil
}

// Validate is called by kong.
func (h *healReplayCmd) Validate() error {
	if h.Since <= 0 {
		return errors.New("--since is a time such as 24h")
	}
	return nil
}

func printReplay(w io.Writer, c *heal.Comparison) {
	fmt.Fprintf(w, "%s to %s, %s", c.From.Local().Format(time.DateTime), c.Until.Local().Format(time.DateTime), counted(c.Observations, "observation"))
	if c.Breaks > 0 {
		fmt.Fprintf(w, ", %s", counted(c.Breaks, "break"))
	}
	if c.Lost > 0 {
		fmt.Fprintf(w, ", %d missing", c.Lost)
	}
	fmt.Fprintf(w, "\n  policy %s  %s, %s\n", c.Was.Policy, counted(len(c.Was.Incidents), "incident"), counted(len(c.Was.Acts), "action"))
	if c.Would.Policy != c.Was.Policy {
		fmt.Fprintf(w, "+ policy %s  %s, %s\n", c.Would.Policy, counted(len(c.Would.Incidents), "incident"), counted(len(c.Would.Acts), "action"))
	}
	if !c.Exact() {
		fmt.Fprintf(w, "In reality it was %s: the recording is not complete enough to run again exactly.\n", counted(len(c.Recorded), "action"))
	}
	if len(c.Changes) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, ch := range c.Changes {
		ended := cmp.Or(ch.Error, "worked")
		if ch.Assumed {
			ended = "assumed to work"
		}
		sign := map[string]string{"both": " ", "was": "-", "would": "+"}[ch.Of]
		fmt.Fprintf(t, "%s %s\t%s\t%s\t%s\n", sign, ch.At.Local().Format(time.DateTime), ch.What, ch.About, ended)
	}
	_ = t.Flush()
}

type healExplainCmd struct {
	ID string `arg:"" optional:"" help:"The incident: its id, or its number in heal status; the newest that is not over unless given."`
}

func (h *healExplainCmd) Run(ctx context.Context, c *commands, env *Env) error {
	list, err := env.Healer.Incidents(ctx, maxIncidents)
	if err != nil {
		return err
	}
	slices.SortStableFunc(list, func(a, b api.Incident) int { return cmp.Compare(closed(a), closed(b)) })
	at := slices.IndexFunc(list, func(i api.Incident) bool { return h.ID == "" || h.ID == i.ID || h.ID == number(i) })
	if at < 0 {
		return fmt.Errorf("there is no such incident: %s", cmp.Or(h.ID, "none at all"))
	}
	text, err := env.Healer.Explain(ctx, list[at].ID)
	switch {
	case err != nil:
		return err
	case c.JSON:
		return env.printJSON(map[string]any{"text": text})
	}
	_, err = io.WriteString(env.Stdout, text)
	return err
}

type healResetBreakerCmd struct{}

func (healResetBreakerCmd) Run(ctx context.Context, env *Env) error {
	err := env.Healer.ResetBreaker(ctx)
	env.note(ctx, "heal.reset-breaker", "", err)
	if err != nil {
		return fmt.Errorf("%w (root is needed)", err)
	}
	fmt.Fprintln(env.Stdout, "The breaker is closed: the healer repairs again.")
	return nil
}
