package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
)

// Draft is a release that is being made: everything but its signatures.
type Draft struct {
	Manifest Manifest
	Trust    []byte // EncodeTrust
	Parts    []io.ReadSeeker

	text  []byte // of the manifest
	index []byte
}

// Seal reads the parts, which have to be as many as the payloads of the manifest,
// and fills in what the manifest says of them. It returns the manifest, which is
// what is signed: see ToBeSigned. The same parts and manifest give the same bytes.
func (d *Draft) Seal() ([]byte, error) {
	m := &d.Manifest
	if len(d.Parts) != len(m.Payloads) {
		return nil, fmt.Errorf("there are %d parts and %d descriptions of them", len(d.Parts), len(m.Payloads))
	}
	m.Format, m.Product = Format, Product
	m.Release.Built = m.Release.Built.UTC()
	chunks := &chunker{}
	m.PayloadLen = 0
	for i, part := range d.Parts {
		sum := sha256.New()
		n, err := io.Copy(io.MultiWriter(sum, chunks), part)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", m.Payloads[i].Name, err)
		}
		p := &m.Payloads[i]
		p.Offset, p.Size, p.SHA256 = m.PayloadLen, n, hex.EncodeToString(sum.Sum(nil))
		m.PayloadLen += n
	}
	d.index = chunks.end()
	m.IndexLen, m.IndexSHA256 = int64(len(d.index)), hexSum(d.index)
	m.TrustSHA256 = ""
	if len(d.Trust) > 0 {
		m.TrustSHA256 = hexSum(d.Trust)
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	var err error
	d.text, err = json.MarshalIndent(m, "", " ")
	return d.text, err
}

// Write writes the file, signed.
func (d *Draft) Write(w io.Writer, signatures []Signature) error {
	signed, err := EncodeSignatures(signatures)
	if err != nil {
		return err
	}
	h := &Head{Trust: d.Trust, Signatures: signed, Manifest: d.text, Index: d.index, Payload: d.Manifest.PayloadLen}
	if _, err := parseHeader(h.Bytes()[:headerBytes]); err != nil {
		return err
	}
	if _, err := w.Write(h.Bytes()); err != nil {
		return err
	}
	for i, part := range d.Parts {
		if _, err := part.Seek(0, io.SeekStart); err != nil {
			return err
		}
		p, sum := d.Manifest.Payloads[i], sha256.New()
		if n, err := io.Copy(io.MultiWriter(w, sum), part); err != nil {
			return fmt.Errorf("copying %s: %w", p.Name, err)
		} else if n != p.Size || hex.EncodeToString(sum.Sum(nil)) != p.SHA256 {
			return fmt.Errorf("%s has changed meanwhile", p.Name)
		}
	}
	return nil
}

// chunker hashes what is written to it, chunk by chunk.
type chunker struct {
	index []byte
	chunk []byte
}

func (c *chunker) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		take := min(len(p), ChunkBytes-len(c.chunk))
		c.chunk = append(c.chunk, p[:take]...)
		p = p[take:]
		if len(c.chunk) == ChunkBytes {
			c.flush()
		}
	}
	return n, nil
}

func (c *chunker) flush() {
	sum := sha256.Sum256(c.chunk)
	c.index = append(c.index, sum[:]...)
	c.chunk = c.chunk[:0]
}

func (c *chunker) end() []byte {
	if len(c.chunk) > 0 {
		c.flush()
	}
	return c.index
}
