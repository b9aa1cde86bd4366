package araupdate

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/bundle"
	"github.com/arasul/arasul/pkg/command"
)

type verifyCmd struct {
	File string   `arg:"" help:"The release." placeholder:"FILE"`
	Key  []string `help:"Public keys, each of which is enough, as in a machine's folder." placeholder:"FILE"`
	Root string   `help:"Trust root of a machine, signed or plain." placeholder:"FILE"`
}

// Validate implements kong's interface: what is wrong with the command line itself.
func (v *verifyCmd) Validate() error {
	if len(v.Key) == 0 && v.Root == "" {
		return errors.New("say whom to trust: --key FILE or --root FILE")
	}
	return nil
}

func (v *verifyCmd) Run(c *commands, env *Env) error {
	root, err := v.root()
	if err != nil {
		return err
	}
	good, err := readThrough(v.File, root, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", v.File, err)
	}
	if c.JSON {
		return env.printJSON(map[string]any{
			"file": v.File, "bundle_id": good.ID, "version": good.Manifest.Release.Version, "sequence": good.Manifest.Release.Sequence,
			"size_bytes": good.Size(), "signers": good.Signers, "root_version": good.Root.Version,
		})
	}
	fmt.Fprintf(env.Stdout, "%s is whole and signed: %s, sequence %d\n", v.File, good.Manifest.Release.Version, good.Manifest.Release.Sequence)
	for _, id := range good.Signers {
		fmt.Fprintf(env.Stdout, "  by %s\n", id)
	}
	return nil
}

func (v *verifyCmd) root() (*bundle.Root, error) {
	switch {
	case v.Root != "" && len(v.Key) > 0:
		return nil, fmt.Errorf("--key and --root do not go together")
	case v.Root == "":
		keys, err := readPublic(v.Key)
		return bundle.Bootstrap(keys...), err
	}
	text, err := readSmall(v.Root)
	if err != nil {
		return nil, err
	}
	root, err := parseEither(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", v.Root, err)
	}
	return root, nil
}

// readThrough reads a release to its end as a machine does, and compares the
// checksums of its parts as well, which a machine has no need of.
func readThrough(path string, root *bundle.Root, m *meter) (*bundle.Verified, error) {
	f, h, err := openHead(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	v, err := h.Verify(root)
	if err != nil {
		return nil, err
	}
	sums := newSums(v.Manifest.Payloads)
	if err := v.ReadPayload(f, func(chunk []byte) error {
		if m != nil {
			m.add(len(chunk))
		}
		return sums.add(chunk)
	}); err != nil {
		return nil, err
	}
	return v, nil
}

// sums compares parts with their checksums as they come by.
type sums struct {
	parts []bundle.Payload
	left  int64
	hash  hash.Hash
}

func newSums(parts []bundle.Payload) *sums {
	return &sums{parts: parts, left: parts[0].Size, hash: sha256.New()}
}

func (s *sums) add(data []byte) error {
	for len(data) > 0 {
		n := min(int64(len(data)), s.left)
		s.hash.Write(data[:n])
		data, s.left = data[n:], s.left-n
		if s.left > 0 {
			continue
		}
		if hex.EncodeToString(s.hash.Sum(nil)) != s.parts[0].SHA256 {
			return &bundle.Error{Code: bundle.Corrupt, Text: s.parts[0].Name + " is not what the manifest says"}
		}
		s.parts = s.parts[1:]
		s.hash.Reset()
		if len(s.parts) > 0 {
			s.left = s.parts[0].Size
		}
	}
	return nil
}

type inspectCmd struct {
	File string `arg:"" help:"Release, trust root or permit." placeholder:"FILE"`
}

func (i *inspectCmd) Run(c *commands, env *Env) error {
	d, err := openDocument(i.File)
	if err != nil {
		return err
	}
	return d.tell(c, env)
}

func (d *document) tell(c *commands, env *Env) error {
	if c.JSON {
		return env.printJSON(d.describe())
	}
	d.print(env.Stdout)
	return nil
}

// describe is what --json says of a document.
func (d *document) describe() map[string]any {
	type signer struct {
		KeyID     string `json:"key_id"`
		Algorithm string `json:"algorithm"`
	}
	signers := []signer{}
	for _, s := range d.signatures {
		signers = append(signers, signer{s.KeyID, s.Algorithm})
	}
	all := map[string]any{"file": d.path, "signatures": signers, "verified": false}
	switch {
	case d.claim != nil:
		all["bundle_id"], all["manifest"] = d.claim.ID, d.claim.Manifest
		all["size_bytes"], all["roots"] = d.size, len(d.claim.Roots)
	case d.root != nil:
		all["root"] = d.root
	case d.permit != nil:
		all["permit"] = d.permit
	}
	return all
}

func (d *document) print(w io.Writer) {
	row := func(name string, format string, args ...any) {
		fmt.Fprintf(w, "%-10s  %s\n", name, fmt.Sprintf(format, args...))
	}
	switch {
	case d.claim != nil:
		d.printRelease(row)
	case d.root != nil:
		r := d.root
		row("root", "version %d", r.Version)
		row("releases", "%d of %d keys: %s", r.Roles.Release.Threshold, len(r.Roles.Release.Keys), strings.Join(r.Roles.Release.IDs(), " "))
		row("next root", "%d of %d keys: %s", r.Roles.Root.Threshold, len(r.Roles.Root.Keys), strings.Join(r.Roles.Root.IDs(), " "))
		for _, id := range r.RevokedKeys {
			row("revoked", "key %s", id)
		}
		for _, id := range r.RevokedBundles {
			row("withdrawn", "release %s", id)
		}
		if r.MinSequence > 0 {
			row("withdrawn", "releases below sequence %d", r.MinSequence)
		}
	case d.permit != nil:
		row("permit", "for the release %s", d.permit.Bundle)
		row("machine", "%s", d.permit.Machine)
		row("ends", "with version %d of the trust root", d.permit.LastRoot+1)
	}
	for _, s := range d.signatures {
		row("signature", "claims to be by %s (%s)", s.KeyID, s.Algorithm)
	}
	if len(d.signatures) == 0 {
		row("signature", "none")
	}
}

func (d *document) printRelease(row func(string, string, ...any)) {
	m := &d.claim.Manifest
	row("release", "%s, sequence %d, %s", m.Release.Version, m.Release.Sequence, m.Release.Channel)
	row("built", "%s", m.Release.Built.Format(time.RFC3339))
	if m.Release.Expires != nil {
		row("expires", "%s", m.Release.Expires.Format(time.RFC3339))
	}
	row("bundle ID", "%s", d.claim.ID)
	row("for", "%s on %s", strings.Join(m.Requires.Arch, ", "), strings.Join(m.Requires.OS, ", "))
	if m.Requires.FromMin > 0 {
		row("on top of", "sequence %d or above", m.Requires.FromMin)
	}
	row("data", "%s, schema %d", m.Data.Class, m.Data.Schema)
	row("floor", "%d afterwards", m.Floor)
	row("size", "%d bytes", d.size)
	for _, p := range m.Payloads {
		detail := p.Package + " " + p.Version + " " + p.Arch
		if p.Kind == bundle.Image {
			detail = p.Application + " " + p.ImageID
		}
		row(string(p.Kind), "%s, %d bytes: %s", p.Name, p.Size, detail)
	}
	for _, r := range d.claim.Roots {
		row("root", "brings version %d", r.Version)
	}
	for line := range strings.Lines(m.Release.Notes) {
		row("notes", "%s", printable(line))
	}
}

// printable is text without what moves a terminal's cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, s)
}

type diffCmd struct {
	Old string `arg:"" placeholder:"OLD"`
	New string `arg:"" placeholder:"NEW"`
}

func (d *diffCmd) Run(c *commands, env *Env) error {
	a, err := openRelease(d.Old)
	if err != nil {
		return err
	}
	b, err := openRelease(d.New)
	if err != nil {
		return err
	}
	changes := compare(&a.claim.Manifest, &b.claim.Manifest)
	if c.JSON {
		if err := env.printJSON(map[string]any{"old": a.claim.ID, "new": b.claim.ID, "changes": changes}); err != nil {
			return err
		}
	} else {
		for _, change := range changes {
			fmt.Fprintf(env.Stdout, "%-28s %s → %s\n", change.What, change.Old, change.New)
		}
	}
	if len(changes) > 0 {
		return command.Exit(1)
	}
	return nil
}

// change is one thing that differs; empty: it is not there.
type change struct {
	What string `json:"what"`
	Old  string `json:"old"`
	New  string `json:"new"`
}

// compare says what a machine would notice.
func compare(a, b *bundle.Manifest) []change {
	changes := []change{}
	note := func(what string, old, now any) {
		if before, after := fmt.Sprint(old), fmt.Sprint(now); before != after {
			changes = append(changes, change{what, before, after})
		}
	}
	note("version", a.Release.Version, b.Release.Version)
	note("sequence", a.Release.Sequence, b.Release.Sequence)
	note("channel", a.Release.Channel, b.Release.Channel)
	note("built", a.Release.Built.Format(time.RFC3339), b.Release.Built.Format(time.RFC3339))
	note("from_min_sequence", a.Requires.FromMin, b.Requires.FromMin)
	note("arch", a.Requires.Arch, b.Requires.Arch)
	note("os", a.Requires.OS, b.Requires.OS)
	note("data class", a.Data.Class, b.Data.Class)
	note("schema", a.Data.Schema, b.Data.Schema)
	note("floor", a.Floor, b.Floor)
	names := []string{}
	old, now := parts(a), parts(b)
	for _, list := range []*bundle.Manifest{a, b} {
		for i := range list.Payloads {
			if name := partName(&list.Payloads[i]); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	for _, name := range names {
		note(name, old[name], now[name])
	}
	return changes
}

func partName(p *bundle.Payload) string {
	if p.Kind == bundle.Image {
		return "image " + p.Application
	}
	return "package " + p.Package
}

func parts(m *bundle.Manifest) map[string]string {
	all := map[string]string{}
	for i := range m.Payloads {
		p := &m.Payloads[i]
		all[partName(p)] = fmt.Sprintf("%s %.12s (%d bytes)", strings.TrimSpace(p.Version+" "+p.ImageID), p.SHA256, p.Size)
	}
	return all
}
