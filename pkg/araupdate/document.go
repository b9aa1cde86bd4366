package araupdate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/arasul/arasul/pkg/bundle"
)

// document is what can be signed: a release, a trust root or a permit.
type document struct {
	path       string
	tbs        []byte // what signatures are over
	signatures []bundle.Signature
	// write writes it with other signatures.
	write func(w io.Writer, signatures []bundle.Signature) error

	claim  *bundle.Claim // of a release
	size   int64         // of a release, in bytes
	root   *bundle.Root
	permit *bundle.Permit
}

// openDocument reads the beginning of a release, or a whole trust root or permit.
func openDocument(path string) (*document, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	begin := make([]byte, len(bundle.Magic))
	if _, err := io.ReadFull(f, begin); err == nil && string(begin) == bundle.Magic {
		return openRelease(path)
	}
	text, err := readSmall(path)
	if err != nil {
		return nil, err
	}
	if bytes.Contains(text, []byte(`"permit"`)) {
		s, err := bundle.ParseSignedPermit(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		permit, err := bundle.ParsePermit(s.Permit)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return &document{path: path, tbs: bundle.PermitToBeSigned(s.Permit), signatures: s.Signatures, permit: permit, write: func(w io.Writer, list []bundle.Signature) error {
			s.Signatures = list
			return encode(w, s)
		}}, nil
	}
	s, err := bundle.ParseSignedRoot(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	root, err := bundle.ParseRoot(s.Root)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &document{path: path, tbs: bundle.RootToBeSigned(s.Root), signatures: s.Signatures, root: root, write: func(w io.Writer, list []bundle.Signature) error {
		s.Signatures = list
		return encode(w, s)
	}}, nil
}

func encode(w io.Writer, v any) error {
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

func openRelease(path string) (*document, error) {
	f, h, err := openHead(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	claim, err := h.Claim()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	payload := h.Len()
	return &document{path: path, tbs: bundle.ToBeSigned(h.Manifest), signatures: claim.Signatures, claim: claim, size: h.Size(), write: func(w io.Writer, list []bundle.Signature) error {
		from, err := os.Open(path)
		if err != nil {
			return err
		}
		defer from.Close()
		if _, err := from.Seek(payload, io.SeekStart); err != nil {
			return err
		}
		if h.Signatures, err = bundle.EncodeSignatures(list); err != nil {
			return err
		}
		if _, err := w.Write(h.Bytes()); err != nil {
			return err
		}
		_, err = io.Copy(w, from)
		return err
	}}, nil
}

// openHead opens a release, of which the head was read. The file stands where the
// payload begins.
func openHead(path string) (*os.File, *bundle.Head, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	h, err := bundle.ReadHead(f)
	if err != nil {
		_ = f.Close()
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, h, nil
}

// put puts a signature in, in the place of another by the same key.
func (d *document) put(s bundle.Signature) {
	d.signatures = slices.DeleteFunc(d.signatures, func(old bundle.Signature) bool { return old.KeyID == s.KeyID })
	d.signatures = append(d.signatures, s)
}

// writeFile writes a file whole or not at all, however large it is.
func writeFile(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
