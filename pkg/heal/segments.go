package heal

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// segments are the files of a recording, in the order of their numbers: the
// newest plain, so that a kill costs little of it, the others compressed.
//
//	00000041.jsonl.gz
//	00000042.jsonl
type segments struct {
	dir  string
	max  int64 // bytes of all files together; the oldest are removed beyond
	each int   // bytes of one, before it is compressed

	file   *os.File
	number int   // of file
	failed error // why the last write did not succeed
}

const (
	plain  = ".jsonl"
	packed = ".jsonl.gz"
)

// list returns the numbers of the segments in a folder, in order, and the
// files' names.
func list(dir string) (numbers []int, names map[int]string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	names = map[int]string{}
	for _, e := range entries {
		number, kind, _ := strings.Cut(e.Name(), ".")
		n, err := strconv.Atoi(number)
		if err != nil || "."+kind != plain && "."+kind != packed {
			continue
		}
		if _, twice := names[n]; !twice {
			numbers = append(numbers, n)
		}
		if "."+kind == plain || names[n] == "" { // the packed one may be half written
			names[n] = e.Name()
		}
	}
	slices.Sort(numbers)
	return numbers, names, nil
}

// write adds to the newest segment, or begins one.
func (s *segments) write(c chunk) (err error) {
	defer func() {
		if s.failed = err; err != nil {
			s.close()
		}
	}()
	if c.begins {
		if err := s.next(); err != nil {
			return err
		}
	}
	if s.file == nil {
		return s.lastError()
	}
	_, err = s.file.Write(c.data)
	return err
}

func (s *segments) lastError() error {
	if s.failed != nil {
		return s.failed
	}
	return errors.New("no segment is open")
}

func (s *segments) close() {
	if s.file != nil {
		_ = s.file.Close() // what was written is written
		s.file = nil
	}
}

// next begins a segment. Those before are compressed, and the oldest of them
// removed as far as there are too many.
func (s *segments) next() error {
	s.close()
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if err := s.tidy(); err != nil {
		return err
	}
	s.number++
	f, err := os.OpenFile(filepath.Join(s.dir, fmt.Sprintf("%08d%s", s.number, plain)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	s.file = f
	return err
}

func (s *segments) tidy() error {
	numbers, names, err := list(s.dir)
	if err != nil {
		return err
	}
	total := int64(s.each) // room for the next
	for i, n := range slices.Backward(numbers) {
		s.number = max(s.number, n)
		path := filepath.Join(s.dir, names[n])
		if strings.HasSuffix(path, plain) {
			if err := pack(path); err != nil {
				return fmt.Errorf("compressing: %w", err)
			}
			path += ".gz"
			names[n] = filepath.Base(path)
		}
		st, err := os.Stat(path)
		if err != nil {
			return err
		}
		if total += st.Size(); total <= s.max {
			continue
		}
		for _, old := range numbers[:i+1] {
			if err := os.Remove(filepath.Join(s.dir, names[old])); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		break
	}
	return nil
}

// pack compresses a file. A kill at any moment leaves the plain one, or the
// packed one whole.
func pack(path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	tmp := path + ".tmp"
	out, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, in)
	err = errors.Join(err, z.Close(), out.Sync(), out.Close())
	if err == nil {
		err = os.Rename(tmp, path+".gz")
	}
	if err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return os.Remove(path)
}
