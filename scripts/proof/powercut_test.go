//go:build machine || box

package proof

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// powerCuts lets the power fail at a random instant of an update, of one that goes back
// and of a rollback, and sometimes once more while the machine recovers. It comes up old
// or new, in every part, and finishes by itself.
//
// ARASUL_POWERCUTS says how often, ARASUL_SEED repeats a run. An update takes about as
// long as takes says.
func powerCuts(t *testing.T, rounds int, takes time.Duration, bedCalled func(name string) *bed) {
	t.Helper()
	rounds, seed := number(t, "ARASUL_POWERCUTS", rounds), number(t, "ARASUL_SEED", int(time.Now().UnixNano()%1_000_000))
	t.Logf("%d power cuts; to repeat them: ARASUL_SEED=%d", rounds, seed)
	w := openWorkshop(t)
	b := bedCalled(fmt.Sprintf("cuts-%d", seed%1_000_000))
	b.well(3 * time.Minute)
	b.trustsWorkshop(w)
	b.run("systemctl", "disable", "--now", "arasul-n8n.service") // the images are of nothing
	b.hasAnOwner()

	c := &cuts{bed: b, shop: w, random: rand.New(rand.NewPCG(uint64(seed), 0)), takes: takes, outcomes: map[string]int{}}
	c.good, c.broken = w.program(t, "1.1.0", goodMigrations), w.program(t, "1.1.0", badMigrations)

	uncut := 2 // so that a rollback leads to a release with an image
	if rounds == 1 {
		uncut = 0
	}
	for range uncut {
		run := b.applies(c.release(t, c.good))
		if run.Outcome != "committed" {
			t.Fatalf("without a cut: %+v", run)
		}
		c.takes = run.Ended.Sub(run.Started)
	}
	for i := range rounds {
		if !t.Run(strconv.Itoa(i+1), c.round) {
			break
		}
	}
	t.Logf("figure: %d power cuts of updates and rollbacks, %d of them while the machine recovered from another; %d before the end of the transaction: %v; an update takes about %s when nothing happens",
		c.total, c.twice, c.felt, c.outcomes, c.takes.Round(time.Second))
}

func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// cuts are power cuts, one after the other.
type cuts struct {
	bed          *bed
	shop         *workshop
	random       *rand.Rand
	good, broken string // programs
	takes        time.Duration
	made         int // releases
	total, twice int
	felt         int // by the transactions: the rest came after their end
	outcomes     map[string]int
}

// release makes the next release with a program, an image and a configuration of its own.
func (c *cuts) release(t *testing.T, program string) string {
	t.Helper()
	c.made++
	version := fmt.Sprintf("1.1.%d", c.made)
	return c.shop.release(t, version, 100+c.made, program, func(root string) {
		appendTo(t, filepath.Join(root, "etc/logrotate.d/arasul"), "# "+version+"\n")
	}, "--image", "n8n="+c.shop.ofImages(t, "image-"+version))
}

// round begins something, cuts the power and looks at what is there afterwards.
func (c *cuts) round(t *testing.T) {
	b := c.bed.of(t)
	old := b.standing("n8n")
	var before, s updateState
	b.updater("GET", "/status", "", &before)
	what := []string{"update", "broken update", "rollback"}[c.random.IntN(3)]
	if what == "rollback" && before.Current.Previous == "" {
		what = "update"
	}
	switch what {
	case "update", "broken update":
		program := c.good
		if what == "broken update" {
			program = c.broken
		}
		received := b.stage(c.release(t, program))
		b.updater("POST", "/apply", `{"bundle":"`+received.Bundle+`","actor":"proof"}`, &s)
	case "rollback":
		b.updater("POST", "/rollback", `{"actor":"proof","reason":"try"}`, &s)
	}
	if s.Run == nil || s.Run.Outcome != "" {
		t.Fatalf("%s: it did not begin: %+v", what, s)
	}

	after := time.Duration(c.random.Int64N(int64(c.takes) * 23 / 20))
	time.Sleep(after) // the instant is what is being tried
	b.do("cut")
	c.total++
	b.do("up")
	again := c.random.IntN(3) == 0
	if again {
		time.Sleep(time.Duration(c.random.Int64N(int64(c.takes) / 2)))
		b.do("cut")
		c.total++
		c.twice++
		b.do("up")
	}
	run := b.updated(s.Run.ID, 15*time.Minute)
	c.outcomes[what+", "+run.Outcome]++
	t.Logf("%s to %s, cut after %s, again: %t: %s, interrupted %d times %s", what, s.Run.To, after.Round(100*time.Millisecond), again, run.Outcome, run.Interruptions, run.Reason)
	c.felt += run.Interruptions
	b.well(5 * time.Minute)
	c.whole(t, b, old, run, what)
}

// whole says whether everything is as it was, or everything new.
func (c *cuts) whole(t *testing.T, b *bed, old standing, run updateRun, what string) {
	t.Helper()
	now, schema := b.standing("n8n"), old.schema // a rollback keeps what is stored
	if what == "update" {
		schema = "980\n2" // goodMigrations are in, whether by this release or an earlier one
	}
	switch {
	case run.Outcome == "rolled-back":
		if now != old {
			t.Errorf("taken back:\n%+v, want\n%+v", now, old)
		}
	case run.Outcome != "committed" || what == "broken update":
		t.Errorf("%s: %+v", what, run)
	default:
		mixed := now.version != run.To || now.image == old.image || now.rows != old.rows || now.schema != schema ||
			what == "update" && !strings.Contains(now.config, "# "+run.To) || !strings.Contains(now.config, "# of the owner")
		if mixed {
			t.Errorf("installed: %+v, from %+v to %s", now, old, run.To)
		}
	}
	if left := b.sh("ls -A /var/lib/arasul/update/kept | grep -v ^previous || true"); left != "" {
		t.Errorf("left in kept/: %s", left)
	}
	if out := b.run("dpkg", "--audit"); out != "" {
		t.Errorf("dpkg --audit: %s", out)
	}
	out, errOut, code := b.try("setpriv", "--reuid=arasul-postgres", "--regid=arasul-postgres", "--init-groups",
		"/usr/lib/postgresql/15/bin/pg_amcheck", "--all", "--install-missing", "--heapallindexed", "--host=/run/arasul/postgres")
	if code != 0 {
		t.Errorf("pg_amcheck: %d\n%s%s", code, out, errOut)
	}
	if now.image == "" {
		return // there was none before the first release
	}
	// The image that is to run is there, and in it what was put in.
	file := b.sh("root=$(podman image mount " + now.image + ") && cat $root/file && podman image unmount " + now.image + " >/dev/null")
	if name, _, _ := strings.Cut(strings.TrimPrefix(file, "image-"), "image-"); file != strings.Repeat("image-"+name, 1000) {
		t.Errorf("the image holds %d bytes that begin with %.40q", len(file), file)
	}
}
