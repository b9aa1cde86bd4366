//go:build machine || box

package proof

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
)

// TestMain takes down what tests shared.
func TestMain(m *testing.M) {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		_ = flag.Set("test.parallel", "100") // slots limits it
	}
	code := m.Run()
	if w, err := theWorkshop(); err == nil {
		_ = os.RemoveAll(w.dir)
	}
	for _, s := range sharedBeds {
		if s.bed == nil {
			continue
		}
		if out, err := exec.Command(s.bed.script, "down", "--name", s.name).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "taking %s down: %v\n%s", s.name, err, out)
			code = 1
		}
	}
	os.Exit(code)
}

// slots limits how many beds work at a time. Tests mostly wait for them, so
// there are more than processors.
var slots = make(chan struct{}, 4)

// beside lets t run beside other tests, when there is a slot.
func beside(t *testing.T) {
	t.Helper()
	t.Parallel()
	slots <- struct{}{}
	t.Cleanup(func() { <-slots })
}

var sharedBeds []*shared

// shared is a bed that several tests use, one at a time and in any order. Each
// leaves it as it found it.
type shared struct {
	script, name string

	mu  sync.Mutex
	bed *bed
}

// share describes a bed. It is booted by the first test that takes it.
func share(script, name string) *shared {
	s := &shared{script: script, name: name}
	sharedBeds = append(sharedBeds, s)
	return s
}

// take gives the bed, with the package installed, to t alone until t ends. The
// test runs beside those that take other beds.
func (s *shared) take(t *testing.T) *bed {
	t.Helper()
	t.Parallel()
	s.mu.Lock() // before the slot: who waits for another test needs none
	t.Cleanup(s.mu.Unlock)
	slots <- struct{}{}
	t.Cleanup(func() { <-slots })
	if s.bed == nil {
		s.bed = boot(t, s.script, s.name, "--deb", deb(t))
	}
	return s.bed.of(t)
}

// of is the same bed for another test.
func (b *bed) of(t *testing.T) *bed {
	other := *b
	other.t = t
	return &other
}

// setupCode asks for one on the console.
func (b *bed) setupCode() string {
	b.t.Helper()
	var answer struct{ Code string }
	out := b.run("arasul", "user", "setup-code", "--json")
	if err := json.Unmarshal([]byte(out), &answer); err != nil || answer.Code == "" {
		b.t.Fatalf("arasul user setup-code says %q: %v", out, err)
	}
	return answer.Code
}
