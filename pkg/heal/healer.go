package heal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/atomicfile"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/stream"
)

const (
	maxStateBytes = 16 << 20         // 400 incidents of 50 failures and 50 actions are about 8 MB
	mirrorPause   = 5 * time.Second  // between attempts while PostgreSQL is away
	mirrorTimeout = 5 * time.Second  // for one attempt
	mirrorBatch   = 50               // incidents per attempt
	heartbeat     = 10 * time.Second // Reduce runs at least this often (spec HEAL)
)

// Eyes see units: all of them now and then, single ones when they change.
// Calls of seen come one after the other.
type Eyes interface {
	Watch(ctx context.Context, seen func(at time.Time, units []api.Unit)) error
}

// Hands move units. Both methods return when it is done, or why it was not.
type Hands interface {
	Restart(ctx context.Context, unit string) error
	StopStart(ctx context.Context, unit string) error
}

// Mirror keeps copies of incidents where the dashboard can search them. Storing
// the same incident again replaces the older copy.
type Mirror interface {
	MirrorIncidents(ctx context.Context, incidents []api.Incident) error
}

// Options are what a Healer is made of.
type Options struct {
	Policy *Policy
	Mode   string // config.ModeAct or config.ModeShadow
	Path   string // the state file
	Eyes   Eyes
	Hands  Hands
	Mirror Mirror
	Log    *slog.Logger
}

// Healer feeds Reduce and carries out what it decides.
type Healer struct {
	o   Options
	hub stream.Hub // every changed incident, as JSON

	observations chan Observation
	reloads      chan reload
	nudge        chan struct{} // there is something to mirror

	mu        sync.Mutex // guards the fields below, for the methods that others call
	state     State
	lastCheck time.Time
}

// New makes a healer that goes on where the state file ends. A missing file is
// a new machine; a file that cannot be read is moved aside if possible, because
// a healer without memory is better than none.
func New(o Options) *Healer {
	h := &Healer{
		o:            o,
		observations: make(chan Observation, 16),
		reloads:      make(chan reload, 1),
		nudge:        make(chan struct{}, 1),
	}
	state, err := load(o.Path)
	if err != nil {
		aside := o.Path + ".bad"
		o.Log.Error("state file unreadable, starting without memory", "path", aside, "err", err)
		if err := os.Rename(o.Path, aside); err != nil {
			o.Log.Error("state file not moved aside", "path", o.Path, "err", err)
		}
	}
	h.state = state.clone()
	h.state.distrustFuture(time.Now(), o.Policy.Down.Retry.Std())
	return h
}

func load(path string) (State, error) {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return State{}, nil
	}
	if err != nil {
		return State{}, err
	}
	if st.Size() > maxStateBytes {
		return State{}, fmt.Errorf("%d bytes, the limit is %d", st.Size(), maxStateBytes)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return State{}, err
	}
	var s State
	if err := json.Unmarshal(data, &s); err != nil {
		return State{}, err
	}
	if err := s.check(); err != nil {
		return State{}, err
	}
	return s, nil
}

// Run heals until ctx ends. It calls alive after each look that the eyes
// reported, at least every 10 s when they work.
func (h *Healer) Run(ctx context.Context, alive func()) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return h.o.Eyes.Watch(ctx, func(at time.Time, units []api.Unit) {
			_ = h.observe(ctx, Observation{At: at, Units: units, looked: true}) // it fails when ctx ends, and so does Watch
		})
	})
	g.Go(func() error { return h.mirror(ctx) })
	g.Go(func() error { return h.decide(ctx, g, alive) })
	return g.Wait()
}

// reload is a new policy and mode.
type reload struct {
	policy *Policy
	mode   string
}

// Reload takes over a new policy and mode before the next decision. A command
// under way is not interrupted. Units that only the new policy names are seen
// after a restart.
func (h *Healer) Reload(p *Policy, mode string) {
	select {
	case <-h.reloads: // one that nobody got round to
	default:
	}
	h.reloads <- reload{p, mode}
}

// SetMaintenance takes the healer's hands off, or puts them back on. Watching
// and recording go on. It returns when that is in force and saved.
func (h *Healer) SetMaintenance(ctx context.Context, on bool) error {
	done := make(chan struct{})
	if err := h.observe(ctx, Observation{At: time.Now(), Maintenance: &on, taken: done}); err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *Healer) observe(ctx context.Context, o Observation) error {
	select {
	case h.observations <- o:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// decide is the loop that owns the state.
func (h *Healer) decide(ctx context.Context, g *errgroup.Group, alive func()) error {
	if c := h.state.Running; c != nil { // of the run before this one
		h.step(ctx, g, Observation{At: time.Now(), Result: &Result{Incident: c.Incident, Attempt: c.Attempt, Error: "the healer was restarted meanwhile"}})
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var o Observation
		select {
		case <-ctx.Done():
			return ctx.Err()
		case o = <-h.observations:
		case r := <-h.reloads:
			h.mu.Lock()
			h.o.Policy, h.o.Mode = r.policy, r.mode
			h.mu.Unlock()
			continue
		case <-timer.C:
			o.At = time.Now()
		}
		h.step(ctx, g, o)
		if o.taken != nil {
			close(o.taken)
		}
		if o.looked {
			alive() // timers and commands tick on when the eyes are stuck
		}
		// From the moment of the decision: what fell due since, while the
		// state was written, is due at once.
		wait := heartbeat
		if at := h.state.Wake(h.lastCheck); !at.IsZero() {
			wait = min(wait, time.Until(at))
		}
		timer.Reset(wait)
	}
}

// step takes in one observation: decide, tell, act, remember. Remembering
// comes last because it waits for the disk.
func (h *Healer) step(ctx context.Context, g *errgroup.Group, o Observation) {
	now := time.Now()
	before := h.state
	after, commands := Reduce(h.o.Policy, before, o, now)
	h.mu.Lock()
	h.state = after
	h.lastCheck = now
	h.mu.Unlock()

	changed := changes(before, after)
	for _, inc := range changed {
		h.log(before, inc)
		h.hub.PublishJSON(inc.Incident)
	}
	for _, c := range commands {
		mode := h.o.Mode
		g.Go(func() error {
			return h.observe(ctx, Observation{At: time.Now(), Result: h.run(ctx, mode, c)})
		})
	}
	if len(changed) > 0 || before.Maintenance != after.Maintenance {
		h.save()
		h.wakeMirror()
	}
}

// run carries out one command.
func (h *Healer) run(ctx context.Context, mode string, c Command) *Result {
	result := &Result{Incident: c.Incident, Attempt: c.Attempt}
	if mode == config.ModeShadow {
		result.Error = "shadow mode: decided, not done"
		return result
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	var err error
	switch c.Action {
	case ActionRestart:
		err = h.o.Hands.Restart(ctx, c.Unit)
	case ActionStopStart:
		err = h.o.Hands.StopStart(ctx, c.Unit)
	default:
		err = fmt.Errorf("unknown action %q", c.Action)
	}
	if err != nil {
		result.Error = err.Error()
	}
	return result
}

// changes returns the incidents of after that are new or have moved on.
func changes(before, after State) []Incident {
	var out []Incident
	for _, inc := range after.Incidents {
		i := slices.IndexFunc(before.Incidents, func(i Incident) bool { return i.ID == inc.ID })
		if i < 0 || before.Incidents[i].Revision != inc.Revision {
			out = append(out, inc)
		}
	}
	return out
}

// log writes what became of an incident, one line per change of its state.
func (h *Healer) log(before State, inc Incident) {
	i := slices.IndexFunc(before.Incidents, func(i Incident) bool { return i.ID == inc.ID })
	if i >= 0 && before.Incidents[i].State == inc.State {
		return
	}
	attrs := []any{"incident", inc.ID, "unit", inc.Unit}
	switch inc.State {
	case api.IncidentOpen:
		f := inc.Failures[len(inc.Failures)-1]
		h.o.Log.Warn("unit is down", append(attrs, "reason", f.Detail, "duration", f.DetectedAt.Sub(f.At))...)
	case api.IncidentActing:
		a := inc.Actions[len(inc.Actions)-1]
		h.o.Log.Info("repairing", append(attrs, "action", a.Kind, "attempt", a.Attempt, "reason", a.Reason)...)
	case api.IncidentVerifying:
		h.o.Log.Info("unit is up again, watching whether it stays up", attrs...)
	case api.IncidentResolved:
		h.o.Log.Info("incident resolved", append(attrs, "duration", inc.ClosedAt.Sub(inc.FaultAt))...)
	case api.IncidentExhausted:
		h.o.Log.Error("nothing left to try for now", append(attrs, "attempt", len(inc.Actions))...)
	}
}

// save writes the state file. A full disk must not stop the healing, so a
// failure is only reported.
func (h *Healer) save() {
	data, err := json.Marshal(h.state)
	if err == nil {
		err = atomicfile.Write(h.o.Path, data, 0o600)
	}
	if err != nil {
		h.o.Log.Error("state not saved", "path", h.o.Path, "err", err)
	}
}

func (h *Healer) wakeMirror() {
	select {
	case h.nudge <- struct{}{}:
	default:
	}
}

// mirror copies changed incidents to PostgreSQL, oldest first, and tries again
// for as long as that takes: the state file holds what is not copied yet.
func (h *Healer) mirror(ctx context.Context) error {
	away := false
	copied := map[string]uint64{} // in this run, until the state says so too
	for {
		batch := h.unmirrored(copied)
		if len(batch) == 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-h.nudge:
			}
			continue
		}
		incidents := make([]api.Incident, len(batch))
		for i, inc := range batch {
			incidents[i] = inc.Incident
		}
		tryCtx, cancel := context.WithTimeout(ctx, mirrorTimeout)
		err := h.o.Mirror.MirrorIncidents(tryCtx, incidents)
		cancel()
		if err == nil {
			away = false
			maps.Copy(copied, revisions(batch))
			if err := h.observe(ctx, Observation{At: time.Now(), Mirrored: revisions(batch)}); err != nil {
				return err
			}
			continue
		}
		if ctx.Err() == nil && !away {
			h.o.Log.Warn("events wait for the database", "err", err)
			away = true
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(mirrorPause):
		}
	}
}

// unmirrored returns the oldest incidents that are newer than PostgreSQL's
// copies, and drops from copied what the state has caught up with.
func (h *Healer) unmirrored(copied map[string]uint64) []Incident {
	h.mu.Lock()
	defer h.mu.Unlock()
	var batch []Incident
	for _, inc := range h.state.Incidents {
		if inc.Mirrored >= copied[inc.ID] {
			delete(copied, inc.ID)
		}
		if max(inc.Mirrored, copied[inc.ID]) < inc.Revision && len(batch) < mirrorBatch {
			batch = append(batch, inc)
		}
	}
	return batch
}

// revisions says which state of each incident a batch held.
func revisions(batch []Incident) map[string]uint64 {
	m := make(map[string]uint64, len(batch))
	for _, inc := range batch {
		m[inc.ID] = inc.Revision
	}
	return m
}
