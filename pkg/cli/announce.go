package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/config"
)

// Issue is what attached screens show above the login prompt.
type Issue interface {
	Text() (string, error) // empty when nothing of ours is shown
	Show(text string) error
	Clear() error
}

// Machine is what a person needs to find this machine in the network, and to
// know that it is this one.
type Machine interface {
	Addresses(only []string) []string // on these interfaces, or on those that lead to people
	Fingerprint() string              // SHA-256 of the certificate authority; empty when there is none yet
}

const (
	// announceEvery is how often the announcement is brought up to date.
	announceEvery = 15 * time.Second
	// announceRetry is the first wait for a dashboard or database that is away;
	// it doubles up to maxAnnounceRetry.
	announceRetry    = 2 * time.Second
	maxAnnounceRetry = 30 * time.Second
	// announceAnew is how long before its end a code is replaced.
	announceAnew = 10 * time.Minute
)

// userAnnounceCmd shows a setup code until somebody has logged in for the first
// time. It ends well however long the dashboard and the database are away.
type userAnnounceCmd struct{}

func (userAnnounceCmd) Run(ctx context.Context, c *commands, env *Env) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		fmt.Fprintln(env.Stderr, err)
	}
	a := announcer{env: env, cfg: cfg}
	defer func() {
		if err := env.Issue.Clear(); err != nil {
			fmt.Fprintf(env.Stderr, "arasul: the login screen still shows the code: %v\n", err)
		}
	}()
	wait, failing := announceEvery, ""
	for {
		done, err := a.step(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case done:
			fmt.Fprintln(env.Stderr, "the admin has a password: no setup code is needed")
			return nil
		case err == nil:
			wait, failing = announceEvery, ""
		default:
			if failing == "" {
				wait = announceRetry / 2
			}
			wait = min(2*wait, maxAnnounceRetry)
			if err.Error() != failing { // the same again is not news
				fmt.Fprintf(env.Stderr, "waiting: %v\n", err)
			}
			failing = err.Error()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// loginStatus is the part of the dashboard's auth/status that counts here.
type loginStatus struct {
	SetupNeeded bool  `json:"setup_needed"`
	Available   *bool `json:"available"` // false: what is said above is not known
}

// announcer is between two looks.
type announcer struct {
	env         *Env
	cfg         *config.Config
	code        setupCode
	said, shown string // on standard output, above the login prompt
}

// step asks for a code when there is none that is good for a while, else only
// whether one is needed, and shows what has changed.
func (a *announcer) step(ctx context.Context) (done bool, err error) {
	if a.code.Code == "" || time.Until(a.code.ExpiresAt) < announceAnew {
		var code setupCode
		if err := a.env.console(ctx, http.MethodPost, "setup-code", nil, &code); err != nil {
			return false, err
		}
		if code.Done || code.Code == "" {
			return true, nil
		}
		a.code = code
	} else {
		var status loginStatus
		if err := a.env.Console.Call(ctx, http.MethodGet, "/api/auth/status", nil, &status); err != nil {
			return false, err
		}
		switch {
		case status.Available != nil && !*status.Available:
			return false, errors.New("the dashboard cannot say whether there is an admin: the database is away")
		case !status.SetupNeeded:
			return true, nil
		}
		// Made by hand since: the one before does not count any more.
		if text, err := a.env.Issue.Text(); err == nil && codeIn(text) != "" {
			a.code.Code = codeIn(text)
		}
	}
	text := announcement(a.code.Code, a.cfg.MDNS.Name, a.env.Machine.Addresses(a.cfg.MDNS.Interfaces), a.env.Machine.Fingerprint())
	if text != a.said {
		fmt.Fprint(a.env.Stdout, text)
		a.said = text
	}
	if text == a.shown {
		return false, nil
	}
	if err := a.env.Issue.Show(text); err != nil {
		return false, fmt.Errorf("showing the code on the login screen: %w", err)
	}
	a.shown = text
	return false, nil
}

// codeMark begins the line with the code.
const codeMark = "  Code: "

// announcement is the text for people who have just unpacked the machine, in 78
// columns of plain ASCII, which every screen can show.
func announcement(code, name string, addresses []string, fingerprint string) string {
	var b strings.Builder
	b.WriteString(`
Arasul is not set up yet. On a computer or phone in this network, open one of
these addresses in the browser and enter the code.
Arasul ist noch nicht eingerichtet. Auf einem Computer oder Handy in diesem
Netz eine dieser Adressen im Browser aufrufen und den Code eingeben.

`)
	fmt.Fprintf(&b, "  https://%s.local\n", name)
	for _, a := range addresses[:min(len(addresses), 4)] {
		fmt.Fprintf(&b, "  https://%s\n", cmp.Or(bracketed(a), a))
	}
	fmt.Fprintf(&b, "\n%s%s\n", codeMark, code)
	if fingerprint != "" {
		b.WriteString("\n  Certificate / Zertifikat (SHA-256):\n")
		for line := range strings.Lines(halved(fingerprint)) {
			b.WriteString("  " + line)
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	return b.String()
}

// bracketed is an IPv6 address as URLs have it.
func bracketed(address string) string {
	if strings.Contains(address, ":") {
		return "[" + address + "]"
	}
	return ""
}

// halved breaks a fingerprint in its middle, between two bytes.
func halved(fingerprint string) string {
	if middle := len(fingerprint) / 2; len(fingerprint) > 70 && fingerprint[middle] == ':' {
		return fingerprint[:middle] + "\n" + fingerprint[middle+1:]
	}
	return fingerprint
}

// codeIn finds the code in an announcement.
func codeIn(text string) string {
	for line := range strings.Lines(text) {
		if code, ok := strings.CutPrefix(line, codeMark); ok {
			return strings.TrimSpace(code)
		}
	}
	return ""
}

// showInstead puts a new code into the announcement that is shown, if one is.
func showInstead(issue Issue, code string) error {
	text, err := issue.Text()
	if err != nil {
		return err
	}
	before := codeIn(text)
	switch {
	case before == "" || before == code:
		return nil
	case code == "": // no code counts any more
		return issue.Clear()
	}
	return issue.Show(strings.Replace(text, codeMark+before, codeMark+code, 1))
}
