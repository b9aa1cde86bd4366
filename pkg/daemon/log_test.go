package daemon

import (
	"bytes"
	"context"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The journal takes "<3>" off the line and adds time and identity itself.
func TestLogLineIsWhatTheJournalWants(t *testing.T) {
	var out bytes.Buffer
	log := NewLogger(&out)
	log.Debug("too fine to be written")
	log.Info("ready", "version", "1.0")
	log.Warn("unit is down", "unit", "a.service", "reason", "two\nlines")
	log.With("incident", 7).Error("nothing left to try")
	log.WithGroup("g").Info("grouped", "time", "kept")
	want := []string{
		`<6>msg=ready version=1.0`,
		`<4>msg="unit is down" unit=a.service reason="two\nlines"`,
		`<3>msg="nothing left to try" incident=7`,
		`<6>msg=grouped g.time=kept`,
		``,
	}
	if diff := cmp.Diff(want, strings.Split(out.String(), "\n")); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestPriorityFollowsTheLevel(t *testing.T) {
	for level, want := range map[slog.Level]string{
		slog.LevelDebug: "<7>", slog.LevelInfo: "<6>", slog.LevelInfo + 1: "<6>",
		slog.LevelWarn: "<4>", slog.LevelError: "<3>", slog.LevelError + 4: "<3>",
	} {
		if got := priority(level); got != want {
			t.Errorf("%s is %s, want %s", level, got, want)
		}
	}
}

// Lines of several goroutines, and of loggers made from one another, neither
// mix nor swap their priorities.
func TestConcurrentLinesKeepTheirPriority(t *testing.T) {
	var out bytes.Buffer
	log := NewLogger(&out)
	var all sync.WaitGroup
	for level, l := range map[slog.Level]*slog.Logger{slog.LevelInfo: log, slog.LevelWarn: log.With("unit", "a"), slog.LevelError: log.With("unit", "b")} {
		all.Go(func() {
			for range 200 {
				l.Log(context.Background(), level, level.String())
			}
		})
	}
	all.Wait()
	line := regexp.MustCompile(`^(<6>msg=INFO|<4>msg=WARN unit=a|<3>msg=ERROR unit=b)$`)
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 600 {
		t.Errorf("%d lines, want 600", len(lines))
	}
	for _, l := range lines {
		if !line.MatchString(l) {
			t.Fatalf("line %q", l)
		}
	}
}
