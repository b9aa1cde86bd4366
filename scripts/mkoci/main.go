// Command mkoci makes a container image out of files, as an OCI archive that
// `podman load` takes, with no registry and no daemon:
//
//	mkoci [-entrypoint ARG]… [-cmd ARG]… [-env NAME=VALUE]… [-arch ARCH] -ref NAME -o FILE SOURCE=PATH…
//
// Each SOURCE=PATH, a file or a folder and where it lies in the image, becomes a
// layer. The same files make the same image: times are zero and all belongs to
// root. It prints the ID of the image.
package main

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
)

// descriptor names a blob, as OCI does.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// words is a flag that may be given several times.
type words []string

func (w *words) String() string     { return strings.Join(*w, " ") }
func (w *words) Set(s string) error { *w = append(*w, s); return nil }

func main() {
	id, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "mkoci:", err)
		os.Exit(1)
	}
	fmt.Println(id)
}

func run(args []string) (id string, err error) {
	flags := flag.NewFlagSet("mkoci", flag.ContinueOnError)
	out := flags.String("o", "", "the archive")
	ref := flags.String("ref", "", "the image's name with tag")
	arch := flags.String("arch", "amd64", "the machine's architecture, Go's name")
	var entrypoint, cmd, env words
	flags.Var(&entrypoint, "entrypoint", "a word of what is run")
	flags.Var(&cmd, "cmd", "a word of what follows unless something else is given")
	flags.Var(&env, "env", "NAME=VALUE")
	if err := flags.Parse(args); err != nil {
		return "", err
	}
	if *out == "" || *ref == "" || flags.NArg() == 0 {
		return "", errors.New("usage: mkoci -ref NAME -o FILE SOURCE=PATH…")
	}
	dir, err := os.MkdirTemp(filepath.Dir(*out), ".mkoci-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)

	a := archive{dir: dir}
	var layers []descriptor
	var diffs []string
	for _, arg := range flags.Args() {
		source, at, ok := strings.Cut(arg, "=")
		if !ok {
			return "", fmt.Errorf("%q is not SOURCE=PATH", arg)
		}
		d, err := a.layer(source, at)
		if err != nil {
			return "", fmt.Errorf("packing %s: %w", source, err)
		}
		layers, diffs = append(layers, d), append(diffs, d.Digest)
	}
	config := a.json(configType, map[string]any{
		"architecture": *arch, "os": "linux", "created": "1970-01-01T00:00:00Z",
		"config": map[string]any{
			"Entrypoint": entrypoint, "Cmd": cmd,
			"Env": append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/"}, env...),
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
	})
	manifest := a.json(manifestType, map[string]any{"schemaVersion": 2, "mediaType": manifestType, "config": config, "layers": layers})
	manifest.Annotations = map[string]string{"org.opencontainers.image.ref.name": *ref}
	return config.Digest, a.write(*out, manifest)
}

// archive is what goes into the file.
type archive struct {
	dir   string // where layers wait
	blobs []blob
}

type blob struct {
	descriptor
	data []byte // or, when nil, in dir, under its digest
}

func (a *archive) json(mediaType string, v any) descriptor {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps of strings
	}
	sum := sha256.Sum256(data)
	d := descriptor{MediaType: mediaType, Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: int64(len(data))}
	a.blobs = append(a.blobs, blob{d, data})
	return d
}

// layer packs a file or a folder.
func (a *archive) layer(source, at string) (descriptor, error) {
	f, err := os.CreateTemp(a.dir, "layer-*")
	if err != nil {
		return descriptor{}, err
	}
	defer f.Close()
	sum := sha256.New()
	t := tar.NewWriter(io.MultiWriter(f, sum))
	if err := pack(t, source, strings.Trim(path.Clean("/"+at), "/")); err != nil {
		return descriptor{}, err
	}
	if err := t.Close(); err != nil {
		return descriptor{}, err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return descriptor{}, err
	}
	d := descriptor{MediaType: layerType, Digest: "sha256:" + hex.EncodeToString(sum.Sum(nil)), Size: size}
	a.blobs = append(a.blobs, blob{d, nil})
	return d, os.Rename(f.Name(), filepath.Join(a.dir, d.Digest))
}

func pack(t *tar.Writer, source, at string) error {
	for i, c := range at { // the folders above it
		if c == '/' {
			if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: at[:i+1], Mode: 0o755}); err != nil {
				return err
			}
		}
	}
	return filepath.WalkDir(source, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(source, p)
		if err != nil {
			return err
		}
		name := path.Join(at, below)
		if name == "." || name == "" {
			return nil
		}
		return packOne(t, p, name, e)
	})
}

func packOne(t *tar.Writer, p, name string, e fs.DirEntry) error {
	info, err := e.Info()
	if err != nil {
		return err
	}
	link := ""
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		if link, err = os.Readlink(p); err != nil {
			return err
		}
	case !info.IsDir() && !info.Mode().IsRegular():
		return nil // devices and sockets are podman's to make
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name, h.ModTime, h.AccessTime, h.ChangeTime = name, time.Unix(0, 0), time.Time{}, time.Time{}
	h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "", ""
	if info.IsDir() {
		h.Name += "/"
	}
	if err := t.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(t, f)
	return err
}

// write puts it all into one file, which appears when it is whole.
func (a *archive) write(out string, manifest descriptor) (err error) {
	f, err := os.CreateTemp(filepath.Dir(out), ".mkoci-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	t := tar.NewWriter(f)
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []descriptor{manifest}})
	if err != nil {
		return err
	}
	for _, part := range []struct {
		name string
		data []byte
	}{{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)}, {"index.json", index}} {
		if err := put(t, part.name, int64(len(part.data)), strings.NewReader(string(part.data))); err != nil {
			return err
		}
	}
	written := map[string]bool{}
	for _, b := range a.blobs {
		if written[b.Digest] {
			continue
		}
		written[b.Digest] = true
		if err := a.blob(t, b); err != nil {
			return err
		}
	}
	if err := errors.Join(t.Close(), f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), out)
}

func (a *archive) blob(t *tar.Writer, b blob) error {
	var content io.Reader = strings.NewReader(string(b.data))
	if b.data == nil {
		f, err := os.Open(filepath.Join(a.dir, b.Digest))
		if err != nil {
			return err
		}
		defer f.Close()
		content = f
	}
	return put(t, "blobs/sha256/"+strings.TrimPrefix(b.Digest, "sha256:"), b.Size, content)
}

func put(t *tar.Writer, name string, size int64, content io.Reader) error {
	if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	_, err := io.Copy(t, content)
	return err
}
