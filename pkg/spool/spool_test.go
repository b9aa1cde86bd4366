package spool

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// number makes a record that is recognised by its number; some are larger.
func number(n uint64) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, n), bytes.Repeat([]byte{^byte(n)}, 1+int(n%7)*10)...)
}

func open(t testing.TB, dir string, o Options) *Spool {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// add appends the records with the numbers [from, to).
func add(t testing.TB, s *Spool, from, to uint64) {
	t.Helper()
	for n := from; n < to; n++ {
		if err := s.Append(number(n)); err != nil {
			t.Fatal(err)
		}
	}
}

// numbers returns what the next n records are.
func numbers(t testing.TB, s *Spool, n int) (got []uint64) {
	t.Helper()
	records, err := s.Next(n)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		k := binary.LittleEndian.Uint64(r)
		if !bytes.Equal(r, number(k)) {
			t.Fatalf("record %d came back as %x", k, r)
		}
		got = append(got, k)
	}
	return got
}

// upTo returns [from, to).
func upTo(from, to uint64) (want []uint64) {
	for n := from; n < to; n++ {
		want = append(want, n)
	}
	return want
}

func expect(t testing.TB, s *Spool, n int, from, to uint64) {
	t.Helper()
	if got := numbers(t, s, n); !slices.Equal(got, upTo(from, to)) {
		t.Errorf("records %v, want %d up to %d", got, from, to)
	}
}

func ack(t testing.TB, s *Spool) {
	t.Helper()
	if err := s.Ack(); err != nil {
		t.Fatal(err)
	}
}

// small makes segments of 256 bytes.
var small = Options{MaxBytes: 16 * 256}

// Proves METRICS-2.
func TestRecordsComeBackInOrderUntilTheyAreAcknowledged(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, small)
	expect(t, s, 10, 0, 0)
	add(t, s, 0, 30)
	expect(t, s, 7, 0, 7)
	expect(t, s, 9, 0, 9)
	ack(t, s)
	ack(t, s) // acknowledges nothing more
	expect(t, s, 5, 9, 14)

	s = open(t, dir, small) // without Close, as after a kill
	expect(t, s, 100, 9, 30)
	add(t, s, 30, 40)
	ack(t, s)
	expect(t, s, 100, 30, 40)
	ack(t, s)
	for range 3 {
		s = open(t, dir, small)
		expect(t, s, 100, 0, 0)
	}
	if st := s.Stats(); st.Waiting != 0 || st.Bytes > 2*256 || st.Dropped+st.Damaged != 0 {
		t.Errorf("when all is taken: %+v", st)
	}
	add(t, s, 40, 41)
	expect(t, open(t, dir, small), 100, 40, 41)
}

func TestPiecesAreBoundedInMemory(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	large := make([]byte, MaxRecord)
	for range 10 {
		if err := s.Append(large); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Append(append(large, 0)); err == nil {
		t.Error("a record that is too large was taken")
	}
	total := 0
	for total < 10 {
		records, err := s.Next(1000)
		if err != nil || len(records) == 0 || len(records) > chunkSize/MaxRecord {
			t.Fatalf("%d records of %d bytes at once (%v)", len(records), MaxRecord, err)
		}
		total += len(records)
		ack(t, s)
	}
}

// The states that a kill within a write leaves: every length of the tail.
//
// Proves METRICS-2.
func TestTornTailIsCut(t *testing.T) {
	full := t.TempDir()
	s := open(t, full, Options{})
	var ends []int64 // of the file after each record
	for n := range uint64(6) {
		add(t, s, n, n+1)
		ends = append(ends, s.Stats().Bytes)
	}
	const name = "0000000000000000.log"
	data, err := os.ReadFile(filepath.Join(full, name))
	if err != nil {
		t.Fatal(err)
	}
	for _, tail := range [][]byte{nil, make([]byte, 50)} { // a power cut may leave zeros
		for size := range len(data) + 1 {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, name), slices.Concat(data[:size], tail), 0o600); err != nil {
				t.Fatal(err)
			}
			var whole uint64
			for whole < 6 && ends[whole] <= int64(size) {
				whole++
			}
			s := open(t, dir, Options{})
			expect(t, s, 100, 0, whole)
			add(t, s, whole, whole+2)
			expect(t, open(t, dir, Options{}), 100, 0, whole+2)
		}
	}
}

func TestFlippedBitsNeverComeBackAsRecords(t *testing.T) {
	full := t.TempDir()
	s := open(t, full, small)
	add(t, s, 0, 12)
	numbers(t, s, 3)
	ack(t, s)
	for _, seg := range s.segments {
		path := s.path(seg)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range data {
			bit := i*8 + i%8
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(full)); err != nil {
				t.Fatal(err)
			}
			data[bit/8] ^= 1 << (bit % 8)
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(path)), data, 0o600); err != nil {
				t.Fatal(err)
			}
			data[bit/8] ^= 1 << (bit % 8)
			s := open(t, dir, small)
			add(t, s, 100, 101)
			got := numbers(t, s, 100) // fails when one is not what it was
			if !slices.IsSorted(got) || len(got) == 0 || got[len(got)-1] != 100 {
				t.Fatalf("%s, bit %d: records %v", filepath.Base(path), bit, got)
			}
			ack(t, s)
			expect(t, s, 100, 0, 0)
			_ = s.Close()
		}
	}
}

func TestDamageWhileRunningCostsWhatFollowsInTheSegment(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	add(t, s, 0, 10)
	name := s.path(s.segments[0])
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	got := numbers(t, s, 100)
	if n := len(got); n == 0 || n > 9 || s.Stats().Damaged != uint64(10-n) {
		t.Errorf("records %v, %+v", got, s.Stats())
	}
	add(t, s, 10, 12)
	if again := numbers(t, s, 100); !slices.Equal(again, append(got, 10, 11)) {
		t.Errorf("records %v, then %v", got, again)
	}
	want := s.Stats()
	if want.Waiting != len(got)+2 {
		t.Errorf("stats %+v", want)
	}
	if again := numbers(t, open(t, dir, Options{}), 100); !slices.Equal(again, append(got, 10, 11)) {
		t.Errorf("after opening again records %v", again)
	}
}

// A power cut may take the newest records although they were acknowledged, and
// keep an acknowledgement. Numbers must not be given out twice then: the new
// records would pass for acknowledged.
func TestNewRecordsAreNotTakenForAcknowledgedOnes(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, small)
	add(t, s, 0, 10)
	numbers(t, s, 100)
	ack(t, s)
	for _, seg := range s.segments {
		if err := os.Truncate(s.path(seg), 0); err != nil {
			t.Fatal(err)
		}
	}
	first := filepath.Join(dir, fmt.Sprintf("%016x.log", 0))
	entry := &Spool{dir: t.TempDir(), segments: []segment{{}}}
	if err := entry.write(kindAck, binary.LittleEndian.AppendUint64(nil, 50)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(entry.path(segment{}), first); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, small)
	add(t, s, 50, 55)
	expect(t, s, 100, 50, 55)
	expect(t, open(t, dir, small), 100, 50, 55)
}

// Proves METRICS-2.
func TestOldestAreDroppedWhenThereIsNoRoom(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, small)
	var taken, damaged uint64
	check := func(added uint64) {
		t.Helper()
		st := s.Stats()
		if added != taken+st.Dropped+uint64(st.Waiting)+damaged {
			t.Fatalf("%d added, %d taken, %+v", added, taken, st)
		}
		var size int64
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			f, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			size += f.Size()
		}
		if size > small.MaxBytes || size != st.Bytes {
			t.Fatalf("%d bytes on disk, %+v", size, st)
		}
	}
	for n := range uint64(600) {
		add(t, s, n, n+1)
		check(n + 1)
	}
	if s.Stats().Dropped < 400 || s.Stats().Waiting < 50 {
		t.Errorf("stats %+v", s.Stats())
	}
	first := 600 - uint64(s.Stats().Waiting)
	expect(t, s, 1000, first, 600)

	// What is dropped while it is being taken was taken, after all.
	expect(t, s, 10, first, first+10)
	dropped := s.Stats().Dropped
	add(t, s, 600, 640)
	if s.Stats().Dropped < dropped+10 {
		t.Errorf("stats %+v", s.Stats())
	}
	ack(t, s)
	taken += 10
	check(640)
	if got := numbers(t, s, 1); len(got) != 1 || got[0] <= first+10 {
		t.Errorf("then records %v", got)
	}
}

func TestFullDiskCostsNothingThatIsThere(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	add(t, s, 0, 5)
	good := s.out
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	if _, err := good.Write([]byte("half an ent")); err != nil { // what fitted
		t.Fatal(err)
	}
	s.out = full
	for range 2 {
		if err := s.Append(number(5)); err == nil {
			t.Fatal("a full disk took a record")
		}
	}
	expect(t, s, 2, 0, 2)
	if s.Ack() == nil {
		t.Error("a full disk took an acknowledgement")
	}
	expect(t, s, 100, 2, 5) // but for this process it holds
	s.out = good
	add(t, s, 5, 7)
	expect(t, s, 100, 2, 7)
	expect(t, open(t, dir, Options{}), 100, 0, 7) // it never reached the disk
}

func TestRecordsAreSyncedWhenTheyWaitTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, t.TempDir(), Options{})
		synced := func() bool { // by the last Append, but for its own record
			return s.unsynced.Equal(time.Now())
		}
		for n := range uint64(100) { // a database that is there
			add(t, s, n, n+1)
			if n%6 == 5 {
				numbers(t, s, 100)
				ack(t, s)
			} else if n%6 != 0 && synced() {
				t.Fatal("synced, although records are acknowledged in time")
			}
			time.Sleep(5 * time.Second)
		}
		numbers(t, s, 100)
		ack(t, s)
		syncs := 0
		for n := range uint64(121) { // ten minutes without
			add(t, s, 100+n, 101+n)
			if n > 0 && synced() {
				syncs++
			}
			time.Sleep(5 * time.Second)
		}
		if syncs != 10 {
			t.Errorf("%d syncs in ten minutes, want 10", syncs)
		}
	})
}

// record is what a sample of a machine with ten services takes.
var record = bytes.Repeat([]byte("0123456789"), 43)

func BenchmarkAppend(b *testing.B) {
	s := open(b, b.TempDir(), Options{})
	b.SetBytes(int64(len(record)))
	for b.Loop() {
		if err := s.Append(record); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReplay takes a day at 5 s in pieces of 360.
func BenchmarkReplay(b *testing.B) {
	const day = 24 * 60 * 60 / 5
	for b.Loop() {
		b.StopTimer()
		s := open(b, b.TempDir(), Options{})
		for range day {
			if err := s.Append(record); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		for got := 0; got < day; {
			records, err := s.Next(360)
			if err != nil || len(records) == 0 {
				b.Fatal(err)
			}
			got += len(records)
			ack(b, s)
		}
		b.StopTimer()
		_ = s.Close()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N)*day/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkOpen opens a spool that is full.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	s := open(b, dir, Options{})
	for s.Stats().Bytes < 60<<20 {
		if err := s.Append(record); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		_ = open(b, dir, Options{}).Close()
	}
}
