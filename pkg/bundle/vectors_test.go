package bundle

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/vectors anew")

// vector is one file of testdata/vectors, and what a reader has to say of it.
type vector struct {
	File string `json:"file"`
	Says string `json:"says"`         // ok, or the code of the refusal
	ID   string `json:"id,omitempty"` // the bundle's identity

	data []byte
}

const vectorDir = "testdata/vectors"

// vectorKey is a key that is no secret.
func vectorKey(t *testing.T, n byte) (ed25519.PrivateKey, Key) {
	t.Helper()
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
	key, err := PublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return private, key
}

func vectorRelease(t *testing.T, signer byte, edit func(d *Draft)) []byte {
	t.Helper()
	d := draft()
	d.Manifest.Requires.FromMin = 0
	d.Manifest.Release.Sequence, d.Manifest.Floor = 5, 0
	if edit != nil {
		edit(d)
	}
	text, err := d.Seal()
	if err != nil {
		t.Fatal(err)
	}
	private, _ := vectorKey(t, signer)
	s, err := Sign(private, ToBeSigned(text))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := d.Write(&b, []Signature{s}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// vectorTrust leads from key 1 to key 2, vouched for by both.
func vectorTrust(t *testing.T, signers ...byte) []byte {
	t.Helper()
	_, second := vectorKey(t, 2)
	root := &Root{Version: 1}
	root.Roles.Root, root.Roles.Release = NewRole(1, second), NewRole(1, second)
	text, err := root.Encode()
	if err != nil {
		t.Fatal(err)
	}
	signed := SignedRoot{Root: text}
	for _, n := range signers {
		private, _ := vectorKey(t, n)
		s, err := Sign(private, RootToBeSigned(text))
		if err != nil {
			t.Fatal(err)
		}
		signed.Signatures = append(signed.Signatures, s)
	}
	section, err := EncodeTrust([]SignedRoot{signed})
	if err != nil {
		t.Fatal(err)
	}
	return section
}

func vectors(t *testing.T) []vector {
	t.Helper()
	good := vectorRelease(t, 1, nil)
	flipped := func(at int) []byte {
		b := bytes.Clone(good)
		b[(at+len(b))%len(b)] ^= 0x10
		return b
	}
	with := func(trust []byte, signer byte) []byte {
		return vectorRelease(t, signer, func(d *Draft) { d.Trust = trust })
	}
	return []vector{
		{File: "good.araupdate", Says: "ok", data: good},
		{File: "two-chunks.araupdate", Says: "ok", data: vectorRelease(t, 1, func(d *Draft) {
			d.Parts[0] = bytes.NewReader(make([]byte, ChunkBytes+1))
		})},
		{File: "new-root.araupdate", Says: "ok", data: with(vectorTrust(t, 1, 2), 2)},
		{File: "new-root-by-itself.araupdate", Says: "bad-signature", data: with(vectorTrust(t, 2), 2)},
		{File: "new-root-old-key.araupdate", Says: "bad-signature", data: with(vectorTrust(t, 1, 2), 1)},
		{File: "wrong-key.araupdate", Says: "bad-signature", data: vectorRelease(t, 3, nil)},
		{File: "magic.araupdate", Says: "bad-format", data: flipped(0)},
		{File: "header.araupdate", Says: "bad-format", data: flipped(45)},
		{File: "payload.araupdate", Says: "corrupt", data: flipped(-1)},
		{File: "cut.araupdate", Says: "corrupt", data: good[:len(good)-1]},
		{File: "head-only.araupdate", Says: "bad-format", data: good[:100]},
		{File: "downgrade.araupdate", Says: "downgrade", data: vectorRelease(t, 1, func(d *Draft) { d.Manifest.Release.Sequence = 3 })},
		{File: "same.araupdate", Says: "not-newer", data: vectorRelease(t, 1, func(d *Draft) { d.Manifest.Release.Sequence = 4 })},
		{File: "wrong-os.araupdate", Says: "wrong-os", data: vectorRelease(t, 1, func(d *Draft) { d.Manifest.Requires.OS = []string{"debian:11"} })},
		{File: "wrong-arch.araupdate", Says: "wrong-arch", data: vectorRelease(t, 1, func(d *Draft) { d.Manifest.Requires.Arch = []string{"arm64"} })},
	}
}

// judge is what this package says of a file, on the machine of docs/araupdate.md.
func judge(t *testing.T, file []byte) (said, id string) {
	t.Helper()
	_, key := vectorKey(t, 1)
	v, err := read(file, Bootstrap(key))
	if err == nil {
		err = v.Check(Machine{Arch: "amd64", OS: "debian:12", Version: "1.0.0", Sequence: 4}, Wish{})
	}
	if err == nil {
		return "ok", v.ID
	}
	var no *Error
	if !errors.As(err, &no) {
		t.Fatal(err)
	}
	return string(no.Code), ""
}

// Proves UPD-2: the format is what docs/araupdate.md says, byte for byte, with the
// files that other programs are tried with.
func TestVectors(t *testing.T) {
	list := vectors(t)
	for i := range list {
		v := &list[i]
		said, id := judge(t, v.data)
		if said != v.Says {
			t.Errorf("%s: %s, want %s", v.File, said, v.Says)
		}
		v.ID = id
	}
	files := map[string][]byte{}
	for _, v := range list {
		files[v.File] = v.data
	}
	_, key := vectorKey(t, 1)
	files["release.pub"] = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: key.DER})
	text, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	files["vectors.json"] = append(text, '\n')
	for name, want := range files {
		path := filepath.Join(vectorDir, name)
		if *update {
			if err := errors.Join(os.MkdirAll(vectorDir, 0o750), os.WriteFile(path, want, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what is written today: %v", name, err)
		}
	}
}

// Proves UPD-2: who reads the page, and not this package, reads releases. The
// program in testdata is short of some of the checks, and never wrong in one.
func TestSecondReader(t *testing.T) {
	for _, v := range vectors(t) {
		out, err := exec.Command("python3", "testdata/reader.py", filepath.Join(vectorDir, "release.pub"), filepath.Join(vectorDir, v.File)).CombinedOutput()
		word, rest, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
		_, id := judge(t, v.data)
		if err != nil || (word == "ok") != (v.Says == "ok") || word == "ok" && rest != id {
			t.Errorf("%s: it says %s, want %s %s: %v", v.File, out, v.Says, id, err)
		}
	}
}
