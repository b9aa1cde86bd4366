package update

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/bundle"
)

// syncEvery is how much of a bundle may be lost to a power cut while it is
// received.
const syncEvery = 64 << 20

// Refusals that have to do with the machine and not with the bundle.
const (
	NoSpace  bundle.Code = "no-space"
	NotReady bundle.Code = "not-ready"
	OneWay   bundle.Code = "one-way"
	Busy     bundle.Code = "busy"
	Unknown  bundle.Code = "unknown"
)

// Stage is where a bundle is received: its head, and its payloads as files,
// nothing of which is there before it was checked. It may be interrupted at any
// time; what is on disk is checked again when it is opened.
type Stage struct {
	Dir string

	// Trust is the root in force, Keep keeps newer ones, Judge says why a release
	// must not even be received.
	Trust func() (*bundle.Root, error)
	Keep  func([]*bundle.Root) error
	Judge func(*bundle.Verified) error

	// Free says how many bytes of the disk are free.
	Free func() (int64, error)

	mu        sync.Mutex // guards what follows, and what is in the folder
	receiving bool
	at        *staged
}

// staged is one bundle, as far as it has come. It is replaced by each chunk, and not
// changed.
type staged struct {
	*bundle.Verified
	chunks int64 // that are there
	since  time.Time
}

func (s *staged) received() int64 {
	return min(s.HeadLen()+s.chunks*bundle.ChunkBytes, s.Size())
}

func (s *staged) complete() bool { return s.chunks == s.Chunks() }

// Open looks for what was received before. A power cut may have left the end of
// it hollow: from the first chunk that is not right it is forgotten.
func (s *Stage) Open() error {
	head, err := os.ReadFile(filepath.Join(s.Dir, "head"))
	if errors.Is(err, fs.ErrNotExist) {
		return s.Forget()
	}
	if err == nil {
		err = os.MkdirAll(s.parts(), 0o700)
	}
	if err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(s.Dir, "head"))
	if err != nil {
		return err
	}
	v, err := s.verify(bytes.NewReader(head))
	if err != nil { // a key was taken away meanwhile, or the disk is bad
		return errors.Join(err, s.Forget())
	}
	at := &staged{Verified: v, since: info.ModTime()}
	buf := make([]byte, bundle.ChunkBytes)
	for at.chunks < v.Chunks() {
		chunk := buf[:v.ChunkLen(at.chunks)]
		if s.readAt(v, at.chunks*bundle.ChunkBytes, chunk) != nil || v.CheckChunk(at.chunks, chunk) != nil {
			break
		}
		at.chunks++
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = at
	return nil
}

// Inspect reads the head of a bundle, and keeps nothing of it.
func (s *Stage) Inspect(r io.Reader) (*bundle.Verified, error) {
	root, err := s.Trust()
	if err != nil {
		return nil, err
	}
	h, err := bundle.ReadHead(r)
	if err != nil {
		return nil, err
	}
	return h.Verify(root)
}

func (s *Stage) verify(r io.Reader) (*bundle.Verified, error) {
	v, err := s.Inspect(r)
	if err != nil {
		return nil, err
	}
	return v, s.Keep(v.Newer)
}

// Receive takes the bytes of a file of size bytes from offset on, until r ends.
// The first of them have to hold the whole head. What ends within a chunk is to
// be sent again from there: see what it returns. The same bundle again goes on
// where it was.
func (s *Stage) Receive(ctx context.Context, size, offset int64, r io.Reader) error {
	if !s.enter() {
		return &bundle.Error{Code: Busy, Text: "another file is being received", Hint: "Wait until it is there, or cancel it."}
	}
	defer s.leave()
	at := s.get()
	if offset == 0 {
		again, err := s.begin(size, r)
		if err != nil || again {
			return err
		}
		at = s.get()
	}
	if at == nil || offset != 0 && offset != at.received() || size != at.Size() {
		return &bundle.Error{Code: Busy, Text: "this is not where the file goes on", Hint: "Begin anew."}
	}
	return s.goOn(ctx, at, r)
}

func (s *Stage) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.receiving {
		return false
	}
	s.receiving = true
	return true
}

func (s *Stage) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.receiving = false
}

// Receiving says whether somebody is sending.
func (s *Stage) Receiving() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.receiving
}

// begin reads the head, and makes the bundle the one that is received.
func (s *Stage) begin(size int64, r io.Reader) (again bool, err error) {
	var head bytes.Buffer
	v, err := s.verify(io.TeeReader(io.LimitReader(r, bundle.MaxHead), &head))
	if err != nil {
		return false, err
	}
	if size != v.Size() {
		return false, &bundle.Error{Code: bundle.Corrupt, Text: fmt.Sprintf("the file is %d bytes long, and was signed with %d", size, v.Size()), Hint: "Copy or download it anew."}
	}
	if at := s.get(); at != nil && at.ID == v.ID {
		return true, nil
	}
	if err := s.Judge(v); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.forget(); err != nil {
		return false, err
	}
	if err := s.room(v.Manifest.PayloadLen, v.Manifest.Payloads); err != nil {
		return false, err
	}
	if err := os.MkdirAll(s.parts(), 0o700); err != nil {
		return false, err
	}
	if err := os.WriteFile(filepath.Join(s.Dir, "head"), head.Bytes(), 0o600); err != nil {
		return false, err
	}
	s.at = &staged{Verified: v, since: time.Now()}
	return false, nil
}

// room says whether the disk can take a file of so many bytes, and what is made of its
// payloads: a package unpacked beside the old one and kept for the way back, images in
// podman's storage.
func (s *Stage) room(file int64, payloads []bundle.Payload) error {
	need := file + 256<<20
	for _, p := range payloads {
		if p.Kind == bundle.Image {
			need += p.Size * 2
		} else {
			need += p.Size * 6
		}
	}
	free, err := s.Free()
	if err != nil {
		return err
	}
	if free < need {
		return &bundle.Error{Code: NoSpace, Text: fmt.Sprintf("the update needs %d MB of free disk, and there are %d", need>>20, free>>20),
			Hint: "Remove what is not needed: models (sudo arasul models list) or objects in the store; caches and old logs go with: sudo arasul disk clean"}
	}
	return nil
}

// goOn takes chunks until r ends.
func (s *Stage) goOn(ctx context.Context, at *staged, r io.Reader) (err error) {
	buf := make([]byte, bundle.ChunkBytes)
	var unsynced int64
	for !at.complete() && ctx.Err() == nil {
		chunk := buf[:at.ChunkLen(at.chunks)]
		switch n, err := io.ReadFull(r, chunk); {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && n < len(chunk):
			return s.sync()
		case err != nil:
			return errors.Join(fmt.Errorf("the file came no further: %w", err), s.sync())
		}
		if err := at.CheckChunk(at.chunks, chunk); err != nil {
			return err
		}
		if at, err = s.add(at, chunk); err != nil {
			return err
		}
		if unsynced += int64(len(chunk)); unsynced >= syncEvery {
			if err := s.sync(); err != nil {
				return err
			}
			unsynced = 0
		}
	}
	return errors.Join(ctx.Err(), s.sync())
}

// add puts the next chunk behind those of at, unless somebody has forgotten or taken
// those meanwhile.
func (s *Stage) add(at *staged, chunk []byte) (*staged, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at != at {
		return nil, &bundle.Error{Code: Busy, Text: "what had come of the file was removed meanwhile", Hint: "Begin anew."}
	}
	if err := s.writeAt(at.Verified, at.chunks*bundle.ChunkBytes, chunk); err != nil {
		return nil, err
	}
	next := *at
	next.chunks++
	s.at = &next
	return s.at, nil
}

// Take lets do have the folder of what was received, while nobody adds to it or
// removes it, and then forgets it. After an error it is still there.
func (s *Stage) Take(at *staged, do func(parts string) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at != at {
		return &bundle.Error{Code: Busy, Text: "another file was received meanwhile", Hint: "Look at what is there, then try again."}
	}
	if err := do(s.parts()); err != nil {
		return err
	}
	_ = s.forget() // its head is left, and of no use
	return nil
}

func (s *Stage) parts() string { return filepath.Join(s.Dir, "parts") }

// PartPath is where a payload lies, within a folder of parts.
func PartPath(parts string, i int) string { return filepath.Join(parts, strconv.Itoa(i)) }

func (s *Stage) writeAt(v *bundle.Verified, at int64, data []byte) error {
	return s.pieces(v, at, data, os.O_WRONLY|os.O_CREATE, func(f *os.File, piece []byte, off int64) error {
		_, err := f.WriteAt(piece, off)
		return err
	})
}

func (s *Stage) readAt(v *bundle.Verified, at int64, data []byte) error {
	return s.pieces(v, at, data, os.O_RDONLY, func(f *os.File, piece []byte, off int64) error {
		_, err := f.ReadAt(piece, off)
		return err
	})
}

// pieces calls do for each file that a stretch of the payload touches.
func (s *Stage) pieces(v *bundle.Verified, at int64, data []byte, flags int, do func(f *os.File, piece []byte, off int64) error) error {
	for i, p := range v.Manifest.Payloads {
		from, to := max(at, p.Offset), min(at+int64(len(data)), p.Offset+p.Size)
		if from >= to {
			continue
		}
		f, err := os.OpenFile(PartPath(s.parts(), i), flags|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return err
		}
		err = do(f, data[from-at:to-at], from-p.Offset)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// sync makes what is there durable.
func (s *Stage) sync() error {
	names, err := filepath.Glob(filepath.Join(s.parts(), "*"))
	if err != nil {
		return err
	}
	for _, name := range append(names, filepath.Join(s.Dir, "head"), s.parts(), s.Dir, filepath.Dir(s.Dir)) {
		f, err := os.Open(name) //nolint:gosec // ours
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return fmt.Errorf("syncing %s: %w", name, err)
		}
	}
	return nil
}

// Forget removes what was received. Who is sending it is told.
func (s *Stage) Forget() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.forget()
}

func (s *Stage) forget() error {
	s.at = nil
	return os.RemoveAll(s.Dir)
}

func (s *Stage) get() *staged {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}
