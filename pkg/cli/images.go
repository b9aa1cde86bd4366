package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"golang.org/x/term"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/command"
	"github.com/arasul/arasul/pkg/config"
)

// Images are the container images of the applications.
type Images interface {
	Look(ctx context.Context, cfg *config.Config) (api.Images, error)
	Load(ctx context.Context, cfg *config.Config, name, path string, keep bool) (api.Image, error)
	Pull(ctx context.Context, cfg *config.Config, name string, progress io.Writer) (api.Image, error)
}

// Containers is what the units of the applications call.
type Containers interface {
	Ready(ctx context.Context, cfg *config.Config, name string) (api.Image, error)
	Exec(ctx context.Context, cfg *config.Config, name string) error // does not return when all is well
}

type imagesListCmd struct{}

func (imagesListCmd) Run(ctx context.Context, c *commands, env *Env) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	all, err := env.Images.Look(ctx, cfg)
	if err != nil {
		return err
	}
	if c.JSON {
		return env.printJSON(all)
	}
	t := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "APPLICATION\tIMAGE\tSIZE\tARCHIVE\tSTATE")
	for _, i := range all.Images {
		id, bytes, kept, state := "-", "-", "no", "ready"
		if i.ID != "" {
			id = strings.TrimPrefix(i.ID, "sha256:")[:12]
		}
		if i.Present {
			bytes = size(uint64(max(i.SizeBytes, 0)))
		}
		if i.Kept {
			kept = "kept"
		}
		if i.Reason != "" {
			state = i.Reason
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", i.Name, id, bytes, kept, state)
	}
	_ = t.Flush()
	printFixes(env.Stdout, all.Images)
	return nil
}

func printFixes(w io.Writer, images []api.Image) {
	begun := false
	for _, i := range images {
		if i.Fix == "" {
			continue
		}
		if !begun {
			fmt.Fprintln(w)
			begun = true
		}
		fmt.Fprintf(w, "%s: %s\n", i.Name, i.Fix)
	}
}

type imagesPullCmd struct {
	Names  []string `arg:"" optional:"" help:"Applications; all unless given." placeholder:"NAME"`
	Accept bool     `help:"The licence of n8n was read and is accepted." name:"accept-licence"`
}

func (p *imagesPullCmd) Run(ctx context.Context, c *commands, env *Env) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	all, err := env.Images.Look(ctx, cfg)
	if err != nil {
		return err
	}
	wanted, err := choose(all.Images, p.Names)
	if err != nil {
		return err
	}
	var pulled []api.Image
	done := map[string]bool{} // embeddings run from the image of the LLM
	for _, i := range wanted {
		if done[i.Reference] {
			continue
		}
		done[i.Reference] = true
		if err := p.accepted(env, i); err != nil {
			return err
		}
		fmt.Fprintf(env.Stderr, "%s: fetching %s\n", i.Name, i.Reference)
		got, err := env.Images.Pull(ctx, cfg, i.Name, env.Stderr)
		env.note(ctx, "images.pull", i.Name, err)
		if err != nil {
			return fmt.Errorf("%w\nWithout internet: arasul images load FILE --as %s", err, i.Name)
		}
		pulled = append(pulled, got)
		if !c.JSON {
			printChosen(env.Stdout, got)
		}
	}
	if c.JSON {
		return env.printJSON(map[string]any{"images": pulled})
	}
	return nil
}

// accepted shows a licence and asks, unless that was answered already.
func (p *imagesPullCmd) accepted(env *Env, i api.Image) error {
	if i.Licence == "" || p.Accept {
		return nil
	}
	fmt.Fprintf(env.Stderr, "%s\n", i.Licence)
	if env.Stdin == nil || !term.IsTerminal(int(env.Stdin.Fd())) {
		return fmt.Errorf("the licence of %s has to be accepted: arasul images pull %s --accept-licence", i.Name, i.Name)
	}
	fmt.Fprint(env.Stderr, "Do you accept it? [y/N] ")
	line, err := readLine(env.Stdin)
	if err != nil {
		return err
	}
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" && answer != "j" && answer != "ja" {
		return fmt.Errorf("%s was not fetched", i.Name)
	}
	return nil
}

// readLine reads a short line, byte by byte so that nothing behind it is taken.
func readLine(f *os.File) (string, error) {
	var line []byte
	one := make([]byte, 1)
	for len(line) < 200 {
		if _, err := f.Read(one); err != nil {
			return "", err
		}
		if one[0] == '\n' {
			break
		}
		line = append(line, one[0])
	}
	return string(line), nil
}

func choose(all []api.Image, names []string) ([]api.Image, error) {
	if len(names) == 0 {
		return all, nil
	}
	var chosen []api.Image
	for _, name := range names {
		found := false
		for _, i := range all {
			if i.Name == name {
				chosen, found = append(chosen, i), true
			}
		}
		if !found {
			var known []string
			for _, i := range all {
				known = append(known, i.Name)
			}
			return nil, fmt.Errorf("there is no application %s; there are %s", name, strings.Join(known, ", "))
		}
	}
	return chosen, nil
}

type imagesLoadCmd struct {
	File   string `arg:"" help:"An archive of one image, as made by podman save or docker save." type:"existingfile"`
	As     string `help:"The application that it is for: minio, llm, embeddings or n8n." required:"" placeholder:"NAME"`
	NoKeep bool   `help:"Keep no copy of the archive. Without one, an image that gets lost has to be brought again."`
}

func (l *imagesLoadCmd) Run(ctx context.Context, c *commands, env *Env) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	if !c.JSON {
		fmt.Fprintf(env.Stderr, "%s: loading %s\n", l.As, l.File)
	}
	i, err := env.Images.Load(ctx, cfg, l.As, l.File, !l.NoKeep)
	env.note(ctx, "images.load", l.As, err)
	if err != nil {
		return err
	}
	if c.JSON {
		return env.printJSON(i)
	}
	printChosen(env.Stdout, i)
	return nil
}

func printChosen(w io.Writer, i api.Image) {
	fmt.Fprintf(w, "%s runs from %s when it is started anew: sudo systemctl restart %s\n", i.Name, i.ID[:19], i.Unit)
}

type containerReadyCmd struct {
	Name string `arg:""`
}

// Run exits with 1 when the application cannot be started for want of its image:
// systemd takes that for a condition that is not met, not for a failure.
func (r *containerReadyCmd) Run(ctx context.Context, c *commands, env *Env) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		fmt.Fprintln(env.Stderr, err)
	}
	i, err := env.Containers.Ready(ctx, cfg, r.Name)
	if err != nil {
		return err
	}
	if i.Reason != "" {
		fmt.Fprintf(env.Stderr, "%s cannot run: %s. %s\n", r.Name, i.Reason, i.Fix)
		return command.Exit(1)
	}
	return nil
}

type containerRunCmd struct {
	Name string `arg:""`
}

func (r *containerRunCmd) Run(ctx context.Context, c *commands, env *Env) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		fmt.Fprintln(env.Stderr, err)
	}
	return env.Containers.Exec(ctx, cfg, r.Name)
}
