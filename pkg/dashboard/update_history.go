package dashboard

import (
	"context"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

const (
	historyEvery = time.Hour        // in case that something was missed
	historySoon  = 10 * time.Second // one is under way, or something is away
)

// UpdateKeeper keeps the history of updates where it can be asked in SQL.
type UpdateKeeper interface {
	RecordUpdates(ctx context.Context, runs []api.UpdateRun) error
}

// KeepUpdates copies the updater's history into store: when it begins, which every
// update that stops us leads to, after each wish of a client, as long as something is
// under way, and when something has ended. It ends with ctx.
func (d *Dashboard) KeepUpdates(ctx context.Context, store UpdateKeeper) error {
	said := ""
	for {
		ended := d.opts.UpdateEnded()
		settled, err := d.keepUpdates(ctx, store)
		if err != nil && ctx.Err() == nil && err.Error() != said { // once
			said = err.Error()
			d.opts.Log.Warn("history of updates not recorded yet", "err", err)
		} else if err == nil {
			said = ""
		}
		wait := historyEvery
		if !settled || err != nil {
			wait = historySoon
		}
		if err := d.untilNews(ctx, wait, ended); err != nil {
			return err
		}
	}
}

// untilNews waits until the history may be another than it was when ended was the
// transaction that ended last, or the wait is over.
func (d *Dashboard) untilNews(ctx context.Context, wait time.Duration, ended string) error {
	over := time.After(wait)
	look := time.NewTicker(historySoon)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-d.wished:
			return nil
		case <-over:
			return nil
		case <-look.C:
			if d.opts.UpdateEnded() != ended {
				return nil
			}
		}
	}
}

// keepUpdates copies once, and says whether no transaction is under way.
func (d *Dashboard) keepUpdates(ctx context.Context, store UpdateKeeper) (settled bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, updaterWithin)
	defer cancel()
	var history api.UpdateHistory
	if err := d.opts.Updater.GetJSON(ctx, "/history", &history); err != nil {
		return false, err
	}
	settled = len(history.Runs) == 0 || history.Runs[0].Outcome != ""
	return settled, store.RecordUpdates(ctx, history.Runs)
}

// noteWish has KeepUpdates look: a client has begun something.
func (d *Dashboard) noteWish() {
	select {
	case d.wished <- struct{}{}:
	default: // it looks already
	}
}
