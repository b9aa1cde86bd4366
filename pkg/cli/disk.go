package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/command"
	"github.com/arasul/arasul/pkg/config"
)

// Disk makes room on the file system that holds the appliance's data.
type Disk interface {
	Clean(ctx context.Context, dryRun bool) (api.DiskCleanup, error)
	Reserve() (bytes uint64, why string, err error)
}

type diskCleanCmd struct {
	DryRun bool `help:"Touch nothing, only list what would go." short:"n"`
}

func (d *diskCleanCmd) Run(ctx context.Context, c *commands, env *Env) error {
	report, err := env.Disk.Clean(ctx, d.DryRun)
	if !d.DryRun {
		env.note(ctx, "disk.clean", report.Path, err)
	}
	if err != nil && report.Steps == nil {
		return err
	}
	if c.JSON {
		if err := env.printJSON(report); err != nil {
			return err
		}
	} else {
		printCleanup(env.Stdout, report)
	}
	if err != nil {
		return err
	}
	if !report.Reached {
		for _, s := range report.Steps {
			if s.Error != "" {
				return command.Exit(1) // the report says what went wrong
			}
		}
	}
	return nil
}

func printCleanup(w io.Writer, r api.DiskCleanup) {
	percent := func(used uint64) float64 { return float64(used) / float64(max(r.TotalBytes, 1)) * 100 }
	now := "%.1f %% are now"
	if r.DryRun {
		now = "%.1f %% would be"
	}
	fmt.Fprintf(w, "%s has a file system of %s: %.1f %% were used, "+now+"\n\n",
		r.Path, size(r.TotalBytes), percent(r.BeforeBytes), percent(r.AfterBytes))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "STEP\tFREED\tFILES\tNOTE")
	for _, s := range r.Steps {
		said := s.Skipped
		if s.Error != "" {
			said = "failed: " + s.Error
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\n", s.Name, size(s.FreedBytes), s.Files, said)
	}
	_ = t.Flush()
	for _, s := range r.Steps {
		for _, path := range s.Paths {
			fmt.Fprintf(w, "  %s\n", path)
		}
	}
	if !r.Reached {
		fmt.Fprintf(w, "\nThe file system is still over %.0f %% full: what is left to remove is yours (models, objects, workflows).\n", r.TargetRatio*100)
	}
}

type diskReserveCmd struct{}

func (diskReserveCmd) Run(c *commands, env *Env) error {
	bytes, why, err := env.Disk.Reserve()
	if err != nil {
		return err
	}
	if c.JSON {
		return env.printJSON(map[string]any{"reserve_bytes": bytes, "reason": why})
	}
	if why != "" {
		why = ": " + why
	}
	fmt.Fprintf(env.Stdout, "%s are in reserve%s\n", size(bytes), why)
	return nil
}

type dbVacuumCmd struct {
	FreeSpace bool `help:"While the disk is over 85 % full, give up the oldest days of samples, but the last day."`
}

func (d *dbVacuumCmd) Run(ctx context.Context, c *commands, env *Env) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		fmt.Fprintln(env.Stderr, err)
		if config.Concerns(err, "database") {
			return command.Exit(78)
		}
	}
	v, err := env.Database.Vacuum(ctx, cfg, d.FreeSpace)
	env.note(ctx, "db.vacuum", "", err)
	if c.JSON {
		if err := env.printJSON(v); err != nil {
			return err
		}
	} else {
		printVacuum(env.Stdout, v)
	}
	return err
}

func printVacuum(w io.Writer, v api.Vacuum) {
	if v.KeptDays > 0 {
		fmt.Fprintf(w, "The disk is full: %d partitions were dropped, samples of the last %d days are kept\n", v.Dropped, v.KeptDays)
	}
	if len(v.Tables) == 0 {
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TABLE\tBEFORE\tAFTER\tDEAD ROWS\tTOOK\tNOTE")
	for _, row := range v.Tables {
		failed := ""
		if row.Error != "" {
			failed = "failed"
		}
		took := span(time.Duration(row.Duration * float64(time.Second)))
		fmt.Fprintf(t, "%s\t%s\t%s\t%d → %d\t%s\t%s\n", row.Table, size(uint64(row.BeforeBytes)), size(uint64(row.AfterBytes)), row.DeadBefore, row.DeadAfter, took, failed)
	}
	_ = t.Flush()
}

// size is n bytes for people, in powers of ten as disks are sold.
func size(n uint64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1000, 0
	for f >= 999.5 && i < len(units)-1 {
		f, i = f/1000, i+1
	}
	text := fmt.Sprintf("%.1f", f)
	if f >= 9.95 {
		text = fmt.Sprintf("%.0f", f)
	}
	return strings.TrimSuffix(text, ".0") + " " + units[i:i+1] + "B"
}
