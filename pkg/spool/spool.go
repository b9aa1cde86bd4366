// Package spool keeps records on disk, in order, until somebody has taken
// them: what a daemon has to say while the database is away.
//
// A record is bytes. Append adds one, Next returns the oldest that were not
// acknowledged, Ack forgets them. There is one log, in segments; a segment is
// a file named after the number of its first record, and holds entries:
//
//	length  uint32  of kind and payload, little-endian
//	crc     uint32  CRC-32C of length, kind and payload
//	kind    byte    'r' a record, 'a' an acknowledgement
//	payload         the record; or the number of the first record that is
//	                not acknowledged, as uint64
//
// Entries are only ever appended, with one system call each, and segments only
// removed from the front, so that every state a kill can leave is a state that
// Open understands:
//
//	kill while an entry is written    the torn tail does not check, and is cut
//	kill before the acknowledgement   the records come again
//	kill before a segment is removed  it is removed at the next acknowledgement
//
// What Append took survives the death of the process at once, and a power cut
// after SyncAfter: the log is synced when a record has waited for that long,
// hence never while records are acknowledged sooner, which spares flash. After
// a power cut acknowledged records may come again; so may they after an
// acknowledgement that could not be written. The taker must be able to tell.
//
// The log is bounded: when it would grow beyond MaxBytes, the oldest segment is
// dropped and its records are counted. Memory is bounded too: segments are read
// in pieces of a megabyte.
//
// It does not know what the records mean, does not compress, retries nothing,
// starts no goroutine and does not keep a second process out of its folder.
package spool

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	// MaxRecord is the largest record in bytes.
	MaxRecord = 256 << 10

	headerSize = 8
	maxEntry   = headerSize + 1 + MaxRecord
	chunkSize  = 1 << 20 // at most so much is read at once
	perm       = 0o600

	kindRecord = 'r'
	kindAck    = 'a'
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Options says how much to keep, and how safely. The zero value is the default.
type Options struct {
	// MaxBytes bounds the files together; zero means 64 MiB. The newest of 16
	// segments always stays.
	MaxBytes int64
	// SyncAfter is how long a record may wait without being on stable storage;
	// zero means one minute.
	SyncAfter time.Duration
}

// Spool is one log. Its methods may be called from several goroutines, but only
// one may take records.
type Spool struct {
	dir         string
	max         int64
	segmentSize int64
	syncAfter   time.Duration

	mu       sync.Mutex
	segments []segment // oldest first; the last is appended to
	out      *os.File  // the last segment; nil until something is appended
	torn     bool      // a write failed: out may be longer than its segment
	next     uint64    // number of the next record
	unsynced time.Time // when the oldest record that is not synced was appended; zero when all are
	begin    position  // of the oldest record that is not acknowledged
	taken    position  // behind the last record that Next returned
	entry    []byte    // what is being written

	lost    span   // dropped since the last Next
	dropped uint64 // records, see Stats
	damaged uint64
}

// segment is one file.
type segment struct {
	first, end uint64 // numbers of its first record and of the one behind its last
	size       int64  // that holds entries
}

// position is a place between two records.
type position struct {
	number uint64 // of the record that follows
	offset int64  // in its segment; it counts only as long as the segment is there
}

type span struct{ from, to uint64 }

// Stats is what a spool says about itself.
type Stats struct {
	Waiting int    `json:"waiting"`       // records that are not acknowledged
	Bytes   int64  `json:"bytes"`         // on disk
	Dropped uint64 `json:"dropped_total"` // records given up to stay below MaxBytes, since Open
	Damaged uint64 `json:"damaged_total"` // records that could not be read again, since Open
}

// Append adds a record. When it returns nil the record survives the death of
// this process. On error the record was not added, and nothing else is lost:
// the disk is full or broken, and a later call may succeed.
func (s *Spool) Append(record []byte) error {
	if len(record) > MaxRecord {
		return fmt.Errorf("spooling: a record of %d bytes, at most %d fit", len(record), MaxRecord)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !s.unsynced.IsZero() && now.Sub(s.unsynced) >= s.syncAfter {
		if err := s.sync(); err != nil {
			return err
		}
	}
	if err := s.rotate(); err != nil {
		return err
	}
	s.drop(int64(headerSize + 1 + len(record)))
	if err := s.write(kindRecord, record); err != nil {
		return err
	}
	s.next++
	s.last().end = s.next
	if s.unsynced.IsZero() {
		s.unsynced = now
	}
	return nil
}

// Next returns at most n of the records that are not acknowledged, oldest
// first; fewer, but not none, when they are large. Without an Ack it returns
// the same again. Records that cannot be read any more are passed over.
func (s *Spool) Next(n int) ([][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = span{}
	s.taken = s.begin
	var records [][]byte
	room := chunkSize
	for i := range s.segments {
		seg := &s.segments[i]
		if seg.end <= s.taken.number {
			continue
		}
		if s.taken.number <= seg.first { // its first; or the segment before was cut short
			s.taken = position{number: seg.first}
		}
		got, err := s.read(seg, n-len(records), room)
		if err != nil {
			return nil, err
		}
		for _, r := range got {
			room -= headerSize + 1 + len(r)
		}
		records = append(records, got...)
		if s.taken.number < seg.end {
			break // enough
		}
	}
	return records, nil
}

// Ack forgets what the last Next returned. The records are forgotten in any
// case; on error they come again after the next Open.
func (s *Spool) Ack() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost.from < min(s.lost.to, s.taken.number) { // taken before they were dropped
		s.dropped -= min(s.lost.to, s.taken.number) - s.lost.from
	}
	s.lost = span{}
	if s.taken.number <= s.begin.number {
		return nil
	}
	s.begin = s.taken
	if s.begin.number == s.next {
		s.unsynced = time.Time{} // nothing waits
	}
	err := s.write(kindAck, binary.LittleEndian.AppendUint64(nil, s.begin.number))
	if err := s.removeAcked(); err != nil {
		return err
	}
	return err
}

// Stats returns the counts as they are now.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{Bytes: s.bytes(), Dropped: s.dropped, Damaged: s.damaged}
	for i := range s.segments {
		seg := &s.segments[i]
		if from := max(seg.first, s.begin.number); from < seg.end {
			st.Waiting += int(seg.end - from)
		}
	}
	return st
}

// Close puts everything on stable storage. The spool may not be used afterwards.
func (s *Spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out == nil {
		return nil
	}
	var err error
	if !s.unsynced.IsZero() {
		err = s.sync()
	}
	_ = s.out.Close() // synced, or not worth it
	s.out = nil
	return err
}

func (s *Spool) last() *segment { return &s.segments[len(s.segments)-1] }

func (s *Spool) path(seg segment) string {
	return filepath.Join(s.dir, fmt.Sprintf("%016x.log", seg.first))
}

func (s *Spool) bytes() (n int64) {
	for _, seg := range s.segments {
		n += seg.size
	}
	return n
}

// rotate begins a new segment when there is none or the last one is full.
func (s *Spool) rotate() error {
	if len(s.segments) > 0 && s.last().size < s.segmentSize {
		return nil
	}
	if s.out != nil {
		if !s.unsynced.IsZero() {
			if err := s.sync(); err != nil {
				return err
			}
		}
		_ = s.out.Close() // synced, or acknowledged
		s.out = nil
	}
	s.segments = append(s.segments, segment{first: s.next, end: s.next})
	if err := s.open(); err != nil {
		s.segments = s.segments[:len(s.segments)-1]
		return err
	}
	if err := syncDir(s.dir); err != nil {
		return err
	}
	return s.removeAcked()
}

// open opens the last segment for writing, and makes it when it is not there.
func (s *Spool) open() error {
	if s.out != nil {
		return nil
	}
	out, err := os.OpenFile(s.path(*s.last()), os.O_WRONLY|os.O_APPEND|os.O_CREATE, perm)
	if err != nil {
		return fmt.Errorf("opening spool: %w", err)
	}
	s.out = out
	return nil
}

// write appends one entry to the last segment, all of it or nothing.
func (s *Spool) write(kind byte, payload []byte) error {
	if err := s.open(); err != nil {
		return err
	}
	seg := s.last()
	if s.torn {
		if err := s.out.Truncate(seg.size); err != nil {
			return fmt.Errorf("cutting spool: %w", err)
		}
		s.torn = false
	}
	s.entry = append(s.entry[:0], 0, 0, 0, 0, 0, 0, 0, 0, kind)
	s.entry = append(s.entry, payload...)
	binary.LittleEndian.PutUint32(s.entry, uint32(1+len(payload)))
	binary.LittleEndian.PutUint32(s.entry[4:], checksum(s.entry))
	if _, err := s.out.Write(s.entry); err != nil {
		s.torn = s.out.Truncate(seg.size) != nil
		return fmt.Errorf("writing spool: %w", err)
	}
	seg.size += int64(len(s.entry))
	return nil
}

// checksum covers an entry but for the checksum itself.
func checksum(entry []byte) uint32 {
	return crc32.Update(crc32.Checksum(entry[:4], castagnoli), castagnoli, entry[headerSize:])
}

// drop gives up the oldest segments until so much more fits.
func (s *Spool) drop(more int64) {
	for len(s.segments) > 1 && s.bytes()+more > s.max {
		seg := s.segments[0]
		if os.Remove(s.path(seg)) != nil {
			return // tried again at the next record
		}
		s.segments = s.segments[1:]
		from := max(seg.first, s.begin.number)
		if from >= seg.end {
			continue
		}
		s.dropped += seg.end - from
		if s.lost.to == 0 {
			s.lost.from = from
		}
		s.lost.to = seg.end
		s.begin = position{number: s.segments[0].first}
	}
}

// removeAcked removes the segments of which every record is acknowledged, but
// for the last one.
func (s *Spool) removeAcked() error {
	for len(s.segments) > 1 && s.segments[0].end <= s.begin.number {
		if err := os.Remove(s.path(s.segments[0])); err != nil && !os.IsNotExist(err) {
			return fmt.Errorf("shortening spool: %w", err)
		}
		s.segments = s.segments[1:]
	}
	return nil
}

// read returns at most n records of a segment from s.taken on, in about so many
// bytes, and moves s.taken behind them. What follows an entry that does not
// check is given up, since nobody knows where the next one begins.
func (s *Spool) read(seg *segment, n, room int) ([][]byte, error) {
	if n <= 0 || room <= 0 {
		return nil, nil
	}
	file, err := os.Open(s.path(*seg))
	if err != nil {
		return nil, fmt.Errorf("reading spool: %w", err)
	}
	defer file.Close()
	var buf []byte
	var records [][]byte
	for len(records) < n && room > 0 && s.taken.number < seg.end {
		left := seg.size - s.taken.offset
		if int64(len(buf)) < min(left, maxEntry) { // the next entry may not be whole
			if len(records) > 0 {
				break
			}
			buf = make([]byte, min(left, int64(max(room, maxEntry))))
			if _, err := file.ReadAt(buf, s.taken.offset); err != nil && err != io.EOF {
				return nil, fmt.Errorf("reading spool: %w", err)
			}
		}
		kind, payload, rest, ok := cut(buf)
		if !ok {
			s.giveUp(seg)
			break
		}
		if kind == kindRecord {
			records = append(records, payload)
			s.taken.number++
			room -= len(buf) - len(rest)
		}
		s.taken.offset += int64(len(buf) - len(rest))
		buf = rest
	}
	return records, nil
}

// giveUp forgets the records of a segment from s.taken on. Nothing is appended
// behind them either.
func (s *Spool) giveUp(seg *segment) {
	s.damaged += seg.end - s.taken.number
	seg.end = s.taken.number
	if seg != s.last() {
		return
	}
	if s.out != nil {
		_ = s.out.Close() // it is broken anyway
		s.out = nil
	}
	s.segments = append(s.segments, segment{first: s.next, end: s.next})
}

// cut takes the first entry off a piece of a segment. ok is false when there is
// no whole entry, or none that checks.
func cut(buf []byte) (kind byte, payload, rest []byte, ok bool) {
	if len(buf) < headerSize+1 {
		return 0, nil, nil, false
	}
	size := binary.LittleEndian.Uint32(buf)
	if size < 1 || size > 1+MaxRecord || int(size) > len(buf)-headerSize {
		return 0, nil, nil, false
	}
	entry := buf[:headerSize+size]
	if checksum(entry) != binary.LittleEndian.Uint32(buf[4:]) {
		return 0, nil, nil, false
	}
	return entry[headerSize], entry[headerSize+1:], buf[len(entry):], true
}

// sync puts the log on stable storage.
func (s *Spool) sync() error {
	if s.out != nil {
		if err := s.out.Sync(); err != nil {
			return fmt.Errorf("syncing spool: %w", err)
		}
	}
	s.unsynced = time.Time{}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("opening spool: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("syncing spool: %w", err)
	}
	return nil
}
