package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/term"
)

// maxInput bounds what is read for a password; the dashboard says how long one
// may be.
const maxInput = 1024

// newPassword asks for a password twice, without showing it, or reads it from
// standard input when that is no terminal.
func newPassword(ctx context.Context, env *Env) (string, error) {
	if !term.IsTerminal(int(env.Stdin.Fd())) {
		return oneLine(env.Stdin)
	}
	first, err := unseen(ctx, env, "New password: ")
	if err != nil {
		return "", err
	}
	second, err := unseen(ctx, env, "Again: ")
	switch {
	case err != nil:
		return "", err
	case first != second:
		return "", errors.New("the two are not the same; nothing was changed")
	case first == "":
		return "", errors.New("no password was given; nothing was changed")
	}
	return first, nil
}

// oneLine reads all of r, which has to be one line. What is after it is not
// passed over: a password with a line break would be another one than meant.
func oneLine(r io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err != nil {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	line := bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	switch {
	case len(text) > maxInput:
		return "", fmt.Errorf("standard input has more than %d bytes; nothing was changed", maxInput)
	case len(line) == 0:
		return "", errors.New("standard input has no password; nothing was changed")
	case bytes.ContainsAny(line, "\r\n"):
		return "", errors.New("standard input has more than one line; nothing was changed")
	}
	return string(line), nil
}

// unseen reads a line from the terminal without echo. Interrupted, it leaves
// the terminal as it was: the read itself cannot be.
func unseen(ctx context.Context, env *Env, prompt string) (string, error) {
	tty := int(env.Stdin.Fd())
	before, err := term.GetState(tty)
	if err != nil {
		return "", fmt.Errorf("asking the terminal: %w", err)
	}
	fmt.Fprint(env.Stderr, prompt)
	type line struct {
		text []byte
		err  error
	}
	read := make(chan line, 1)
	go func() {
		text, err := term.ReadPassword(tty)
		read <- line{text, err}
	}()
	select {
	case l := <-read:
		fmt.Fprintln(env.Stderr) // the one that was typed was not shown
		if l.err != nil {
			return "", fmt.Errorf("reading the password: %w", l.err)
		}
		return string(l.text), nil
	case <-ctx.Done():
		_ = term.Restore(tty, before)
		fmt.Fprintln(env.Stderr)
		return "", errors.New("interrupted; nothing was changed")
	}
}
