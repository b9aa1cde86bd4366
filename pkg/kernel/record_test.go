package kernel

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"
)

func TestRecordIsRead(t *testing.T) {
	for _, c := range []struct {
		name, entry string
		want        record
		ok          bool
	}{
		{"the kernel's", "3,1021,80518272,-;I/O error\n SUBSYSTEM=block\n DEVICE=b8:0\n",
			record{0, 1021, 80518272 * time.Microsecond, false, "I/O error"}, true},
		{"a root process's", "11,514,140403683,-;probe\n", record{1, 514, 140403683 * time.Microsecond, false, "probe"}, true},
		{"a daemon's", "30,518,1,-;x\n", record{3, 518, time.Microsecond, false, "x"}, true},
		{"a beginning", "4,1,0,c;x", record{0, 1, 0, true, "x"}, true},
		{"a continuation", "4,1,0,+;x", record{0, 1, 0, true, "x"}, true},
		{"with who called", "6,339,5140900,-,caller=T1;hello\n", record{0, 339, 5140900 * time.Microsecond, false, "hello"}, true},
		{"with a semicolon", "6,1,2,-;a;b\n", record{0, 1, 2 * time.Microsecond, false, "a;b"}, true},
		{"empty line", "6,1,2,-;\n", record{0, 1, 2 * time.Microsecond, false, ""}, true},
		{"nothing", "", record{}, false},
		{"no text", "6,1,2,-", record{}, false},
		{"too few fields", "6,1,2;x", record{}, false},
		{"negative time", "6,1,-2,-;x", record{}, false},
		{"time beyond all machines", "6,1,9223372036854775807,-;x", record{}, false},
		{"no number", "6,x,2,-;x", record{}, false},
		{"what the kernel escapes", "6,1,2,-;\x1b[31m\n", record{}, false},
	} {
		if got, ok := parseRecord([]byte(c.entry)); got != c.want || ok != c.ok {
			t.Errorf("%s: %+v, %v; want %+v, %v", c.name, got, ok, c.want, c.ok)
		}
	}
}

func TestEscapesAreUndone(t *testing.T) {
	for in, want := range map[string]string{
		`/a\x5cx2db.slice`: `/a\x2db.slice`, `two\x0alines`: "two\nlines", `\xzz\x4`: `\xzz\x4`, `\x`: `\x`, "": "",
	} {
		if got := unescape(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// recorded returns the entries of a file as reads of /dev/kmsg gave them.
func recorded(t testing.TB) [][]byte {
	t.Helper()
	text, err := os.ReadFile("testdata/debian12.kmsg")
	if err != nil {
		t.Fatal(err)
	}
	var entries [][]byte
	for line := range bytes.Lines(text) {
		if line[0] == ' ' {
			last := &entries[len(entries)-1]
			*last = append(bytes.Clone(*last), line...)
			continue
		}
		entries = append(entries, line)
	}
	return entries
}

func FuzzRecord(f *testing.F) {
	for _, entry := range recorded(f) {
		f.Add(entry)
	}
	f.Fuzz(func(t *testing.T, entry []byte) {
		r, ok := parseRecord(entry)
		if !ok {
			return
		}
		if r.facility < 0 || r.age < 0 || len(r.text) > maxRecord || strings.ContainsFunc(r.text, func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Errorf("%+v", r)
		}
		e, ok := new(filter).take(r, time.Now())
		if ok && (e.Kind == "" || len(e.Text) > maxText || len(e.Device) > maxDevice || r.fragment) {
			t.Errorf("%+v of %+v", e, r)
		}
	})
}
