package bundle

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// keys are made once: RSA takes its time.
var keys = sync.OnceValue(func() map[string]crypto.Signer {
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	_, other, _ := ed25519.GenerateKey(rand.Reader)
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	rs, _ := rsa.GenerateKey(rand.Reader, minRSA)
	return map[string]crypto.Signer{"ed25519": ed, "other": other, "ecdsa": ec, "rsa": rs}
})

func public(t testing.TB, name string) Key {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(keys()[name].Public())
	if err != nil {
		t.Fatal(err)
	}
	k, err := parseDER(der)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var builtAt = time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC)

// draft is a small release.
func draft() *Draft {
	deb := bytes.Repeat([]byte("package "), 700)
	return &Draft{
		Manifest: Manifest{
			Release:  Release{Version: "1.4.0", Sequence: 14, Channel: "stable", Built: builtAt, Notes: "New."},
			Requires: Requires{FromMin: 10, Arch: []string{"amd64"}, OS: []string{"debian:12"}},
			Data:     Data{Class: Compatible, Schema: 7}, Floor: 12,
			Payloads: []Payload{{Kind: Deb, Name: "arasul_1.4.0_amd64.deb", Package: "arasul", Version: "1.4.0", Arch: "amd64"}},
		},
		Parts: []io.ReadSeeker{bytes.NewReader(deb)},
	}
}

// written is the file of a draft, signed by the keys named.
func written(t testing.TB, d *Draft, signers ...string) []byte {
	t.Helper()
	text, err := d.Seal()
	if err != nil {
		t.Fatal(err)
	}
	list := []Signature{}
	for _, name := range signers {
		s, err := Sign(keys()[name], ToBeSigned(text))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	var b bytes.Buffer
	if err := d.Write(&b, list); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read goes all the way through a file, as a machine does.
func read(file []byte, root *Root) (*Verified, error) {
	r := bytes.NewReader(file)
	h, err := ReadHead(r)
	if err != nil {
		return nil, err
	}
	v, err := h.Verify(root)
	if err != nil {
		return nil, err
	}
	for i := range v.Chunks() {
		chunk := make([]byte, v.ChunkLen(i))
		n, err := io.ReadFull(r, chunk)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, err
		}
		if err := v.CheckChunk(i, chunk[:n]); err != nil {
			return nil, err
		}
	}
	if r.Len() > 0 {
		return nil, refuse(Corrupt, "", "bytes behind the end")
	}
	return v, nil
}

func code(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// Proves UPD-1: what was written is what is read, with every kind of key.
func TestWrittenIsRead(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"ed25519", "ecdsa", "rsa"} {
		v, err := read(written(t, draft(), name), Bootstrap(public(t, name)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if v.Manifest.Release.Version != "1.4.0" || len(v.Signers) != 1 || v.Signers[0] != public(t, name).ID || len(v.ID) != 64 {
			t.Errorf("%s: %+v", name, v)
		}
	}
	if first, second := written(t, draft(), "ed25519"), written(t, draft(), "ed25519"); !bytes.Equal(first, second) {
		t.Error("the same release twice is not the same file")
	}
}

// Proves UPD-2: every bit counts.
func TestEveryBitFlippedIsRefused(t *testing.T) {
	t.Parallel()
	d := draft()
	d.Parts = []io.ReadSeeker{strings.NewReader("a small package")}
	file, root := written(t, d, "ed25519"), Bootstrap(public(t, "ed25519"))
	for i := range file {
		for bit := range 8 {
			file[i] ^= 1 << bit
			if _, err := read(file, root); err == nil {
				t.Fatalf("byte %d, bit %d flipped, and nobody noticed", i, bit)
			} else if code(err) == "" {
				t.Fatalf("byte %d, bit %d: %v is no refusal", i, bit, err)
			}
			file[i] ^= 1 << bit
		}
	}
	t.Logf("figure: %d bits flipped, each refused", 8*len(file))
}

// Proves UPD-2: a file that ends early, anywhere.
func TestEveryTruncationIsRefused(t *testing.T) {
	t.Parallel()
	file, root := written(t, draft(), "ed25519"), Bootstrap(public(t, "ed25519"))
	for n := range file {
		if _, err := read(file[:n], root); code(err) == "" {
			t.Fatalf("cut after %d bytes: %v", n, err)
		}
	}
	if _, err := read(append(bytes.Clone(file), 0), root); code(err) != Corrupt {
		t.Errorf("a byte too many: %v", err)
	}
}

// resigned changes the head of a file and makes its header fit.
func changed(t testing.TB, file []byte, change func(*Head)) []byte {
	t.Helper()
	h, err := ReadHead(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	payload := file[h.Len():]
	change(h)
	return append(h.Bytes(), payload...)
}

// Proves UPD-2: what attackers do to signatures.
func TestForgedSignaturesAreRefused(t *testing.T) {
	t.Parallel()
	root := Bootstrap(public(t, "ed25519"), public(t, "rsa"), public(t, "ecdsa"))
	good := written(t, draft(), "ed25519")
	signatures := func(change func([]Signature) []Signature) func(*Head) {
		return func(h *Head) {
			var list []Signature
			if err := json.Unmarshal(h.Signatures, &list); err != nil {
				t.Fatal(err)
			}
			h.Signatures, _ = EncodeSignatures(change(list))
		}
	}
	for name, tc := range map[string]struct {
		file []byte
		want Code
	}{
		"signature stripped": {changed(t, good, func(h *Head) { h.Signatures = []byte("[]") }), BadSignature},
		"signature empty":    {changed(t, good, signatures(func(l []Signature) []Signature { l[0].Value = nil; return l })), BadSignature},
		"no list":            {changed(t, good, func(h *Head) { h.Signatures = []byte("{}") }), BadFormat},
		"wrong key":          {written(t, draft(), "other"), BadSignature},
		"key of another":     {changed(t, written(t, draft(), "other"), signatures(func(l []Signature) []Signature { l[0].KeyID = public(t, "ed25519").ID; return l })), BadSignature},
		"wrong algorithm": {changed(t, good, signatures(func(l []Signature) []Signature {
			l[0].Algorithm = RSAPSS
			return l
		})), BadSignature},
		"PSS as PKCS1": {changed(t, written(t, draft(), "rsa"), signatures(func(l []Signature) []Signature {
			l[0].Algorithm = RSAPKCS1
			return l
		})), BadSignature},
		"algorithm none": {changed(t, good, signatures(func(l []Signature) []Signature { l[0].Algorithm = "none"; return l })), BadSignature},
		"too many": {changed(t, good, signatures(func(l []Signature) []Signature {
			for len(l) <= maxSigners {
				l = append(l, l[0])
			}
			return l
		})), BadFormat},
		"signature of another release": {mixed(t), BadSignature},
		"signature of a root":          {rootAsManifest(t), BadSignature},
	} {
		if _, err := read(tc.file, root); code(err) != tc.want {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
	if _, err := read(good, &Root{}); code(err) != BadSignature {
		t.Errorf("a machine without keys: %v", err)
	}
}

// mixed is the manifest of one release with the signature of another.
func mixed(t *testing.T) []byte {
	other := draft()
	other.Manifest.Release.Sequence = 99
	from, err := ReadHead(bytes.NewReader(written(t, other, "ed25519")))
	if err != nil {
		t.Fatal(err)
	}
	return changed(t, written(t, draft(), "ed25519"), func(h *Head) { h.Signatures = from.Signatures })
}

// rootAsManifest signs a manifest as if it were a trust root.
func rootAsManifest(t *testing.T) []byte {
	d := draft()
	text, err := d.Seal()
	if err != nil {
		t.Fatal(err)
	}
	s, err := Sign(keys()["ed25519"], RootToBeSigned(text))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := d.Write(&b, []Signature{s}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Proves UPD-2: two have to sign, and one who signs twice is one.
func TestThresholdCountsKeys(t *testing.T) {
	t.Parallel()
	root := &Root{}
	root.Roles.Release = NewRole(2, public(t, "ed25519"), public(t, "ecdsa"), public(t, "rsa"))
	if _, err := read(written(t, draft(), "ed25519", "ed25519"), root); code(err) != BadSignature {
		t.Errorf("one key twice: %v", err)
	}
	if v, err := read(written(t, draft(), "ed25519", "rsa"), root); err != nil || len(v.Signers) != 2 {
		t.Errorf("two keys: %v", err)
	}
	root.RevokedKeys = []string{public(t, "rsa").ID}
	if _, err := read(written(t, draft(), "ed25519", "rsa"), root); code(err) != Revoked {
		t.Errorf("one of them revoked: %v", err)
	}
}

// Proves UPD-2: what a signed manifest still may not say.
func TestBadManifestsAreRefused(t *testing.T) {
	t.Parallel()
	good, err := draft().Seal()
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(string) string{
		"key twice":         func(s string) string { return strings.Replace(s, `"format"`, `"format": "x", "format"`, 1) },
		"key in upper case": func(s string) string { return strings.Replace(s, `"format"`, `"Format"`, 1) },
		"unknown key":       func(s string) string { return strings.Replace(s, `"format"`, `"script": "rm", "format"`, 1) },
		"fraction":          func(s string) string { return strings.Replace(s, `"sequence": 14`, `"sequence": 14.5`, 1) },
		"exponent":          func(s string) string { return strings.Replace(s, `"sequence": 14`, `"sequence": 1e3`, 1) },
		"negative":          func(s string) string { return strings.Replace(s, `"sequence": 14`, `"sequence": -14`, 1) },
		"something behind":  func(s string) string { return s + "{}" },
		"no UTF-8":          func(s string) string { return strings.Replace(s, "New.", "New\xff", 1) },
		"path as name":      func(s string) string { return strings.Replace(s, "arasul_1.4.0_amd64.deb", "../../etc/passwd", 1) },
		"path as version":   func(s string) string { return strings.Replace(s, `"version": "1.4.0"`, `"version": "../1"`, 1) },
		"another product":   func(s string) string { return strings.Replace(s, `"package": "arasul"`, `"package": "bash"`, 1) },
		"another format":    func(s string) string { return strings.Replace(s, Format, "arasul-update/2", 1) },
		"floor above itself": func(s string) string {
			return strings.Replace(s, `"floor_after_commit": 12`, `"floor_after_commit": 15`, 1)
		},
		"a hole":           func(s string) string { return strings.Replace(s, `"offset": 0`, `"offset": 1`, 1) },
		"length that lies": func(s string) string { return strings.Replace(s, `"size": 5600`, `"size": 5601`, 1) },
		"nested": func(s string) string {
			return strings.Replace(s, `"New."`, strings.Repeat("[", 20)+strings.Repeat("]", 20), 1)
		},
		"class": func(s string) string { return strings.Replace(s, `"compatible"`, `"perhaps"`, 1) },
		"kind":  func(s string) string { return strings.Replace(s, `"deb"`, `"script"`, 1) },
	} {
		text := change(string(good))
		if text == string(good) {
			t.Errorf("%s: nothing was changed", name)
		}
		s, err := Sign(keys()["ed25519"], ToBeSigned([]byte(text)))
		if err != nil {
			t.Fatal(err)
		}
		list, _ := EncodeSignatures([]Signature{s})
		h := &Head{Signatures: list, Manifest: []byte(text), Payload: 5600, Index: make([]byte, 32)}
		if _, err := h.Verify(Bootstrap(public(t, "ed25519"))); code(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Proves UPD-2: a header that lies about lengths costs no memory.
func TestLyingLengthsAreRefused(t *testing.T) {
	t.Parallel()
	file := written(t, draft(), "ed25519")
	for name, set := range map[string]func([]byte){
		"trust":      func(b []byte) { binary.LittleEndian.PutUint32(b[16:], 1<<31) },
		"signatures": func(b []byte) { binary.LittleEndian.PutUint32(b[20:], 1<<31) },
		"manifest":   func(b []byte) { binary.LittleEndian.PutUint32(b[24:], 1<<31) },
		"index":      func(b []byte) { binary.LittleEndian.PutUint32(b[28:], 1<<31) },
		"payload":    func(b []byte) { binary.LittleEndian.PutUint64(b[32:], 1<<63) },
		"flags":      func(b []byte) { b[12] = 1 },
		"spare":      func(b []byte) { b[50] = 1 },
	} {
		b := bytes.Clone(file)
		set(b)
		binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
		if _, err := ReadHead(bytes.NewReader(b)); code(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Proves UPD-2: for whom a release is.
func TestReleaseIsForThisMachine(t *testing.T) {
	t.Parallel()
	v, err := read(written(t, draft(), "ed25519"), Bootstrap(public(t, "ed25519")))
	if err != nil {
		t.Fatal(err)
	}
	here := Machine{Arch: "amd64", OS: "debian:12", Version: "1.3.0", Sequence: 13, Floor: 10, Schema: 7}
	for name, tc := range map[string]struct {
		machine func(*Machine)
		wish    Wish
		release func(*Verified)
		want    Code
	}{
		"good":               {},
		"first update":       {machine: func(m *Machine) { m.Sequence, m.Floor = 0, 0 }},
		"architecture":       {machine: func(m *Machine) { m.Arch = "arm64" }, want: WrongArch},
		"system":             {machine: func(m *Machine) { m.OS = "ubuntu:22.04" }, want: WrongOS},
		"product":            {release: func(v *Verified) { v.Manifest.Product = "other" }, want: WrongProduct},
		"too old for it":     {machine: func(m *Machine) { m.Sequence = 9 }, want: MinVersion},
		"updater":            {release: func(v *Verified) { v.Manifest.Requires.Updater = 2 }, want: MinVersion},
		"replayed":           {machine: func(m *Machine) { m.Sequence = 14 }, want: NotNewer},
		"downgrade":          {machine: func(m *Machine) { m.Sequence = 15 }, want: Downgrade},
		"downgrade wanted":   {machine: func(m *Machine) { m.Sequence = 15 }, wish: Wish{Downgrade: true}},
		"downgrade, data":    {machine: func(m *Machine) { m.Sequence, m.Schema = 15, 8 }, wish: Wish{Downgrade: true}, want: Downgrade},
		"floor":              {machine: func(m *Machine) { m.Sequence, m.Floor = 15, 15 }, wish: Wish{Downgrade: true}, want: BelowFloor},
		"far ahead":          {machine: func(m *Machine) { m.Sequence = 11 }, release: func(v *Verified) { v.Manifest.Release.Sequence = 1 << 60 }, want: BadFormat},
		"failed before":      {machine: func(m *Machine) { m.Failed = map[string]bool{v.ID: true} }, want: FailedBefore},
		"failed, once more":  {machine: func(m *Machine) { m.Failed = map[string]bool{v.ID: true} }, wish: Wish{Again: true}},
		"cancelled, stick":   {machine: func(m *Machine) { m.Tried = map[string]bool{v.ID: true} }, want: FailedBefore},
		"cancelled, person":  {machine: func(m *Machine) { m.Tried = map[string]bool{v.ID: true} }, wish: Wish{Person: true}},
		"installed, stick":   {machine: func(m *Machine) { m.Sequence, m.Tried = 14, map[string]bool{v.ID: true} }, want: NotNewer},
		"withdrawn":          {release: func(v *Verified) { v.Root.RevokedBundles = []string{v.ID} }, want: Revoked},
		"withdrawn, and all": {release: func(v *Verified) { v.Root.MinSequence = 15 }, want: BelowFloor},
		"expired":            {machine: func(m *Machine) { m.Trusted = builtAt.AddDate(1, 0, 0) }, release: expires, want: Expired},
		"expired, a person":  {machine: func(m *Machine) { m.Trusted = builtAt.AddDate(1, 0, 0) }, release: expires, wish: Wish{Person: true}},
		"clock behind":       {machine: func(m *Machine) { m.Trusted = time.Time{} }, release: expires},
	} {
		m, release, root := here, *v, *v.Root
		release.Root = &root
		if tc.machine != nil {
			tc.machine(&m)
		}
		if tc.release != nil {
			tc.release(&release)
		}
		if err := release.Check(m, tc.wish); code(err) != tc.want {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

func expires(v *Verified) {
	at := builtAt.AddDate(0, 6, 0)
	v.Manifest.Release.Expires = &at
}

// signedRoot is a root of a version, with keys, signed by others.
func signedRoot(t *testing.T, version int, release string, signers ...string) SignedRoot {
	t.Helper()
	r := Root{Version: version}
	r.Roles.Root, r.Roles.Release = NewRole(1, public(t, release)), NewRole(1, public(t, release))
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	s := SignedRoot{Root: text}
	for _, name := range signers {
		one, err := Sign(keys()[name], RootToBeSigned(text))
		if err != nil {
			t.Fatal(err)
		}
		s.Signatures = append(s.Signatures, one)
	}
	return s
}

// Proves UPD-2: keys change hands only when the old ones and the new ones say so.
func TestKeysAreReplacedByTheirOwners(t *testing.T) {
	t.Parallel()
	start := Bootstrap(public(t, "ed25519"))
	walk := []SignedRoot{signedRoot(t, 1, "ecdsa", "ed25519", "ecdsa"), signedRoot(t, 2, "rsa", "ecdsa", "rsa")}
	file := func(signer string, roots ...SignedRoot) []byte {
		d := draft()
		var err error
		if d.Trust, err = EncodeTrust(roots); err != nil {
			t.Fatal(err)
		}
		return written(t, d, signer)
	}
	v, err := read(file("rsa", walk...), start)
	if err != nil || len(v.Newer) != 2 || v.Root.Version != 2 {
		t.Fatalf("two steps at once: %+v, %v", v, err)
	}
	if v, err := read(file("rsa", walk...), v.Root); err != nil || len(v.Newer) != 0 {
		t.Errorf("a machine that has them: %v", err)
	}
	for name, tc := range map[string]struct {
		file []byte
		want Code
	}{
		"the old key, afterwards":  {file("ed25519", walk...), BadSignature},
		"a step left out":          {file("rsa", walk[1]), BadSignature},
		"not signed by the old":    {file("ecdsa", signedRoot(t, 1, "ecdsa", "ecdsa")), BadSignature},
		"not signed by the new":    {file("ecdsa", signedRoot(t, 1, "ecdsa", "ed25519")), BadSignature},
		"roots taken out":          {changed(t, file("rsa", walk...), func(h *Head) { h.Trust = nil }), BadSignature},
		"no JSON":                  {changed(t, file("rsa", walk...), func(h *Head) { h.Trust = []byte("[x") }), BadFormat},
		"other roots of that kind": {changed(t, file("ed25519"), func(h *Head) { h.Trust = []byte("[]") }), ""},
	} {
		if _, err := read(tc.file, start); code(err) != tc.want {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

// Proves UPD-7: keys and signatures that openssl makes. P1: of the prototype, whose
// tools made three kinds of signatures that did not fit each other.
func TestOpensslSignatures(t *testing.T) {
	t.Parallel()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal("openssl has to be installed: see scripts/deps")
	}
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command(openssl, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("openssl %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	d := draft()
	text, err := d.Seal()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tbs"), ToBeSigned(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		key       []string
		sign      []string
		algorithm string
	}{
		"ed25519":  {[]string{"genpkey", "-algorithm", "ed25519"}, []string{"pkeyutl", "-sign", "-rawin", "-in", "tbs"}, Ed25519},
		"ecdsa":    {[]string{"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"}, []string{"dgst", "-sha256"}, ECDSAP256},
		"pkcs1":    {[]string{"genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"}, []string{"dgst", "-sha256"}, RSAPKCS1},
		"pss":      {[]string{"genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"}, []string{"dgst", "-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"}, RSAPSS},
		"pss, max": {[]string{"genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"}, []string{"dgst", "-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:max"}, RSAPSS},
	} {
		run(append(tc.key, "-out", "key.pem")...)
		run("pkey", "-in", "key.pem", "-pubout", "-out", "public.pem")
		if tc.sign[0] == "pkeyutl" {
			run(append(tc.sign, "-inkey", "key.pem", "-out", "sig")...)
		} else {
			run(append(tc.sign, "-sign", "key.pem", "-out", "sig", "tbs")...)
		}
		pemText, _ := os.ReadFile(filepath.Join(dir, "public.pem"))
		key, err := ParseKey(pemText)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		value, _ := os.ReadFile(filepath.Join(dir, "sig"))
		var b bytes.Buffer
		if err := d.Write(&b, []Signature{{KeyID: key.ID, Algorithm: tc.algorithm, Value: value}}); err != nil {
			t.Fatal(err)
		}
		if _, err := read(b.Bytes(), Bootstrap(key)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		private, _ := os.ReadFile(filepath.Join(dir, "key.pem"))
		if _, err := ParsePrivateKey(private); err != nil {
			t.Errorf("%s, private: %v", name, err)
		}
	}
}

func TestKeysThatAreTooWeakAreRefused(t *testing.T) {
	t.Parallel()
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]crypto.Signer{"RSA 2048": weak, "P-224": curve} {
		der, err := x509.MarshalPKIXPublicKey(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseKey(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if _, err := ParseKey([]byte("no key")); err == nil {
		t.Error("no key was taken")
	}
}

func FuzzFile(f *testing.F) {
	root := Bootstrap(public(f, "ed25519"))
	f.Add(written(f, draft(), "ed25519"))
	f.Fuzz(func(t *testing.T, file []byte) {
		_, _ = read(file, root)
	})
}

func FuzzManifest(f *testing.F) {
	text, err := draft().Seal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		var m Manifest
		if m.parse(text) == nil && m.check() != nil {
			t.Error("accepted, and then not")
		}
	})
}

func FuzzTrust(f *testing.F) {
	root := Bootstrap(public(f, "ed25519"))
	f.Add([]byte(`[{"root":"e30=","signatures":[{"keyid":"","alg":"ed25519","sig":"AA=="}]}]`))
	f.Fuzz(func(t *testing.T, section []byte) {
		if newer, err := root.follow(section); err == nil && len(newer) > 0 {
			t.Error("a root that nobody signed")
		}
	})
}

func FuzzSignatures(f *testing.F) {
	root := Bootstrap(public(f, "ed25519"))
	f.Add([]byte(`[{"keyid":"00","alg":"ed25519","sig":"AA=="}]`))
	f.Fuzz(func(t *testing.T, list []byte) {
		if _, err := root.vouched(root.Roles.Release, manifestType, []byte("x"), list); err == nil {
			t.Error("a signature that nobody made")
		}
	})
}
