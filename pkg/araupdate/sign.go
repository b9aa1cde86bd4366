package araupdate

import (
	"cmp"
	"fmt"
	"io"

	"github.com/arasul/arasul/pkg/bundle"
)

type tbsCmd struct {
	File   string `arg:"" help:"Release, trust root or permit." placeholder:"FILE"`
	Output string `help:"Where it goes. Standard output when it is not given." short:"o" placeholder:"FILE"`
}

func (t *tbsCmd) Run(env *Env) error {
	d, err := openDocument(t.File)
	if err != nil {
		return err
	}
	if t.Output == "" {
		_, err := env.Stdout.Write(d.tbs)
		return err
	}
	return writeFile(t.Output, func(w io.Writer) error {
		_, err := w.Write(d.tbs)
		return err
	})
}

type attachCmd struct {
	File      string `arg:"" help:"Release, trust root or permit." placeholder:"FILE"`
	Key       string `help:"The public key of who signed." required:"" placeholder:"FILE"`
	Signature string `help:"The signature of what tbs printed, as bytes." required:"" placeholder:"FILE"`
	Output    string `help:"Where the signed file goes. In the place of the old one when it is not given." short:"o" placeholder:"FILE"`
}

func (a *attachCmd) Run(c *commands, env *Env) error {
	d, err := openDocument(a.File)
	if err != nil {
		return err
	}
	keys, err := readPublic([]string{a.Key})
	if err != nil {
		return err
	}
	value, err := readSmall(a.Signature)
	if err != nil {
		return err
	}
	s, ok := keys[0].Recognize(d.tbs, value)
	if !ok {
		return &bundle.Error{Code: bundle.BadSignature, Text: fmt.Sprintf("%s is no signature by %s of what araupdate tbs %s prints", a.Signature, a.Key, a.File)}
	}
	return d.finish(s, cmp.Or(a.Output, a.File), c, env)
}

type signCmd struct {
	File   string   `arg:"" help:"Release, trust root or permit." placeholder:"FILE"`
	Key    []string `help:"Private keys." required:"" placeholder:"KEY"`
	Output string   `help:"Where the signed file goes. In the place of the old one when it is not given." short:"o" placeholder:"FILE"`
}

func (s *signCmd) Run(c *commands, env *Env) error {
	d, err := openDocument(s.File)
	if err != nil {
		return err
	}
	list, _, err := signAll(s.Key, d.tbs)
	if err != nil {
		return err
	}
	output := cmp.Or(s.Output, s.File)
	for _, one := range list[:len(list)-1] {
		d.put(one)
	}
	return d.finish(list[len(list)-1], output, c, env)
}

// finish puts a signature in, writes the file and says what it is.
func (d *document) finish(s bundle.Signature, output string, c *commands, env *Env) error {
	d.put(s)
	if err := writeFile(output, func(w io.Writer) error { return d.write(w, d.signatures) }); err != nil {
		return err
	}
	d.path = output
	if c.JSON {
		return env.printJSON(d.describe())
	}
	fmt.Fprintf(env.Stdout, "%s is signed by %d: the last is %s (%s)\n", output, len(d.signatures), s.KeyID, s.Algorithm)
	return nil
}

type rootCmd struct {
	From          string   `help:"The root before, signed or not: what is not given below is taken from it, and the version is one more." placeholder:"FILE"`
	ReleaseKey    []string `help:"Public keys that may sign releases." placeholder:"FILE"`
	RootKey       []string `help:"Public keys that may sign the next root." placeholder:"FILE"`
	Threshold     int      `help:"How many keys have to sign a release."`
	RootThreshold int      `help:"How many keys have to sign the next root."`
	RevokeKey     []string `help:"IDs of keys that count no longer." placeholder:"ID"`
	RevokeBundle  []string `help:"IDs of releases that were withdrawn." placeholder:"ID"`
	MinSequence   uint64   `help:"Releases below it were withdrawn."`
	Output        string   `help:"Where it goes, to be signed: by the keys of the root before, and by its own." short:"o" required:"" placeholder:"FILE"`
}

func (r *rootCmd) Run(c *commands, env *Env) error {
	next := &bundle.Root{}
	if r.From != "" {
		text, err := readSmall(r.From)
		if err != nil {
			return err
		}
		if next, err = parseEither(text); err != nil {
			return fmt.Errorf("%s: %w", r.From, err)
		}
	}
	next.Version++
	for _, role := range []struct {
		of        *bundle.Role
		files     []string
		threshold int
	}{{&next.Roles.Root, r.RootKey, r.RootThreshold}, {&next.Roles.Release, r.ReleaseKey, r.Threshold}} {
		threshold := cmp.Or(role.threshold, role.of.Threshold, 1)
		if len(role.files) > 0 {
			keys, err := readPublic(role.files)
			if err != nil {
				return err
			}
			*role.of = bundle.NewRole(threshold, keys...)
		}
		role.of.Threshold = threshold
	}
	next.RevokedKeys = append(next.RevokedKeys, r.RevokeKey...)
	next.RevokedBundles = append(next.RevokedBundles, r.RevokeBundle...)
	next.MinSequence = max(next.MinSequence, r.MinSequence)
	text, err := next.Encode()
	if err != nil {
		return err
	}
	if err := writeFile(r.Output, func(w io.Writer) error {
		return encode(w, bundle.SignedRoot{Root: text, Signatures: []bundle.Signature{}})
	}); err != nil {
		return err
	}
	d, err := openDocument(r.Output)
	if err != nil {
		return err
	}
	return d.tell(c, env)
}

// parseEither reads a root, signed or as machines keep it.
func parseEither(text []byte) (*bundle.Root, error) {
	if s, err := bundle.ParseSignedRoot(text); err == nil {
		text = s.Root
	}
	return bundle.ParseRoot(text)
}

type plainCmd struct {
	File string `arg:"" help:"Signed trust root." placeholder:"FILE"`
}

func (p *plainCmd) Run(env *Env) error {
	text, err := readSmall(p.File)
	if err != nil {
		return err
	}
	s, err := bundle.ParseSignedRoot(text)
	if err != nil {
		return fmt.Errorf("%s: %w", p.File, err)
	}
	_, err = env.Stdout.Write(s.Root)
	return err
}

type permitCmd struct {
	File    string   `arg:"" help:"The release." placeholder:"FILE"`
	Machine string   `help:"Content of the machine's /etc/machine-id, or * for all machines." required:"" placeholder:"ID"`
	Root    int      `help:"Last version of the trust root under which it is good: 0 while machines have keys in a folder only." default:"0"`
	Sign    []string `help:"Private keys to sign with." placeholder:"KEY"`
	Output  string   `help:"Where it goes." short:"o" required:"" placeholder:"FILE"`
}

func (p *permitCmd) Run(c *commands, env *Env) error {
	release, err := openRelease(p.File)
	if err != nil {
		return err
	}
	text, err := bundle.Permit{Bundle: release.claim.ID, Machine: p.Machine, LastRoot: p.Root}.Encode()
	if err != nil {
		return err
	}
	list, _, err := signAll(p.Sign, bundle.PermitToBeSigned(text))
	if err != nil {
		return err
	}
	if err := writeFile(p.Output, func(w io.Writer) error {
		return encode(w, bundle.SignedPermit{Permit: text, Signatures: list})
	}); err != nil {
		return err
	}
	d, err := openDocument(p.Output)
	if err != nil {
		return err
	}
	return d.tell(c, env)
}
