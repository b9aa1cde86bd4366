package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/journal/journaltest"
)

const (
	proxy   = "arasul-proxy.service"
	metrics = "arasul-metrics.service"
)

// with is an entry with a field more, or another value of one.
func with(e journaltest.Entry, name, value string) journaltest.Entry {
	e.Fields[name] = value
	return e
}

func messages(entries []api.LogEntry) (got []string) {
	for _, e := range entries {
		got = append(got, e.Message)
	}
	return got
}

func read(t *testing.T, j *Journal, units []string, q api.LogQuery) api.LogPage {
	t.Helper()
	page, err := j.Read(t.Context(), units, q)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// Proves LOG-1: the journal is the truth, and the right part of it.
func TestOnlyTheUnitsThatAreAskedForAreRead(t *testing.T) {
	j := &Journal{Dir: t.TempDir()}
	journaltest.Write(t, j.Dir,
		journaltest.Said(0, proxy, "one"),
		journaltest.Said(1, "ssh.service", "a key was refused"),
		journaltest.Said(2, metrics, "two"),
		with(with(journaltest.Said(3, "init.scope", "Stopped the proxy."), "UNIT", proxy), "_PID", "1"),
		with(journaltest.Said(4, "init.scope", "forged"), "UNIT", proxy),
		with(journaltest.Said(5, "", "oom"), "_TRANSPORT", "kernel"),
		journaltest.Said(6, "arasul-usb@sda1.service", "a stick"),
	)
	for _, tt := range []struct {
		units []string
		want  []string
	}{
		{[]string{proxy}, []string{"Stopped the proxy.", "one"}},
		{[]string{proxy, metrics}, []string{"Stopped the proxy.", "two", "one"}},
		{[]string{"arasul-usb@*.service"}, []string{"a stick"}},
		{[]string{api.KernelLog}, []string{"oom"}},
		{[]string{"arasul-nobody.service"}, nil},
	} {
		page := read(t, j, tt.units, api.LogQuery{Lines: 10})
		if diff := cmp.Diff(tt.want, messages(page.Entries)); diff != "" || page.Next != "" {
			t.Errorf("%v: next %q, %s", tt.units, page.Next, diff)
		}
	}
	page := read(t, j, []string{proxy}, api.LogQuery{Lines: 1})
	if e := page.Entries[0]; e.Unit != proxy || e.Severity != "info" || !e.Time.Equal(journaltest.Begin.Add(3*time.Second)) {
		t.Errorf("%+v", e)
	}
	for _, units := range [][]string{nil, {proxy, api.KernelLog}} {
		if _, err := j.Read(t.Context(), units, api.LogQuery{Lines: 10}); err == nil {
			t.Errorf("%v is no error", units)
		}
	}
}

func TestPagesGoBackToTheBeginning(t *testing.T) {
	j := &Journal{Dir: t.TempDir()}
	var all []journaltest.Entry
	for i := range 25 {
		all = append(all, journaltest.Said(i, proxy, fmt.Sprint(i)), journaltest.Said(i, "ssh.service", "no"))
	}
	journaltest.Write(t, j.Dir, all...)
	q, want := api.LogQuery{Lines: 10}, 24
	for pages := 1; ; pages++ {
		page := read(t, j, []string{proxy}, q)
		for _, m := range messages(page.Entries) {
			if m != fmt.Sprint(want) {
				t.Fatalf("page %d: %q, want %d", pages, m, want)
			}
			want--
		}
		if page.Next == "" {
			if want != -1 || pages != 3 {
				t.Errorf("%d pages to %d", pages, want)
			}
			break
		}
		q.Before = page.Next
	}
	since := journaltest.Begin.Add(20 * time.Second)
	first := read(t, j, []string{proxy}, api.LogQuery{Lines: 3, Since: since})
	second := read(t, j, []string{proxy}, api.LogQuery{Lines: 3, Since: since, Before: first.Next})
	if got := strings.Join(messages(append(first.Entries, second.Entries...)), " "); got != "24 23 22 21 20" || second.Next != "" {
		t.Errorf("since 20: %s, next %q", got, second.Next)
	}
}

func TestSeverityIsThatOrWorse(t *testing.T) {
	j := &Journal{Dir: t.TempDir()}
	var all []journaltest.Entry
	for i, s := range api.Severities {
		all = append(all, with(journaltest.Said(i, proxy, string(s)), "PRIORITY", fmt.Sprint(i)))
	}
	journaltest.Write(t, j.Dir, all...)
	page := read(t, j, []string{proxy}, api.LogQuery{Severity: "crit", Lines: 10})
	if diff := cmp.Diff([]string{"crit", "alert", "emerg"}, messages(page.Entries)); diff != "" {
		t.Error(diff)
	}
	if page.Entries[0].Severity != "crit" {
		t.Errorf("%+v", page.Entries[0])
	}
}

// What a stranger can have logged must not look like what we logged, nor do
// anything to a terminal.
func TestMessagesAreHarmless(t *testing.T) {
	j := &Journal{Dir: t.TempDir()}
	attacks := []struct{ said, want string }{
		{"plain ü 漢 🙂", "plain ü 漢 🙂"},
		{"a\tb", "a b"},
		{"login\nMar 1 10:00:00 box arasul[1]: admin logged in", "login␊Mar 1 10:00:00 box arasul[1]: admin logged in"},
		{"\r\n\x1b[2J\x1b]0;title\x07", "␍␊␛[2J␛]0;title␇"},
		{"nul\x00del\x7f", "nul␀del␡"},
		{"\xff\xfe broken", "\uFFFD\uFFFD broken"},
		{"\u202egnp.exe\u2066", "\uFFFDgnp.exe\uFFFD"},
		{"line\u2028end\u0085next", "line\uFFFDend\uFFFDnext"},
		{`{"__CURSOR":"x"}`, `{"__CURSOR":"x"}`},
		{"", ""},
	}
	var all []journaltest.Entry
	for i, a := range attacks {
		all = append(all, journaltest.Said(i, proxy, a.said))
	}
	journaltest.Write(t, j.Dir, all...)
	page := read(t, j, []string{proxy}, api.LogQuery{Lines: 100})
	if len(page.Entries) != len(attacks) {
		t.Fatalf("%d entries of %d", len(page.Entries), len(attacks))
	}
	for i, a := range attacks {
		if got := page.Entries[len(attacks)-1-i].Message; got != a.want {
			t.Errorf("%q came out as %q", a.said, got)
		}
	}
}

func TestLongMessagesAreCutAndEndlessOnesLeftOut(t *testing.T) {
	j := &Journal{Dir: t.TempDir()}
	journaltest.Write(t, j.Dir,
		journaltest.Said(0, proxy, "before"),
		journaltest.Said(1, proxy, "a"+strings.Repeat("ü", 20_000)),
		journaltest.Said(2, proxy, strings.Repeat("x", maxLine+1)),
		journaltest.Said(3, proxy, "after"),
	)
	got := messages(read(t, j, []string{proxy}, api.LogQuery{Lines: 10}).Entries)
	if len(got) != 3 || got[0] != "after" || got[2] != "before" {
		t.Fatalf("%d messages", len(got))
	}
	if n := len(got[1]); n > maxMessage+4 || !strings.HasSuffix(got[1], "ü …") {
		t.Errorf("%d bytes, ending in %q", n, got[1][n-8:])
	}
}

func TestPagesAreBoundedInBytes(t *testing.T) {
	j := &Journal{Dir: t.TempDir()}
	var all []journaltest.Entry
	for i := range 300 {
		all = append(all, journaltest.Said(i, proxy, strings.Repeat("x", maxMessage)))
	}
	journaltest.Write(t, j.Dir, all...)
	page := read(t, j, []string{proxy}, api.LogQuery{Lines: 1000})
	if n := len(page.Entries); n != maxPage/maxMessage || page.Next != page.Entries[n-1].Cursor {
		t.Errorf("%d entries, next %q", n, page.Next)
	}
}

func TestWhatIsNoCursorNeverReachesJournalctl(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	j := &Journal{Program: script(t, "touch "+ran)}
	for _, bad := range []string{
		"x", "--file=/etc/shadow", "s=1;i=1;b=1;m=1;t=1;x=1", "s=" + strings.Repeat("a", 32),
		"s=" + strings.Repeat("a", 32) + ";i=1;b=" + strings.Repeat("b", 32) + ";m=1;t=1;x=1\n",
		"$(reboot)", "' OR 1=1 --", strings.Repeat("s=1;", 10_000),
	} {
		if _, err := j.Read(t.Context(), []string{proxy}, api.LogQuery{Lines: 1, Before: bad}); !errors.Is(err, ErrCursor) {
			t.Errorf("%.40q: %v", bad, err)
		}
		if err := j.Follow(t.Context(), []string{proxy}, api.LogQuery{After: bad}, nil); !errors.Is(err, ErrCursor) {
			t.Errorf("%.40q: %v", bad, err)
		}
	}
	if _, err := j.Read(t.Context(), []string{proxy}, api.LogQuery{Lines: 1, Severity: "0..7"}); err == nil {
		t.Error("a severity that is none was taken")
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("journalctl was run")
	}
}

// Of a cursor whose entry is gone the journal finds the nearest place.
func TestACursorOfAnotherJournalIsAPlaceInTime(t *testing.T) {
	j := &Journal{Dir: t.TempDir()}
	journaltest.Write(t, j.Dir, journaltest.Said(0, proxy, "one"), journaltest.Said(9, proxy, "two"))
	strange := fmt.Sprintf("s=%s;i=1;b=%s;m=1;t=%x;x=1", strings.Repeat("a", 32), strings.Repeat("c", 32), journaltest.Begin.Add(5*time.Second).UnixMicro())
	if _, err := j.Read(t.Context(), []string{proxy}, api.LogQuery{Lines: 5, Before: strange}); err != nil {
		t.Error(err)
	}
}

func TestFollowingGoesOnWhereItEnded(t *testing.T) {
	j := &Journal{Dir: t.TempDir()}
	journaltest.Write(t, j.Dir, journaltest.Said(0, proxy, "one"), journaltest.Said(1, proxy, "two"), journaltest.Said(2, proxy, "three"))
	var seen []api.LogEntry
	stop := errors.New("enough")
	follow := func(q api.LogQuery, until string, then func()) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		seen = nil
		err := j.Follow(ctx, []string{proxy}, q, func(e api.LogEntry) error {
			if seen = append(seen, e); len(seen) == 1 && then != nil {
				then()
			}
			if e.Message == until {
				return stop
			}
			return nil
		})
		if !errors.Is(err, stop) {
			t.Fatalf("%v after %q", err, messages(seen))
		}
	}
	follow(api.LogQuery{Lines: 2}, "four", func() { journaltest.Write(t, j.Dir, journaltest.Said(3, proxy, "four")) })
	if diff := cmp.Diff([]string{"two", "three", "four"}, messages(seen)); diff != "" {
		t.Error(diff)
	}
	follow(api.LogQuery{After: seen[0].Cursor}, "four", nil)
	if diff := cmp.Diff([]string{"three", "four"}, messages(seen)); diff != "" {
		t.Error(diff)
	}
}

// script is a program of one line in place of journalctl.
func script(t *testing.T, line string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journalctl")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+line+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestJournalctlThatFailsSaysWhy(t *testing.T) {
	j := &Journal{Program: script(t, "echo No space >&2; exit 3")}
	_, err := j.Read(t.Context(), []string{proxy}, api.LogQuery{Lines: 1})
	if err == nil || !strings.Contains(err.Error(), "No space") || !strings.Contains(err.Error(), "exit status 3") {
		t.Error(err)
	}
	if err := j.Follow(t.Context(), []string{proxy}, api.LogQuery{}, nil); err == nil {
		t.Error("following it is no error")
	}
	if _, err := (&Journal{Program: "/nonexistent"}).Read(t.Context(), []string{proxy}, api.LogQuery{Lines: 1}); err == nil {
		t.Error("a missing program is no error")
	}
}

func TestJournalctlThatHangsIsEnded(t *testing.T) {
	j := &Journal{Program: script(t, "exec sleep 1000")}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, err := j.Read(ctx, []string{proxy}, api.LogQuery{Lines: 1}); err == nil || time.Since(begin) > 4*time.Second {
		t.Errorf("%v after %s", err, time.Since(begin))
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"__CURSOR":"s=94987d4c782e4fe3b2544cf95fe45872;i=1;b=bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb;m=f4240;t=65bfeda352240;x=3c95d937d2153e67","__REALTIME_TIMESTAMP":"1790000001000000","MESSAGE":["a",[10,27]],"PRIORITY":"3"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, ok := parse(line)
		if ok && (strings.ContainsAny(e.Message, "\n\r\x1b\x00") || !api.IsLogCursor(e.Cursor) || len(e.Message) > 3*maxMessage+8) {
			t.Errorf("%q came through as %+v", line, e)
		}
	})
}
