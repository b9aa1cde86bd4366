package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/command"
	"github.com/arasul/arasul/pkg/config"
)

// Bootstrap takes the machine to where it is ready, or says what is missing.
type Bootstrap interface {
	Run(ctx context.Context, cfg *config.Config, mode string, only []string, tell func(api.Report)) (api.Report, error)
}

type bootstrapCmd struct {
	Only []string `help:"Only these steps, and those that they need." placeholder:"STEP"`
}

// Help is what kong adds for --help.
func (*bootstrapCmd) Help() string {
	return `Each step is looked at and, where it is not well and the machine can help itself, mended. What failed keeps
back only what needs it, so that one run says all there is to do. Run it again at any time: what is well is left
alone. Without the internet, bring images with arasul images load and models with arasul models load first.

Exits with 1 when a step failed; warnings do not count.`
}

func (b *bootstrapCmd) Run(ctx context.Context, c *commands, env *Env) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("only root may do this: try it with sudo")
	}
	err := env.walk(ctx, c, "bootstrap", b.Only)
	env.note(ctx, "bootstrap.run", strings.Join(b.Only, " "), err)
	return err
}

type doctorCmd struct {
	Only []string `help:"Only these steps, and those that they need." placeholder:"STEP"`
}

// Help is what kong adds for --help.
func (*doctorCmd) Help() string {
	return `Looks at everything that arasul bootstrap takes care of, and changes nothing. Exits with 1 when a step failed;
warnings do not count.`
}

func (d *doctorCmd) Run(ctx context.Context, c *commands, env *Env) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("only root may look at all of it: try it with sudo")
	}
	return env.walk(ctx, c, "doctor", d.Only)
}

// walk runs the plan and shows how it goes.
func (e *Env) walk(ctx context.Context, c *commands, mode string, only []string) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		fmt.Fprintln(e.Stderr, err)
	}
	show := &walk{out: e.Stdout}
	if f, ok := e.Stdout.(*os.File); ok {
		show.terminal = term.IsTerminal(int(f.Fd()))
	}
	tell := show.tell
	if c.JSON {
		tell = func(api.Report) {}
	}
	report, err := e.Bootstrap.Run(ctx, cfg, mode, only, tell)
	if err != nil {
		return err
	}
	if c.JSON {
		if err := e.printJSON(report); err != nil {
			return err
		}
	} else {
		show.end(report)
	}
	if report.State == "failed" {
		return command.Exit(1)
	}
	return nil
}

// walk shows a report as it grows: a line for each step that is over, and on a
// terminal one for the step at work.
type walk struct {
	out      io.Writer
	terminal bool
	shown    int
	open     bool
}

var marks = map[string]string{
	"ok": "ok     ", "changed": "done   ", "warning": "note   ", "failed": "FAILED ", "skipped": "-      ", "pending": "-      ",
}

func (w *walk) tell(r api.Report) {
	for w.shown < len(r.Steps) {
		s := r.Steps[w.shown]
		if s.State == "running" {
			w.at(s)
			return
		}
		if s.State == "pending" {
			return
		}
		w.clear()
		w.line(s)
		w.shown++
	}
}

func (w *walk) line(s api.Step) {
	fmt.Fprintf(w.out, "%s%s", marks[s.State], s.Title)
	switch {
	case s.Error != "":
		fmt.Fprintf(w.out, ": %s", s.Error)
	case s.Detail != "":
		fmt.Fprintf(w.out, ": %s", s.Detail)
	}
	fmt.Fprintln(w.out)
	if s.Suggestion != "" && (s.State == "failed" || s.State == "warning") {
		fmt.Fprintf(w.out, "       → %s\n", s.Suggestion)
	}
}

// at is the line of the step at work.
func (w *walk) at(s api.Step) {
	if !w.terminal {
		return
	}
	text := s.Title
	if s.Detail != "" {
		text += ": " + s.Detail
	}
	if s.Total > 0 {
		text += fmt.Sprintf(" %d %%", s.Done*100/s.Total)
	}
	fmt.Fprintf(w.out, "\r…      %s\x1b[K", text[:min(len(text), 150)])
	w.open = true
}

func (w *walk) clear() {
	if w.open {
		fmt.Fprint(w.out, "\r\x1b[K")
		w.open = false
	}
}

func (w *walk) end(r api.Report) {
	w.tell(r)
	w.clear()
	count := map[string]int{}
	for _, s := range r.Steps {
		count[s.State]++
		if s.State == "pending" {
			w.line(s)
		}
	}
	verdict := map[string]string{
		"ok": "All is ready.", "warning": "Ready, with notes.", "failed": "Not ready yet: follow the arrows above, then run arasul bootstrap again.",
	}[r.State]
	fmt.Fprintf(w.out, "\n%s  %d well, %d done now, %d notes, %d failed, %d skipped, in %.1f s\n",
		verdict, count["ok"], count["changed"], count["warning"], count["failed"], count["skipped"], r.Seconds)
}
