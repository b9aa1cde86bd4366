package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/client"
)

const (
	victim       = "arasul-metrics.service"
	healerSocket = "/run/arasul/healer/healer.sock"
	monitCycle   = time.Second      // its shortest
	patience     = 40 * time.Second // then a fault counts as missed
)

// fault is one injury and who noticed it when.
type fault struct {
	unit    string
	done    time.Time // by us
	at      time.Time // systemd's time stamp of the death, or of its verdict that the unit hangs
	healer  time.Time
	up      time.Time // when the unit was active again
	monit   time.Time
	how     string // what Monit noticed: gone, pid or hung
	settled bool   // Monit has seen the repair too, and looks for the next fault
}

// heal takes in what the healer says of an incident.
func (f *fault) heal(inc api.Incident) {
	if inc.Unit != f.unit || len(inc.Failures) == 0 {
		return
	}
	last := inc.Failures[len(inc.Failures)-1]
	if last.At.Before(f.done.Truncate(time.Microsecond)) {
		return // the one before
	}
	f.at, f.healer = last.At, last.DetectedAt
	if inc.RecoveredAt != nil {
		f.up = *inc.RecoveredAt
	}
}

// stamp takes in one line that Monit's exec wrote: what it saw, and when in
// nanoseconds.
func (f *fault) stamp(line string) {
	what, rest, _ := strings.Cut(line, " ")
	ns, err := strconv.ParseInt(rest, 10, 64)
	at := time.Unix(0, ns)
	if err != nil || at.Before(f.done) {
		return
	}
	if what == "back" {
		f.settled = f.how != ""
		return
	}
	if f.how == "" {
		f.monit, f.how = at, what
	}
	f.settled = f.settled || what == "pid"
}

// watch is the two that notice, while they run.
type watch struct {
	incidents chan api.Incident
	noticed   *os.File // what Monit's exec appends to
	rest      string   // a line that is not complete yet
	stops     []func()
}

// newWatch starts Monit on the given check and follows the healer. Monit's
// exec costs it a shell and `date`, about 3 ms.
func newWatch(ctx context.Context, check string) (*watch, error) {
	w := &watch{incidents: make(chan api.Incident)}
	stamps, err := write("noticed", "", 0o644)
	if err != nil {
		return nil, err
	}
	if w.noticed, err = os.Open(stamps); err != nil {
		return nil, err
	}
	w.stops = append(w.stops, func() { w.noticed.Close() })
	if _, err := write("stamp", "#!/bin/sh\necho \"$1 $(date +%s%N)\" >>"+stamps+"\n", 0o755); err != nil {
		return w, err
	}
	monit, err := startMonit(ctx, int(monitCycle/time.Second), check)
	if err != nil {
		return w, err
	}
	w.stops = append(w.stops, monit.stop)

	ctx, cancel := context.WithCancel(ctx)
	w.stops = append(w.stops, cancel)
	go func() {
		defer close(w.incidents)
		err := client.New(healerSocket).Stream(ctx, "/stream", func(line []byte) error {
			var inc api.Incident
			if err := json.Unmarshal(line, &inc); err != nil {
				return err
			}
			select {
			case w.incidents <- inc:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		if ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "bench: the healer's stream ended:", err)
		}
	}()
	// Monit has to have seen the process once before it can miss it.
	select {
	case <-time.After(4 * monitCycle):
	case <-ctx.Done():
	}
	return w, nil
}

// stop may be called on nil, and on what newWatch left half made.
func (w *watch) stop() {
	if w == nil {
		return
	}
	for _, f := range w.stops {
		f()
	}
}

// startMonit runs Monit with one check, its cycle in seconds.
func startMonit(ctx context.Context, cycle int, check string) (peer, error) {
	rc, err := write("monitrc", fmt.Sprintf("set daemon %d\nset log %[2]s/monit.log\nset idfile %[2]s/monit.id\nset statefile %[2]s/monit.state\n%[3]s",
		cycle, insideDir, check), 0o600)
	if err != nil {
		return peer{}, err
	}
	return startPeer(ctx, "monit", peersDir+"/usr/bin/monit", "-I", "-c", rc)
}

// injure sends the signal to the unit's main process and waits until both have
// noticed and all is well again, or patience ends.
func (w *watch) injure(ctx context.Context, unit string, sig syscall.Signal) (fault, error) {
	f := fault{unit: unit}
	main, err := command(ctx, "systemctl", "show", "--value", "--property=MainPID", unit)
	if err != nil {
		return f, err
	}
	pid, err := strconv.Atoi(main)
	if err != nil || pid == 0 {
		return f, fmt.Errorf("%s has no main process: %q", unit, main)
	}
	f.done = time.Now()
	if err := syscall.Kill(pid, sig); err != nil {
		return f, err
	}
	deadline := time.After(patience)
	for f.up.IsZero() || !f.settled {
		select {
		case inc, ok := <-w.incidents:
			if !ok {
				return f, fmt.Errorf("the healer does not tell any more")
			}
			f.heal(inc)
		case <-time.After(5 * time.Millisecond):
		case <-deadline:
			return f, nil
		case <-ctx.Done():
			return f, ctx.Err()
		}
		buf := make([]byte, 4096)
		n, _ := w.noticed.Read(buf)
		lines := strings.Split(w.rest+string(buf[:n]), "\n")
		w.rest = lines[len(lines)-1]
		for _, line := range lines[:len(lines)-1] {
			f.stamp(line)
		}
	}
	return f, nil
}

// kills kills the main process of the metrics daemon again and again, at a
// random time of Monit's cycle, and compares when the healer and Monit know.
// systemd restarts the unit as shipped; only its start limit is off.
func kills(ctx context.Context) (table, error) {
	t := table{Head: []string{"figure", "arasul-healer", "Monit 5.33", "ratio"}}
	n, err := strconv.Atoi(os.Getenv("BENCH_KILLS"))
	if err != nil {
		n = 200
	}
	undo, err := dropIn(ctx, victim, "[Unit]\nStartLimitIntervalSec=0\n")
	if err != nil {
		return t, err
	}
	defer undo()
	w, err := newWatch(ctx, `check process metrics matching "^/usr/lib/arasul/arasul-metrics"
  if does not exist then exec "`+insideDir+`/stamp gone" else if succeeded then exec "`+insideDir+`/stamp back"
  if changed pid then exec "`+insideDir+`/stamp pid"
`)
	if err != nil {
		return t, err
	}
	defer w.stop()

	var known, healer, monit, healerAll, monitAll, repaired []time.Duration
	byPID := 0
	for i := range n {
		select {
		case <-time.After(rand.N(monitCycle)):
		case <-ctx.Done():
			return t, ctx.Err()
		}
		f, err := w.injure(ctx, victim, syscall.SIGKILL)
		if err != nil {
			return t, fmt.Errorf("kill %d: %w", i+1, err)
		}
		fmt.Fprintf(os.Stderr, "kill %3d: systemd %s, healer %s, up %s, monit %s (%s)\n", i+1,
			ms(f.at.Sub(f.done)), ms(f.healer.Sub(f.done)), ms(f.up.Sub(f.done)), ms(f.monit.Sub(f.done)), f.how)
		if f.at.IsZero() {
			continue // Monit's figure needs systemd's time too
		}
		known = append(known, f.at.Sub(f.done))
		healer = append(healer, f.healer.Sub(f.at))
		healerAll = append(healerAll, f.healer.Sub(f.done))
		if !f.up.IsZero() {
			repaired = append(repaired, f.up.Sub(f.at))
		}
		if f.how != "" {
			monit = append(monit, f.monit.Sub(f.at))
			monitAll = append(monitAll, f.monit.Sub(f.done))
		}
		if f.how == "pid" {
			byPID++
		}
	}
	t.compare("noticed, from systemd's own time stamp", healer, monit, 50, 95, 99, 100)
	t.compare("noticed, from kill(2)", healerAll, monitAll, 50, 99)
	t.row("kills not noticed", fmt.Sprintf("%d of %d", n-len(healer), n), fmt.Sprintf("%d of %d", n-len(monit), n), "–")
	t.compare("systemd's time stamp, from kill(2)", known, nil, 50, 99)
	t.compare("unit up again, from systemd's time stamp (RestartSec=500ms)", repaired, nil, 50, 95, 99)
	t.note("Monit looks every second, which is its shortest cycle; %d of its %d notices came by the changed process id, because systemd had restarted the unit before it looked.", byPID, len(monit))
	return t, nil
}
