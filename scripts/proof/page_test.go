//go:build machine

package proof

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// browser is a Chromium with the page open in it; see page.mjs.
type browser struct {
	t       testing.TB
	in      io.WriteCloser
	answers *bufio.Scanner
}

// seen is what the browser shows.
type seen struct {
	Error      string
	Stories    []string // of repairs, newest first
	Loads      int      // of the page
	Sockets    int      // opened by it
	Complaints []string // in the console
}

func (b *bed) browse() *browser {
	b.t.Helper()
	folder, err := filepath.Abs("../../build/proof")
	if err == nil {
		err = os.MkdirAll(folder, 0o755)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command("node", "page.mjs", b.addr, folder)
	cmd.Stderr = os.Stderr
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if inErr != nil || outErr != nil {
		b.t.Fatal(inErr, outErr)
	}
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	kill := time.AfterFunc(4*time.Minute, func() { _ = cmd.Process.Kill() })
	b.t.Cleanup(func() {
		_, _ = io.WriteString(in, "quit\n")
		_ = in.Close()
		_ = cmd.Wait()
		kill.Stop()
	})
	return &browser{b.t, in, bufio.NewScanner(out)}
}

// do lets the browser do something and returns what it shows then.
func (w *browser) do(command string, args ...any) seen {
	w.t.Helper()
	line := strings.TrimSpace(fmt.Sprintln(append([]any{command}, args...)...))
	if _, err := io.WriteString(w.in, line+"\n"); err != nil {
		w.t.Fatal(err)
	}
	var s seen
	if !w.answers.Scan() {
		w.t.Fatalf("the browser ended at %q", line)
	}
	if err := json.Unmarshal(w.answers.Bytes(), &s); err != nil {
		w.t.Fatal(err)
	}
	if s.Error != "" {
		w.t.Fatalf("%s: %s\nthe page shows %+v", line, s.Error, s)
	}
	return s
}

// Proves HEAL-7 and the promise: one thing healed before one's eyes, on a
// page in a real browser that is loaded once. First a daemon behind the page is
// killed, then the page's own server.
func TestPageShowsRepairsAsTheyHappenWithoutReload(t *testing.T) {
	b := takePatient(t)
	web := b.browse()
	begin := web.do("live")
	web.do("shot", "well")
	if len(begin.Complaints) > 0 {
		t.Errorf("the browser complains: %q", begin.Complaints)
	}

	killed := b.kill(metricsUnit, "KILL")
	shown := web.do("appear", len(begin.Stories)+1)
	t.Logf("figure: the page shows the incident %s after the kill was asked for: %q", time.Since(killed).Round(time.Millisecond), shown.Stories[0])
	web.do("shot", "repairing")
	shown = web.do("repaired")
	web.do("shot", "repaired")
	t.Logf("the page says: %q", shown.Stories[0])
	if !strings.Contains(shown.Stories[0], "noticed after") || !strings.Contains(shown.Stories[0], "systemd") {
		t.Errorf("the story does not say what was noticed and done: %q", shown.Stories[0])
	}
	if shown.Loads != 1 || shown.Sockets != begin.Sockets || len(shown.Complaints) > 0 {
		t.Errorf("want one load, the same WebSocket and no complaints: %+v", shown)
	}

	b.kill(dashboardUnit, "KILL")
	web.do("appear", len(begin.Stories)+2)
	shown = web.do("repaired")
	web.do("live")
	web.do("shot", "reconnected")
	t.Logf("the page says: %q", shown.Stories[0])
	if shown.Loads != 1 || shown.Sockets <= begin.Sockets {
		t.Errorf("want one load and another WebSocket: %+v", shown)
	}
}
