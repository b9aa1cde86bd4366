package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// sealed makes the checksum of a header right again, as who forges one would.
func sealed(file []byte) []byte {
	binary.LittleEndian.PutUint32(file[60:], crc32.Checksum(file[:60], castagnoli))
	return file
}

// rooted is a release that brings a newer root, signed by the keys of that.
func rooted(t testing.TB) ([]byte, *Root) {
	t.Helper()
	d := draft()
	r := &Root{Version: 1}
	r.Roles.Root, r.Roles.Release = NewRole(1, public(t, "ecdsa")), NewRole(1, public(t, "other"))
	text, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s := SignedRoot{Root: text}
	for _, name := range []string{"ed25519", "ecdsa"} {
		one, err := Sign(keys()[name], RootToBeSigned(text))
		if err != nil {
			t.Fatal(err)
		}
		s.Signatures = append(s.Signatures, one)
	}
	if d.Trust, err = EncodeTrust([]SignedRoot{s}); err != nil {
		t.Fatal(err)
	}
	return written(t, d, "other"), Bootstrap(public(t, "ed25519"))
}

// Proves UPD-2: with a header that fits, so that what is found is not its checksum.
func TestEveryBitOfTheHeaderCountsWithoutItsChecksum(t *testing.T) {
	t.Parallel()
	file, root := rooted(t)
	for i := range 60 {
		for bit := range 8 {
			forged := bytes.Clone(file)
			forged[i] ^= 1 << bit
			if _, err := read(sealed(forged), root); code(err) == "" {
				t.Errorf("byte %d, bit %d flipped: %v", i, bit, err)
			}
		}
	}
}

// Proves UPD-2: trust roots are bound to the release they came with.
func TestEveryBitOfTheTrustRootsCounts(t *testing.T) {
	t.Parallel()
	file, root := rooted(t)
	if _, err := read(file, root); err != nil {
		t.Fatal(err)
	}
	n := int(binary.LittleEndian.Uint32(file[16:]))
	for i := headerBytes; i < headerBytes+n; i++ {
		for bit := range 8 {
			file[i] ^= 1 << bit
			if _, err := read(file, root); code(err) == "" {
				t.Fatalf("byte %d, bit %d flipped: %v", i, bit, err)
			}
			file[i] ^= 1 << bit
		}
	}
	t.Logf("figure: %d bits of trust roots flipped, each refused", 8*n)
}

// Proves UPD-2: each section in the place of each other, and from another release.
func TestSectionsAreNotExchanged(t *testing.T) {
	t.Parallel()
	file, root := rooted(t)
	other := draft()
	other.Manifest.Release.Sequence = 15
	other.Parts[0] = bytes.NewReader(bytes.Repeat([]byte("another "), 700))
	foreign := written(t, other, "ed25519")
	split := func(file []byte) [][]byte {
		h, err := ReadHead(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		return [][]byte{h.Trust, h.Signatures, h.Manifest, h.Index, file[h.Len():]}
	}
	join := func(s [][]byte) []byte {
		h := &Head{Trust: s[0], Signatures: s[1], Manifest: s[2], Index: s[3], Payload: int64(len(s[4]))}
		return append(h.Bytes(), s[4]...)
	}
	names := []string{"trust", "signatures", "manifest", "index", "payload"}
	tried := 0
	for i := range names {
		for j := range i {
			s := split(file)
			s[i], s[j] = s[j], s[i]
			if _, err := read(join(s), root); code(err) == "" {
				t.Errorf("%s and %s exchanged: %v", names[i], names[j], err)
			}
			tried++
		}
	}
	// Every mixture of two releases of one signer, but for the two themselves.
	mine, his := split(written(t, draft(), "ed25519")), split(foreign)
	for mask := 1; mask < 31; mask++ {
		s := make([][]byte, 5)
		same := true
		for i := range s {
			if s[i] = mine[i]; mask>>i&1 == 1 {
				s[i] = his[i]
			}
			same = same && (i == 0 || mask>>i&1 == mask>>1&1) // both have no trust roots
		}
		if _, err := read(join(s), root); !same && code(err) == "" {
			t.Errorf("mixture %05b: %v", mask, err)
		}
		tried++
	}
	t.Logf("figure: %d exchanges and mixtures of sections, each refused", tried)
}

// Proves UPD-2: thresholds count keys, in whatever way one is named.
func TestOneKeyNamedTwiceIsOne(t *testing.T) {
	t.Parallel()
	root := &Root{}
	root.Roles.Release = NewRole(2, public(t, "ed25519"), public(t, "ed25519"))
	if _, err := read(written(t, draft(), "ed25519", "ed25519"), root); code(err) != BadSignature {
		t.Errorf("made: %v", err)
	}
	der := Base64(public(t, "ed25519").DER)
	twice := Root{Version: 1}
	twice.Roles.Root.Keys, twice.Roles.Root.Threshold = []Base64{der, der}, 2
	twice.Roles.Release = NewRole(1, public(t, "ed25519"))
	text, err := json.Marshal(twice)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseRoot(text); code(err) != BadFormat {
		t.Errorf("read: %v", err)
	}
}

// Proves UPD-2: roots that are no roots.
func TestBadTrustRootsAreRefused(t *testing.T) {
	t.Parallel()
	good := &Root{Version: 1}
	good.Roles.Root, good.Roles.Release = NewRole(1, public(t, "ecdsa")), NewRole(1, public(t, "other"))
	text, err := good.Encode()
	if err != nil {
		t.Fatal(err)
	}
	key := string(mustJSON(t, Base64(public(t, "other").DER)))
	for name, change := range map[string]func(string) string{
		"version 0":         func(s string) string { return strings.Replace(s, `"version": 1`, `"version": 0`, 1) },
		"threshold 0":       func(s string) string { return strings.Replace(s, `"threshold": 1`, `"threshold": 0`, 1) },
		"threshold above":   func(s string) string { return strings.Replace(s, `"threshold": 1`, `"threshold": 2`, 1) },
		"no keys":           func(s string) string { return strings.Replace(s, key, "", 1) },
		"null for keys":     func(s string) string { return strings.Replace(s, "["+"\n    "+key+"\n   ]", "null", 1) },
		"key cut short":     func(s string) string { return strings.Replace(s, key[:20], `"`, 1) },
		"another in base64": func(s string) string { return strings.Replace(s, key, key[:9]+`\n`+key[9:], 1) },
		"33 keys": func(s string) string {
			return strings.Replace(s, key, strings.TrimSuffix(strings.Repeat(key+",", maxKeys+1), ","), 1)
		},
		"role that is not known": func(s string) string { return strings.Replace(s, `"release"`, `"hotfix"`, 1) },
	} {
		changed := change(string(text))
		if changed == string(text) {
			t.Errorf("%s: nothing was changed in %s", name, text)
		}
		if _, err := ParseRoot([]byte(changed)); code(err) != BadFormat {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// permit is a permit for a bundle, signed by a key, as a file holds it.
func permit(t testing.TB, p Permit, kind string, signers ...string) []byte {
	t.Helper()
	text, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s := SignedPermit{Permit: text, Signatures: []Signature{}}
	for _, name := range signers {
		one, err := Sign(keys()[name], pae(kind, text))
		if err != nil {
			t.Fatal(err)
		}
		s.Signatures = append(s.Signatures, one)
	}
	return mustJSON(t, s)
}

// Proves UPD-2: below the floor by a permit only, which is for this release, this
// machine and these keys.
func TestPermitsLetInWhatTheyName(t *testing.T) {
	t.Parallel()
	v, err := read(written(t, draft(), "ed25519"), Bootstrap(public(t, "ed25519")))
	if err != nil {
		t.Fatal(err)
	}
	const id, another = "0123456789abcdef0123456789abcdef", "ffffffffffffffffffffffffffffffff"
	here := Machine{ID: id, Arch: "amd64", OS: "debian:12", Version: "1.6.0", Sequence: 16, Floor: 15, Schema: 7}
	good := Permit{Bundle: v.ID, Machine: id}
	for name, tc := range map[string]struct {
		permit  []byte
		machine func(*Machine)
		root    func(*Root)
		refused Code
		stays   bool // without the wish to go down
	}{
		"none":               {refused: BelowFloor},
		"good":               {permit: permit(t, good, permitType, "ed25519")},
		"any machine":        {permit: permit(t, Permit{Bundle: v.ID, Machine: AnyMachine}, permitType, "ed25519")},
		"nobody asked for":   {permit: permit(t, good, permitType, "ed25519"), stays: true, refused: Downgrade},
		"another release":    {permit: permit(t, Permit{Bundle: strings.Repeat("0", 64), Machine: id}, permitType, "ed25519"), refused: BelowFloor},
		"another machine":    {permit: permit(t, Permit{Bundle: v.ID, Machine: another}, permitType, "ed25519"), refused: BelowFloor},
		"machine without ID": {permit: permit(t, good, permitType, "ed25519"), machine: func(m *Machine) { m.ID = "" }, refused: BelowFloor},
		"not signed":         {permit: permit(t, good, permitType), refused: BadSignature},
		"wrong key":          {permit: permit(t, good, permitType, "other"), refused: BadSignature},
		"signed as manifest": {permit: permit(t, good, manifestType, "ed25519"), refused: BadSignature},
		"signed as root":     {permit: permit(t, good, rootType, "ed25519"), refused: BadSignature},
		"key revoked":        {permit: permit(t, good, permitType, "ed25519"), root: func(r *Root) { r.RevokedKeys = []string{public(t, "ed25519").ID} }, refused: Revoked},
		"keys replaced":      {permit: permit(t, good, permitType, "ed25519"), root: func(r *Root) { r.Version = 1 }, refused: Revoked},
		"withdrawn":          {permit: permit(t, good, permitType, "ed25519"), root: func(r *Root) { r.MinSequence = 15 }, refused: BelowFloor},
		"its data":           {permit: permit(t, good, permitType, "ed25519"), machine: func(m *Machine) { m.Schema = 8 }, refused: Downgrade},
		"no JSON":            {permit: []byte("{"), refused: BadFormat},
		"too large":          {permit: make([]byte, maxPermit+1), refused: TooLarge},
	} {
		m, root := here, *v.Root
		if tc.machine != nil {
			tc.machine(&m)
		}
		if tc.root != nil {
			tc.root(&root)
		}
		release := *v
		release.Root = &root
		m.Permits = nil
		if tc.permit != nil {
			m.Permits = [][]byte{tc.permit}
		}
		if err := release.Check(m, Wish{Person: true, Downgrade: !tc.stays}); code(err) != tc.refused {
			t.Errorf("%s: %v, want %q", name, err, tc.refused)
		}
	}
}

// sparse is a file whose middle is a hole.
func sparse(t *testing.T, head []byte, size int64) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(head); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	return f
}

// Proves UPD-2: lengths have 64 bits. RAUC's CVE-2026-34155 signed the first bytes
// of a large file only; P7: the prototype held the file in memory, 2 GiB at most.
func TestFileAboveFourGiBIsReadToItsEnd(t *testing.T) {
	const size = 4<<30 + 5
	d := draft()
	d.Parts = []io.ReadSeeker{bytes.NewReader([]byte("package"))}
	if _, err := d.Seal(); err != nil {
		t.Fatal(err)
	}
	// The same with a payload of zeros, whose sums need not be counted.
	zero, tail := sha256.Sum256(make([]byte, ChunkBytes)), sha256.Sum256(make([]byte, 5))
	d.index = append(bytes.Repeat(zero[:], size/ChunkBytes), tail[:]...)
	m := &d.Manifest
	m.PayloadLen, m.Payloads[0].Size, m.IndexLen, m.IndexSHA256 = size, size, int64(len(d.index)), hexSum(d.index)
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Sign(keys()["ed25519"], ToBeSigned(text))
	if err != nil {
		t.Fatal(err)
	}
	list, err := EncodeSignatures([]Signature{s})
	if err != nil {
		t.Fatal(err)
	}
	h := &Head{Signatures: list, Manifest: text, Index: d.index, Payload: size}
	f := sparse(t, h.Bytes(), h.Size())
	root := Bootstrap(public(t, "ed25519"))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, err := ReadHead(f)
	if err != nil {
		t.Fatal(err)
	}
	v, err := got.Verify(root)
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 2<<20 {
		t.Errorf("believing its head took %d bytes of memory", used)
	}
	last := v.Chunks() - 1
	chunk := make([]byte, v.ChunkLen(last))
	if _, err := f.ReadAt(chunk, v.HeadLen()+last*ChunkBytes); err != nil || last != 4096 || len(chunk) != 5 || v.Size() != h.Size() {
		t.Fatalf("chunk %d of %d bytes: %v", last, len(chunk), err)
	}
	if err := v.CheckChunk(last, chunk); err != nil {
		t.Error(err)
	}
	chunk[4] = 1 // the last byte of all, far beyond 2^32
	if err := v.CheckChunk(last, chunk); code(err) != Corrupt {
		t.Errorf("its last byte changed: %v", err)
	}
}

// Proves UPD-2: P7 of the prototype, which opened the file again after it was
// checked. What is handed on is what was checked, and nothing after a bad chunk.
func TestNothingOfABadChunkIsHandedOn(t *testing.T) {
	t.Parallel()
	d := draft()
	d.Parts = []io.ReadSeeker{bytes.NewReader(bytes.Repeat([]byte("x"), 3*ChunkBytes+1))}
	file, root := written(t, d, "ed25519"), Bootstrap(public(t, "ed25519"))
	h, err := ReadHead(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	file[h.Len()+2*ChunkBytes] ^= 1
	v, err := h.Verify(root)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	err = v.ReadPayload(bytes.NewReader(file[h.Len():]), func(chunk []byte) error { got.Write(chunk); return nil })
	if code(err) != Corrupt || got.Len() != 2*ChunkBytes {
		t.Errorf("%v after %d bytes", err, got.Len())
	}
	stop := errors.New("enough")
	if err := v.ReadPayload(bytes.NewReader(file[h.Len():]), func([]byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the reader's own error: %v", err)
	}
	file[h.Len()+2*ChunkBytes] ^= 1
	if err := v.ReadPayload(bytes.NewReader(append(file[h.Len():], 0)), func([]byte) error { return nil }); code(err) != Corrupt {
		t.Errorf("a byte behind the end: %v", err)
	}
}

// Proves UPD-1: what changes between sealing and writing is found out by who writes.
func TestPartThatChangesIsNotWritten(t *testing.T) {
	t.Parallel()
	d := draft()
	part := bytes.Repeat([]byte("a"), 5600)
	d.Parts = []io.ReadSeeker{bytes.NewReader(part)}
	if _, err := d.Seal(); err != nil {
		t.Fatal(err)
	}
	part[17] = 'b'
	if err := d.Write(io.Discard, nil); err == nil || !strings.Contains(err.Error(), "changed") {
		t.Errorf("%v", err)
	}
}

// A head that announces much and is short costs what it announces, and no more.
func TestAnnouncedLengthsAreBounded(t *testing.T) {
	header := sealed(append([]byte(Magic), make([]byte, headerBytes-len(Magic))...))
	le := binary.LittleEndian
	le.PutUint32(header[8:], headerBytes)
	le.PutUint32(header[16:], maxTrust)
	le.PutUint32(header[20:], maxSignatures)
	le.PutUint32(header[24:], maxManifest)
	le.PutUint32(header[28:], maxIndex)
	le.PutUint64(header[32:], MaxPayload)
	got := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			if _, err := ReadHead(bytes.NewReader(sealed(header))); code(err) != BadFormat {
				b.Fatal(err)
			}
		}
	})
	if n := got.AllocedBytesPerOp(); n > maxTrust+8192 {
		t.Errorf("a file of 64 bytes took %d bytes of memory", n)
	}
}

func TestCodesHaveAnExitStatus(t *testing.T) {
	t.Parallel()
	for c, want := range map[Code]int{
		BadSignature: 10, BadFormat: 11, Corrupt: 11, TooLarge: 11, WrongProduct: 12, WrongArch: 12, WrongOS: 12,
		MinVersion: 12, Downgrade: 13, BelowFloor: 13, Expired: 14, Revoked: 14, FailedBefore: 1, "": 1,
	} {
		if got := c.Exit(); got != want {
			t.Errorf("%s: %d, want %d", c, got, want)
		}
	}
}

// FuzzSections gives a file sections of any kind, with a header that fits them.
func FuzzSections(f *testing.F) {
	file, root := rooted(f)
	h, err := ReadHead(bytes.NewReader(file))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(h.Trust, h.Signatures, h.Manifest, h.Index, file[h.Len():])
	good := fmt.Sprintf("%x", file)
	f.Fuzz(func(t *testing.T, trust, signatures, manifest, index, payload []byte) {
		forged := &Head{Trust: trust, Signatures: signatures, Manifest: manifest, Index: index, Payload: int64(len(payload))}
		text := append(forged.Bytes(), payload...)
		v, err := read(text, root)
		if err == nil && fmt.Sprintf("%x", text) != good && !bytes.Equal(manifest, h.Manifest) {
			t.Errorf("accepted: %+v", v)
		}
		if err != nil && code(err) == "" {
			t.Errorf("no refusal: %v", err)
		}
		_, _ = forged.Claim()
	})
}

func FuzzHeader(f *testing.F) {
	file := written(f, draft(), "ed25519")
	f.Add(file[:headerBytes])
	f.Fuzz(func(t *testing.T, header []byte) {
		if len(header) != headerBytes {
			return
		}
		n, err := parseHeader(sealed(bytes.Clone(header)))
		if err == nil && (n.Trust > maxTrust || n.Signatures > maxSignatures || n.Manifest > maxManifest || n.Index > maxIndex || n.Payload > MaxPayload) {
			t.Errorf("%+v", n)
		}
	})
}

func FuzzPermit(f *testing.F) {
	v, err := read(written(f, draft(), "ed25519"), Bootstrap(public(f, "ed25519")))
	if err != nil {
		f.Fatal(err)
	}
	good := permit(f, Permit{Bundle: v.ID, Machine: AnyMachine}, permitType, "ed25519")
	f.Add(good)
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := v.permitted(Machine{}, text); err == nil {
			s, err := ParseSignedPermit(text)
			if err != nil {
				t.Error(err)
			}
			if p, err := ParsePermit(s.Permit); err != nil || p.Bundle != v.ID {
				t.Errorf("%+v, %v", p, err)
			}
		}
	})
}

func FuzzKey(f *testing.F) {
	f.Add(public(f, "ed25519").DER)
	f.Add(public(f, "ecdsa").DER)
	f.Add(public(f, "rsa").DER)
	f.Fuzz(func(t *testing.T, der []byte) {
		k, err := parseDER(der)
		if err != nil {
			return
		}
		again, err := parseDER(k.DER)
		if err != nil || again.ID != k.ID {
			t.Errorf("%s read again is %s, %v", k.ID, again.ID, err)
		}
	})
}
