package cli

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

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
		return exit(1)
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
