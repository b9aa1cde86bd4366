package cli

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arasul/arasul/pkg/client"
)

// newConsole is a client of a server that answers POST /internal/console/x
// with the file x.json in dir, or x.404.json with that status; an x.want is what
// must have been sent. Without dir there is no server.
func newConsole(t *testing.T, socket, dir string) *client.Client {
	t.Helper()
	if _, err := os.Stat(dir); err != nil {
		return client.New(socket)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		ReadHeaderTimeout: time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			name, ok := strings.CutPrefix(r.URL.Path, "/internal/console/")
			if !ok {
				t.Errorf("%s %s was asked for", r.Method, r.URL.Path)
			}
			if want, err := os.ReadFile(filepath.Join(dir, name+".want")); err == nil {
				if got, _ := io.ReadAll(r.Body); string(got) != strings.TrimSpace(string(want)) {
					t.Errorf("%s was sent %s, want %s", name, got, want)
				}
			}
			for status, suffix := range map[int]string{200: ".json", 404: ".404.json", 422: ".422.json", 503: ".503.json"} {
				if body, err := os.ReadFile(filepath.Join(dir, name+suffix)); err == nil {
					w.WriteHeader(status)
					_, _ = w.Write(body)
					return
				}
			}
			w.WriteHeader(http.StatusNoContent)
		}),
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-ended })
	return client.New(socket)
}

// given is a standard input that is no terminal.
func given(t *testing.T, text string) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stdin")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// made are keys that had to be made.
type made struct{}

func (made) Generate() ([]string, error) {
	return []string{"/var/lib/arasul/secrets/session-key made"}, nil
}

// screen is what is shown above a login prompt.
type screen struct {
	text string
	err  error
}

func (s *screen) Text() (string, error) { return s.text, s.err }
func (s *screen) Show(text string) error {
	if s.err == nil {
		s.text = text
	}
	return s.err
}
func (s *screen) Clear() error { s.text = ""; return nil }

// noRoot is a dashboard that lets nobody in.
type noRoot struct{}

func (noRoot) Call(context.Context, string, string, any, any) error {
	return &net.OpError{Op: "dial", Net: "unix", Err: &os.SyscallError{Syscall: "connect", Err: os.ErrPermission}}
}

func TestWithoutRootTheConsoleCommandsSaySo(t *testing.T) {
	for _, verb := range []string{"setup-code", "unlock", "sessions", "logout-all", "totp-off"} {
		var stderr strings.Builder
		code := Run(t.Context(), Env{Stdout: io.Discard, Stderr: &stderr, Console: noRoot{}}, []string{"user", verb})
		if code != 1 || !strings.Contains(stderr.String(), "only root may do this") {
			t.Errorf("%s: exit code %d, %q", verb, code, &stderr)
		}
	}
}

func TestACodeMadeByHandReplacesTheOneOnTheScreen(t *testing.T) {
	shown := announcement("AAAA-AAAA-AAAA", "arasul", nil, "")
	s := &screen{text: shown}
	if err := showInstead(s, "BBBB-BBBB-BBBB"); err != nil || s.text != strings.Replace(shown, "AAAA-AAAA-AAAA", "BBBB-BBBB-BBBB", 1) {
		t.Errorf("%v, screen %s", err, s.text)
	}
	if err := showInstead(s, ""); err != nil || s.text != "" {
		t.Errorf("%v, screen %s", err, s.text)
	}
	if err := showInstead(s, "CCCC-CCCC-CCCC"); err != nil || s.text != "" {
		t.Errorf("nothing was shown, and now %s (%v)", s.text, err)
	}
}

func TestAnnouncementFitsAScreen(t *testing.T) {
	text := announcement("ABCD-EFGH-JKMN", "arasul", []string{"192.168.1.7", "10.0.0.7", "fd00::7", "10.0.0.8", "10.0.0.9"}, strings.TrimSuffix(strings.Repeat("A1:", 32), ":"))
	if n := strings.Count(text, "\n"); n > 22 {
		t.Errorf("%d lines", n)
	}
	for line := range strings.Lines(text) {
		if len(strings.TrimSuffix(line, "\n")) > 78 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	for _, r := range text {
		if r > '~' {
			t.Errorf("%q is not on every screen", r)
		}
	}
	for _, want := range []string{"  https://arasul.local\n", "  https://192.168.1.7\n", "  https://[fd00::7]\n", "  Code: ABCD-EFGH-JKMN\n", "(SHA-256)"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if codeIn(text) != "ABCD-EFGH-JKMN" {
		t.Errorf("found %q", codeIn(text))
	}
}

// office is a dashboard as the announcement sees it.
type office struct {
	t       *testing.T
	codes   int    // made so far
	admin   bool   // exists
	unknown bool   // whether one exists
	away    error  // answers nothing else
	onCall  func() // before each answer
}

func (o *office) Call(_ context.Context, method, path string, _, out any) error {
	o.onCall()
	if o.away != nil {
		return o.away
	}
	switch answer := out.(type) {
	case *setupCode:
		if method != http.MethodPost || path != "/internal/console/setup-code" {
			o.t.Errorf("%s %s", method, path)
		}
		o.codes++
		*answer = setupCode{Done: o.admin}
		if !o.admin {
			*answer = setupCode{Code: strings.Repeat(string(rune('A'+o.codes-1)), 4), ExpiresAt: time.Now().Add(24 * time.Hour)}
		}
	case *loginStatus:
		known := !o.unknown
		*answer = loginStatus{SetupNeeded: known && !o.admin, Available: &known}
	}
	return nil
}

type street struct{ addresses []string }

func (s *street) Addresses([]string) []string { return s.addresses }
func (*street) Fingerprint() string           { return "AB:CD" }

// announce runs the announcement in a bubble of its own time; at is called
// before each question with the time since the start.
func announce(t *testing.T, o *office, s *screen, place *street, at func(since time.Duration)) (stdout, stderr string, took time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 72*time.Hour)
		defer cancel()
		begin := time.Now()
		o.t, o.onCall = t, func() { at(time.Since(begin)) }
		var out, errs strings.Builder
		env := Env{Stdout: &out, Stderr: &errs, Console: o, Issue: s, Machine: place}
		if code := Run(ctx, env, []string{"user", "announce", "--config", "testdata/none.toml"}); code != 0 {
			t.Errorf("exit code %d: %s", code, &errs)
		}
		stdout, stderr, took = out.String(), errs.String(), time.Since(begin)
	})
	return stdout, stderr, took
}

// Proves AUTH-1 as far as the first login goes: there is no default password.
func TestSetupCodeIsShownUntilTheFirstLogin(t *testing.T) {
	o, s := &office{}, &screen{}
	stdout, _, took := announce(t, o, s, &street{[]string{"192.168.1.7"}}, func(since time.Duration) {
		if since > time.Second && since < time.Minute && !strings.Contains(s.text, "  Code: AAAA\n") {
			t.Errorf("after %s the screen shows %q", since, s.text)
		}
		o.admin = since > time.Hour
	})
	if s.text != "" || took > time.Hour+announceEvery {
		t.Errorf("after %s the screen shows %q", took, s.text)
	}
	if o.codes != 1 || strings.Count(stdout, "Code: AAAA") != 1 || !strings.Contains(stdout, "https://192.168.1.7\n") {
		t.Errorf("%d codes, said %s", o.codes, stdout)
	}
}

func TestNothingIsShownWhenThereIsAnAdmin(t *testing.T) {
	o, s := &office{admin: true}, &screen{text: announcement("OLD", "arasul", nil, "")}
	if stdout, _, took := announce(t, o, s, &street{}, func(time.Duration) {}); stdout != "" || s.text != "" || took != 0 {
		t.Errorf("said %q, screen %q, after %s", stdout, s.text, took)
	}
}

func TestAnnouncementWaitsGentlyForDashboardAndDatabase(t *testing.T) {
	o, s, asked := &office{}, &screen{}, 0
	_, stderr, _ := announce(t, o, s, &street{}, func(since time.Duration) {
		if o.away = nil; since < time.Hour {
			o.away = errors.New("the database is away")
			asked++
		}
		o.admin = since > 2*time.Hour
	})
	if asked < 100 || asked > 130 || o.codes != 1 || strings.Count(stderr, "\n") > 2 {
		t.Errorf("asked %d times in an hour, %d codes, said\n%s", asked, o.codes, stderr)
	}
}

// A database that goes away is no admin who has come.
func TestCodeStaysWhileNobodyKnowsWhetherThereIsAnAdmin(t *testing.T) {
	o, s := &office{}, &screen{}
	_, stderr, took := announce(t, o, s, &street{}, func(since time.Duration) {
		o.unknown = since > time.Minute && since < time.Hour
		if since > time.Minute && since < 2*time.Hour && !strings.Contains(s.text, "Code: AAAA") {
			t.Fatalf("after %s the screen shows %q", since, s.text)
		}
		o.admin = since > 2*time.Hour
	})
	if took < 2*time.Hour || o.codes != 1 || strings.Count(stderr, "waiting:") != 1 {
		t.Errorf("ended after %s, %d codes, said %s", took, o.codes, stderr)
	}
}

func TestCodeThatEndsIsReplacedAndAnAddressThatComesIsAdded(t *testing.T) {
	o, s, place := &office{}, &screen{}, &street{}
	stdout, _, _ := announce(t, o, s, place, func(since time.Duration) {
		if since > time.Minute {
			place.addresses = []string{"10.0.0.9"}
		}
		if since > 2*time.Minute && !strings.Contains(s.text, "https://10.0.0.9") {
			t.Fatalf("after %s the screen shows %q", since, s.text)
		}
		o.admin = since > 30*time.Hour
	})
	if o.codes != 2 || !strings.Contains(stdout, "Code: BBBB") {
		t.Errorf("%d codes, said %s", o.codes, stdout)
	}
}

func TestCodeMadeByHandStaysOnTheScreen(t *testing.T) {
	o, s, place := &office{}, &screen{}, &street{}
	announce(t, o, s, place, func(since time.Duration) {
		if since > time.Minute && since < 2*time.Minute && strings.Contains(s.text, "Code: AAAA") {
			_ = showInstead(s, "HAND")
		}
		if since > 2*time.Minute {
			place.addresses = []string{"10.0.0.9"} // all is written anew
			if !strings.Contains(s.text, "Code: HAND\n") {
				t.Fatalf("after %s the screen shows %q", since, s.text)
			}
		}
		o.admin = since > 5*time.Minute
	})
}

func TestScreenThatCannotBeWrittenKeepsTheCodeFromNobodyElse(t *testing.T) {
	o, s := &office{}, &screen{err: errors.New("read-only file system")}
	stdout, stderr, _ := announce(t, o, s, &street{}, func(since time.Duration) { o.admin = since > time.Hour })
	if strings.Count(stdout, "Code: AAAA") != 1 || !strings.Contains(stderr, "read-only") || o.codes != 1 {
		t.Errorf("%d codes, said %s%s", o.codes, stdout, stderr)
	}
}

func TestWhatStrangersSendIsHarmlessOnATerminal(t *testing.T) {
	if got := printable("Mozilla\x1b[2J\u009b1m\u202e\n\tX", 60); got != "Mozilla?[2J?1m???X" {
		t.Errorf("%q", got)
	}
	if got := printable(strings.Repeat("ä", 100), 3); got != "äää…" {
		t.Errorf("%q", got)
	}
}
