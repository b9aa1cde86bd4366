package araupdate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/arasul/arasul/pkg/bundle"
)

type buildCmd struct {
	Deb       string            `help:"The package." required:"" placeholder:"FILE"`
	Image     map[string]string `help:"A container image as an OCI archive: llm, n8n or minio. May be repeated." placeholder:"APP=FILE"`
	Release   string            `help:"Version of the release. That of the package when it is not given." name:"version" placeholder:"VERSION"`
	Sequence  uint64            `help:"Number of the release: greater than that of each before it." required:""`
	OS        []string          `help:"Systems that it is for." name:"os" default:"debian:12,debian:13,ubuntu:22.04,ubuntu:24.04"`
	Channel   string            `help:"Channel, as stable." default:"stable"`
	FromMin   uint64            `help:"Lowest sequence that it can be installed on top of."`
	Floor     uint64            `help:"Lowest sequence that may be installed afterwards."`
	DataClass string            `help:"compatible, restore or one-way: what the release before can do with what this one stores." enum:"compatible,restore,one-way" default:"compatible"`
	Schema    int               `help:"Version of the database's schema that it brings. Without it nobody can go down to this release."`
	Notes     string            `help:"What is new, as text." placeholder:"FILE"`
	Built     string            `help:"When it was built. SOURCE_DATE_EPOCH, or now, when it is not given." placeholder:"TIME"`
	Expires   string            `help:"Last day on which it is installed by itself, 2026-12-31." placeholder:"DAY"`
	Trust     []string          `help:"Signed trust roots that come with it, oldest first." placeholder:"FILE"`
	Sign      []string          `help:"Private keys to sign with. Without one: see tbs, attach and sign." placeholder:"KEY"`
	Output    string            `help:"Where it goes." short:"o" required:"" placeholder:"FILE"`
}

func (b *buildCmd) Run(ctx context.Context, c *commands, env *Env) error {
	d, err := b.draft(ctx, env)
	if err != nil {
		return err
	}
	var files []*os.File
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	var total int64
	for _, path := range b.paths() {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		files = append(files, f)
		info, err := f.Stat()
		if err != nil {
			return err
		}
		total += info.Size()
	}
	reading := newMeter(env.Stderr, "reading", total)
	for _, f := range files {
		d.Parts = append(d.Parts, reading.watch(f))
	}
	manifest, err := d.Seal()
	if err != nil {
		return err
	}
	signatures, keys, err := signAll(b.Sign, bundle.ToBeSigned(manifest))
	if err != nil {
		return err
	}
	reading.again("writing")
	if err := writeFile(b.Output, func(w io.Writer) error { return d.Write(w, signatures) }); err != nil {
		return err
	}
	// What a machine would refuse is found out here.
	if len(keys) > 0 {
		if _, err := readThrough(b.Output, bundle.Bootstrap(keys...), newMeter(env.Stderr, "checking", total)); err != nil {
			return fmt.Errorf("%s was written and is not good: %w", b.Output, err)
		}
	}
	return b.report(c, env)
}

func (b *buildCmd) report(c *commands, env *Env) error {
	doc, err := openRelease(b.Output)
	if err != nil {
		return err
	}
	if c.JSON {
		return env.printJSON(doc.describe())
	}
	doc.print(env.Stdout)
	if len(doc.signatures) == 0 {
		fmt.Fprintf(env.Stdout, "\nIt is not signed yet: araupdate sign %s --key KEY, or araupdate tbs %s\n", b.Output, b.Output)
	}
	return nil
}

// paths are the files of the payload, in their order.
func (b *buildCmd) paths() []string {
	paths := []string{b.Deb}
	for _, app := range slices.Sorted(maps.Keys(b.Image)) {
		paths = append(paths, b.Image[app])
	}
	return paths
}

// draft is everything but the content of the parts.
func (b *buildCmd) draft(ctx context.Context, env *Env) (*bundle.Draft, error) {
	name, version, arch, err := env.Packages.Describe(ctx, b.Deb)
	if err != nil {
		return nil, err
	}
	d := &bundle.Draft{Manifest: bundle.Manifest{
		Release:  bundle.Release{Version: version, Sequence: b.Sequence, Channel: b.Channel},
		Requires: bundle.Requires{FromMin: b.FromMin, Arch: []string{arch}, OS: b.OS, Updater: bundle.UpdaterVersion},
		Data:     bundle.Data{Class: bundle.Class(b.DataClass), Schema: b.Schema},
		Floor:    b.Floor,
		Payloads: []bundle.Payload{{Kind: bundle.Deb, Name: filepath.Base(b.Deb), Package: name, Version: version, Arch: arch}},
	}}
	r := &d.Manifest.Release
	if b.Release != "" {
		r.Version = b.Release
	}
	if r.Built, err = b.built(env.Now); err != nil {
		return nil, err
	}
	if b.Expires != "" {
		day, err := time.Parse(time.DateOnly, b.Expires)
		if err != nil {
			return nil, fmt.Errorf("--expires is a day as 2026-12-31: %w", err)
		}
		end := day.AddDate(0, 0, 1).Add(-time.Second)
		r.Expires = &end
	}
	if b.Notes != "" {
		text, err := readSmall(b.Notes)
		if err != nil {
			return nil, err
		}
		r.Notes = string(text)
	}
	for _, app := range slices.Sorted(maps.Keys(b.Image)) {
		p, err := describeImage(app, b.Image[app], arch)
		if err != nil {
			return nil, err
		}
		d.Manifest.Payloads = append(d.Manifest.Payloads, p)
	}
	d.Trust, err = b.trust()
	return d, err
}

func describeImage(app, path, arch string) (bundle.Payload, error) {
	f, err := os.Open(path)
	if err != nil {
		return bundle.Payload{}, err
	}
	defer f.Close()
	image, err := readArchive(f)
	if err != nil {
		return bundle.Payload{}, fmt.Errorf("%s: %w", path, err)
	}
	if image.Arch != arch {
		return bundle.Payload{}, fmt.Errorf("%s is for %s, and the package for %s", path, image.Arch, arch)
	}
	return bundle.Payload{Kind: bundle.Image, Name: filepath.Base(path), Application: app, ImageID: image.ID}, nil
}

func (b *buildCmd) built(now time.Time) (time.Time, error) {
	if b.Built != "" {
		at, err := time.Parse(time.RFC3339, b.Built)
		if err != nil {
			return at, fmt.Errorf("--built is a time as 2026-12-31T12:00:00Z: %w", err)
		}
		return at, nil
	}
	if epoch := os.Getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil {
			return now, fmt.Errorf("SOURCE_DATE_EPOCH is a number of seconds: %w", err)
		}
		return time.Unix(seconds, 0), nil
	}
	return now.Truncate(time.Second), nil
}

// trust is the trust section: roots that follow each other.
func (b *buildCmd) trust() ([]byte, error) {
	var roots []bundle.SignedRoot
	var at *bundle.Root
	for _, path := range b.Trust {
		text, err := readSmall(path)
		if err != nil {
			return nil, err
		}
		s, err := bundle.ParseSignedRoot(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		next, err := bundle.ParseRoot(s.Root)
		if at != nil { // what comes before the first lies on the machines
			next, err = at.Follow(s)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		at, roots = next, append(roots, s)
	}
	return bundle.EncodeTrust(roots)
}

// signAll signs with each key.
func signAll(paths []string, message []byte) (list []bundle.Signature, keys []bundle.Key, err error) {
	list = []bundle.Signature{}
	for _, path := range paths {
		private, err := readPrivate(path)
		if err != nil {
			return nil, nil, err
		}
		s, err := bundle.Sign(private, message)
		if err != nil {
			return nil, nil, fmt.Errorf("signing with %s: %w", path, err)
		}
		key, err := bundle.PublicKey(private.Public())
		if err != nil {
			return nil, nil, err
		}
		if slices.ContainsFunc(list, func(old bundle.Signature) bool { return old.KeyID == s.KeyID }) {
			return nil, nil, errors.New("the same key was given twice")
		}
		list, keys = append(list, s), append(keys, key)
	}
	return list, keys, nil
}
