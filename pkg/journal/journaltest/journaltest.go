// Package journaltest makes real journals for tests, by the program that
// receives other machines' journals.
//
// It does not run a journald: entries come with the fields that the test says,
// those that nobody could forge included.
package journaltest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const remote = "/lib/systemd/systemd-journal-remote"

// Begin is the time of entry 0; entry n is n seconds later.
var Begin = time.Unix(1790000000, 0).UTC()

// Entry is one to write: its place in time, and its fields.
type Entry struct {
	At     int // seconds after Begin
	Fields map[string]string
}

// Said is what a unit says.
func Said(at int, unit, message string) Entry {
	return Entry{at, map[string]string{
		"MESSAGE": message, "PRIORITY": "6", "_TRANSPORT": "stdout", "_SYSTEMD_UNIT": unit, "_PID": "100",
	}}
}

var files atomic.Int64

// Write adds entries to the journal in dir. A journal follows the entries of
// its files in time, so later calls have later entries.
func Write(t testing.TB, dir string, entries ...Entry) {
	t.Helper()
	var in bytes.Buffer
	for _, e := range entries {
		fmt.Fprintf(&in, "__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=%s\n",
			Begin.Add(time.Duration(e.At)*time.Second).UnixMicro(), int64(e.At+1)*1e6, strings.Repeat("b", 32))
		for _, name := range slices.Sorted(maps.Keys(e.Fields)) {
			value := e.Fields[name]
			fmt.Fprintf(&in, "%s\n", name)
			_ = binary.Write(&in, binary.LittleEndian, uint64(len(value)))
			in.WriteString(value + "\n")
		}
		in.WriteByte('\n')
	}
	cmd := exec.Command(remote, "--output="+filepath.Join(dir, fmt.Sprintf("remote-%d.journal", files.Add(1))), "-") //nolint:gosec // a test's own files
	cmd.Stdin = &in
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("writing a journal (apt install systemd-journal-remote): %v\n%s", err, out)
	}
}
