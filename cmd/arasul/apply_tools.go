package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/client"
	"github.com/arasul/arasul/pkg/systemd"
	"github.com/arasul/arasul/pkg/update"
)

const (
	installedProgram = "/usr/lib/arasul/arasul"
	databaseUnit     = "arasul-postgres.service"
	databaseUser     = "arasul-postgres"
	databaseWithin   = 5 * time.Minute // to start, after a power cut too
)

// copies are the copies of the database. The server lets its own user copy and
// swap, and not root: a child does it.
type copies struct {
	foreign   bool // the database is on another server: it is left alone
	workflows bool
	keep      []string // copies that somebody may need yet
	hands     *systemd.Hands
}

// Room implements update.Database.
func (c *copies) Room(ctx context.Context, name string) error { return c.ask(ctx, "room", name) }

// Snapshot implements update.Database.
func (c *copies) Snapshot(ctx context.Context, name string) error {
	return c.ask(ctx, "snapshot", name)
}

// Restore implements update.Database.
func (c *copies) Restore(ctx context.Context, name string) error { return c.ask(ctx, "restore", name) }

// Drop implements update.Database.
func (c *copies) Drop(ctx context.Context, name string) error { return c.ask(ctx, "drop", name) }

// Migrate implements update.Database: with the program that was installed.
func (c *copies) Migrate(ctx context.Context) error {
	if err := c.awake(ctx); err != nil {
		return err
	}
	return asDatabase(ctx, installedProgram, "db", "provision")
}

func (c *copies) ask(ctx context.Context, verb, name string) error {
	if c.foreign {
		return nil
	}
	if err := c.awake(ctx); err != nil {
		return err
	}
	args := []string{"db", "copy", verb, name}
	if c.workflows {
		args = append(args, "--workflows")
	}
	for _, name := range c.keep {
		args = append(args, "--keep="+name)
	}
	return asDatabase(ctx, filepath.Join(update.Dir, "run", update.Runner), args...)
}

// awake waits until the server runs, which after a power cut may take its time.
func (c *copies) awake(ctx context.Context) error {
	if c.foreign {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, databaseWithin)
	defer cancel()
	for {
		err := c.hands.Start(ctx, databaseUnit)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Second):
		}
	}
}

// asDatabase runs a program as the user of the database.
func asDatabase(ctx context.Context, program string, args ...string) error {
	uid, gid, err := ids(databaseUser)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // ours
	cmd.Args[0] = "arasul"
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}} //nolint:gosec // ids of the system
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		said := strings.TrimSpace(string(out))
		if i := strings.LastIndexByte(said, '\n'); i >= 0 {
			said = said[i+1:]
		}
		return fmt.Errorf("%s: %s", strings.Join(args[:2], " "), cmp.Or(strings.TrimPrefix(said, "arasul: "), err.Error()))
	}
	return nil
}

// standing are the daemons that write to the database, the healer, and the
// applications whose images change. All else goes on: the proxy says meanwhile
// what is going on.
type standing struct {
	hands *systemd.Hands
	apps  []string
}

// writers are stopped ahead of everything else, and started in the other order.
var writers = []string{"arasul-healer.service", "arasul-db.service", "arasul-dashboard.socket", "arasul-executions.socket", "arasul-dashboard.service", "arasul-metrics.service"}

// Stop implements update.Units.
func (u standing) Stop(ctx context.Context) error {
	units := append(slices.Clone(writers), u.apps...)
	if err := hold(units); err != nil {
		return err
	}
	for _, unit := range units {
		if err := u.hands.Stop(ctx, unit); err != nil {
			return err
		}
	}
	return nil
}

// Start implements update.Units.
func (u standing) Start(ctx context.Context) error { return startOurs(ctx, u.hands, u.apps) }

func startOurs(ctx context.Context, hands *systemd.Hands, apps []string) error {
	if err := os.RemoveAll(quiesced); err != nil {
		return err
	}
	if err := hands.Reload(ctx); err != nil {
		return err
	}
	if err := hands.Start(ctx, "arasul.target"); err != nil {
		return err
	}
	for _, unit := range slices.Backward(writers) {
		if unit == "arasul-db.service" { // the target has started it, and it has ended
			continue
		}
		if err := hands.Start(ctx, unit); err != nil {
			return err
		}
	}
	units, err := hands.Units(ctx, apps...)
	if err != nil {
		return err
	}
	for _, u := range units {
		if !u.SwitchedOff() {
			_ = hands.Start(ctx, u.Name) // whether it is well is asked afterwards; without its image it stays away
		}
	}
	return nil
}

// onDemand are the units that come and go by themselves.
var onDemand = []string{"arasul-apply.", "arasul-updater.", "arasul-usb@", "arasul-setup.", "arasul-setup-code.", "arasul-bootstrap."}

// lookAround is what is well on this machine: the page through the proxy as a
// browser loads it, what the healer's probes say, and every unit.
func lookAround(ctx context.Context, hands *systemd.Hands) (update.Sight, error) {
	s := update.Sight{Well: map[string]string{}, Restarts: map[string]int{}}
	units, err := hands.Units(ctx, "arasul-*.service", "arasul-*.socket")
	if err != nil {
		return s, err
	}
	for _, u := range units {
		if comesAndGoes(u.Name) {
			continue
		}
		s.Restarts[u.Name] = int(u.Restarts)
		s.Well[u.Name] = unitWell(u)
	}
	s.Well["the page"] = within(ctx, 5*time.Second, openPage)
	s.Well["the healer"] = within(ctx, 5*time.Second, func(ctx context.Context) error { return seenByHealer(ctx, s.Well) })
	return s, nil
}

func comesAndGoes(unit string) bool {
	for _, prefix := range onDemand {
		if strings.HasPrefix(unit, prefix) {
			return true
		}
	}
	return false
}

func unitWell(u api.Unit) string {
	if u.ActiveState == "active" || u.OneShot && u.ActiveState != "failed" {
		return ""
	}
	return "it is " + u.ActiveState
}

// seenByHealer adds what the healer's probes found. What it saw long ago does not
// count.
func seenByHealer(ctx context.Context, well map[string]string) error {
	healer := client.New(healerSocket)
	var status api.HealerStatus
	if err := healer.GetJSON(ctx, "/status", &status); err != nil {
		return err
	}
	if age := time.Since(status.LastCheck); age > 30*time.Second {
		return fmt.Errorf("its last check was %s ago", age.Round(time.Second))
	}
	var seen struct{ Probes []api.ProbeResult }
	if err := healer.GetJSON(ctx, "/probes", &seen); err != nil {
		return err
	}
	for _, p := range seen.Probes {
		switch {
		case p.Status == api.Up:
			well["the probe of "+p.Unit] = ""
		case p.Detail != "":
			well["the probe of "+p.Unit] = p.Detail
		default:
			well["the probe of "+p.Unit] = string(p.Status)
		}
	}
	return nil
}

func within(ctx context.Context, d time.Duration, look func(context.Context) error) string {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	if err := look(ctx); err != nil {
		return err.Error()
	}
	return ""
}
