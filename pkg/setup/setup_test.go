package setup

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
)

var lan = Machine{Interfaces: []api.Interface{{Name: "eth0"}, {Name: "wlan0"}}}

// Proves BOOT-4: every answer is judged by itself, in words that say what is
// right. Rows are what somebody may type, or send.
func TestEachAnswerIsJudged(t *testing.T) {
	long := strings.Repeat("a", 57)
	for field, rows := range map[string]map[string]string{
		fieldName: {
			"arasul": "", "a": "", "box-2": "", long[:56]: "", long: "56 are the most", "Box": "other characters", "my.box": "other characters", "a b": "other characters", "é": "other characters",
			"-a": "hyphen", "a-": "hyphen", "localhost": "every machine's", "a\nb": "other characters", "../x": "other characters",
		},
		fieldInterface:      {"eth0": "", "wlan0": "", "eth1": "there are eth0, wlan0", "*": "no interface"},
		fieldLLMModel:       {"llama3.2:3b": "", "hf.co/a/B-GGUF:Q4_K_M": "", "my_model": "", "a b": "not the name", "-x": "not the name", "a:b:c": "not the name", "a:": "not the name", "/etc/passwd": "not the name", "a;b": "not the name", strings.Repeat("a", 201): "not the name"},
		fieldEmbeddingModel: {"nomic-embed-text": "", "a\x00": "not the name"},
		fieldMinIOUser:      {"root": "", "abc": "", "ab": "3 to 20", strings.Repeat("a", 21): "3 to 20", "a b c": "letters", "a=b": "letters", "arasul-n8n": "another key", "arasul": ""},
		fieldMinIOPassword:  {"12345678": "", `a!"§`: "8 to 40", "abcdefg": "8 to 40", strings.Repeat("a", 41): "8 to 40", "abc defgh": "no blanks", "pässwörter": "plain keyboard", "a,b=c/d+e": ""},
	} {
		for value, want := range rows {
			a := map[string]api.Answers{
				fieldName: {Name: value}, fieldInterface: {Interface: value}, fieldLLMModel: {LLMModel: value},
				fieldEmbeddingModel: {EmbeddingModel: value}, fieldMinIOUser: {MinIOUser: value}, fieldMinIOPassword: {MinIOPassword: value},
			}[field]
			problems := Check(a, lan)
			switch {
			case want == "" && len(problems) > 0:
				t.Errorf("%s %q: %v", field, value, problems)
			case want != "" && (len(problems) != 1 || problems[0].Field != field || !strings.Contains(problems[0].Text, want)):
				t.Errorf("%s %q: %v, want %s", field, value, problems, want)
			}
			if field == fieldMinIOPassword && len(problems) > 0 && strings.Contains(problems[0].Error(), value) {
				t.Errorf("the password is repeated: %v", problems)
			}
		}
	}
	if problems := Check(api.Answers{}, lan); len(problems) > 0 {
		t.Errorf("no answers: %v", problems)
	}
	if problems := Check(api.Answers{Name: "A", Interface: "x", MinIOUser: "y"}, lan); len(problems) != 3 {
		t.Errorf("three are wrong: %v", problems)
	}
}

// What the wizard takes, the configuration takes.
func TestGoodAnswersAreAGoodConfiguration(t *testing.T) {
	a := api.Answers{Name: strings.Repeat("a", 56), Interface: "eth0", LLMModel: "hf.co/a/B-GGUF:Q4_K_M", EmbeddingModel: "nomic-embed-text", N8NLicence: true, MinIOUser: "abc", MinIOPassword: "12345678"}
	text, _, err := Merge(nil, a)
	if err != nil {
		t.Fatal(err)
	}
	c := config.Defaults()
	if err := config.Decode("settings.toml", text, c); err != nil {
		t.Fatal(err)
	}
	want := a
	want.MinIOUser, want.MinIOPassword = "", "" // secrets are elsewhere
	if diff := cmp.Diff(want, Current(c)); diff != "" {
		t.Errorf("read back:\n%s\n%s", diff, text)
	}
	if strings.Contains(string(text), a.MinIOPassword) {
		t.Error("a secret is in the settings")
	}
	if diff := cmp.Diff(map[string]string{"minio-root-user": "abc", "minio-root-password": "12345678"}, Secrets(a)); diff != "" {
		t.Error(diff)
	}
}

func TestAnswersChangeOnlyWhatTheyName(t *testing.T) {
	before := []byte("# old\n[mdns]\nname = 'old'\ninterfaces = ['eth0']\n\n[images]\nminio = 'example.org/minio:1'\n")
	text, changes, err := Merge(before, api.Answers{Name: "new", LLMModel: "a:1b"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Change{{"mdns.name", "old", "new"}, {"llm.model", "", "a:1b"}}, changes); diff != "" {
		t.Error(diff)
	}
	for _, want := range []string{"name = 'new'", "interfaces = ['eth0']", "minio = 'example.org/minio:1'", "model = 'a:1b'"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is not in\n%s", want, text)
		}
	}
	again, changes, err := Merge(text, api.Answers{Name: "new", LLMModel: "a:1b"})
	if err != nil || len(changes) > 0 || string(again) != string(text) {
		t.Errorf("the same answers change %v (%v):\n%s", changes, err, again)
	}
}

func TestSettingsThatCannotBeReadAreNotOverwritten(t *testing.T) {
	for _, text := range []string{"[[[", "[mdns]\ncolour = 1\n", "[mdns]\nname = 'A'\n"} {
		if _, _, err := Merge([]byte(text), api.Answers{Name: "new"}); err == nil || !strings.Contains(err.Error(), "settings.toml:") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestModelsThatFitComeFirst(t *testing.T) {
	first := func(m Machine) (fits int, name string) {
		list := Choices(m).LLMModels
		for _, c := range list {
			if c.Fits {
				fits++
			}
		}
		return fits, list[0].Name
	}
	for _, tt := range []struct {
		memory, free uint64 // GB
		fits         int
		first        string
	}{
		{64, 500, 11, "qwen3:32b"},
		{16, 500, 6, "qwen3:8b"},
		{8, 500, 4, "gemma3:4b"},
		{4, 500, 1, "llama3.2:1b"},
		{2, 500, 0, "llama3.2:1b"},
		{64, 8, 3, "qwen3:4b"},
		{0, 0, 11, "qwen3:32b"},
	} {
		if fits, name := first(Machine{MemoryBytes: tt.memory * 1e9, FreeBytes: tt.free * 1e9}); fits != tt.fits || name != tt.first {
			t.Errorf("%d GB, %d GB free: %d fit, %s first, want %d, %s", tt.memory, tt.free, fits, name, tt.fits, tt.first)
		}
	}
}

func TestWithoutAGPUASmallModelIsSuggested(t *testing.T) {
	c := Choices(Machine{MemoryBytes: 64e9, FreeBytes: 500e9})
	if got := Suggest(c.LLMModels, false); got != "gemma3:4b" {
		t.Error(got)
	}
	if got := Suggest(c.LLMModels, true); got != "qwen3:32b" {
		t.Error(got)
	}
	if got := Suggest(Choices(Machine{MemoryBytes: 1e9}).LLMModels, true); got != "" {
		t.Errorf("%s fits nowhere", got)
	}
}
