// Command araupdate makes, signs and looks at releases: docs/araupdate.md.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/arasul/arasul/pkg/araupdate"
	"github.com/arasul/arasul/pkg/dpkg"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return araupdate.Run(ctx, araupdate.Env{
		Stdout: os.Stdout, Stderr: os.Stderr, Packages: packages{}, Now: time.Now(),
	}, args)
}

// packages are packages in files, as dpkg-deb reads them.
type packages struct{}

// Describe implements araupdate.Packages.
func (packages) Describe(ctx context.Context, path string) (name, version, arch string, err error) {
	f, err := dpkg.Client{}.Describe(ctx, path)
	return f.Package, f.Version, f.Architecture, err
}
