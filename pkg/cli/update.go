package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/bundle"
	"github.com/arasul/arasul/pkg/command"
)

// Updater is the updater, over HTTP on its socket.
type Updater interface {
	GetJSON(ctx context.Context, path string, v any) error
	Call(ctx context.Context, method, path string, in, out any) error
	Send(ctx context.Context, path string, body io.Reader, out any) error
}

// Exit codes of updates, beyond those of every command.
const (
	exitSignature  = 10
	exitFormat     = 11
	exitNotForUs   = 12
	exitDowngrade  = 13
	exitExpired    = 14
	exitNoSpace    = 15
	exitBusy       = 16
	exitRolledBack = 20
	exitStuck      = 21
)

// exitOf says which exit code a refusal has.
func exitOf(code string) int {
	switch bundle.Code(code) {
	case bundle.BadSignature:
		return exitSignature
	case bundle.BadFormat, bundle.Corrupt, bundle.TooLarge:
		return exitFormat
	case bundle.WrongProduct, bundle.WrongArch, bundle.WrongOS, bundle.MinVersion, bundle.NotNewer, bundle.FailedBefore, "not-ready":
		return exitNotForUs
	case bundle.Downgrade, bundle.BelowFloor, "one-way":
		return exitDowngrade
	case bundle.Expired, bundle.Revoked:
		return exitExpired
	case "no-space":
		return exitNoSpace
	case "busy":
		return exitBusy
	}
	return 1
}

// refused says why the updater does not do something, and what to do about it.
func (e *Env) refused(err error) error {
	no := api.RefusedBy(err)
	if no == nil {
		return fmt.Errorf("the updater does not answer (root is needed; systemctl status arasul-updater): %w", err)
	}
	return e.problem(*no)
}

func (e *Env) problem(p api.Refused) error {
	fmt.Fprintf(e.Stderr, "arasul: %s\n", p.Message)
	if p.Hint != "" {
		fmt.Fprintln(e.Stderr, p.Hint)
	}
	return command.Exit(exitOf(p.Code))
}

func (e *Env) updateStatus(ctx context.Context) (s api.Update, err error) {
	if err := e.Updater.GetJSON(ctx, "/status", &s); err != nil {
		return s, e.refused(err)
	}
	return s, nil
}

type updateStatusCmd struct{}

func (updateStatusCmd) Run(ctx context.Context, c *commands, env *Env) error {
	s, err := env.updateStatus(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return env.printJSON(s)
	}
	w := env.Stdout
	fmt.Fprintf(w, "installed: %s\n", s.Current.Version)
	if s.Current.Previous != "" {
		fmt.Fprintf(w, "before it: %s (arasul update rollback leads back to it)\n", s.Current.Previous)
	}
	if b := s.Staged; b != nil {
		state := "is here as a whole: arasul update apply installs it"
		if !b.Complete {
			state = fmt.Sprintf("is here up to %d %%", b.ReceivedBytes*100/max(1, b.SizeBytes))
		}
		if b.Complete && b.Problem != nil {
			state = "is here, and cannot be installed: " + b.Problem.Message
		}
		fmt.Fprintf(w, "received:  %s %s\n", b.Version, state)
	}
	if s.Stick != nil {
		printStick(w, s.Stick)
	}
	if s.Run != nil {
		printRun(w, *s.Run)
	}
	return nil
}

// printStick says what came of a stick. What stands on it is quoted: it may be anything.
func printStick(w io.Writer, s *api.Stick) {
	fmt.Fprintf(w, "USB stick: %q at %s", s.Label, s.Time.Local().Format(time.DateTime))
	switch {
	case s.Error != "":
		fmt.Fprintf(w, ": not read: %s\n", s.Error)
	case len(s.Files) == 0:
		fmt.Fprintln(w, ": no release on it")
	default:
		fmt.Fprintln(w)
	}
	for _, f := range s.Files {
		what := "not taken"
		if f.Taken {
			what = "taken"
		}
		if f.Problem != nil {
			what += ": " + f.Problem.Message
		}
		fmt.Fprintf(w, "  %q %s\n", f.Name, what)
	}
}

func printRun(w io.Writer, r api.UpdateRun) {
	what := fmt.Sprintf("%s from %s to %s", r.Kind, r.From, r.To)
	switch {
	case r.Outcome == "" && r.Back:
		fmt.Fprintf(w, "%s: going back, %d %%, %s (%s)\n", what, r.Percent, r.Step, r.Reason)
	case r.Outcome == "":
		fmt.Fprintf(w, "%s: %d %%, %s\n", what, r.Percent, cmp.Or(r.Message, r.Step))
	default:
		fmt.Fprintf(w, "%s: %s at %s%s\n", what, r.Outcome, r.Ended.Local().Format(time.DateTime), because(r))
	}
}

func because(r api.UpdateRun) string {
	if r.Reason == "" {
		return ""
	}
	return ", because of: " + r.Reason
}

type updateInspectCmd struct {
	File string `arg:"" help:"The file." type:"existingfile"`
}

func (u *updateInspectCmd) Run(ctx context.Context, c *commands, env *Env) error {
	b, err := env.inspect(ctx, u.File)
	if err != nil {
		return err
	}
	if c.JSON {
		if err := env.printJSON(b); err != nil || b.Problem == nil {
			return err
		}
		return command.Exit(exitOf(b.Problem.Code))
	}
	printBundle(env.Stdout, b)
	if b.Problem != nil {
		return env.problem(*b.Problem)
	}
	fmt.Fprintln(env.Stdout, "It can be installed here.")
	return nil
}

// inspect has the updater judge the head of a file.
func (e *Env) inspect(ctx context.Context, name string) (b api.Bundle, err error) {
	f, err := os.Open(name) //nolint:gosec // whoever calls us may read it
	if err != nil {
		return b, err
	}
	defer f.Close()
	h, err := bundle.ReadHead(bufio.NewReader(f))
	if err != nil {
		return b, e.unreadable(err)
	}
	if err := e.Updater.Send(ctx, "/inspect", strings.NewReader(string(h.Bytes())), &b); err != nil {
		return b, e.refused(err)
	}
	return b, nil
}

func (e *Env) unreadable(err error) error {
	var no *bundle.Error
	if errors.As(err, &no) {
		return e.problem(api.Refused{Code: string(no.Code), Message: no.Text, Hint: no.Hint})
	}
	return err
}

func printBundle(w io.Writer, b api.Bundle) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "release\t%s, number %d\n", b.Version, b.Sequence)
	fmt.Fprintf(t, "built\t%s\n", b.Built.UTC().Format(time.DateTime))
	fmt.Fprintf(t, "size\t%s\n", size(uint64(max(b.SizeBytes, 0))))
	fmt.Fprintf(t, "parts\t%s\n", strings.Join(b.Parts, ", "))
	fmt.Fprintf(t, "signed by\t%s\n", strings.Join(b.Signers, ", "))
	fmt.Fprintf(t, "data\t%s\n", b.DataClass)
	_ = t.Flush()
	if b.Notes != "" {
		fmt.Fprintf(w, "\n%s\n\n", plainLines(strings.TrimSpace(b.Notes)))
	}
}

// plainLines keeps what somebody else has written from steering a terminal.
func plainLines(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, text)
}

type updateStageCmd struct {
	File string `arg:"" help:"The file." type:"existingfile"`
}

func (u *updateStageCmd) Run(ctx context.Context, c *commands, env *Env) error {
	staged, err := env.stage(ctx, u.File)
	if err != nil {
		return err
	}
	if c.JSON {
		return env.printJSON(staged)
	}
	fmt.Fprintf(env.Stdout, "%s is here: arasul update apply installs it\n", staged.Version)
	return nil
}

// sliceBytes is how much of a file is sent at once.
const sliceBytes = 16 << 20

// stage gives the updater a file, from where it broke off before.
func (e *Env) stage(ctx context.Context, name string) (s api.StagedBundle, err error) {
	f, err := os.Open(name) //nolint:gosec // as above
	if err != nil {
		return s, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return s, err
	}
	progress := newBar(e.Stderr, "release")
	defer progress.end()
	for at := int64(0); ; at = s.ReceivedBytes {
		if _, err := f.Seek(at, io.SeekStart); err != nil {
			return s, err
		}
		before := s.ReceivedBytes
		if err := e.Updater.Send(ctx, fmt.Sprintf("/stage?size=%d&offset=%d", info.Size(), at), io.LimitReader(f, sliceBytes), &s); err != nil {
			return s, e.refused(err)
		}
		progress.show("received", s.ReceivedBytes, info.Size())
		switch {
		case s.Complete && s.Problem != nil:
			progress.end()
			return s, nil
		case s.Complete:
			return s, nil
		case s.ReceivedBytes <= before:
			return s, fmt.Errorf("the file came no further than %d of %d bytes", s.ReceivedBytes, info.Size())
		}
	}
}

type updateApplyCmd struct {
	File           string `arg:"" optional:"" help:"The file; without one, the release that was received." type:"existingfile"`
	Yes            bool   `help:"Do not ask." short:"y"`
	NoWait         bool   `help:"Begin, and do not follow it."`
	AllowDowngrade bool   `help:"To an older release; needs a reason."`
	Force          bool   `help:"Again, although this release failed here before."`
	Reason         string `help:"Why; it is kept."`
}

func (u *updateApplyCmd) Run(ctx context.Context, c *commands, env *Env) error {
	b, err := u.choose(ctx, env)
	if err != nil {
		return err
	}
	if p := b.Problem; p != nil && !u.overrides(p.Code) {
		return env.problem(*p)
	}
	if !c.JSON {
		printBundle(env.Stdout, b.Bundle)
	}
	if !u.Yes {
		if err := env.askToInstall(b.Version); err != nil {
			return err
		}
	}
	wish := api.ApplyUpdate{Bundle: b.ID, Actor: "root", AllowDowngrade: u.AllowDowngrade, Force: u.Force, Reason: u.Reason}
	var s api.Update
	err = env.Updater.Call(ctx, http.MethodPost, "/apply", wish, &s)
	env.note(ctx, "update.apply", b.Version, err)
	if err != nil {
		return env.refused(err)
	}
	if u.NoWait || s.Run == nil {
		fmt.Fprintln(env.Stdout, "It has begun: arasul update watch follows it.")
		return nil
	}
	return env.follow(ctx, c, s.Run.ID)
}

func (u *updateApplyCmd) overrides(code string) bool {
	return u.AllowDowngrade && code == string(bundle.Downgrade) || u.Force && code == string(bundle.FailedBefore)
}

// choose is the release that is meant, received as a whole.
func (u *updateApplyCmd) choose(ctx context.Context, env *Env) (b api.StagedBundle, err error) {
	if u.File != "" {
		return env.stage(ctx, u.File)
	}
	s, err := env.updateStatus(ctx)
	switch {
	case err != nil:
		return b, err
	case s.Staged == nil || !s.Staged.Complete:
		return b, errors.New("no release is here as a whole: arasul update apply FILE")
	}
	return *s.Staged, nil
}

func (e *Env) askToInstall(version string) error {
	if e.Stdin == nil || !term.IsTerminal(int(e.Stdin.Fd())) {
		return errors.New("nobody is here to ask: say --yes")
	}
	fmt.Fprintf(e.Stdout, "Install %s now? Services stand still for about a minute; what is not well afterwards leads back. [y/N] ", version)
	line, _ := bufio.NewReader(e.Stdin).ReadString('\n')
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		fmt.Fprintln(e.Stdout, "Nothing was done.")
		return command.Exit(1)
	}
	return nil
}

type updateWatchCmd struct{}

func (updateWatchCmd) Run(ctx context.Context, c *commands, env *Env) error {
	s, err := env.updateStatus(ctx)
	if err != nil {
		return err
	}
	if s.Run == nil || s.Run.Outcome != "" {
		fmt.Fprintln(env.Stdout, "No update is under way.")
		return nil
	}
	return env.follow(ctx, c, s.Run.ID)
}

// lookEvery is how often an update is asked after; the updater itself may be
// replaced meanwhile, and does not answer for a moment.
const lookEvery = 500 * time.Millisecond

// follow shows an update until it has ended.
func (e *Env) follow(ctx context.Context, c *commands, id string) error {
	progress, last := newBar(e.Stderr, "update"), ""
	defer progress.end()
	for {
		var s api.Update
		if err := e.Updater.GetJSON(ctx, "/status", &s); err == nil && s.Run != nil {
			if s.Run.ID == id && s.Run.Outcome != "" {
				progress.end()
				return e.ended(c, *s.Run)
			}
			last = e.told(progress, *s.Run, last)
		}
		select {
		case <-ctx.Done():
			progress.end()
			fmt.Fprintln(e.Stderr, "It goes on by itself: arasul update watch follows it again.")
			return command.Exit(1)
		case <-time.After(lookEvery):
		}
	}
}

func (e *Env) told(b *bar, r api.UpdateRun, last string) string {
	step := r.Step
	if r.Back {
		step = "back: " + step
	}
	if b.terminal {
		b.percent(step, r.Percent)
	} else if step != last {
		fmt.Fprintf(e.Stderr, "%3d %% %s\n", r.Percent, step)
	}
	return step
}

func (e *Env) ended(c *commands, r api.UpdateRun) error {
	if c.JSON {
		if err := e.printJSON(r); err != nil {
			return err
		}
	} else {
		printRun(e.Stdout, r)
	}
	switch r.Outcome {
	case "committed":
		return nil
	case "rolled-back":
		return command.Exit(exitRolledBack)
	}
	fmt.Fprintln(e.Stderr, "Neither forward nor back was possible. The log says more: journalctl -u arasul-apply; arasul support-bundle packs it for who helps.")
	return command.Exit(exitStuck)
}

type updateHistoryCmd struct{}

func (updateHistoryCmd) Run(ctx context.Context, c *commands, env *Env) error {
	var h api.UpdateHistory
	if err := env.Updater.GetJSON(ctx, "/history", &h); err != nil {
		return env.refused(err)
	}
	if c.JSON {
		return env.printJSON(h)
	}
	t := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "STARTED\tKIND\tFROM\tTO\tBY\tOUTCOME\tDOWNTIME\tREASON")
	for _, r := range h.Runs {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%.0f s\t%s\n", r.Started.Local().Format(time.DateTime), r.Kind, r.From, r.To, r.Actor,
			cmp.Or(r.Outcome, "under way"), r.Downtime, r.Reason)
	}
	return t.Flush()
}

type updateCancelCmd struct {
	Reason string `help:"Why; it is kept."`
}

func (u *updateCancelCmd) Run(ctx context.Context, c *commands, env *Env) error {
	return env.undo(ctx, c, "cancel", u.Reason)
}

type updateRollbackCmd struct {
	Reason string `help:"Why; it is kept."`
}

func (u *updateRollbackCmd) Run(ctx context.Context, c *commands, env *Env) error {
	return env.undo(ctx, c, "rollback", u.Reason)
}

// undo asks for a way back, and follows it where there is one.
func (e *Env) undo(ctx context.Context, c *commands, verb, reason string) error {
	var s api.Update
	err := e.Updater.Call(ctx, http.MethodPost, "/"+verb, api.UndoUpdate{Actor: "root", Reason: reason}, &s)
	e.note(ctx, "update."+verb, "", err)
	if err != nil {
		return e.refused(err)
	}
	if s.Run == nil || s.Run.Outcome != "" {
		fmt.Fprintln(e.Stdout, "Done.")
		return nil
	}
	err = e.follow(ctx, c, s.Run.ID)
	if code := command.Exit(exitRolledBack); verb == "cancel" && errors.Is(err, code) { // what was wanted
		return nil
	}
	return err
}
