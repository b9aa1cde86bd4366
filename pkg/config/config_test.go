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
		{"domain in .local", "[acme]\ndomain = \"arasul.local\"\n", []string{`arasul.toml:2: acme.domain: "arasul.local" is not public`}},
		{"domain of one label", "[acme]\ndomain = \"box\"\n", []string{`arasul.toml:2: acme.domain: "box" is not a public host name`}},
		{"domain that is an address", "[acme]\ndomain = \"192.0.2.1\"\n", []string{"arasul.toml:2: acme.domain"}},
		{"domain with a path", "[acme]\ndomain = \"a.example/..\"\n", []string{"arasul.toml:2: acme.domain"}},
		{"email with a name", "[acme]\nemail = \"A <a@b.example>\"\n", []string{"arasul.toml:2: acme.email"}},
		{"directory without TLS", "[acme]\ndirectory = \"http://a.example/dir\"\n", []string{"arasul.toml:2: acme.directory"}},
		{"relative root", "[acme]\nca_root = \"root.pem\"\n", []string{"arasul.toml:2: acme.ca_root"}},
		{"upstream elsewhere", "[proxy]\nn8n = \"192.0.2.1:5678\"\n", []string{"arasul.toml:2: proxy.n8n: \"192.0.2.1:5678\" is not an address of this machine"}},
		{"upstream by name", "[proxy]\n\nllm = \"localhost:11434\"\n", []string{"arasul.toml:3: proxy.llm"}},
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

// Proves BOOT-9: what the wizard has set stands below what the administrator
// writes, key by key, and each mistake names its own file.
func TestSettingsStandBelowTheFile(t *testing.T) {
	for name, tt := range map[string]struct {
		settings, file  string
		mdns, model     string
		interfaces      string
		problems        []string
		concerns, spare string
	}{
		"neither":        {mdns: "arasul"},
		"settings alone": {settings: "[mdns]\nname = \"box\"\ninterfaces = [\"eth0\", \"eth1\"]\n", mdns: "box", interfaces: "eth0 eth1"},
		"file alone":     {file: "[mdns]\nname = \"box\"\n", mdns: "box"},
		"both, the same key": {
			settings: "[mdns]\nname = \"low\"\ninterfaces = [\"eth0\", \"eth1\"]\n[llm]\nmodel = \"a:1b\"\n",
			file:     "[mdns]\nname = \"high\"\ninterfaces = [\"wlan0\"]\n", mdns: "high", interfaces: "wlan0", model: "a:1b",
		},
		"mistake in the settings": {
			settings: "[mdns]\nname = \"my.box\"\n[llm]\nmodel = \"a:1b\"\n", file: "[mdns]\ninterfaces = [\"eth0\"]\n", mdns: "arasul", interfaces: "eth0", model: "a:1b",
			problems: []string{"settings.toml:2: mdns.name"}, concerns: "mdns", spare: "llm",
		},
		"mistake in the file": {
			settings: "[mdns]\nname = \"low\"\n", file: "[mdns]\ncolour = 1\n[llm]\nmodel = \"a:1b\"\n", mdns: "low", model: "a:1b",
			problems: []string{"arasul.toml:2: mdns.colour"}, concerns: "mdns", spare: "llm",
		},
		"mistakes in both": {
			settings: "[mdns]\nname = 5\n", file: "[mdns]\n\nname = \"A\"\n", mdns: "arasul",
			problems: []string{"settings.toml:2: ", "arasul.toml:3: mdns.name"}, concerns: "mdns", spare: "llm",
		},
		"settings that are no TOML": {
			settings: "[[[", file: "[llm]\nmodel = \"a:1b\"\n", mdns: "arasul", model: "a:1b", problems: []string{"settings.toml:1: "}, concerns: "anything",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			settings, file := filepath.Join(dir, "settings.toml"), filepath.Join(dir, "arasul.toml")
			for path, text := range map[string]string{settings: tt.settings, file: tt.file} {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			c, err := LoadOver(settings, file)
			if c.MDNS.Name != tt.mdns || c.LLM.Model != tt.model || strings.Join(c.MDNS.Interfaces, " ") != tt.interfaces {
				t.Errorf("got %+v and %q", c.MDNS, c.LLM.Model)
			}
			if (err == nil) != (len(tt.problems) == 0) {
				t.Fatalf("error %v", err)
			}
			for _, want := range tt.problems {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not contain %q", err, want)
				}
			}
			if err != nil && (!Concerns(err, tt.concerns) || tt.spare != "" && Concerns(err, tt.spare)) {
				t.Errorf("%v concerns the wrong tables", err)
			}
		})
	}
}

func TestEachValueSaysWhereItComesFrom(t *testing.T) {
	dir := t.TempDir()
	settings, file := filepath.Join(dir, "settings.toml"), filepath.Join(dir, "arasul.toml")
	for path, text := range map[string]string{
		settings: "[mdns]\nname = \"low\"\ninterfaces = [\"eth0\"]\n",
		file:     "# mine\n[mdns]\nname = \"high\"\n[[llm.back_end]]\nname = \"rack\"\nkind = \"openai\"\nurl = \"http://a.example\"\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := LoadOver(settings, file)
	if err != nil {
		t.Fatal(err)
	}
	text, err := c.TOML()
	if err != nil {
		t.Fatal(err)
	}
	shown := string(Annotated(text, Origins(settings, file)))
	for _, want := range []string{"name = 'high'  # " + file + ":3\n", "interfaces = ['eth0']  # " + settings + ":3\n", "mode = 'act'\n", "name = 'rack'  # " + file + ":5\n"} {
		if !strings.Contains(shown, want) {
			t.Errorf("%q is not in\n%s", want, shown)
		}
	}
	if err := Decode("shown", []byte(shown), Defaults()); err != nil {
		t.Errorf("what is shown is no configuration: %v", err)
	}
}
