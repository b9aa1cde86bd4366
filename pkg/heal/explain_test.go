package heal

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arasul/arasul/pkg/config"
)

// TestMain puts all tests into one time zone, before anything can ask for it.
func TestMain(m *testing.M) {
	time.Local = time.UTC
	os.Exit(m.Run())
}

// Proves HEAL-8: what was seen, why, what was done, and what comes next, at
// moments in the middle of stories. testdata/explain.txt holds each:
//
//	@story 5m30s rule   the story, cut off then, and the rule of the incident
func TestExplanationsAreForPeople(t *testing.T) {
	p, err := LoadPolicy("")
	if err != nil {
		t.Fatal(err)
	}
	const path = "testdata/explain.txt"
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for line := range strings.Lines(string(want)) {
		fields := strings.Fields(line)
		if !strings.HasPrefix(line, "@") || len(fields) != 3 {
			continue
		}
		got.WriteString(line)
		s, err := LoadScenario(filepath.Join("testdata/scenarios", fields[0][1:]+".toml"), p)
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.ParseDuration(fields[1])
		if err != nil {
			t.Fatal(err)
		}
		s.For = config.Duration(at)
		st := Simulate(p, s).State
		for i := range st.Incidents {
			if inc := st.Incidents[i]; inc.Rule == fields[2] {
				text := Explain(p, st, inc, storyBegins.Add(at))
				got.WriteString(strings.ReplaceAll(text, "2026-01-01 ", "") + "\n")
			}
		}
	}
	if *update {
		if err := os.WriteFile(path, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s (-want +got), -update accepts it:\n%s", path, diff)
	}
}

func TestExplanationIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		defer func() { b.stop() }()
		b.up(metricsUnit)
		b.failed(metricsUnit)
		get := func(id string) (int, string) {
			w := httptest.NewRecorder()
			b.healer.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/explain/"+id, nil))
			var answer struct{ Text string }
			_ = json.Unmarshal(w.Body.Bytes(), &answer)
			return w.Code, answer.Text
		}
		if code, text := get(b.incident().ID); code != http.StatusOK || !strings.Contains(text, "exited with status 3") {
			t.Errorf("%d %s", code, text)
		}
		if code, _ := get("20260101T000000-7"); code != http.StatusNotFound {
			t.Errorf("an incident that is not known: %d", code)
		}
	})
}
