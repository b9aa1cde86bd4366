package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"
	"unicode/utf8"
)

// Format is what a manifest of this version names itself.
const Format = "arasul-update/1"

// Product is ours.
const Product = "arasul"

// Bounds of a manifest.
const (
	maxDepth    = 8
	maxPayloads = 64
	maxNotes    = 64 << 10
)

// Manifest says what a release is, for whom, and what it consists of.
type Manifest struct {
	Format   string   `json:"format"`
	Product  string   `json:"product"`
	Release  Release  `json:"release"`
	Requires Requires `json:"requires"`
	Data     Data     `json:"data"`
	Floor    uint64   `json:"floor_after_commit"` // no release below this one is installed afterwards

	IndexLen    int64  `json:"index_len"`
	IndexSHA256 string `json:"index_sha256"`
	PayloadLen  int64  `json:"payload_len"`
	TrustSHA256 string `json:"trust_sha256,omitempty"` // of the trust section; empty: any

	Payloads []Payload `json:"payloads"`
}

// Release is which release it is.
type Release struct {
	Version  string     `json:"version"`
	Sequence uint64     `json:"sequence"` // greater in each release than in those before
	Channel  string     `json:"channel,omitempty"`
	Built    time.Time  `json:"built_at"`
	Expires  *time.Time `json:"expires_at,omitempty"` // not installed without a person's word afterwards
	Notes    string     `json:"notes,omitempty"`
}

// Requires is which machines it is for.
type Requires struct {
	FromMin uint64   `json:"from_min_sequence,omitempty"` // of the release that is installed
	Arch    []string `json:"arch"`                        // as dpkg names them
	OS      []string `json:"os"`                          // as debian:12
	Updater int      `json:"updater_min,omitempty"`       // version of what reads this: UpdaterVersion
}

// Data says what the release does to what is stored.
type Data struct {
	Class Class `json:"class"`
	// Schema is the version of the schema that the release brings.
	Schema int `json:"schema_to"`
}

// Class says whether the release before can work with what this one has stored.
type Class string

// The classes.
const (
	Compatible Class = "compatible" // it can
	Restore    Class = "restore"    // it needs the copy from before
	OneWay     Class = "one-way"    // there is no way back after the commit
)

// Kind is what a payload is.
type Kind string

// The kinds.
const (
	Deb   Kind = "deb"   // a Debian package
	Image Kind = "image" // a container image, as an OCI archive
)

// Payload is one part of the payload.
type Payload struct {
	Kind   Kind   `json:"kind"`
	Name   string `json:"name"` // for people, never a path
	Offset int64  `json:"offset"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`

	// Of a deb.
	Package string `json:"package,omitempty"`
	Version string `json:"deb_version,omitempty"`
	Arch    string `json:"arch,omitempty"`

	// Of an image.
	Application string `json:"application,omitempty"` // llm (and embeddings), n8n or minio
	ImageID     string `json:"image_id,omitempty"`    // sha256:…
}

var (
	nameForm    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}$`)
	versionForm = regexp.MustCompile(`^[0-9][A-Za-z0-9.+~-]{0,63}$`)
	sumForm     = regexp.MustCompile(`^[0-9a-f]{64}$`)
	imageForm   = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	keyForm     = regexp.MustCompile(`^[a-z0-9_]{1,40}$`)
	wordForm    = regexp.MustCompile(`^[a-z0-9][a-z0-9:.-]{0,31}$`)
)

// parse reads and checks a manifest.
func (m *Manifest) parse(text []byte) error {
	if err := strict(text, m); err != nil {
		return malformed("the manifest: %s", err)
	}
	return m.check()
}

// check says what no manifest may be.
func (m *Manifest) check() error {
	switch {
	case m.Format != Format:
		return malformed("the manifest has the format %q, not %q", m.Format, Format)
	case !versionForm.MatchString(m.Release.Version):
		return malformed("the version %q is none", m.Release.Version)
	case m.Release.Sequence == 0:
		return malformed("the release has no sequence")
	case m.Release.Channel != "" && !wordForm.MatchString(m.Release.Channel):
		return malformed("the channel %q is none", m.Release.Channel)
	case m.Release.Built.IsZero():
		return malformed("it is not said when the release was built")
	case len(m.Release.Notes) > maxNotes:
		return malformed("the notes are longer than %d bytes", maxNotes)
	case m.Floor > m.Release.Sequence:
		return malformed("the floor %d is above the release itself", m.Floor) // it could never be installed again
	case len(m.Requires.Arch) == 0 || len(m.Requires.OS) == 0:
		return malformed("it is not said which machines the release is for")
	case m.Data.Class != Compatible && m.Data.Class != Restore && m.Data.Class != OneWay:
		return malformed("the class of data %q is not known", m.Data.Class)
	case !sumForm.MatchString(m.IndexSHA256) || m.TrustSHA256 != "" && !sumForm.MatchString(m.TrustSHA256):
		return malformed("a checksum is none")
	}
	return m.checkPayloads()
}

func (m *Manifest) checkPayloads() error {
	if n := len(m.Payloads); n == 0 || n > maxPayloads {
		return malformed("the release has %d parts, 1 to %d are allowed", n, maxPayloads)
	}
	var at int64
	debs, seen := 0, map[string]bool{}
	for i := range m.Payloads {
		p := &m.Payloads[i]
		if p.Offset != at || p.Size <= 0 || p.Size > MaxPayload {
			return malformed("the part %d does not begin where the one before ends", i+1)
		}
		at += p.Size
		if err := p.check(); err != nil {
			return err
		}
		if p.Kind == Deb {
			debs++
		}
		if seen[p.Name] || seen["app "+p.Application] {
			return malformed("two parts of the release are the same thing: %s", p.Name)
		}
		seen[p.Name] = true
		if p.Application != "" {
			seen["app "+p.Application] = true
		}
	}
	switch {
	case at != m.PayloadLen:
		return malformed("the parts are %d bytes long, and the payload %d", at, m.PayloadLen)
	case debs != 1:
		return malformed("the release has %d packages, not one", debs)
	}
	return nil
}

func (p *Payload) check() error {
	switch {
	case !nameForm.MatchString(p.Name):
		return malformed("the name %q is not allowed", p.Name)
	case !sumForm.MatchString(p.SHA256):
		return malformed("the checksum of %s is none", p.Name)
	}
	switch p.Kind {
	case Deb:
		if p.Package != Product || p.Version == "" || !wordForm.MatchString(p.Arch) || p.Application != "" || p.ImageID != "" {
			return malformed("the package %s is not described as it has to be", p.Name)
		}
	case Image:
		if !slices.Contains([]string{"llm", "n8n", "minio"}, p.Application) || !imageForm.MatchString(p.ImageID) || p.Package != "" || p.Version != "" || p.Arch != "" {
			return malformed("the image %s is not described as it has to be", p.Name)
		}
	default:
		return malformed("the part %s is of a kind %q that is not known", p.Name, p.Kind)
	}
	return nil
}

// strict decodes JSON that has one reading only: keys that are known and stand
// once, in lower case; no numbers but integers; nothing behind it.
func strict(text []byte, v any) error {
	if !utf8.Valid(text) {
		return errors.New("it is no UTF-8")
	}
	if err := unambiguous(text); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// unambiguous walks JSON for what decoders read in different ways.
func unambiguous(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := walk(d, 0); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("it ends too early")
		}
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something stands behind it")
	}
	return nil
}

// walk reads one value.
func walk(d *json.Decoder, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("it is nested more than %d deep", maxDepth)
	}
	token, err := d.Token()
	if err != nil {
		return err
	}
	if token == nil {
		return errors.New("null is no value: what is not there is left out")
	}
	if number, ok := token.(json.Number); ok {
		if _, err := number.Int64(); err != nil {
			return fmt.Errorf("%s is no integer", number)
		}
	}
	open, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	keys := map[string]bool{}
	for d.More() {
		if open == '{' {
			if err := walkKey(d, keys); err != nil {
				return err
			}
		}
		if err := walk(d, depth+1); err != nil {
			return err
		}
	}
	_, err = d.Token() // its end
	return err
}

func walkKey(d *json.Decoder, keys map[string]bool) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	key, _ := token.(string)
	switch {
	case !keyForm.MatchString(key):
		return fmt.Errorf("the key %q is not allowed", key)
	case keys[key]:
		return fmt.Errorf("the key %q stands there twice", key)
	}
	keys[key] = true
	return nil
}
