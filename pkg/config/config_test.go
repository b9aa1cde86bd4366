package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Proves BOOT-9: unknown keys and bad values are refused with file, line and key.
func TestBadConfigurationNamesFileLineAndKey(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"not TOML", "[metrics\n", []string{"arasul.toml:1: "}},
		{"unknown key", "[metrics]\n\ninterwal = \"5s\"\n", []string{"arasul.toml:3: metrics.interwal: there is no such key"}},
		{"unknown table", "# hello\n[metrix]\ninterval = \"5s\"\n", []string{"arasul.toml:2: metrix"}},
		{"two unknown keys", "a = 1\nb = 2\n", []string{"arasul.toml:1: a: there is no such key", "arasul.toml:2: b: there is no such key"}},
		{"wrong type", "[proxy]\nhosts = 5\n", []string{"arasul.toml:2: "}},
		{"not a duration", "[metrics]\ninterval = \"5 parsecs\"\n", []string{"arasul.toml:2: ", "is not a duration"}},
		{"out of range", "[healer]\nmode = \"act\"\n[metrics]\nflush = \"30s\"\ninterval = \"2h\"\n", []string{"arasul.toml:5: metrics.interval: 2h is not between 1s and 5s", "arasul.toml:4: metrics.flush"}},
		{"retention in hours", "[metrics]\nretention = \"25h\"\n", []string{"arasul.toml:2: metrics.retention: 25h is not a whole number of days"}},
		{"unknown mode", "[healer]\nmode = \"yolo\"\n", []string{`arasul.toml:2: healer.mode: "yolo" is neither "act" nor "shadow"`}},
		{"unknown access", "[access]\nstatus = \"all\"\n", []string{`arasul.toml:2: access.status: "all" is neither "local" nor "admin"`}},
		{"relative policy", "[healer]\npolicy = \"p.toml\"\n", []string{"arasul.toml:2: healer.policy"}},
		{"bad name", "[mdns]\nname = \"my.box\"\n", []string{"arasul.toml:2: mdns.name"}},
		{"bad host", "[proxy]\nhosts = [\"ok.example\", \"http://no\"]\n", []string{`arasul.toml:2: proxy.hosts: "http://no"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "arasul.toml")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Load(path)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not contain %q", err, want)
				}
			}
		})
	}
}

func TestMissingFileGivesDefaults(t *testing.T) {
	c, err := Load(filepath.Join(t.TempDir(), "none.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Metrics.Interval.Std(); got != 5*time.Second {
		t.Errorf("metrics.interval = %s, want 5s", got)
	}
}

func TestDefaultsAreValid(t *testing.T) {
	Defaults().Validate(func(key, problem string) { t.Errorf("%s: %s", key, problem) })
}

func TestOversizedFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "big.toml")
	if err := os.WriteFile(path, make([]byte, MaxBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("got %v, want an error about the limit", err)
	}
}

func FuzzDecodeNeverPanics(f *testing.F) {
	f.Add([]byte("[metrics]\ninterval = \"5s\"\n[[a]]\nb=1\n"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		_ = Decode("fuzz", data, Defaults())
	})
}

// Proves BOOT-9: a mistake in one table leaves the others in force.
func TestMistakeCostsOnlyItsOwnTable(t *testing.T) {
	tests := []struct {
		name, text string
		concerns   []string
		spares     []string
		flush      time.Duration
	}{
		{"unknown key", "[metrics]\nflush = \"1m\"\n[mdns]\ncolour = 1\n", []string{"mdns"}, []string{"metrics", "healer"}, time.Minute},
		{"wrong type, then another", "[metrics]\nflush = \"1m\"\n[proxy]\nhosts = 5\n[mdns]\nname = 7\n", []string{"proxy", "mdns"}, []string{"metrics"}, time.Minute},
		{"out of range", "[metrics]\nflush = \"1m\"\ninterval = \"1h\"\n", []string{"metrics"}, []string{"mdns"}, 30 * time.Second},
		{"unknown table", "[metrics]\nflush = \"1m\"\n[colours]\nred = 1\n", []string{"colours"}, []string{"metrics"}, time.Minute},
		{"not TOML", "[metrics]\nflush = \"1m\"\n[[[\n", []string{"metrics", "anything"}, nil, 30 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "arasul.toml")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := Load(path)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, table := range tt.concerns {
				if !Concerns(err, table) {
					t.Errorf("%v does not concern %s", err, table)
				}
			}
			for _, table := range tt.spares {
				if Concerns(err, table) {
					t.Errorf("%v concerns %s", err, table)
				}
			}
			if got := c.Metrics.Flush.Std(); got != tt.flush {
				t.Errorf("metrics.flush is %s, want %s", got, tt.flush)
			}
		})
	}
}
