package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// open are all terminals until the tests end: an interrupted read goes on, and
// what it restores in the end must not be somebody else's terminal.
var open []*os.File

// terminal is a pseudo terminal: what a person types goes into one end, and the
// program has the other.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	open = append(open, person, program)
	return person, program
}

func echoes(t *testing.T, tty *os.File) bool {
	t.Helper()
	s, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return s.Lflag&unix.ECHO != 0
}

// typist types a line at each prompt, once the terminal has stopped to echo.
type typist struct {
	t       *testing.T
	person  *os.File
	program *os.File
	lines   []string
	typing  sync.WaitGroup
}

func (p *typist) Write(said []byte) (int, error) {
	if len(p.lines) == 0 || !strings.HasSuffix(string(said), ": ") {
		return len(said), nil
	}
	line := p.lines[0]
	p.lines = p.lines[1:]
	p.typing.Go(func() {
		for deadline := time.Now().Add(10 * time.Second); echoes(p.t, p.program); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				p.t.Error("what is typed would be shown")
				return
			}
		}
		_, _ = io.WriteString(p.person, line)
	})
	return len(said), nil
}

func TestPasswordIsAskedForTwiceAndNeverShown(t *testing.T) {
	for name, tt := range map[string]struct {
		typed    []string
		password string
		problem  string
	}{
		"twice the same": {[]string{"Geheim-123-öß\n", "Geheim-123-öß\n"}, "Geheim-123-öß", ""},
		"with spaces":    {[]string{" a b \n", " a b \n"}, " a b ", ""},
		"a slip":         {[]string{"Geheim-123\n", "Geheim-124\n"}, "", "not the same"},
		"nothing":        {[]string{"\n", "\n"}, "", "no password was given"},
	} {
		t.Run(name, func(t *testing.T) {
			person, program := terminal(t)
			hands := &typist{t: t, person: person, program: program, lines: tt.typed}
			got, err := newPassword(t.Context(), &Env{Stdin: program, Stderr: hands})
			hands.typing.Wait()
			if got != tt.password || (err == nil) != (tt.problem == "") || (err != nil && !strings.Contains(err.Error(), tt.problem)) {
				t.Errorf("got %q, %v", got, err)
			}
			if !echoes(t, program) {
				t.Error("the terminal does not show what is typed any more")
			}
		})
	}
}

func TestInterruptedPromptLeavesTheTerminalAsItWas(t *testing.T) {
	person, program := terminal(t)
	ctx, interrupt := context.WithCancel(t.Context())
	go func() {
		for echoes(t, program) {
			time.Sleep(time.Millisecond)
		}
		interrupt()
	}()
	if _, err := newPassword(ctx, &Env{Stdin: program, Stderr: io.Discard}); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("error %v", err)
	}
	if !echoes(t, program) {
		t.Error("the terminal does not show what is typed any more")
	}
	_, _ = io.WriteString(person, "\n") // the read that nobody waits for
}
