package proxy

import (
	"crypto/sha256"
	"sync"
	"time"
)

const (
	permitFor  = 5 * time.Second // how long what the dashboard allowed is believed
	maxPermits = 1024            // sessions that are remembered at a time
)

// credential names what a request shows to be let in, without keeping it.
type credential [sha256.Size]byte

// permit is the dashboard's yes: who it is.
type permit struct{ user, groups string }

// permits remembers who was let in, for a moment, so that a page of three
// hundred files asks once. It remembers no refusals: who just logged in must
// not wait.
//
// A purge also outdates answers that are still on their way: they may have been
// given before the logout. So whoever asks takes the generation first, and what
// was asked in an older one is not kept.
type permits struct {
	mu         sync.Mutex
	generation uint64
	all        map[credential]kept
}

type kept struct {
	permit
	until time.Time
}

// get returns what is remembered about c, and the generation to put an answer
// under if it is nothing.
func (p *permits) get(c credential) (yes permit, known bool, generation uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, ok := p.all[c]
	return k.permit, ok && time.Now().Before(k.until), p.generation
}

// put remembers that c was let in, unless sessions changed since generation.
func (p *permits) put(c credential, yes permit, generation uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if generation != p.generation {
		return
	}
	if len(p.all) >= maxPermits {
		p.clean()
	}
	if p.all == nil {
		p.all = make(map[credential]kept)
	}
	p.all[c] = kept{yes, time.Now().Add(permitFor)}
}

// clean makes room: what is over goes, and if that is nothing, everything.
func (p *permits) clean() {
	now := time.Now()
	for c, k := range p.all {
		if !now.Before(k.until) {
			delete(p.all, c)
		}
	}
	if len(p.all) >= maxPermits {
		clear(p.all)
	}
}

// purge forgets everybody.
func (p *permits) purge() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.generation++
	clear(p.all)
}

// since says whether sessions changed since generation.
func (p *permits) since(generation uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return generation != p.generation
}

// forget removes one.
func (p *permits) forget(c credential) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.all, c)
}
