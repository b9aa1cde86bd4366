package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/certs"
	"github.com/arasul/arasul/pkg/command"
	"github.com/arasul/arasul/pkg/config"
)

// Certs makes certificates and knows those there are.
type Certs interface {
	// AsSigner carries out this very command as the signer, and says so, when it
	// was root who typed it.
	AsSigner() (code int, done bool, err error)
	Issue(cfg *config.Config, sure bool, force certs.Force) (certs.Issued, error)
	Show(host string) api.Certificates
	CA() ([]byte, error)
}

type certsIssueCmd struct{}

func (certsIssueCmd) Run(c *commands, env *Env) error { return issue(c, env, certs.IfDue) }

type certsRenewCmd struct {
	NewRoot bool `help:"Make a new authority, too: every device has to be told again to trust it."`
}

func (r certsRenewCmd) Run(c *commands, env *Env) error {
	if r.NewRoot {
		return issue(c, env, certs.Root)
	}
	return issue(c, env, certs.Leaf)
}

// issue makes what is due or forced. A configuration that cannot be read takes
// no name away.
func issue(c *commands, env *Env, force certs.Force) error {
	switch code, done, err := env.Certs.AsSigner(); {
	case err != nil:
		return fmt.Errorf("becoming the signer: %w", err)
	case done && code != 0:
		return command.Exit(code)
	case done:
		return nil
	}
	cfg, err := config.Load(c.Config)
	if err != nil {
		fmt.Fprintln(env.Stderr, err)
	}
	did, err := env.Certs.Issue(cfg, err == nil || !config.Concerns(err, "proxy", "mdns"), force)
	if err != nil {
		return fmt.Errorf("%w (root is needed)", err)
	}
	if c.JSON {
		return env.printJSON(did)
	}
	if did.Root != "" {
		fmt.Fprintf(env.Stdout, "The authority was made: %s. SHA-256 %s\n", did.Root, did.Fingerprint)
	}
	if did.Leaf != "" {
		fmt.Fprintf(env.Stdout, "The certificate was made: %s.\n", did.Leaf)
	} else {
		fmt.Fprintln(env.Stdout, "The certificate is as it should be.")
	}
	fmt.Fprintf(env.Stdout, "It is good until %s, for %s\n", did.NotAfter.Local().Format(time.DateOnly), strings.Join(append(did.Names, did.Addresses...), ", "))
	if len(did.LeftOut) > 0 {
		fmt.Fprintf(env.Stdout, "The authority may not vouch for %s\n", strings.Join(did.LeftOut, ", "))
	}
	return nil
}

type certsShowCmd struct {
	Host string `arg:"" optional:"" help:"The name or address that is asked for; the machine's own name unless given."`
}

func (s certsShowCmd) Run(c *commands, env *Env) error {
	said := env.Certs.Show(s.Host)
	if c.JSON {
		return env.printJSON(said)
	}
	printCertificates(env.Stdout, said)
	return nil
}

func printCertificates(w io.Writer, s api.Certificates) {
	day := func(t time.Time) string { return t.Local().Format(time.DateOnly) }
	if s.Certificate == nil {
		fmt.Fprintln(w, "There is no certificate yet (systemctl status arasul-certs).")
	} else {
		from := map[string]string{
			api.IssuerLocal: "this machine's own authority",
			api.IssuerACME:  "Let's Encrypt or another public authority",
			api.IssuerOwn:   "/etc/arasul/tls",
		}[s.Certificate.Issuer]
		fmt.Fprintf(w, "certificate  from %s, good from %s until %s\n", from, day(s.Certificate.NotBefore), day(s.Certificate.NotAfter))
		if !s.Ready {
			fmt.Fprintln(w, "             that is not now: check the clock (timedatectl)")
		}
		fmt.Fprintf(w, "good for     %s\n", strings.Join(append(s.Certificate.Names, s.Certificate.Addresses...), ", "))
		fmt.Fprintf(w, "SHA-256      %s\n", s.Certificate.Fingerprint)
	}
	if s.CA != nil {
		fmt.Fprintf(w, "authority    %s, until %s\nSHA-256      %s\n", s.CA.Subject, day(s.CA.NotAfter), s.CA.Fingerprint)
	}
}

type certsCACmd struct{}

// Run prints the root where it can be piped into a file, and what to do with it
// where a person sees it.
func (certsCACmd) Run(c *commands, env *Env) error {
	pem, err := env.Certs.CA()
	if err != nil {
		return fmt.Errorf("there is no authority yet (systemctl status arasul-certs): %w", err)
	}
	said := env.Certs.Show("")
	if c.JSON {
		return env.printJSON(struct {
			PEM string                    `json:"pem"`
			CA  *api.CertificateAuthority `json:"ca"`
		}{string(pem), said.CA})
	}
	if _, err := env.Stdout.Write(pem); err != nil {
		return err
	}
	name := "arasul.local"
	if said.Certificate != nil && len(said.Certificate.Names) > 0 {
		name = said.Certificate.Names[0]
	}
	if said.CA != nil {
		fmt.Fprintf(env.Stderr, "%s\nSHA-256 %s\n\n", said.CA.Subject, said.CA.Fingerprint)
	}
	fmt.Fprintf(env.Stderr, `To see the page without a warning, a device has to trust this certificate:
  Windows, Android, Linux, Firefox   open http://%[1]s/ca.crt on it
  iPhone, iPad, Mac                  open http://%[1]s/ca.mobileconfig on it
Compare the fingerprint that it shows with the one above. Every step of each is
in /usr/share/doc/arasul/tls.md.
`, name)
	return nil
}

// certsACMECmd tells arasul-acme.service whether it has something to do.
type certsACMECmd struct{}

func (certsACMECmd) Run(c *commands, env *Env) error {
	cfg, err := config.Load(c.Config)
	if err == nil && cfg.ACME.Domain == "" || err != nil && !config.Concerns(err, "acme") && cfg.ACME.Domain == "" {
		fmt.Fprintln(env.Stdout, "There is no [acme] domain: nothing to do.")
		return command.Exit(1)
	}
	return nil // what is wrong with a bad one is the daemon's to say
}
