package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/atomicfile"
	"github.com/arasul/arasul/pkg/bus/healer1"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/container"
	"github.com/arasul/arasul/pkg/daemon"
	"github.com/arasul/arasul/pkg/dpkg"
	"github.com/arasul/arasul/pkg/podman"
	"github.com/arasul/arasul/pkg/stable"
	"github.com/arasul/arasul/pkg/systemd"
	"github.com/arasul/arasul/pkg/update"
)

// quiesced has a file for each unit that must not start now, whoever asks: their
// units have a condition for it. It is gone after a boot, until we have looked
// whether it has to be there.
const quiesced = "/run/arasul/quiesced"

// How the health of a release is proven.
const (
	proofStreak = 5
	proofEvery  = 2 * time.Second
	proofLimit  = 3 * time.Minute
	slowLimit   = 20 * time.Minute // n8n migrates its own database when it starts
	undoPause   = 10 * time.Second
	leaseFor    = 10 * time.Minute
	leaseEvery  = time.Minute
	leaseWait   = 30 * time.Second
)

// What the way back needs on the disk: what dpkg unpacks beside what is there, and what
// the database writes. With less there is a clean-up first.
const (
	roomForWayBack = 256 << 20
	cleanupLimit   = 5 * time.Minute
)

// applyDaemon carries out the transaction under way, from wherever it is, and
// ends with it. It runs as a copy of the program that accepted the transaction.
func applyDaemon(ctx context.Context, d *daemon.Daemon) error {
	store := update.Store{FS: stable.OS{}, Dir: update.Dir}
	order, err := store.Running()
	if err != nil {
		return err
	}
	if order == nil {
		_ = os.Remove(updateMark) // of one that ended in its last step
		d.Ready("no update is under way")
		return daemon.ErrDone
	}
	id, _ := boot()
	journal, err := store.Journal()
	if errors.Is(err, update.ErrDamaged) {
		d.Log.Error("update given up", "id", order.ID, "err", err)
		journal, err = store.Salvage(id, err)
	}
	if err != nil {
		return err
	}
	a := &apply{order: *order, store: store, journal: journal, log: d.Log, tell: d.Status}
	hands := &systemd.Hands{}
	defer hands.Close()
	a.engine = update.Engine{
		Steps:  update.Steps(*order, store.Files(container.EnvPath), a.tools(hands, d.Config())),
		Commit: update.CommitStep, Journal: journal, Boot: id, Log: d.Log, Changed: a.changed, Pause: undoPause,
		Prepare: func(ctx context.Context) { a.makeRoom(ctx, hands) },
	}
	// Before anything else of ours starts at this boot: see arasul-apply.service.
	if update.Quiet(journal.Records()) {
		if err := hold(append(changing(order.Release), writers...)); err != nil {
			return err
		}
	}
	a.publish()
	d.Ready("from " + order.From + " to " + order.Release.Version)
	leasing, release := context.WithCancel(ctx)
	defer release()
	go leaseHealer(leasing)
	outcome, err := a.run(ctx)
	release()
	if errors.Is(err, syscall.ENOSPC) { // of the journal itself; systemd starts us again
		a.makeRoom(ctx, hands)
	}
	if err != nil {
		return err
	}
	return a.end(ctx, hands, outcome)
}

// makeRoom has the disk cleaned up when it is nearly full: the healer, who does that
// otherwise, keeps its hands off, and the way back needs room.
func (a *apply) makeRoom(ctx context.Context, hands *systemd.Hands) {
	if free, err := stable.Free(update.Dir); err != nil || free >= roomForWayBack {
		return
	}
	a.log.Warn("disk nearly full in the middle of an update, cleaning up")
	ctx, cancel := context.WithTimeout(ctx, cleanupLimit)
	defer cancel()
	if err := hands.Run(ctx, cleanupUnit); err != nil {
		a.log.Warn("disk not cleaned up", "err", err)
	}
}

// apply is one transaction under way.
type apply struct {
	order   update.Order
	store   update.Store
	journal *update.Journal
	engine  update.Engine
	log     *slog.Logger
	tell    func(string) // systemd

	mu      sync.Mutex
	message string
}

func (a *apply) run(ctx context.Context) (update.Outcome, error) {
	if len(a.journal.Records()) == 0 {
		if err := a.engine.Start(); err != nil {
			return "", err
		}
	}
	return a.engine.Run(ctx)
}

// end is after the transaction: everything runs, whatever became of it.
func (a *apply) end(ctx context.Context, hands *systemd.Hands, outcome update.Outcome) error {
	run := update.Describe(a.order, a.journal.Records())
	a.log.Info("update ended", "id", a.order.ID, "result", string(outcome), "reason", run.Reason, "downtime", time.Duration(run.Downtime*float64(time.Second)).Round(time.Second))
	if outcome == update.Stuck {
		if err := startOurs(ctx, hands, nil); err != nil {
			a.log.Error("not everything started", "err", err)
		}
	}
	if outcome == update.Committed {
		a.keepArchives()
	}
	a.giveBackLease(ctx)
	if err := a.store.Archive(a.order); err != nil {
		return err
	}
	_ = os.Remove(updateMark)
	if err := atomicfile.Write(updateEnded, []byte(a.order.ID), 0o644); err != nil {
		a.log.Warn("the end is not published", "err", err)
	}
	return daemon.ErrDone
}

// giveBackLease lets the healer act again. It may just have been started.
func (a *apply) giveBackLease(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leaseWait)
	defer cancel()
	for {
		err := (healer1.Client{}).Lease(ctx, "updater", 0)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			a.log.Warn("the healer keeps its hands off for another while", "err", err)
			return
		case <-time.After(time.Second):
		}
	}
}

// keepArchives leaves the archives of images where images are repaired from.
func (a *apply) keepArchives() {
	for _, image := range a.order.Release.Images {
		if image.Archive == "" {
			continue
		}
		to := filepath.Join(container.KeptDir, strings.TrimPrefix(image.ID, "sha256:")+".oci")
		if err := os.Rename(image.Archive, to); err != nil {
			a.log.Warn("archive of image not kept", "err", err)
		}
	}
}

func (a *apply) changed(update.Position) {
	a.say("")
}

// say publishes what is being done, for those who watch.
func (a *apply) say(message string) {
	a.mu.Lock()
	a.message = message
	a.mu.Unlock()
	a.publish()
}

func (a *apply) publish() {
	run := update.Describe(a.order, a.journal.Records())
	a.mu.Lock()
	run.Message = a.message
	a.mu.Unlock()
	text, err := json.Marshal(api.Update{State: "updating", Current: api.Installed{Version: a.order.From}, Run: &run, Time: time.Now().UTC()})
	if err == nil {
		err = atomicfile.Write(updateMark, text, 0o644)
	}
	if err != nil {
		a.log.Warn("progress not published", "err", err)
	}
	a.tell(fmt.Sprintf("%d %%, %s", run.Percent, run.Step))
}

// leaseHealer keeps the healer's hands off until ctx ends. A healer that is
// away has no hands.
func leaseHealer(ctx context.Context) {
	for {
		_ = (healer1.Client{}).Lease(ctx, "updater", leaseFor)
		select {
		case <-ctx.Done():
			return
		case <-time.After(leaseEvery):
		}
	}
}

// hold keeps units from starting.
func hold(units []string) error {
	if err := os.MkdirAll(quiesced, 0o755); err != nil { //nolint:gosec // systemd alone has to see it, and people may
		return err
	}
	for _, unit := range units {
		name, _, _ := strings.Cut(unit, ".")
		if err := os.WriteFile(filepath.Join(quiesced, name), nil, 0o644); err != nil { //nolint:gosec // as above
			return err
		}
	}
	return nil
}

// changing are the units of the applications whose images change.
func changing(r update.Release) (units []string) {
	for _, app := range container.Applications {
		if slices.ContainsFunc(r.Images, func(i update.Image) bool { return i.Variable == app.Variable }) {
			units = append(units, app.Unit())
		}
	}
	return units
}

func (a *apply) tools(hands *systemd.Hands, cfg *config.Config) update.Tools {
	apps := changing(a.order.Release)
	limit := proofLimit
	if slices.Contains(apps, "arasul-n8n.service") {
		limit = slowLimit
	}
	return update.Tools{
		FS:         stable.OS{},
		Packages:   packages{dpkg.Client{}, a.order.Release},
		Containers: containers{podman.Client{}},
		Database:   &copies{foreign: cfg.Database.DSN != "", workflows: slices.Contains(apps, "arasul-n8n.service"), keep: a.store.Rescues(), hands: hands},
		Units:      standing{hands, apps},
		Health: &update.Prover{
			Sight:  func(ctx context.Context) (update.Sight, error) { return lookAround(ctx, hands) },
			Streak: proofStreak, Every: proofEvery, Limit: limit, Say: a.say,
		},
	}
}

// packages is dpkg, as an update uses it.
type packages struct {
	dpkg.Client
	release update.Release
}

// Check implements update.Packages: what was received weeks ago may have been
// damaged since.
func (p packages) Check(ctx context.Context) error {
	for path, want := range p.release.SHA256 {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		sum := sha256.New()
		_, err = io.Copy(sum, f)
		_ = f.Close()
		if err != nil {
			return err
		}
		if got := hex.EncodeToString(sum.Sum(nil)); got != want {
			return fmt.Errorf("the disk does not give back what was received: %s", filepath.Base(path))
		}
	}
	return p.Client.Check(ctx)
}

// containers is podman, as an update uses it.
type containers struct{ podman.Client }

// Load implements update.Containers.
func (c containers) Load(ctx context.Context, archive string, again bool) (string, error) {
	id, err := c.Client.Load(ctx, archive)
	if err != nil || !again {
		return id, err
	}
	if err := c.Remove(ctx, id); err != nil {
		return "", err
	}
	return c.Client.Load(ctx, archive)
}

// Pin implements update.Containers.
func (c containers) Pin(ctx context.Context, id, name string) error {
	err := c.Tag(ctx, id, "localhost/arasul/"+strings.ToLower(name))
	if err != nil {
		if there, lookErr := c.Image(ctx, id); lookErr == nil && there == nil && strings.HasSuffix(name, "-before") {
			return nil // it was lost before, and the way back loads it from its archive
		}
	}
	return err
}
