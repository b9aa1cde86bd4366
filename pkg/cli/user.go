package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// Console asks the dashboard as whoever sits at the machine: root, over its
// socket. An answer other than yes is an error that has a Status.
type Console interface {
	Call(ctx context.Context, method, path string, in, out any) error
}

// userCmd are the ways back in that no attacker on the network can close.
type userCmd struct {
	SetupCode userSetupCodeCmd `cmd:"" help:"Make a new code for the first login in the browser. The one before no longer counts."`
	Passwd    userPasswdCmd    `cmd:"" help:"Set the admin's password, from the terminal or from standard input, and end all sessions."`
	Unlock    userUnlockCmd    `cmd:"" help:"Forget failed logins, so that the admin may try again at once."`
	Sessions  userSessionsCmd  `cmd:"" help:"List who is logged in, from where and since when."`
	LogoutAll userLogoutAllCmd `cmd:"" help:"End all sessions."`
	TOTPOff   userTOTPOffCmd   `cmd:"" name:"totp-off" help:"Log in without the second factor again, when the phone is lost."`
	Announce  userAnnounceCmd  `cmd:"" hidden:"" help:"Show a setup code until the first login is done: arasul-setup-code.service."`
}

// setupCode is the answer of the console's setup-code.
type setupCode struct {
	Code      string    `json:"code"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	Done      bool      `json:"done,omitempty"` // an admin exists, no code is needed
}

type userSetupCodeCmd struct{}

func (userSetupCodeCmd) Run(ctx context.Context, c *commands, env *Env) error {
	var code setupCode
	if err := env.console(ctx, http.MethodPost, "setup-code", nil, &code); err != nil {
		return err
	}
	if err := showInstead(env.Issue, code.Code); err != nil {
		fmt.Fprintf(env.Stderr, "arasul: the code on the login screen is out of date: %v\n", err)
	}
	switch {
	case c.JSON:
		return env.printJSON(code)
	case code.Done:
		fmt.Fprintln(env.Stdout, "The admin has a password already, so there is no setup code. To set another: arasul user passwd")
	default:
		fmt.Fprintf(env.Stdout, "%s\n\nEnter it in the browser until %s. It works once; a code made before does not work any more.\n",
			code.Code, code.ExpiresAt.Local().Format("2006-01-02 15:04"))
	}
	return nil
}

type userPasswdCmd struct{}

// Help is what kong adds for --help.
func (userPasswdCmd) Help() string {
	return `On a terminal the password is asked for twice and not shown. Otherwise standard input is one line
with the password:

  arasul user passwd < FILE

It is never an argument, where everybody on the machine could read it.`
}

func (userPasswdCmd) Run(ctx context.Context, c *commands, env *Env) error {
	password, err := newPassword(ctx, env)
	if err != nil {
		return err
	}
	if err := env.console(ctx, http.MethodPost, "passwd", map[string]string{"password": password}, nil); err != nil {
		return err
	}
	return env.done(c, "The password is set, and all sessions have ended.")
}

type userUnlockCmd struct{}

func (userUnlockCmd) Run(ctx context.Context, c *commands, env *Env) error {
	if err := env.console(ctx, http.MethodPost, "unlock", nil, nil); err != nil {
		return err
	}
	return env.done(c, "Failed logins are forgotten: the admin may try again at once.")
}

type userLogoutAllCmd struct{}

func (userLogoutAllCmd) Run(ctx context.Context, c *commands, env *Env) error {
	if err := env.console(ctx, http.MethodPost, "logout-all", nil, nil); err != nil {
		return err
	}
	return env.done(c, "All sessions have ended.")
}

type userTOTPOffCmd struct{}

func (userTOTPOffCmd) Run(ctx context.Context, c *commands, env *Env) error {
	if err := env.console(ctx, http.MethodPost, "totp-off", nil, nil); err != nil {
		return err
	}
	return env.done(c, "The second factor is off: the password alone is enough.")
}

// session is one row of the console's sessions.
type session struct {
	ID         string    `json:"id"`
	Address    string    `json:"address"`
	UserAgent  string    `json:"user_agent"`
	Kind       string    `json:"kind"`
	CreatedAt  time.Time `json:"created_at"`
	LastUsedAt time.Time `json:"last_used_at"`
	ExpiresAt  time.Time `json:"expires_at"`
}

type userSessionsCmd struct{}

func (userSessionsCmd) Run(ctx context.Context, c *commands, env *Env) error {
	var list struct {
		Sessions []session `json:"sessions"`
	}
	if err := env.console(ctx, http.MethodGet, "sessions", nil, &list); err != nil {
		return err
	}
	if c.JSON {
		if list.Sessions == nil {
			list.Sessions = []session{}
		}
		return env.printJSON(list)
	}
	if len(list.Sessions) == 0 {
		fmt.Fprintln(env.Stdout, "Nobody is logged in.")
		return nil
	}
	t := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ADDRESS\tLOGGED IN\tLAST USED\tENDS\tKIND\tPROGRAM")
	when := func(at time.Time) string { return at.Local().Format("2006-01-02 15:04") }
	for _, s := range list.Sessions {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", printable(s.Address, 45), when(s.CreatedAt), when(s.LastUsedAt), when(s.ExpiresAt),
			printable(s.Kind, 10), printable(s.UserAgent, 60))
	}
	return t.Flush()
}

// printable is what a stranger sent, without what a terminal would obey.
func printable(s string, most int) string {
	var b strings.Builder
	for _, r := range s {
		if most--; most < 0 {
			b.WriteString("…")
			break
		}
		if !unicode.IsPrint(r) {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// done says what was done.
func (e *Env) done(c *commands, said string) error {
	if c.JSON {
		return e.printJSON(map[string]bool{"done": true})
	}
	fmt.Fprintln(e.Stdout, said)
	return nil
}

// console calls one of the endpoints that answer to the console only, and says
// what a person can do when it does not work.
func (e *Env) console(ctx context.Context, method, verb string, in, out any) error {
	err := e.Console.Call(ctx, method, "/internal/console/"+verb, in, out)
	var answer interface{ Status() int }
	var dial *net.OpError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission):
		return errors.New("only root may do this: try it with sudo")
	case errors.As(err, &answer) && answer.Status() == http.StatusNotFound:
		return errors.New("the dashboard does not know this request: root is needed, and a dashboard of this version (systemctl restart arasul-dashboard)")
	case errors.As(err, &answer) && answer.Status() == http.StatusServiceUnavailable:
		return fmt.Errorf("%w (accounts are in the database: systemctl status arasul-postgres)", err)
	case errors.As(err, &dial), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the dashboard does not answer (systemctl status arasul-dashboard): %w", err)
	}
	return err
}
