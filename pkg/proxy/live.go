package proxy

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	recheckEvery = 10 * time.Second
	recheckAtOne = 8                // enquiries at a time
	unsureFor    = 30 * time.Second // that a dashboard may be away until those who are in must leave
)

// errSignedOut ends a request whose session is over.
var errSignedOut = errors.New("the session is over")

// audience is everybody who was let in and is still there: answers that come
// for minutes, WebSockets that stay open for days. They were let in once, and
// must leave when their session ends.
type audience struct {
	mu  sync.Mutex
	all map[*guest]struct{}
}

type guest struct {
	enquiry   enquiry
	confirmed time.Time // when the dashboard last said yes
	leave     context.CancelCauseFunc
}

func (a *audience) enter(e enquiry, leave context.CancelCauseFunc) (left func()) {
	g := &guest{enquiry: e, confirmed: time.Now(), leave: leave}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all == nil {
		a.all = make(map[*guest]struct{})
	}
	a.all[g] = struct{}{}
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.all, g)
	}
}

// bySession returns everybody, those with the same credential together.
func (a *audience) bySession() map[credential][]*guest {
	a.mu.Lock()
	defer a.mu.Unlock()
	groups := make(map[credential][]*guest)
	for g := range a.all {
		groups[g.enquiry.credential] = append(groups[g.enquiry.credential], g)
	}
	return groups
}

func (a *audience) confirm(guests []*guest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, g := range guests {
		g.confirmed = time.Now()
	}
}

func (a *audience) unconfirmed(guests []*guest) (over []*guest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, g := range guests {
		if time.Since(g.confirmed) > unsureFor {
			over = append(over, g)
		}
	}
	return over
}

// watch looks at those who are in every few seconds, and whenever sessions
// changed, until ctx ends.
func (g *gate) watch(ctx context.Context) error {
	tick := time.NewTicker(recheckEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-g.changed:
		}
		g.recheck(ctx)
	}
}

// recheck asks about each session once and cuts the connections of those that
// are refused. A dashboard that does not answer is no refusal: it restarts
// within seconds, and nobody's editor should notice.
func (g *gate) recheck(ctx context.Context) {
	var enquiries errgroup.Group
	enquiries.SetLimit(recheckAtOne)
	for c, guests := range g.crowd.bySession() {
		enquiries.Go(func() error {
			_, no, err := g.request(ctx, guests[0].enquiry)
			switch {
			case err != nil:
				guests = g.crowd.unconfirmed(guests)
			case no == nil:
				g.crowd.confirm(guests)
				return nil
			}
			if len(guests) == 0 {
				return nil
			}
			g.permits.forget(c)
			for _, guest := range guests {
				guest.leave(errSignedOut)
			}
			g.log.Info("connections of a session cut", "reason", errSignedOut)
			return nil
		})
	}
	_ = enquiries.Wait()
}
