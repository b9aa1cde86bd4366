package bundle

import (
	"errors"
	"io"
)

// Claim is what a file says of itself, without anybody who vouches for it.
type Claim struct {
	Manifest   Manifest
	ID         string // as in Verified
	Signatures []Signature
	Roots      []*Root // in their order
}

// Claim reads what the head says and believes nothing: it is for people who look
// at a file, and for tools that make one. Nothing may be done on its word.
func (h *Head) Claim() (*Claim, error) {
	c := &Claim{ID: hexSum(h.Manifest)}
	var err error
	if c.Signatures, err = parseSignatures(h.Signatures); err != nil {
		return nil, err
	}
	if err := c.Manifest.parse(h.Manifest); err != nil {
		return nil, err
	}
	list, err := parseTrust(h.Trust)
	if err != nil {
		return nil, err
	}
	for _, s := range list {
		r, err := ParseRoot(s.Root)
		if err != nil {
			return nil, err
		}
		c.Roots = append(c.Roots, r)
	}
	return c, nil
}

// ReadPayload reads the payload from r, which stands where it begins, to the end
// of the file. Use gets each chunk after it was found good, and may keep it until
// it returns; its error ends the reading. A byte behind the end is a refusal.
func (v *Verified) ReadPayload(r io.Reader, use func(chunk []byte) error) error {
	buffer := make([]byte, min(ChunkBytes, v.Manifest.PayloadLen))
	for i := range v.Chunks() {
		chunk := buffer[:v.ChunkLen(i)]
		if _, err := io.ReadFull(r, chunk); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return refuse(Corrupt, hintAnew, "the file ends in its payload")
			}
			return err
		}
		if err := v.CheckChunk(i, chunk); err != nil {
			return err
		}
		if err := use(chunk); err != nil {
			return err
		}
	}
	if n, err := io.ReadFull(r, buffer[:1]); n > 0 {
		return refuse(Corrupt, hintAnew, "something stands behind the end of the file")
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// Exit is the exit status of a command that ends with a refusal of this kind.
func (c Code) Exit() int {
	switch c {
	case BadSignature:
		return 10
	case BadFormat, Corrupt, TooLarge:
		return 11
	case WrongProduct, WrongArch, WrongOS, MinVersion:
		return 12
	case Downgrade, BelowFloor:
		return 13
	case Expired, Revoked:
		return 14
	}
	return 1
}
