package update

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/bundle"
	"github.com/arasul/arasul/pkg/stream"
)

// variables are the lines of images.env that an application's image stands in.
var variables = map[string]string{"llm": "LLM", "n8n": "N8N", "minio": "MINIO"}

// Options are what an Updater works with.
type Options struct {
	Store   Store
	KeyDir  string
	OS      string // path of os-release
	Arch    string // as dpkg names it
	ID      string // path of machine-id
	Schema  int    // of the database, as the installed release has it
	Program func() ([]byte, error)
	// Version is the one that is installed.
	Version func(context.Context) (string, error)
	// Lacks says what keeps the package at a path from being installed on the machine as
	// it is, empty for nothing.
	Lacks func(ctx context.Context, path string) (string, error)
	// Run starts what carries out the transaction under way, Halt stops it where it
	// is.
	Run  func(context.Context) error
	Halt func(context.Context) error
	// Progress is what the one that carries it out says, nil while there is none.
	Progress func() *api.Update
	// Chosen is which images run: IDs by variable.
	Chosen func() (map[string]string, error)
	// Changed, if set, hears of every change.
	Changed func(api.Update)
	// Boot is the kernel's id of this run.
	Boot string
	// Free says how many bytes of the disk are free.
	Free func() (int64, error)
	// Synced says that the clock is right.
	Synced func() bool
	Log    *slog.Logger
}

// Updater receives releases, judges them, and hands them to the transaction.
type Updater struct {
	o     Options
	stage Stage
	hub   stream.Hub

	deciding sync.Mutex // one order at a time
}

// New makes an Updater. What was received before is checked again.
func New(o Options) (*Updater, error) {
	u := &Updater{o: o}
	u.stage = Stage{
		Dir:   o.Store.StageDir(),
		Trust: func() (*bundle.Root, error) { return o.Store.Trust(o.KeyDir) },
		Keep:  o.Store.KeepTrust,
		Judge: u.mayStage,
		Free:  o.Free,
	}
	if err := o.Store.Init(); err != nil {
		return nil, err
	}
	if err := u.stage.Open(); err != nil {
		o.Log.Warn("what was received before is gone", "err", err)
	}
	return u, nil
}

// machine is what releases are judged by.
func (u *Updater) machine(ctx context.Context) (m bundle.Machine, err error) {
	current, err := u.o.Store.Current()
	if err != nil {
		return m, err
	}
	id, err := os.ReadFile(u.o.ID)
	if err != nil {
		u.o.Log.Warn("this machine has no name, so that no permit can be for it alone", "err", err)
	}
	m = bundle.Machine{
		ID: strings.TrimSpace(string(id)), Arch: u.o.Arch, OS: osRelease(u.o.OS), Sequence: current.Sequence, Floor: current.Floor,
		Schema: u.o.Schema, Failed: map[string]bool{}, Tried: map[string]bool{}, Trusted: current.Built,
	}
	if m.Permits, err = readPermits(u.o.KeyDir); err != nil {
		return m, err
	}
	if m.Version, err = u.o.Version(ctx); err != nil {
		return m, err
	}
	if u.o.Synced() {
		m.Trusted = time.Now()
	}
	for _, run := range u.o.Store.History() {
		if run.Kind != "update" || run.Outcome == "" {
			continue
		}
		m.Tried[run.Bundle] = true
		if run.Outcome != string(Committed) && hasStopped(run) {
			m.Failed[run.Bundle] = true
		}
	}
	return m, nil
}

// hasStopped says whether a transaction came to where it stops services. One that was
// cancelled before, or found that the machine was not ready, harmed nobody and may be
// tried again.
func hasStopped(run api.UpdateRun) bool {
	return slices.ContainsFunc(run.Steps, func(s api.UpdateStep) bool { return s.Name == stepQuiesce && s.State != "pending" })
}

// mayStage refuses what nobody can want to install here.
func (u *Updater) mayStage(v *bundle.Verified) error {
	m, err := u.machine(context.Background())
	if err != nil {
		return err
	}
	return v.Check(m, bundle.Wish{Person: true, Downgrade: true, Again: true})
}

// Inspect says what a bundle is, from its beginning, and whether it can be
// installed here, with somebody who looks at it or without.
func (u *Updater) Inspect(ctx context.Context, r io.Reader, person bool) (api.Bundle, error) {
	v, err := u.stage.Inspect(r)
	if err != nil {
		return api.Bundle{}, err
	}
	return u.describe(ctx, v, person), nil
}

func (u *Updater) describe(ctx context.Context, v *bundle.Verified, person bool) api.Bundle {
	m := &v.Manifest
	b := api.Bundle{
		ID: v.ID, Version: m.Release.Version, Sequence: m.Release.Sequence, Channel: m.Release.Channel, Notes: m.Release.Notes,
		Built: m.Release.Built, SizeBytes: v.Size(), Parts: []string{}, Signers: []string{}, DataClass: string(m.Data.Class),
	}
	for _, p := range m.Payloads {
		b.Parts = append(b.Parts, p.Name)
	}
	for _, id := range v.Signers {
		b.Signers = append(b.Signers, id[:16])
	}
	machine, err := u.machine(ctx)
	if err == nil {
		err = v.Check(machine, bundle.Wish{Person: person})
	}
	b.Problem = refusedBy(err)
	return b
}

// refusedBy is an error in the words of the API.
func refusedBy(err error) *api.Refused {
	if err == nil {
		return nil
	}
	var e *bundle.Error
	if errors.As(err, &e) {
		return &api.Refused{Code: string(e.Code), Message: e.Text, Hint: e.Hint}
	}
	return &api.Refused{Code: string(Unknown), Message: err.Error(), Hint: "The log says more: journalctl -u arasul-updater"}
}

// Staged is what was received, or nil.
func (u *Updater) Staged(ctx context.Context) *api.StagedBundle {
	at := u.stage.get()
	if at == nil {
		return nil
	}
	return &api.StagedBundle{Bundle: u.describe(ctx, at.Verified, true), ReceivedBytes: at.received(), Complete: at.complete(), Since: at.since, Time: time.Now().UTC()}
}

// Receive takes a stretch of a bundle: see Stage.Receive.
func (u *Updater) Receive(ctx context.Context, size, offset int64, r io.Reader) error {
	defer u.publish()
	err := u.stage.Receive(ctx, size, offset, r)
	if err == nil {
		if at := u.stage.get(); at != nil && at.complete() {
			u.o.Log.Info("release received", "version", at.Manifest.Release.Version, "id", at.ID)
		}
		return nil
	}
	u.o.Log.Warn("release not received", "err", err)
	return err
}

// Forget removes what was received.
func (u *Updater) Forget() error {
	defer u.publish()
	return u.stage.Forget()
}

// StickSeen keeps what came of a stick, for those who look at the page.
func (u *Updater) StickSeen(s api.Stick) error {
	defer u.publish()
	return u.o.Store.KeepStick(s)
}

// Status says how far everything is.
func (u *Updater) Status(ctx context.Context) api.Update {
	s := api.Update{State: "idle", Staged: u.Staged(ctx), Stick: u.o.Store.Stick(), Time: time.Now().UTC()}
	s.Current.Version, _ = u.o.Version(ctx)
	if c, err := u.o.Store.Current(); err == nil {
		s.Current.Sequence, s.Current.Floor, s.Current.Committed = c.Sequence, c.Floor, c.Committed
	}
	if p, err := u.o.Store.Previous(); err == nil {
		s.Current.Previous = p.Version
	}
	if s.Staged != nil {
		s.State = "receiving"
		if s.Staged.Complete {
			s.State = "staged"
		}
	}
	if runs := u.o.Store.History(); len(runs) > 0 {
		s.Run = &runs[0]
		switch s.Run.Outcome {
		case "":
			s.State = "updating"
			if p := u.o.Progress(); p != nil && p.Run != nil && p.Run.ID == s.Run.ID {
				s.Run.Message = p.Run.Message
			}
		case string(Stuck):
			s.State = "stuck"
		}
	}
	return s
}

// History are the transactions of this machine, the newest first.
func (u *Updater) History() api.UpdateHistory {
	return api.UpdateHistory{Runs: u.o.Store.History(), Time: time.Now().UTC()}
}

// Apply installs what was staged. Person: somebody has it before their eyes.
func (u *Updater) Apply(ctx context.Context, a api.ApplyUpdate, person bool) error {
	u.deciding.Lock()
	defer u.deciding.Unlock()
	defer u.publish()
	at := u.stage.get()
	switch {
	case at == nil || at.ID != a.Bundle:
		return &bundle.Error{Code: Unknown, Text: "this release is not on this machine", Hint: "Upload it first."}
	case !at.complete():
		return &bundle.Error{Code: Busy, Text: "the file is not there as a whole", Hint: "Let it come to its end, or upload it again."}
	case a.AllowDowngrade && a.Reason == "":
		return &bundle.Error{Code: bundle.Downgrade, Text: "going back to an older release needs a reason", Hint: "Say why; it is kept."}
	}
	m, err := u.machine(ctx)
	if err != nil {
		return err
	}
	if err := at.Check(m, bundle.Wish{Person: person, Downgrade: a.AllowDowngrade, Again: a.Force}); err != nil {
		return err
	}
	r, err := u.release(at.Verified)
	if err != nil {
		return err
	}
	order := Order{Kind: "update", From: m.Version, Actor: a.Actor, Release: r}
	if err := u.accept(ctx, &order, at); err != nil {
		return err
	}
	u.o.Log.Info("update begins", "id", order.ID, "from", order.From, "version", r.Version, "actor", a.Actor, "reason", a.Reason)
	return nil
}

// release is what a transaction has to know of a bundle. Images that run already
// are left out.
func (u *Updater) release(v *bundle.Verified) (Release, error) {
	m := &v.Manifest
	r := Release{
		Version: m.Release.Version, Sequence: m.Release.Sequence, Floor: m.Floor, Bundle: v.ID, Built: m.Release.Built,
		OneWay: m.Data.Class != bundle.Compatible,
		SHA256: map[string]string{},
	}
	chosen, err := u.o.Chosen()
	if err != nil {
		return r, err
	}
	parts := filepath.Join(u.o.Store.RunDir(), "parts")
	for i, p := range m.Payloads {
		path := PartPath(parts, i)
		switch {
		case p.Kind == bundle.Deb:
			r.Package = path
		case chosen[variables[p.Application]] == p.ImageID:
			continue
		default:
			r.Images = append(r.Images, Image{Variable: variables[p.Application], ID: p.ImageID, Archive: path})
		}
		r.SHA256[path] = p.SHA256
	}
	return r, nil
}

// Rollback brings the release before back. What was stored since stays.
func (u *Updater) Rollback(ctx context.Context, a api.UndoUpdate) error {
	u.deciding.Lock()
	defer u.deciding.Unlock()
	defer u.publish()
	r, err := u.o.Store.Previous()
	if err != nil {
		return err
	}
	if r.Package == "" {
		return &bundle.Error{Code: Unknown, Text: "there is no release before this one on this machine", Hint: "A rollback leads back over the newest update, once."}
	}
	current, err := u.o.Store.Current()
	if err != nil {
		return err
	}
	if current.OneWay {
		return &bundle.Error{Code: OneWay, Text: "the release before cannot read what this one has stored"}
	}
	from, err := u.o.Version(ctx)
	if err != nil {
		return err
	}
	order := Order{Kind: "rollback", From: from, Actor: a.Actor, Release: r}
	if err := u.accept(ctx, &order, nil); err != nil {
		return err
	}
	u.o.Log.Info("rollback begins", "id", order.ID, "from", from, "version", r.Version, "actor", a.Actor, "reason", a.Reason)
	return nil
}

// accept names an order and hands it, with what was received for it, if anything, to
// what carries it out. What is missing on the machine, and on its disk since, is said
// before that: a release that waits goes on waiting.
func (u *Updater) accept(ctx context.Context, order *Order, at *staged) error {
	pkg := order.Release.Package
	var payloads []bundle.Payload
	if at != nil {
		pkg, payloads = filepath.Join(u.stage.parts(), filepath.Base(pkg)), at.Manifest.Payloads // where it lies until then
	} else if info, err := os.Stat(pkg); err == nil {
		payloads = []bundle.Payload{{Kind: bundle.Deb, Size: info.Size()}}
	}
	if err := u.stage.room(0, payloads); err != nil {
		return err
	}
	lacks, err := u.o.Lacks(ctx, pkg)
	if err != nil {
		return err
	}
	if lacks != "" {
		return &bundle.Error{Code: NotReady, Text: "this machine lacks what the release needs: " + lacks, Hint: "Install with apt what is missing, then try again: the release waits."}
	}
	program, err := u.o.Program()
	if err != nil {
		return fmt.Errorf("reading our own program: %w", err)
	}
	if order.ID, err = u.o.Store.NewID(time.Now()); err != nil {
		return err
	}
	begin := func(parts string) error { return u.o.Store.Accept(*order, parts, program) }
	if at != nil {
		err = u.stage.Take(at, begin)
	} else {
		err = begin("")
	}
	if errors.Is(err, ErrBusy) {
		return &bundle.Error{Code: Busy, Text: "an update is under way", Hint: "Wait until it has ended."}
	}
	if err != nil {
		return err
	}
	return u.o.Run(ctx)
}

// Cancel turns an update back that has not yet stopped anything, or forgets what
// is being received.
func (u *Updater) Cancel(ctx context.Context, a api.UndoUpdate) error {
	u.deciding.Lock()
	defer u.deciding.Unlock()
	defer u.publish()
	order, err := u.o.Store.Running()
	if err != nil {
		return err
	}
	if order == nil {
		if u.stage.get() == nil {
			return &bundle.Error{Code: Unknown, Text: "there is nothing to cancel"}
		}
		return u.stage.Forget()
	}
	if runs := u.o.Store.History(); len(runs) == 0 || !runs[0].CanStop {
		return errTooLate
	}
	if err := u.o.Halt(ctx); err != nil {
		return err
	}
	turned, err := u.turnBack(a)
	if err := errors.Join(err, u.o.Run(ctx)); err != nil {
		return err
	}
	if !turned {
		return errTooLate
	}
	u.o.Log.Info("update cancelled", "id", order.ID, "actor", a.Actor)
	return nil
}

var errTooLate = &bundle.Error{Code: Busy, Text: "the update has come too far to be cancelled", Hint: "Let it come to its end. Afterwards a rollback leads back."}

// turnBack writes into the journal of what was halted.
func (u *Updater) turnBack(a api.UndoUpdate) (bool, error) {
	journal, err := u.o.Store.Journal()
	if err != nil {
		return false, err
	}
	if len(journal.Records()) > 0 && !canStop(Replay(journal.Records(), CommitStep)) {
		return false, nil
	}
	e := Engine{Commit: CommitStep, Journal: journal, Boot: u.o.Boot, Log: u.o.Log}
	reason := "cancelled by " + a.Actor
	if a.Reason != "" {
		reason += ": " + a.Reason
	}
	return e.Cancel(reason)
}

// Busy says whether something is under way that must not be left alone.
func (u *Updater) Busy() bool {
	order, err := u.o.Store.Running()
	return err != nil || order != nil || u.stage.Receiving()
}

func (u *Updater) publish() {
	s := u.Status(context.Background())
	u.hub.PublishJSON(s)
	if u.o.Changed != nil {
		u.o.Changed(s)
	}
}

// goOn has what was accepted carried out. The one that does it may have been about to
// end with the transaction before, when it was asked to begin.
func (u *Updater) goOn(ctx context.Context) {
	if !u.deciding.TryLock() {
		return // somebody is about to begin or to halt one
	}
	defer u.deciding.Unlock()
	if order, err := u.o.Store.Running(); err != nil || order == nil {
		return
	}
	if err := u.o.Run(ctx); err != nil {
		u.o.Log.Warn("what was accepted is not carried out", "err", err)
	}
}

// Watch publishes what changes until ctx ends. The one that carries out the
// transaction is another process.
func (u *Updater) Watch(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := 0; ; n++ {
		if u.Busy() || n%10 == 0 {
			u.publish()
		}
		if n%10 == 0 {
			u.goOn(ctx)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
