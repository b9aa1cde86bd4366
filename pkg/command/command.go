// Package command is the frame of a command line: it reads what was typed into a struct
// of commands, runs the one that was meant, and says what became of it in an exit code.
// It knows no command, and what went wrong in one is said by the caller.
package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/alecthomas/kong"
)

// Program is a command line.
type Program struct {
	Name, Description string
	Stdout, Stderr    io.Writer
	Vars              kong.Vars // for the tags of commands
}

// Exit is an error that only carries an exit code: everything was said already.
type Exit int

func (e Exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Run reads args into commands, a pointer to a struct as kong takes it, and calls the
// Run of the command that was meant with ctx and whatever of commands and env it asks
// for. The exit code is 0 for done, and 2 for what cannot be understood, which it says;
// for an error that is no Exit it is 1, and the caller says it.
func (p Program) Run(ctx context.Context, commands any, args []string, env any) (code int, err error) {
	parser, err := kong.New(commands,
		kong.Name(p.Name),
		kong.Description(p.Description),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(p.Stdout, p.Stderr),
		p.Vars,
		kong.Exit(func(c int) { panic(Exit(c)) }), // after --help and --version
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if err != nil {
		panic(p.Name + ": " + err.Error()) // the struct is wrong
	}
	defer func() {
		switch e := recover().(type) {
		case nil:
		case Exit:
			code = int(e)
		default:
			panic(e)
		}
	}()
	k, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(p.Stderr, "%s: %v\nTry: %[1]s --help\n", p.Name, err)
		return 2, nil
	}
	err = k.Run(commands, env)
	if e, ok := errors.AsType[Exit](err); ok {
		return int(e), nil
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}

// PrintJSON is the answer to --json.
func PrintJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
