// Package support packs what somebody who helps from afar has to see into one
// file: reports, states, journals and the configuration, each bounded, and
// without secrets.
//
// Secrets are taken out twice: values that are known, in whatever form they
// appear, and whatever looks like a password, a token or a key. What is taken out
// is replaced by the word in [Hidden], so that it shows that something was there.
//
// It does not send anything anywhere, and does not decide what is of interest:
// the wiring names the sources.
package support

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

const (
	maxSource = 512 << 10 // bytes of one source; of more, the end counts
	maxAll    = 6 << 20   // bytes of all, before they are packed
	within    = 30 * time.Second
)

// Source is one file of a bundle. What Read returns beside an error is kept, with
// the error below it.
type Source struct {
	Name string // of the file, such as journal/units.txt
	Read func(ctx context.Context) ([]byte, error)
}

// Command is a source that a program prints.
func Command(name string, argv ...string) Source {
	return Source{name, func(ctx context.Context) ([]byte, error) {
		out := &tail{most: maxSource}
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...) //nolint:gosec // the wiring says which
		cmd.Env = append(cmd.Environ(), "LC_ALL=C.UTF-8", "SYSTEMD_COLORS=0", "SYSTEMD_PAGER=")
		cmd.Stdout, cmd.Stderr = out, out
		cmd.WaitDelay = time.Second
		err := cmd.Run()
		if err != nil {
			err = fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
		}
		return out.kept, err
	}}
}

// tail keeps the end of what is written.
type tail struct {
	kept []byte
	most int
}

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - t.most; over > t.most { // now and then
		t.kept = append([]byte(nil), t.kept[over:]...)
	}
	return len(p), nil
}

// Write packs the sources, one after the other, into a tar.gz. The files of a
// bundle lie in one folder, whose name is given. A source that fails is one that
// says so; an error is one of w.
func Write(ctx context.Context, w io.Writer, folder string, sources []Source, hide *Hider) error {
	zip := gzip.NewWriter(w)
	pack := tar.NewWriter(zip)
	room := maxAll
	for _, s := range sources {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		text := read(ctx, s)
		if len(text) > room {
			text = []byte("left out: the bundle is full\n")
		}
		room -= len(text)
		text = hide.Clean(text)
		head := &tar.Header{Name: folder + "/" + s.Name, Mode: 0o600, Size: int64(len(text)), ModTime: time.Now(), Format: tar.FormatPAX}
		if err := pack.WriteHeader(head); err != nil {
			return fmt.Errorf("packing %s: %w", s.Name, err)
		}
		if _, err := pack.Write(text); err != nil {
			return fmt.Errorf("packing %s: %w", s.Name, err)
		}
	}
	if err := pack.Close(); err != nil {
		return fmt.Errorf("closing bundle: %w", err)
	}
	return zip.Close()
}

// read is what a source gives, bounded, with its error in words.
func read(ctx context.Context, s Source) []byte {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	text, err := s.Read(ctx)
	if over := len(text) - maxSource; over > 0 {
		text = text[over:]
		if i := bytes.IndexByte(text, '\n'); i >= 0 && i < len(text)-1 {
			text = text[i+1:] // which may have begun in the middle of a secret
		}
	}
	switch {
	case errors.Is(err, exec.ErrNotFound):
		text = append(text, "not installed here\n"...)
	case err != nil:
		text = append(text, "\n(not whole: "+err.Error()+")\n"...)
	}
	return text
}
