package heal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
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
	heartbeat     = 10 * time.Second // Reduce runs at least this often (spec HEAL)
	handGrace     = 30 * time.Second // for a hand to come back after its time is up
	afterMiss     = time.Second      // a probe that missed looks again soon
)

// Eyes see units: all of them now and then, single ones when they change.
// Calls of seen come one after the other.
type Eyes interface {
	Watch(ctx context.Context, seen func(at time.Time, units []api.Unit)) error
}

// Sense reports what it notices until ctx ends. One that returns before is
// gone, and missed: everything else goes on.
type Sense func(ctx context.Context, report func(Observation)) error

// Probe looks once at one unit. It returns when ctx ends at the latest.
type Probe func(ctx context.Context) api.ProbeResult

// Hand carries out one kind of command. It returns when that is done, or why it
// was not.
type Hand func(ctx context.Context, c Command) error

// Recorder keeps observations for replay.
type Recorder interface {
	Record(p *Policy, before State, o Observation, now time.Time)
}

// Options are what a Healer is made of.
type Options struct {
	Policy   *Policy
	Mode     string    // config.ModeAct or config.ModeShadow
	Path     string    // the state file
	Boot     string    // the kernel's boot id
	Booted   time.Time // when it started
	Eyes     Eyes
	Senses   map[string]Sense // by name
	Probes   map[string]Probe // by unit
	Hands    map[string]Hand  // by action; Actions names them
	Spool    Spool            // of events; nil: they wait in memory
	Mirror   Mirror
	Recorder Recorder // nil: nothing is kept
	Log      *slog.Logger
}

// Healer feeds Reduce and carries out what it decides.
type Healer struct {
	o     Options
	hub   stream.Hub // every changed incident, as JSON
	queue *queue

	observations chan Observation
	reloads      chan reload

	mu        sync.Mutex // guards the fields below, for the methods that others call
	state     State
	probes    map[string]api.ProbeResult
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
		queue:        newQueue(o.Spool, o.Mirror, o.Log),
		probes:       map[string]api.ProbeResult{},
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
	h.state.distrustFuture(time.Now(), o.Policy.longest())
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
	for name, sense := range h.o.Senses {
		g.Go(func() error {
			err := sense(ctx, func(o Observation) { _ = h.observe(ctx, o) })
			if ctx.Err() == nil {
				h.o.Log.Warn("going without a sense", "reason", name, "err", err)
			}
			return nil
		})
	}
	for unit, probe := range h.o.Probes {
		g.Go(func() error { return h.probe(ctx, unit, probe) })
	}
	g.Go(func() error { return h.queue.run(ctx) })
	g.Go(func() error { return h.decide(ctx, g, alive) })
	return g.Wait()
}

// probe looks at one unit again and again, as the policy says, while it runs.
func (h *Healer) probe(ctx context.Context, unit string, look Probe) error {
	wait := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		deadline, every, wanted := h.wanted(unit)
		wait = every
		if !wanted {
			continue
		}
		began := time.Now()
		lookCtx, cancel := context.WithTimeout(ctx, deadline)
		result := look(lookCtx)
		cancel()
		result.Time = began // with its monotonic clock
		if ctx.Err() != nil {
			return ctx.Err()
		}
		result.Unit = unit
		if result.Status == api.Down {
			wait = afterMiss
		}
		if err := h.observe(ctx, Observation{At: result.Time, Probes: []api.ProbeResult{result}}); err != nil {
			return err
		}
	}
}

// wanted says whether a unit is to be probed now, and how.
func (h *Healer) wanted(unit string) (deadline, every time.Duration, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	every = h.o.Policy.Down.Every.Std()
	u := h.o.Policy.unit(unit)
	if u == nil || u.Deadline == 0 || !h.state.Units[unit].Up {
		delete(h.probes, unit)
		return 0, every, false
	}
	return u.Deadline.Std(), every, true
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

// SetLease takes the healer's hands off until the lease ends, an hour at most;
// one that ends at once puts them back on. It returns when that is in force and
// saved.
func (h *Healer) SetLease(ctx context.Context, lease api.Lease) error {
	return h.tell(ctx, Observation{Lease: &lease})
}

// ResetBreaker lets the healer act again after somebody has looked why it did
// so much.
func (h *Healer) ResetBreaker(ctx context.Context) error {
	return h.tell(ctx, Observation{ResetBreaker: true})
}

// Restart has a unit restarted because an operator, the actor, asked for it. It
// returns the id of the incident under which that is kept, as soon as it is, and
// half a second before the unit goes down; or an api.Refusal.
func (h *Healer) Restart(ctx context.Context, unit, actor string) (incident string, err error) {
	if !validActor(actor) {
		return "", errors.New("who asks for a restart has a name of 1 to 64 plain characters")
	}
	a := &answered{}
	if err := h.tell(ctx, Observation{Request: &Request{Unit: unit, Actor: actor}, answer: a}); err != nil {
		return "", err
	}
	return a.incident, a.err
}

// answered is what became of a request.
type answered struct {
	incident string
	err      error
}

// SetMaintenance takes the healer's hands off, or puts them back on. Watching
// and recording go on. It returns when that is in force and saved.
func (h *Healer) SetMaintenance(ctx context.Context, on bool) error {
	return h.tell(ctx, Observation{Maintenance: &on})
}

// tell passes on what somebody asked for, and waits until it is taken in.
func (h *Healer) tell(ctx context.Context, o Observation) error {
	o.At, o.taken = time.Now(), make(chan struct{})
	if err := h.observe(ctx, o); err != nil {
		return err
	}
	select {
	case <-o.taken:
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
	if c := h.state.Running; c != nil && h.state.Boot == h.o.Boot {
		h.takeUp(ctx, g, c)
	}
	if h.state.Boot != h.o.Boot {
		h.tellAgain()
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
		if o.Request == nil {
			h.step(ctx, g, o)
		} else {
			h.request(ctx, g, o)
		}
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

// tellAgain hands to the queue what happened last: a power cut may have taken
// from its disk what the state file, which is synced each time, still knows.
func (h *Healer) tellAgain() {
	const before = 10 * time.Minute
	for _, inc := range h.state.Incidents {
		if inc.Open() || h.state.Looked.Sub(*inc.ClosedAt) < before {
			h.queue.add(event{Incident: &inc.Incident})
		}
	}
	for _, b := range h.state.Reboots {
		h.queue.add(event{Reboot: &b})
	}
}

// takeUp ends a command of the healer's run before this one. What that may have
// stopped and not started again is started, or an operator would seem to have
// stopped it.
func (h *Healer) takeUp(ctx context.Context, g *errgroup.Group, c *Command) {
	mode := h.o.Mode
	g.Go(func() error {
		if actions[c.Action].stops {
			ctx, cancel := context.WithTimeout(ctx, c.Timeout)
			defer cancel()
			for _, unit := range append(slices.Clone(c.Units), c.Unit) {
				if unit != "" {
					h.run(ctx, mode, Command{Action: ActionStart, Unit: unit, Timeout: c.Timeout})
				}
			}
		}
		return h.observe(ctx, Observation{At: time.Now(), Result: &Result{
			Incident: c.Incident, Attempt: c.Attempt, Error: "the healer was restarted meanwhile",
		}})
	})
}

// step takes in one observation: decide, tell, remember, act. What can be done
// again is done before it is remembered, because remembering waits for the disk.
func (h *Healer) step(ctx context.Context, g *errgroup.Group, o Observation) {
	now := time.Now()
	o.Boot, o.Uptime = h.o.Boot, now.Sub(h.o.Booted)
	before := h.state
	if h.o.Recorder != nil {
		h.o.Recorder.Record(h.o.Policy, before, o, now)
	}
	after, commands := Reduce(h.o.Policy, before, o, now)
	h.mu.Lock()
	h.state = after
	h.lastCheck = now
	for _, p := range o.Probes {
		h.probes[p.Unit] = p
	}
	h.mu.Unlock()

	changed := h.publish(before, after)
	h.queue.flush()
	var late []Command
	for _, c := range commands {
		if c.Action != ActionRestart && c.Action != ActionStopStart {
			late = append(late, c)
			continue
		}
		h.start(ctx, g, c)
	}
	if changed || len(commands) > 0 || o.Maintenance != nil || o.Lease != nil || o.ResetBreaker {
		err := h.save()
		for _, c := range late {
			if err != nil && c.Action == ActionReboot { // nobody would know of it afterwards
				h.start(ctx, g, Command{Incident: c.Incident, Attempt: c.Attempt, Action: refused})
				continue
			}
			h.start(ctx, g, c)
		}
	}
}

// request answers a request, and takes it in if it is not refused.
func (h *Healer) request(ctx context.Context, g *errgroup.Group, o Observation) {
	o.answer.err = h.state.Refuse(h.o.Policy, *o.Request, time.Now())
	if h.o.Mode == config.ModeShadow {
		o.answer.err = &api.Refusal{Code: api.RefusedBusy, Reason: "the healer only watches (shadow mode)"}
	}
	if o.answer.err != nil {
		return
	}
	h.step(ctx, g, o)
	if inc := h.state.openIncident(requestRule, o.Request.Unit); inc != nil {
		o.answer.incident = inc.ID
	}
}

// refused is the action of a command that must not be carried out.
const refused = "refused"

// start carries out a command beside everything else.
func (h *Healer) start(ctx context.Context, g *errgroup.Group, c Command) {
	mode := h.o.Mode
	g.Go(func() error {
		return h.observe(ctx, Observation{At: time.Now(), Result: h.run(ctx, mode, c)})
	})
}

// run carries out one command.
func (h *Healer) run(ctx context.Context, mode string, c Command) *Result {
	result := &Result{Incident: c.Incident, Attempt: c.Attempt}
	hand := h.o.Hands[c.Action]
	switch {
	case c.Action == refused:
		result.Error = "the state could not be saved, so that nobody would know of the reboot afterwards"
		return result
	case mode == config.ModeShadow && !isUndo(c.Action): // what was done before is taken back
		result.Error = "shadow mode: decided, not done"
		return result
	case hand == nil:
		result.Error = fmt.Sprintf("unknown action %q", c.Action)
		return result
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- hand(ctx, c) }()
	select {
	case err := <-done:
		if err != nil {
			result.Error = err.Error()
		}
	case <-time.After(c.Timeout + handGrace): // it is of no use any more, and must not hold up the others
		result.Error = "it did not come back"
	}
	return result
}

// publish tells everybody what has changed, and reports whether anything has.
// Both lists of incidents are in the order of their beginnings.
func (h *Healer) publish(before, after State) bool {
	changed, old := false, before.Incidents
	for _, inc := range after.Incidents {
		for len(old) > 0 && old[0].ID != inc.ID && (old[0].Seq() < inc.Seq()) {
			old = old[1:] // forgotten
		}
		var was *Incident
		if len(old) > 0 && old[0].ID == inc.ID {
			was, old = &old[0], old[1:]
		}
		if was != nil && was.Revision == inc.Revision {
			continue
		}
		changed = true
		h.log(was, inc)
		h.hub.PublishJSON(inc.Incident)
		h.queue.add(event{Incident: new(news(was, inc))})
	}
	for i, b := range after.Reboots {
		if i >= len(before.Reboots) || before.Reboots[i] != b {
			h.queue.add(event{Reboot: &b})
		}
	}
	if !before.Breaker.Until.Equal(after.Breaker.Until) {
		changed = true
		if after.Breaker.Until.IsZero() {
			h.o.Log.Info("breaker closed, repairing again")
		} else {
			h.o.Log.Error("breaker open: too much was done in too short a time, nothing more is done for now", "duration", after.Breaker.Until.Sub(h.lastCheck))
		}
	}
	return changed
}

// log writes what became of an incident, one line per change of its state.
func (h *Healer) log(before *Incident, inc Incident) {
	if before != nil && before.State == inc.State {
		return
	}
	attrs := []any{"incident", inc.ID, "rule", inc.Rule}
	if inc.Unit != "" {
		attrs = append(attrs, "unit", inc.Unit)
	}
	switch inc.State {
	case api.IncidentOpen:
		if inc.Rule == requestRule {
			h.o.Log.Info("restart asked for", append(attrs, "reason", inc.Detail)...)
			return
		}
		f := inc.Failures[len(inc.Failures)-1]
		h.o.Log.Warn("trouble", append(attrs, "reason", f.Detail, "duration", f.DetectedAt.Sub(f.At))...)
	case api.IncidentSuppressed:
		h.o.Log.Info("waiting for what it needs", append(attrs, "reason", inc.Cause)...)
	case api.IncidentActing:
		a := inc.Actions[len(inc.Actions)-1]
		h.o.Log.Info("repairing", append(attrs, "action", a.Kind, "attempt", a.Attempt, "reason", a.Reason)...)
	case api.IncidentVerifying:
		if inc.Rule == downRule {
			h.o.Log.Info("up again, watching whether it stays so", attrs...)
		} else {
			h.o.Log.Info("done, watching whether it helps", attrs...)
		}
	case api.IncidentHolding:
		h.o.Log.Info("over, what was done is yet to be taken back", attrs...)
	case api.IncidentResolved:
		h.o.Log.Info("incident resolved", append(attrs, "duration", inc.ClosedAt.Sub(inc.FaultAt))...)
	case api.IncidentExhausted:
		if a := last(&inc); a != nil {
			attrs = append(attrs, "attempt", a.Attempt, "err", a.Error)
		}
		h.o.Log.Error("nothing left to try for now", append(attrs, "reason", inc.Detail)...)
	}
}

// save writes the state file. A full disk must not stop the healing, so a
// failure is only reported.
func (h *Healer) save() error {
	data, err := json.Marshal(h.state)
	if err == nil {
		err = atomicfile.Write(h.o.Path, data, 0o600)
	}
	if err != nil {
		h.o.Log.Error("state not saved", "path", h.o.Path, "err", err)
	}
	return err
}
