package araupdate

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// image is what an OCI archive holds.
type image struct {
	ID   string // sha256:… of its configuration, by which podman knows it
	Arch string
}

// readArchive looks into an OCI archive, in which there has to be one image.
func readArchive(f io.ReadSeeker) (image, error) {
	text, err := fileOf(f, "index.json")
	if err != nil {
		return image{}, err
	}
	type descriptor struct {
		Digest string `json:"digest"`
	}
	var index struct {
		Manifests []descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return image{}, fmt.Errorf("reading index.json: %w", err)
	}
	if n := len(index.Manifests); n != 1 {
		return image{}, fmt.Errorf("there are %d images in it, not one", n)
	}
	var manifest struct {
		Config descriptor `json:"config"`
	}
	if err := readBlob(f, index.Manifests[0].Digest, &manifest); err != nil {
		return image{}, err
	}
	var config struct {
		Architecture string `json:"architecture"`
	}
	if err := readBlob(f, manifest.Config.Digest, &config); err != nil {
		return image{}, err
	}
	return image{manifest.Config.Digest, config.Architecture}, nil
}

// readBlob reads a small blob, which has to be what its digest says.
func readBlob(f io.ReadSeeker, digest string, v any) error {
	sum, ok := strings.CutPrefix(digest, "sha256:")
	if !ok || len(sum) != 2*sha256.Size {
		return fmt.Errorf("the digest %q is none of SHA-256", digest)
	}
	text, err := fileOf(f, "blobs/sha256/"+sum)
	if err != nil {
		return err
	}
	if is := sha256.Sum256(text); hex.EncodeToString(is[:]) != sum {
		return fmt.Errorf("the blob %s is not what its name says", digest)
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("reading the blob %s: %w", digest, err)
	}
	return nil
}

// fileOf returns a small file of a tar archive.
func fileOf(f io.ReadSeeker, name string) ([]byte, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	archive := tar.NewReader(f)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("there is no %s in it, as an OCI archive has", name)
		}
		if err != nil {
			return nil, fmt.Errorf("reading it as an archive: %w", err)
		}
		if strings.TrimPrefix(h.Name, "./") != name {
			continue
		}
		if h.Size > maxSmall {
			return nil, fmt.Errorf("%s in it is larger than %d bytes", name, maxSmall)
		}
		return io.ReadAll(archive)
	}
}
