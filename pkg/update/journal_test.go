package update

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/arasul/arasul/pkg/stable"
)

const journalPath = "/journal"

// written is a journal of n records on a real disk, and its bytes.
func written(t testing.TB, n int) (path string, data []byte) {
	t.Helper()
	path = t.TempDir() + journalPath
	j, err := OpenJournal(stable.OS{}, path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := j.Append(Record{Phase: Begun, Step: fmt.Sprint("step ", i), Boot: "b"}); err != nil {
			t.Fatal(err)
		}
	}
	data, err = stable.OS{}.Read(path, maxJournal)
	if err != nil {
		t.Fatal(err)
	}
	return path, data
}

func reopen(t testing.TB, path string, data []byte) ([]Record, error) {
	t.Helper()
	if err := (stable.OS{}).Write(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	j, err := OpenJournal(stable.OS{}, path)
	if err != nil {
		return nil, err
	}
	return j.Records(), nil
}

func TestAJournalIsReadAsItWasWritten(t *testing.T) {
	path, data := written(t, 3)
	records, err := reopen(t, path, data)
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != 3 || records[2].Step != "step 2" || records[2].Seq != 3 {
		t.Errorf("got %+v", records)
	}
}

// Wherever the last record is cut, and whatever stands for its rest, it is as if
// it had never been written, and the next one takes its place.
func TestATornRecordIsCutOff(t *testing.T) {
	path, data := written(t, 3)
	_, two, err := parseJournal(data[:len(data)-1])
	if err != nil {
		t.Fatal(err)
	}
	for size := two; size < len(data); size++ {
		for _, rest := range [][]byte{nil, make([]byte, len(data)-size), make([]byte, 4096)} {
			records, err := reopen(t, path, append(bytes.Clone(data[:size]), rest...))
			if err != nil || len(records) != 2 {
				t.Fatalf("cut after %d of %d bytes, %d zeros: %d records, %v", size, len(data), len(rest), len(records), err)
			}
		}
	}
	j, err := OpenJournal(stable.OS{}, path)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Append(Record{Phase: Done, Step: "again"}); err != nil {
		t.Fatal(err)
	}
	if j, err = OpenJournal(stable.OS{}, path); err != nil || len(j.Records()) != 3 || j.Records()[2].Step != "again" {
		t.Errorf("%v", err)
	}
}

// A bit that flips in a record that others follow is damage: to go on from half a
// memory would be worse than not to.
func TestADamagedRecordIsAnError(t *testing.T) {
	path, data := written(t, 3)
	_, two, _ := parseJournal(data[:len(data)-1])
	for i := range two {
		for bit := range 8 {
			bad := bytes.Clone(data)
			bad[i] ^= 1 << bit
			if _, err := reopen(t, path, bad); err == nil {
				t.Fatalf("bit %d of byte %d flipped, and nobody noticed", bit, i)
			}
		}
	}
}

func TestAnOversizedRecordIsRefused(t *testing.T) {
	path, _ := written(t, 1)
	j, err := OpenJournal(stable.OS{}, path)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Append(Record{Reason: strings.Repeat("x", maxRecord)}); err == nil {
		t.Error("accepted")
	}
}

func FuzzParseJournal(f *testing.F) {
	_, data := written(f, 3)
	f.Add(data)
	f.Add(data[:len(data)-5])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		records, whole, err := parseJournal(data)
		if err != nil {
			return
		}
		if whole > len(data) {
			t.Fatalf("%d of %d bytes", whole, len(data))
		}
		again, size, err := parseJournal(data[:whole])
		if err != nil || size != whole || len(again) != len(records) {
			t.Fatalf("%d records of %d bytes, then %d of %d: %v", len(records), whole, len(again), size, err)
		}
		Replay(records, CommitStep).Next()
	})
}
