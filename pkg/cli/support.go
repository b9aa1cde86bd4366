package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/arasul/arasul/pkg/config"
)

// Support packs what somebody who helps from afar has to see.
type Support interface {
	Write(ctx context.Context, cfg *config.Config, to *os.File) error
}

type supportBundleCmd struct {
	Output string `help:"Where to; in this folder unless given." short:"o" placeholder:"FILE" type:"path"`
}

// Run makes a file that only root can read; it is there whole or not at all.
func (s *supportBundleCmd) Run(ctx context.Context, c *commands, env *Env) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("only root may read all that goes into it: try it with sudo")
	}
	cfg, err := config.Load(c.Config)
	if err != nil {
		fmt.Fprintln(env.Stderr, err)
	}
	path := s.Output
	if path == "" {
		path = "arasul-support-" + time.Now().UTC().Format("20060102T150405Z") + ".tar.gz"
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".support-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		_ = f.Close()
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if err := env.Support.Write(ctx, cfg, f); err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), os.Rename(f.Name(), path)); err != nil {
		return err
	}
	if c.JSON {
		return env.printJSON(map[string]string{"file": path})
	}
	_, err = fmt.Fprintf(env.Stdout, "%s\nPasswords, keys and tokens were taken out. Look through it before you send it to anybody.\n", path)
	return err
}
