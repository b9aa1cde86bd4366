package heal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arasul/arasul/pkg/api"
)

// eager is a recorder whose disk is fast: a story's day takes seconds.
type eager struct {
	*FileRecorder
	n int
}

func (e *eager) Record(p *Policy, before State, o Observation, now time.Time) {
	e.FileRecorder.Record(p, before, o, now)
	if e.n++; e.n%100 == 0 {
		e.flush()
	}
}

// recorded tells a story and records it.
func recorded(t *testing.T, name string) (dir string, out *Simulation) {
	t.Helper()
	p, err := LoadPolicy("")
	if err != nil {
		t.Fatal(err)
	}
	s, err := LoadScenario(filepath.Join("testdata/scenarios", name+".toml"), p)
	if err != nil {
		t.Fatal(err)
	}
	p.AllowReboot = s.Reboot
	dir = filepath.Join(t.TempDir(), "observations")
	r := &eager{FileRecorder: NewRecorder(dir, slog.New(slog.DiscardHandler))}
	out = simulate(p, s, r)
	r.flush()
	r.files.close()
	return dir, out
}

// Proves HEAL-8: what was recorded, run again through the same policy, commands
// the same, at the same time, and comes to the same incidents.
func TestRecordedStoriesReplayExactly(t *testing.T) {
	for _, name := range []string{ // as different as they are
		"bug-3-one-hot-reading-after-a-start", "bug-4-pausing-n8n-is-no-restart", "bug-5-gpu-that-hangs-again-and-again",
		"breaker", "crash-loop", "maintenance-and-lease", "power-cut-during-a-repair",
		"rule-database-lost", "rule-disk-critical", "rule-down", "rule-gpu-overload", "rule-heat", "rule-storage-corrupt",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, out := recorded(t, name)
			c, err := Replay(dir, storyBegins, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !c.Exact() || c.Lost > 0 {
				t.Errorf("recorded %d acts, run again %d; lost %d", len(c.Recorded), len(c.Was.Acts), c.Lost)
			}
			for _, ch := range c.Changes {
				if ch.Of != "both" || ch.Assumed {
					t.Errorf("the same policy: %+v", ch)
				}
			}
			if len(out.Actions) != len(c.Was.Acts) {
				t.Fatalf("told %d acts, replayed %d", len(out.Actions), len(c.Was.Acts))
			}
			for i, a := range out.Actions {
				b := c.Was.Acts[i]
				if a.What != b.What || storyBegins.Add(a.At).Sub(b.At).Abs() > 10*time.Millisecond {
					t.Errorf("told %s at %s, replayed %s at %s", a.What, a.At, b.What, b.At.Sub(storyBegins))
				}
			}
			if got, want := summary(c.Was.Incidents), summary(out.Incidents); got != want {
				t.Errorf("incidents: told\n%s\nreplayed\n%s", want, got)
			}
		})
	}
}

func summary(list []api.Incident) string {
	var b strings.Builder
	for _, inc := range list {
		b.WriteString(about(inc.Rule, inc.Unit) + " " + string(inc.State) + " " + inc.DetectedAt.Format(time.TimeOnly) + "\n")
	}
	return b.String()
}

// Proves HEAL-8: another policy is tried on what really happened.
func TestOtherPolicyIsSeenToDoOtherThings(t *testing.T) {
	dir, _ := recorded(t, "rule-heat")
	text := strings.ReplaceAll(string(defaultPolicy), "above   = 83\nclear   = 78", "above   = 82\nclear   = 78")
	other, err := ParsePolicy("other", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	c, err := Replay(dir, storyBegins, other)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, ch := range c.Changes {
		got = append(got, fmt.Sprintf("%s %s %s", ch.Of, ch.At.Sub(storyBegins), ch.What))
	}
	// At 83 °C it would have held the GPU back nine minutes earlier, and more so
	// when that did not help; then there is nothing left to try.
	want := []string{
		"would 1m10s cap-clocks light", "would 4m11s cap-clocks deep",
		"was 11m10s cap-clocks light", "was 14m11s cap-clocks deep", "both 25m10s uncap-clocks",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !c.Changes[0].Assumed || c.Changes[2].Assumed {
		t.Errorf("assumed to have worked: %+v", c.Changes)
	}
	if c.Was.Policy == c.Would.Policy || !c.Exact() {
		t.Errorf("policies %s and %s", c.Was.Policy, c.Would.Policy)
	}
}

func TestReplayBeginsWhereItIsAskedTo(t *testing.T) {
	dir, _ := recorded(t, "rule-heat")
	c, err := Replay(dir, storyBegins.Add(20*time.Minute), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Was.Acts) != 1 || len(c.Recorded) != 1 || c.Was.Acts[0].What != "uncap-clocks" || len(c.Was.Incidents) != 1 {
		t.Errorf("acts %+v, incidents %d", c.Was.Acts, len(c.Was.Incidents))
	}
	if c, err = Replay(dir, storyBegins.Add(30*time.Minute), nil); err != nil || len(c.Was.Acts)+len(c.Was.Incidents) > 0 {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := Replay(t.TempDir(), storyBegins, nil); err == nil || !strings.Contains(err.Error(), "nothing was recorded") {
		t.Errorf("an empty folder: %v", err)
	}
	if _, err := Replay("/nowhere", storyBegins, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}

// A kill at any moment costs the end of the recording, and nothing else.
func TestSpoiledRecordingIsReadAsFarAsItGoes(t *testing.T) {
	dir, _ := recorded(t, "rule-down")
	_, names, err := list(dir)
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	path := filepath.Join(dir, names[1])
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head := bytes.IndexByte(whole, '\n') + 1
	acts := 0
	for n := head; n < len(whole); n += 1 + len(whole)/12 {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Replay(dir, storyBegins, nil)
		if err != nil || len(c.Was.Acts) < acts {
			t.Fatalf("%d of %d bytes: %v", n, len(whole), err)
		}
		acts = len(c.Was.Acts)
	}
	if acts != 2 {
		t.Errorf("%d acts at the end", acts)
	}
	for n := range 3 { // not even the header is whole: it is nothing
		if err := os.WriteFile(path, whole[:head*n/3], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Replay(dir, storyBegins, nil); err == nil || !strings.Contains(err.Error(), "nothing was recorded") {
			t.Errorf("a third of a header: %v", err)
		}
	}
}

func FuzzSegment(f *testing.F) {
	p, err := LoadPolicy("")
	if err != nil {
		f.Fatal(err)
	}
	head, err := json.Marshal(header{Version: recordVersion, Base: storyBegins, Policy: string(p.Text), Boot: "a"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"t":0,"units":[{"name":"arasul-llm.service","load_state":"loaded","active_state":"failed","result":"signal","state_change":-1}],"set":1,"r":{"cpu_ratio":0.5},"p":{"arasul-llm.service":"down no answer"}}
{"t":1.5,"at":-0.1,"set":1,"r":{"cpu_ratio":0.6},"kernel":[{"kind":"io-error"}],"result":{"incident":"x"},"command":{"action":"restart","unit":"arasul-llm.service","begun":-1}}
{"t":2,"told":{"lease":"updater","until":60,"maintenance":true}}`))
	f.Fuzz(func(t *testing.T, lines []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "00000001.jsonl"), append(append(head, '\n'), lines...), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = Replay(dir, storyBegins, nil)
	})
}
