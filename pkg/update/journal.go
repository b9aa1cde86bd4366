package update

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/arasul/arasul/pkg/stable"
)

// Bounds of a journal. A whole update takes about 40 records of 200 bytes.
const (
	MaxRecords  = 256
	maxRecord   = 16 << 10 // bytes
	headerBytes = 8
	maxJournal  = MaxRecords*(maxRecord+headerBytes) + maxRecord
)

// Phase says what a record is about.
type Phase string

// The phases.
const (
	Started  Phase = "started"  // the transaction; Plan is its steps
	Booted   Phase = "booted"   // the machine, since the record before
	Begun    Phase = "begun"    // a step: its Do is about to be called
	Done     Phase = "done"     // a step
	Back     Phase = "back"     // the transaction turns back; Reason says why
	Undoing  Phase = "undoing"  // a step: its Undo is about to be called
	Undone   Phase = "undone"   // a step
	Failed   Phase = "failed"   // an Undo, or a step after the commit; Reason says why
	Finished Phase = "finished" // the transaction; Outcome says how
)

// Outcome is how a transaction ended.
type Outcome string

// The outcomes.
const (
	Committed  Outcome = "committed"
	RolledBack Outcome = "rolled-back"
	Stuck      Outcome = "stuck" // an Undo failed: parts may be old and others new
)

// Record is one line of a journal.
type Record struct {
	Seq     int             `json:"seq"`
	Time    time.Time       `json:"timestamp"`
	Boot    string          `json:"boot"` // the kernel's id of this run
	Phase   Phase           `json:"phase"`
	Step    string          `json:"step,omitempty"`
	Plan    []string        `json:"plan,omitempty"`
	Reason  string          `json:"reason,omitempty"`
	Outcome Outcome         `json:"outcome,omitempty"`
	Data    json.RawMessage `json:"data,omitempty"` // what a step wants to know later
}

// ErrDamaged says that a journal does not check where more was written since: how far
// its transaction had come is not known.
var ErrDamaged = errors.New("the journal is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Journal is the memory of one transaction: a file of records, each with its
// length and CRC-32C ahead of it, little-endian. A record is there once Append
// returned nil, whatever happens to the power.
type Journal struct {
	fs      stable.FS
	path    string
	records []Record
	broken  error // a write failed: what is on the disk is not known
}

// OpenJournal reads the journal at path, or makes an empty one; its folder has
// to exist. A record that a power cut left half written is the last one, was
// never acknowledged, and is cut off. A record in the middle that does not check
// is ErrDamaged.
func OpenJournal(f stable.FS, path string) (*Journal, error) {
	data, err := f.Read(path, maxJournal)
	if errors.Is(err, fs.ErrNotExist) {
		if err := f.Write(path, nil, 0o600); err != nil {
			return nil, fmt.Errorf("making journal: %w", err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("reading journal: %w", err)
	}
	records, whole, err := parseJournal(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if whole < len(data) {
		if err := f.Truncate(path, int64(whole)); err != nil {
			return nil, fmt.Errorf("cutting torn record: %w", err)
		}
	}
	// Its content needs no sync: whatever is done on account of it follows upon
	// another record, which is synced with all that stands ahead of it.
	if err := f.SyncDir(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("syncing folder of journal: %w", err)
	}
	return &Journal{fs: f, path: path, records: records}, nil
}

// parseJournal returns the records, and how many bytes they are. What follows
// them is a torn tail: at most one record.
func parseJournal(data []byte) (records []Record, whole int, err error) {
	for rest := data; len(rest) > 0; rest = data[whole:] {
		text, size := nextRecord(rest)
		if text == nil {
			if len(rest) > maxRecord+headerBytes || followedByRecord(rest) {
				return nil, 0, fmt.Errorf("byte %d: a record is damaged", whole)
			}
			return records, whole, nil
		}
		var r Record
		if err := json.Unmarshal(text, &r); err != nil {
			return nil, 0, fmt.Errorf("byte %d: %w", whole, err)
		}
		if r.Seq != len(records)+1 {
			return nil, 0, fmt.Errorf("byte %d: record %d where %d belongs", whole, r.Seq, len(records)+1)
		}
		records = append(records, r)
		whole += size
	}
	return records, whole, nil
}

// nextRecord returns the text of the record at the beginning of data and its
// size with header, or nil when there is no whole one.
func nextRecord(data []byte) (text []byte, size int) {
	if len(data) < headerBytes {
		return nil, 0
	}
	length := int(binary.LittleEndian.Uint32(data))
	if length == 0 || length > maxRecord || length > len(data)-headerBytes {
		return nil, 0
	}
	text = data[headerBytes : headerBytes+length]
	sum := crc32.Update(crc32.Checksum(data[:4], castagnoli), castagnoli, text)
	if sum != binary.LittleEndian.Uint32(data[4:]) {
		return nil, 0
	}
	return text, headerBytes + length
}

// followedByRecord says whether a whole record stands somewhere behind the
// beginning of data: then this one was whole too, once.
func followedByRecord(data []byte) bool {
	for i := 1; i+headerBytes < len(data); i++ {
		if data[i+headerBytes] != '{' {
			continue
		}
		if text, _ := nextRecord(data[i:]); text != nil {
			return true
		}
	}
	return false
}

// Records are what stands in the journal, oldest first.
func (j *Journal) Records() []Record { return j.records }

// Append adds r, whose Seq it sets. After an error nothing more can be appended:
// whether r is there is not known until the journal is opened again.
func (j *Journal) Append(r Record) error {
	if j.broken != nil {
		return j.broken
	}
	r.Seq = len(j.records) + 1
	entry, err := encodeRecord(r)
	if err != nil {
		return err
	}
	if err := j.write(entry); err != nil {
		j.broken = fmt.Errorf("writing journal: %w", err)
		return j.broken
	}
	j.records = append(j.records, r)
	return nil
}

func (j *Journal) write(entry []byte) error {
	if err := j.fs.Append(j.path, entry); err != nil {
		return err
	}
	return j.fs.Sync(j.path)
}

func encodeRecord(r Record) ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding record: %w", err)
	}
	if len(text) > maxRecord {
		return nil, fmt.Errorf("a record of %d bytes, the limit is %d", len(text), maxRecord)
	}
	var b bytes.Buffer
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(text))) //nolint:gosec // at most maxRecord
	b.Write(head)
	b.Write(binary.LittleEndian.AppendUint32(nil, crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, text)))
	b.Write(text)
	return b.Bytes(), nil
}
