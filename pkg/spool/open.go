package spool

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Open opens the spool in a folder, which it makes when it is missing, and
// finds out what was not acknowledged. It reads everything once: 64 MiB take a
// tenth of a second.
func Open(dir string, o Options) (*Spool, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = 64 << 20
	}
	if o.SyncAfter == 0 {
		o.SyncAfter = time.Minute
	}
	s := &Spool{dir: dir, max: o.MaxBytes, segmentSize: o.MaxBytes / 16, syncAfter: o.SyncAfter}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening spool: %w", err)
	}
	if err := s.list(); err != nil {
		return nil, fmt.Errorf("opening spool: %w", err)
	}
	if len(s.segments) == 0 {
		return s, nil
	}
	var acked uint64
	for i := range s.segments {
		if err := s.scan(&s.segments[i], &acked); err != nil {
			return nil, fmt.Errorf("opening spool: %w", err)
		}
	}
	for i, seg := range s.segments[1:] { // whose name says how many the one before had
		if had := max(s.segments[i].end, acked); had < seg.first {
			s.damaged += seg.first - had
		}
	}
	if err := os.Truncate(s.path(*s.last()), s.last().size); err != nil {
		return nil, fmt.Errorf("cutting spool: %w", err)
	}
	s.next = s.last().end
	if s.next < acked {
		// A power cut took records that had been acknowledged already. Their
		// numbers are not given to others, which would pass for acknowledged.
		s.next = acked
		s.segments = append(s.segments, segment{first: s.next, end: s.next})
	}
	s.begin.number = max(acked, s.segments[0].first)
	if err := s.seek(); err != nil {
		return nil, fmt.Errorf("opening spool: %w", err)
	}
	s.taken = s.begin
	if s.begin.number < s.next {
		s.unsynced = time.Now() // nobody knows
	}
	return s, s.removeAcked()
}

// list finds the segments by their names.
func (s *Spool) list() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		digits, ok := strings.CutSuffix(e.Name(), ".log")
		first, err := strconv.ParseUint(digits, 16, 64)
		if ok && err == nil && len(digits) == 16 && e.Type().IsRegular() {
			s.segments = append(s.segments, segment{first: first, end: first})
		}
	}
	slices.SortFunc(s.segments, func(a, b segment) int { return strings.Compare(filepath.Base(s.path(a)), filepath.Base(s.path(b))) })
	return nil
}

// scan counts the records of a segment, up to the first entry that does not
// check, and raises acked to the highest acknowledgement among them.
func (s *Spool) scan(seg *segment, acked *uint64) error {
	return s.each(*seg, func(kind byte, payload []byte, end int64) bool {
		switch {
		case kind == kindRecord:
			seg.end++
		case kind == kindAck && len(payload) == 8:
			*acked = max(*acked, binary.LittleEndian.Uint64(payload))
		}
		seg.size = end
		return true
	})
}

// seek finds where the record with the number of s.begin lies, or will lie.
func (s *Spool) seek() error {
	for _, seg := range s.segments {
		if s.begin.number < seg.first || s.begin.number > seg.end {
			continue
		}
		number := seg.first
		s.begin.offset = 0
		err := s.each(seg, func(kind byte, _ []byte, end int64) bool {
			if number == s.begin.number {
				return false
			}
			if kind == kindRecord {
				number++
			}
			s.begin.offset = end
			return true
		})
		if err != nil || s.begin.number < seg.end {
			return err
		}
	}
	return nil
}

// each calls back for every entry of a segment that checks, with the offset
// behind it, up to the first one that does not or until told to stop.
func (s *Spool) each(seg segment, entry func(kind byte, payload []byte, end int64) bool) error {
	file, err := os.Open(s.path(seg))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return err
	}
	in := bufio.NewReaderSize(file, int(min(st.Size(), maxEntry))) // most segments are small when nothing waits
	for end := int64(0); ; {
		header, err := in.Peek(headerSize)
		if err != nil {
			return unlessEOF(err)
		}
		size := int64(binary.LittleEndian.Uint32(header))
		if size < 1 || size > 1+MaxRecord || end+headerSize+size > st.Size() {
			return nil
		}
		whole, err := in.Peek(headerSize + int(size))
		if err != nil {
			return unlessEOF(err)
		}
		kind, payload, _, ok := cut(whole)
		end += int64(len(whole))
		if !ok || !entry(kind, payload, end) {
			return nil
		}
		if _, err := in.Discard(len(whole)); err != nil {
			return err
		}
	}
}

func unlessEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
