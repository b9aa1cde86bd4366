package mdns

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/grandcat/zeroconf"
)

// RFC 6762, sections 8.1 and 8.3.
const (
	probes   = 3
	probeGap = 250 * time.Millisecond
	helloGap = time.Second
)

// byZeroconf is an announcement made by this process: the service by zeroconf,
// the host name by the responder. Zeroconf does not ask whether a name is
// free, so the responder asks first and zeroconf starts when it was.
type byZeroconf struct {
	resp    *responder
	cancel  context.CancelFunc
	speaker sync.WaitGroup // probes, announces, says goodbye
	readers sync.WaitGroup
	wake    chan<- struct{}

	mu  sync.Mutex
	st  state
	err error
}

// announceByZeroconf opens port 5353 on links, which must not be empty, and
// begins to ask for the names. It touches wake when its state changes.
func announceByZeroconf(a Announcement, labels []string, links []link, wake chan<- struct{}) (announcer, error) {
	ifaces := make([]net.Interface, 0, len(links))
	for _, l := range links {
		i, err := net.InterfaceByIndex(l.index)
		if err != nil {
			return nil, fmt.Errorf("looking up %s: %w", l.name, err)
		}
		ifaces = append(ifaces, *i)
	}
	name := labels[0]
	resp, err := listen(labels, links, ifaces)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	z := &byZeroconf{resp: resp, cancel: cancel, wake: wake}
	for _, s := range resp.socks {
		z.readers.Go(func() {
			if err := resp.serve(s); ctx.Err() == nil {
				z.set(gone, fmt.Errorf("reading port 5353: %w", err))
			}
		})
	}
	z.speaker.Go(func() {
		if !z.probe(ctx) {
			return
		}
		// Without addresses of its own zeroconf answers with those of the
		// interface that was asked on. Its domain must come without a dot.
		server, err := zeroconf.RegisterProxy(instance(name), "_http._tcp", "local", a.Port, name+".local.", nil, a.TXT, ifaces)
		if err != nil {
			z.set(gone, fmt.Errorf("registering the service: %w", err))
			return
		}
		defer server.Shutdown()
		resp.announce(hostTTL)
		z.set(announced, nil)
		again := time.NewTimer(helloGap)
		defer again.Stop()
		for {
			select {
			case <-ctx.Done():
				resp.announce(0)
				return
			case <-again.C:
				resp.announce(hostTTL)
			case <-resp.conflict:
				resp.bye.Store(true)
				z.set(taken, nil)
				<-ctx.Done()
				return // no goodbye: the name is the other's
			}
		}
	})
	return z, nil
}

// probe asks three times whether somebody has the name, and reports whether it
// is ours.
func (z *byZeroconf) probe(ctx context.Context) bool {
	// Machines that got power together shall not ask together.
	wait := rand.N(probeGap) //nolint:gosec // it may be guessed: nothing hangs on it
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return false
		case <-z.resp.conflict:
			z.set(taken, nil)
			return false
		case <-time.After(wait):
		}
		if i == probes {
			return true
		}
		z.resp.probe()
		wait = probeGap
	}
}

func (z *byZeroconf) set(st state, err error) {
	z.mu.Lock()
	z.st, z.err = st, err
	z.mu.Unlock()
	select {
	case z.wake <- struct{}{}:
	default:
	}
}

func (z *byZeroconf) check(context.Context) (state, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.st, z.err
}

// close says goodbye and closes the sockets, in this order.
func (z *byZeroconf) close() {
	z.resp.bye.Store(true)
	z.cancel()
	z.speaker.Wait()
	z.resp.close()
	z.readers.Wait()
}
