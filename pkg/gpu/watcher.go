package gpu

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/stream"
)

const (
	interval  = 5 * time.Second        // between samples
	reprobe   = 10 * time.Second       // between looks for a GPU where there is none
	slice     = 500 * time.Millisecond // of waiting for events, in which nothing else happens
	patience  = 3                      // failed samples before a back end is opened anew
	maxEvents = 256
	dedupe    = 10 * time.Minute
)

// Sampler looks at all GPUs of a back end.
type Sampler interface {
	Sample() ([]api.GPU, error)
	Close() error
}

// Limiter holds a GPU back.
type Limiter interface {
	Limit(id string) (api.GPULimit, error)
	SetLimit(id string, value uint64) error
}

// Listener waits for what a driver has to tell, at most so long.
type Listener interface {
	Wait(time.Duration) (*api.GPUEvent, error)
}

// Resetter resets a GPU that nobody uses. Stuck says that it may never end.
type Resetter interface {
	Reset(ctx context.Context, id string) (stuck bool, err error)
}

// Backend is one way to see GPUs, opened.
type Backend struct {
	Sampler
	Limiter
	Events   Listener // nil: the driver tells nothing
	Resetter Resetter // nil: these GPUs are part of the processor
}

// Options are what a Watcher works with.
type Options struct {
	Jetson func() (*Backend, error) // opens it; asked first
	NVML   func() (*Backend, error)
	Path   string // of the file that remembers caps
	Boot   string // the kernel's boot_id
	Log    *slog.Logger
}

// Watcher samples the GPUs and does what is asked. Its methods may be called at
// the same time.
type Watcher struct {
	o    Options
	hub  stream.Hub
	wake chan struct{}

	hands     chan struct{} // full while the back end works: a lock that can be given up on
	kind      api.GPUBackend
	backend   *Backend
	reason    string // why there is none
	failed    int    // samples in a row
	probed    time.Time
	resetting string          // the GPU being reset; nothing may be opened meanwhile
	stuck     *api.GPUProblem // a reset that never ended, for the rest of our life
	caps      caps
	gpus      []api.GPU
	histories map[string]*history

	seen   sync.Mutex // never held while hardware works
	status api.GPUStatus
	events []api.GPUEvent // newest last
	tokens tokens
}

// New prepares a Watcher. A file of caps that cannot be read is reported and
// then ignored: the GPUs are watched all the same.
func New(o Options) *Watcher {
	w := &Watcher{
		o:         o,
		wake:      make(chan struct{}, 1),
		hands:     make(chan struct{}, 1),
		kind:      api.GPUNone,
		reason:    "not looked yet",
		caps:      caps{path: o.Path, boot: o.Boot},
		histories: map[string]*history{},
	}
	if err := w.caps.load(); err != nil {
		o.Log.Error("caps forgotten", "err", err)
	}
	return w
}

// Run samples until ctx ends, and calls alive after each sample. A driver that
// hangs holds it: the watchdog must then end the process.
func (w *Watcher) Run(ctx context.Context, alive func()) error {
	defer w.close()
	for ctx.Err() == nil {
		w.tick(time.Now())
		alive()
		w.pause(ctx, interval)
	}
	return ctx.Err()
}

func (w *Watcher) close() {
	w.lock()
	defer w.unlock()
	w.letGo()
}

func (w *Watcher) lock()   { w.hands <- struct{}{} }
func (w *Watcher) unlock() { <-w.hands }

// tryLock waits for the back end only as long as ctx: a driver may hang.
func (w *Watcher) tryLock(ctx context.Context) error {
	select {
	case w.hands <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the driver is busy: %w", ctx.Err())
	}
}

// letGo closes the back end.
func (w *Watcher) letGo() {
	if w.backend == nil {
		return
	}
	if err := w.backend.Close(); err != nil {
		w.o.Log.Warn("gpu back end not closed", "name", w.kind, "err", err)
	}
	w.backend, w.kind, w.gpus, w.failed = nil, api.GPUNone, nil, 0
}

// pause waits for the next sample, for an event, or for somebody who wants one.
func (w *Watcher) pause(ctx context.Context, d time.Duration) {
	until := time.Now().Add(d)
	for {
		left := time.Until(until)
		if left <= 0 {
			return
		}
		heard, listening := w.listen(min(left, slice))
		if heard {
			return
		}
		if listening {
			left = 0 // listening was the wait
		}
		timer := time.NewTimer(left)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-w.wake:
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// listen waits for an event of the driver. Listening is false when there is
// nothing to listen to, and no time has passed.
func (w *Watcher) listen(d time.Duration) (heard, listening bool) {
	w.lock()
	defer w.unlock()
	if w.backend == nil || w.backend.Events == nil {
		return false, false
	}
	e, err := w.backend.Events.Wait(d)
	switch {
	case err != nil:
		w.o.Log.Warn("no events from the gpu driver until it is opened anew", "err", err)
		w.backend.Events = nil
		return false, false
	case e == nil:
		return false, true
	}
	if e.Kind == api.GPUEventXid {
		e.Recovery = xids[e.Code]
	}
	if e.Kind == api.GPUEventLost {
		e.Recovery = api.RecoverReboot
	}
	w.history(e.GPU).note(*e)
	w.record(*e)
	return true, true
}

func (w *Watcher) history(id string) *history {
	h := w.histories[id]
	if h == nil {
		h = &history{}
		w.histories[id] = h
	}
	return h
}

// tick takes one sample, judges it and tells everybody.
func (w *Watcher) tick(now time.Time) {
	w.lock()
	defer w.unlock()
	w.look(now)
	problems := []api.GPUProblem{}
	w.seen.Lock()
	t := w.tokens
	w.seen.Unlock()
	for _, g := range w.gpus {
		problems = append(problems, w.history(g.ID).judge(g, t, now)...)
	}
	if w.stuck != nil {
		problems = append(problems, *w.stuck)
	}
	w.tell(problems, now)
}

// look takes the sample, and opens or closes the back end as needed.
func (w *Watcher) look(now time.Time) {
	if w.backend == nil {
		if w.resetting != "" || w.stuck != nil || now.Sub(w.probed) < reprobe {
			return
		}
		w.probed = now
		w.open()
	}
	if w.backend == nil {
		return
	}
	gpus, err := w.backend.Sample()
	if err == nil {
		w.gpus, w.failed = gpus, 0
		return
	}
	w.failed++
	w.o.Log.Warn("gpu not sampled", "err", err, "attempt", w.failed)
	w.gpus = nil
	if w.failed >= patience {
		w.letGo()
		w.reason = err.Error()
		w.record(api.GPUEvent{Time: now, Kind: api.GPUEventBackend, Message: "lost: " + w.reason})
	}
}

// open chooses the back end.
func (w *Watcher) open() {
	var reasons []string
	for _, candidate := range []struct {
		kind api.GPUBackend
		open func() (*Backend, error)
	}{{api.GPUJetson, w.o.Jetson}, {api.GPUNVML, w.o.NVML}} {
		b, err := candidate.open()
		if err == nil {
			if err = trust(b); err == nil {
				w.backend, w.kind, w.reason = b, candidate.kind, ""
				w.record(api.GPUEvent{Time: w.probed, Kind: api.GPUEventBackend, Message: "found through " + string(candidate.kind)})
				return
			}
			if err := b.Close(); err != nil {
				w.o.Log.Warn("gpu back end not closed", "name", candidate.kind, "err", err)
			}
		}
		reasons = append(reasons, err.Error())
	}
	if reason := strings.Join(reasons, "; "); reason != w.reason {
		w.reason = reason
		w.o.Log.Info("no gpu", "reason", reason)
	}
}

// trust refuses NVML's stub for Jetson.
func trust(b *Backend) error {
	gpus, err := b.Sample()
	if err != nil {
		return err
	}
	for _, g := range gpus {
		if strings.Contains(g.Name, "(nvgpu)") {
			return fmt.Errorf("NVML sees %s and nothing of it", g.Name)
		}
	}
	return nil
}

// tell publishes a status and records what began and what is over.
func (w *Watcher) tell(problems []api.GPUProblem, now time.Time) {
	s := api.GPUStatus{
		Time: now, Backend: w.kind, Reason: w.reason, Problems: problems,
		GPUs: append([]api.GPU{}, w.gpus...), Caps: append([]api.GPUCap{}, w.caps.list...),
	}
	w.seen.Lock()
	before := w.status.Problems
	w.status = s
	w.seen.Unlock()
	same := func(a api.GPUProblem) func(api.GPUProblem) bool {
		return func(b api.GPUProblem) bool {
			return a.GPU == b.GPU && a.Kind == b.Kind && a.Level == b.Level && a.Recovery == b.Recovery
		}
	}
	for _, p := range problems {
		if !slices.ContainsFunc(before, same(p)) {
			w.record(api.GPUEvent{
				Time: now, GPU: p.GPU, Kind: api.GPUEventProblem, Recovery: p.Recovery,
				Message: string(p.Kind) + " " + string(p.Level) + ": " + p.Message,
			})
		}
	}
	for _, p := range before {
		if !slices.ContainsFunc(problems, same(p)) {
			w.record(api.GPUEvent{
				Time: now, GPU: p.GPU, Kind: api.GPUEventCleared, Message: string(p.Kind) + " " + string(p.Level) + " is over",
			})
		}
	}
	w.hub.PublishJSON(s)
}

// record keeps an event and logs it, or counts it when it is one of the last
// ten minutes' again.
func (w *Watcher) record(e api.GPUEvent) {
	w.seen.Lock()
	defer w.seen.Unlock()
	e.Count = 1
	if e.Kind == api.GPUEventXid || e.Kind == api.GPUEventECC {
		for i, old := range slices.Backward(w.events) {
			if old.Kind == e.Kind && old.GPU == e.GPU && old.Code == e.Code && e.Time.Sub(old.Time) < dedupe {
				w.events[i].Count++
				return
			}
		}
	}
	if len(w.events) == maxEvents {
		w.events = slices.Delete(w.events, 0, 1)
	}
	w.events = append(w.events, e)
	w.o.Log.Info("gpu event", "name", e.GPU, "action", e.Kind, "reason", e.Message)
}

// Status is the newest look at the GPUs.
func (w *Watcher) Status() api.GPUStatus {
	w.seen.Lock()
	defer w.seen.Unlock()
	return w.status
}

// Events returns up to limit events, newest first.
func (w *Watcher) Events(limit int) []api.GPUEvent {
	w.seen.Lock()
	defer w.seen.Unlock()
	list := []api.GPUEvent{}
	for _, e := range slices.Backward(w.events) {
		if len(list) == limit {
			break
		}
		list = append(list, e)
	}
	return list
}

// Tokens takes a report of how many tokens the LLM has produced since it was
// started. Without one in the last 15 s no GPU is said to hang.
func (w *Watcher) Tokens(total uint64) {
	w.seen.Lock()
	defer w.seen.Unlock()
	w.tokens = tokens{total, time.Now()}
}

var errNoGPU = errors.New("there is no GPU")

// CapClocks holds all GPUs back. What one GPU refuses does not spare the others.
func (w *Watcher) CapClocks(ctx context.Context, level api.GPUCapLevel) error {
	if err := w.tryLock(ctx); err != nil {
		return err
	}
	defer w.unlock()
	if w.backend == nil || len(w.gpus) == 0 {
		return errNoGPU
	}
	var failures []error
	for _, g := range w.gpus {
		now := time.Now()
		c, err := w.caps.set(w.backend, g.ID, level, now)
		if err != nil {
			failures = append(failures, fmt.Errorf("capping %s: %w", g.ID, err))
		}
		if c != nil {
			w.record(api.GPUEvent{Time: now, GPU: g.ID, Kind: api.GPUEventCap,
				Message: fmt.Sprintf("%s: from %d to %d %s", level, c.Before, c.Value, c.Unit)})
		}
	}
	w.soon()
	return errors.Join(failures...)
}

// UncapClocks takes back every cap. Without one it does nothing.
func (w *Watcher) UncapClocks(ctx context.Context) error {
	if err := w.tryLock(ctx); err != nil {
		return err
	}
	defer w.unlock()
	if len(w.caps.list) == 0 {
		return nil
	}
	if w.backend == nil {
		return errNoGPU
	}
	var failures []error
	for _, c := range slices.Clone(w.caps.list) {
		restored, err := w.caps.unset(w.backend, c.GPU)
		if err != nil {
			failures = append(failures, fmt.Errorf("uncapping %s: %w", c.GPU, err))
			continue
		}
		message := fmt.Sprintf("back to %d %s", c.Before, c.Unit)
		if !restored {
			message = "left as it is: somebody else changed it since"
		}
		w.record(api.GPUEvent{Time: time.Now(), GPU: c.GPU, Kind: api.GPUEventUncap, Message: message})
	}
	w.soon()
	return errors.Join(failures...)
}

// soon has the next sample taken at once.
func (w *Watcher) soon() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
