package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"io"
)

// Magic is how every file begins.
const Magic = "ARAUPD\x01\n"

// ChunkBytes is how much of the payload has one entry in the index.
const ChunkBytes = 1 << 20

// Bounds of a file, in bytes.
const (
	headerBytes   = 64
	maxTrust      = 256 << 10
	maxSignatures = 64 << 10
	maxManifest   = 1 << 20
	maxIndex      = 16 << 20
	MaxPayload    = 512 << 30 // 16 MiB of index
	MaxHead       = headerBytes + maxTrust + maxSignatures + maxManifest + maxIndex
)

// Head is everything ahead of the payload, as it was read: nobody has vouched
// for it. Verify does.
type Head struct {
	Trust, Signatures, Manifest, Index []byte
	Payload                            int64 // length
}

// lengths are the fields of the header.
type lengths struct {
	Trust, Signatures, Manifest, Index uint32
	Payload                            uint64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Bytes returns the head as it stands in a file.
func (h *Head) Bytes() []byte {
	header := make([]byte, headerBytes)
	copy(header, Magic)
	le := binary.LittleEndian
	le.PutUint32(header[8:], headerBytes)
	le.PutUint32(header[16:], uint32(len(h.Trust)))      //nolint:gosec // within bounds
	le.PutUint32(header[20:], uint32(len(h.Signatures))) //nolint:gosec // as above
	le.PutUint32(header[24:], uint32(len(h.Manifest)))   //nolint:gosec // as above
	le.PutUint32(header[28:], uint32(len(h.Index)))      //nolint:gosec // as above
	le.PutUint64(header[32:], uint64(h.Payload))         //nolint:gosec // as above
	le.PutUint32(header[60:], crc32.Checksum(header[:60], castagnoli))
	return bytes.Join([][]byte{header, h.Trust, h.Signatures, h.Manifest, h.Index}, nil)
}

// Len is the length of the head, which is where the payload begins.
func (h *Head) Len() int64 {
	return int64(headerBytes + len(h.Trust) + len(h.Signatures) + len(h.Manifest) + len(h.Index))
}

// Size is the length of the whole file.
func (h *Head) Size() int64 { return h.Len() + h.Payload }

// ReadHead reads the head from the beginning of a file, and nothing beyond. It
// allocates no more than the header allows itself, within the bounds.
func ReadHead(r io.Reader) (*Head, error) {
	header := make([]byte, headerBytes)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, short(err, "the file ends in its header")
	}
	n, err := parseHeader(header)
	if err != nil {
		return nil, err
	}
	h := &Head{Payload: int64(n.Payload)} //nolint:gosec // within bounds
	for _, section := range []struct {
		to     *[]byte
		length uint32
	}{{&h.Trust, n.Trust}, {&h.Signatures, n.Signatures}, {&h.Manifest, n.Manifest}, {&h.Index, n.Index}} {
		*section.to = make([]byte, section.length)
		if _, err := io.ReadFull(r, *section.to); err != nil {
			return nil, short(err, "the file ends ahead of its payload")
		}
	}
	return h, nil
}

// short is an end that came too early; another error of reading is no fault of
// the file.
func short(err error, text string) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return malformed("%s", text)
	}
	return err
}

func parseHeader(b []byte) (n lengths, err error) {
	le := binary.LittleEndian
	switch {
	case string(b[:8]) != Magic:
		return n, malformed("the file does not begin as a release does")
	case crc32.Checksum(b[:60], castagnoli) != le.Uint32(b[60:]):
		return n, malformed("the header is damaged")
	case le.Uint32(b[8:]) != headerBytes:
		return n, malformed("the header has a length of %d bytes, not %d", le.Uint32(b[8:]), headerBytes)
	case le.Uint32(b[12:]) != 0 || !bytes.Equal(b[40:60], make([]byte, 20)):
		return n, malformed("the header has fields that this version does not know")
	}
	n = lengths{le.Uint32(b[16:]), le.Uint32(b[20:]), le.Uint32(b[24:]), le.Uint32(b[28:]), le.Uint64(b[32:])}
	chunks := (n.Payload + ChunkBytes - 1) / ChunkBytes
	switch {
	case n.Trust > maxTrust || n.Signatures > maxSignatures || n.Manifest > maxManifest || n.Index > maxIndex:
		return n, refuse(TooLarge, "", "a section of the file is longer than is allowed")
	case n.Payload > MaxPayload:
		return n, refuse(TooLarge, "", "the payload is %d bytes long, %d are allowed", n.Payload, int64(MaxPayload))
	case n.Signatures < 2 || n.Manifest < 2 || n.Payload == 0:
		return n, malformed("a section of the file is empty")
	case uint64(n.Index) != chunks*sha256.Size:
		return n, malformed("the index is %d bytes long, and the payload needs %d", n.Index, chunks*sha256.Size)
	}
	return n, nil
}

// Verified is a head whose signatures are good. Everything in it is what those
// who signed it wanted; whether it is for this machine says Check.
type Verified struct {
	Manifest Manifest
	ID       string   // of the bundle: SHA-256 of the manifest, in hexadecimal
	Signers  []string // IDs of the keys that vouch for it
	Root     *Root    // the newest trust root
	Newer    []*Root  // those that came with it, oldest first: to be kept ahead of anything else

	index []byte
	head  int64
}

// Verify believes the head as far as root does: newer roots first, then the
// signatures, then the manifest, which binds all else.
func (h *Head) Verify(root *Root) (*Verified, error) {
	v := &Verified{Root: root, index: h.Index, head: h.Len()}
	var err error
	if v.Newer, err = root.follow(h.Trust); err != nil {
		return nil, err
	}
	if n := len(v.Newer); n > 0 {
		v.Root = v.Newer[n-1]
	}
	if v.Signers, err = v.Root.vouched(v.Root.Roles.Release, manifestType, h.Manifest, h.Signatures); err != nil {
		return nil, err
	}
	if err := v.Manifest.parse(h.Manifest); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(h.Manifest)
	v.ID = hex.EncodeToString(sum[:])
	m := &v.Manifest
	switch {
	case m.PayloadLen != h.Payload || m.IndexLen != int64(len(h.Index)):
		return nil, refuse(Corrupt, hintAnew, "the header and the manifest do not agree about lengths")
	case m.IndexSHA256 != hexSum(h.Index):
		return nil, refuse(Corrupt, hintAnew, "the index is not the one that was signed")
	case m.TrustSHA256 != "" && m.TrustSHA256 != hexSum(h.Trust):
		return nil, refuse(Corrupt, hintAnew, "the trust roots are not those that came with this release")
	}
	return v, nil
}

const hintAnew = "Copy or download the file anew."

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// HeadLen is where the payload begins in the file.
func (v *Verified) HeadLen() int64 { return v.head }

// Size is the length of the whole file.
func (v *Verified) Size() int64 { return v.head + v.Manifest.PayloadLen }

// Chunks is how many chunks the payload has.
func (v *Verified) Chunks() int64 { return int64(len(v.index) / sha256.Size) }

// ChunkLen is how long a chunk is: the last one may be shorter.
func (v *Verified) ChunkLen(i int64) int {
	return int(min(ChunkBytes, v.Manifest.PayloadLen-i*ChunkBytes))
}

// CheckChunk says whether data is chunk i of the payload.
func (v *Verified) CheckChunk(i int64, data []byte) error {
	if i < 0 || i >= v.Chunks() || len(data) != v.ChunkLen(i) {
		return refuse(Corrupt, hintAnew, "the file is longer or shorter than was signed")
	}
	sum := sha256.Sum256(data)
	if !bytes.Equal(sum[:], v.index[i*sha256.Size:(i+1)*sha256.Size]) {
		return refuse(Corrupt, hintAnew, "the file is damaged between its byte %d and %d", v.head+i*ChunkBytes, v.head+i*ChunkBytes+int64(len(data)))
	}
	return nil
}
