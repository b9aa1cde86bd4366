package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/arasul/arasul/pkg/heal"
)

// injury is a fault that is done again and again, and how Monit looks for it.
type injury struct {
	name   string
	unit   string
	signal syscall.Signal
	dropIn string // of the unit, meanwhile
	check  string // Monit's; STAMP is the program that it runs
}

// Monit is told to believe a check that failed three times, as the healer does:
// its shortest cycle, a second, with a time-out of a second.
var injuries = []injury{
	{
		name: "a daemon that hangs (SIGSTOP of arasul-dashboard)", unit: "arasul-dashboard.service", signal: syscall.SIGSTOP,
		check: `check process dashboard matching "^/usr/lib/arasul/arasul-dashboard"
  if failed unixsocket /run/arasul/dashboard.sock protocol http request "/api/health" with timeout 1 seconds for 3 cycles then exec "STAMP hung" else if succeeded then exec "STAMP back"
`,
	},
	{
		name: "a database that hangs (SIGSTOP of the postmaster)", unit: "arasul-postgres.service", signal: syscall.SIGSTOP,
		check: `check process postgres matching "postgres -D"
  if failed unixsocket /run/arasul/postgres/.s.PGSQL.5432 protocol pgsql username "arasul-healer" database "arasul" with timeout 1 seconds for 3 cycles then exec "STAMP hung" else if succeeded then exec "STAMP back"
`,
	},
	{
		name: "a daemon that systemd does not restart (SIGKILL, Restart=no)", unit: victim, signal: syscall.SIGKILL, dropIn: "[Service]\nRestart=no\n",
		check: `check process metrics matching "^/usr/lib/arasul/arasul-metrics"
  if does not exist then exec "STAMP gone" else if succeeded then exec "STAMP back"
`,
	},
}

const benchPolicy = "/etc/arasul/bench-policy.toml"

// faults does each injury some times and compares when the healer and Monit
// know, and how long the healer takes until the unit is up again. The units are
// as shipped, and so is the policy but for its budgets: nobody is hurt so often.
func faults(ctx context.Context) (table, error) {
	t := table{Head: []string{"figure", "arasul-healer", "Monit 5.33", "ratio"}}
	times, err := strconv.Atoi(os.Getenv("BENCH_FAULTS"))
	if err != nil {
		times = 20
	}
	undo, err := unlimited(ctx)
	defer undo()
	if err != nil {
		return t, err
	}
	for _, i := range injuries {
		if err := i.measure(ctx, &t, times); err != nil {
			return t, fmt.Errorf("%s: %w", i.name, err)
		}
	}
	t.note("Each fault meets a healer that has met it at most once before. Both believe a check that failed three times. The healer looks every 5 s, and a second after a miss; Monit every second, which is its shortest cycle. Monit only watches here; it repairs nothing.")
	return t, nil
}

// unlimited gives the healer a policy without budgets until undo is called.
func unlimited(ctx context.Context) (undo func(), err error) {
	const config = "/etc/arasul/arasul.toml"
	shipped, err := os.ReadFile(config)
	if err != nil {
		return func() {}, err
	}
	undo = func() {
		_ = os.WriteFile(config, shipped, 0o644)
		_ = os.Remove(benchPolicy)
		_, _ = command(context.Background(), "systemctl", "restart", "arasul-healer.service")
	}
	policy := strings.NewReplacer("budget  = 6 ", "budget  = 100 ", "actions = 12", "actions = 1000", "above  = 2\nwithin = \"10m\"", "above  = 90\nwithin = \"10m\"").Replace(heal.BuiltInPolicy())
	if err := os.WriteFile(benchPolicy, []byte(policy), 0o644); err != nil {
		return undo, err
	}
	if err := os.WriteFile(config, []byte("[healer]\npolicy = \""+benchPolicy+"\"\n"), 0o644); err != nil {
		return undo, err
	}
	_, err = command(ctx, "systemctl", "restart", "arasul-healer.service")
	return undo, err
}

// repeats is how often the same trouble may be back before the healer no longer
// believes that its first repair helps (strike-off): right for an owner, and the
// end of a series.
const repeats = 2

// forget lets the healer begin without a memory of earlier injuries.
func forget(ctx context.Context) error {
	for _, args := range [][]string{
		{"systemctl", "stop", "arasul-healer.service"},
		{"rm", "-f", "/var/lib/arasul/healer/state.json"},
		{"systemctl", "start", "arasul-healer.service"},
	} {
		if _, err := command(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

func (i injury) measure(ctx context.Context, t *table, times int) error {
	undo, err := dropIn(ctx, i.unit, "[Unit]\nStartLimitIntervalSec=0\n"+i.dropIn)
	if err != nil {
		return err
	}
	defer undo()
	var w *watch
	defer func() { w.stop() }()
	var healer, monit, up []time.Duration
	for n := range times {
		if n%repeats == 0 {
			w.stop()
			if err := forget(ctx); err != nil {
				return err
			}
			if w, err = newWatch(ctx, strings.ReplaceAll(i.check, "STAMP", insideDir+"/stamp")); err != nil {
				return err
			}
		}
		select {
		case <-time.After(6*time.Second + rand.N(5*time.Second)): // proven, and at any time of a cycle
		case <-ctx.Done():
			return ctx.Err()
		}
		f, err := w.injure(ctx, i.unit, i.signal)
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%s %2d: healer %s, up %s, monit %s (%s)\n", i.unit, n+1,
			ms(f.healer.Sub(f.done)), ms(f.up.Sub(f.done)), ms(f.monit.Sub(f.done)), f.how)
		if !f.healer.IsZero() {
			healer = append(healer, f.healer.Sub(f.done))
		}
		if !f.up.IsZero() {
			up = append(up, f.up.Sub(f.done))
		}
		if f.how != "" {
			monit = append(monit, f.monit.Sub(f.done))
		}
	}
	t.compare(i.name+": noticed", healer, monit, 50, 95, 99)
	t.compare(i.name+": up again", up, nil, 50, 95, 99)
	t.row(i.name+": not noticed", fmt.Sprintf("%d of %d", times-len(healer), times), fmt.Sprintf("%d of %d", times-len(monit), times), "–")
	return nil
}
