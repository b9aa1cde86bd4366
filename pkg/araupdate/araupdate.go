// Package araupdate is the command line of those who make releases: keys, files
// of the format .araupdate, signatures that are made elsewhere, and a look at what
// is in a file.
//
// It runs where releases are built and not on the machines that they are for: it
// installs nothing, and what it says is good may still not be for a machine.
// Keys that are worth something should not be where it runs: tbs and attach are
// for those that lie elsewhere.
//
// Exit codes are 0 for done and good, 1 for failed, 2 for a command that cannot be
// understood, and for a file that is refused what bundle.Code says: 10 signature,
// 11 format or damage, 14 revoked.
package araupdate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/arasul/arasul/pkg/bundle"
	"github.com/arasul/arasul/pkg/command"
	"github.com/arasul/arasul/pkg/version"
)

// Env is the world as a command sees it.
type Env struct {
	Stdout, Stderr io.Writer
	Packages       Packages
	Now            time.Time // when a release is built that does not say so
}

// Packages knows what a .deb says of itself.
type Packages interface {
	Describe(ctx context.Context, path string) (name, version, arch string, err error)
}

type commands struct {
	JSON bool `help:"Print JSON, for programs." name:"json"`

	Keygen  keygenCmd  `cmd:"" help:"Make a key: FILE, which is secret, and FILE.pub, which machines are given."`
	Build   buildCmd   `cmd:"" help:"Make a release of a package and images."`
	Root    rootCmd    `cmd:"" help:"Make a trust root: who may sign from now on, and what was withdrawn."`
	Permit  permitCmd  `cmd:"" help:"Make a permit for one release on one machine that has passed its floor."`
	TBS     tbsCmd     `cmd:"" name:"tbs" help:"Print what is to be signed, for openssl, PKCS #11 or a service that keeps keys."`
	Attach  attachCmd  `cmd:"" help:"Put a signature into a file that was made elsewhere."`
	Sign    signCmd    `cmd:"" help:"Sign a release, a trust root or a permit with a key in a file."`
	Verify  verifyCmd  `cmd:"" help:"Read a release to its end as a machine does that trusts these keys."`
	Inspect inspectCmd `cmd:"" help:"Say what a release, a trust root or a permit says of itself. Believes nothing."`
	Diff    diffCmd    `cmd:"" help:"Say what differs between two releases. Exits with 1 when something does."`
	Plain   plainCmd   `cmd:"" help:"Print a trust root without its signatures, as a machine keeps it."`
	Version versionCmd `cmd:"" help:"Print which build this is."`
}

type versionCmd struct{}

func (versionCmd) Run(env *Env) error {
	_, err := fmt.Fprintln(env.Stdout, version.Version)
	return err
}

// Run carries out the command in args and returns the exit code.
func Run(ctx context.Context, env Env, args []string) int {
	code, err := command.Program{
		Name: "araupdate", Description: "Make, sign and look at releases for Arasul.", Stdout: env.Stdout, Stderr: env.Stderr,
	}.Run(ctx, &commands{}, args, &env)
	if refused, ok := errors.AsType[*bundle.Error](err); ok {
		fmt.Fprintf(env.Stderr, "araupdate: %v (%s)\n", err, refused.Code)
		return refused.Code.Exit()
	}
	if err != nil {
		fmt.Fprintf(env.Stderr, "araupdate: %v\n", err)
	}
	return code
}

func (e *Env) printJSON(v any) error { return command.PrintJSON(e.Stdout, v) }
