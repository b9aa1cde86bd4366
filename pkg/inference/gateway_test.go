package inference

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/config"
)

// engineAt is a back end made of a handler.
type engineAt struct {
	url    string
	models []api.InstalledModel
	err    error
}

func (e engineAt) Models(context.Context) ([]api.InstalledModel, error) { return e.models, e.err }

func (e engineAt) Post(ctx context.Context, path string, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url+path, strings.NewReader(string(body)))
	if err != nil {
		return nil, err
	}
	return http.DefaultClient.Do(r)
}

// gatewayOver is a gateway whose local LLM is the first handler, and whose second
// back end, if any, the other; of that kind.
func gatewayOver(t *testing.T, kind string, handlers ...http.HandlerFunc) *httptest.Server {
	t.Helper()
	c := config.Defaults().LLM
	c.Model = "m"
	urls := map[string]string{}
	for i, h := range handlers {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		name := Local
		if i > 0 {
			name = "other"
		}
		if i > 0 || kind != config.KindOllama {
			c.BackEnds = append(c.BackEnds, config.BackEnd{Name: name, Kind: kind, URL: s.URL})
		}
		urls[name] = s.URL
	}
	g := New(Options{LLM: c, Embeddings: c, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Server: func(_ string, b config.BackEnd) Server {
		return engineAt{url: urls[b.Name], models: []api.InstalledModel{{Name: "m", Kind: "chat"}}}
	}})
	s := httptest.NewServer(g.Handler(true))
	t.Cleanup(s.Close)
	return s
}

func post(t *testing.T, s *httptest.Server, path, body string) (int, string) {
	t.Helper()
	answer, err := http.Post(s.URL+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

const question = `{"messages": [{"role": "user", "content": "hello"}]}`

func down(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }

func ollamaSays(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"model":"m","message":{"role":"assistant","content":"`+text+`"},"done":false}`+"\n"+
			`{"model":"m","message":{"role":"assistant","content":""},"done":true,"eval_count":2,"eval_duration":1000000000}`+"\n")
	}
}

func TestABackEndThatIsOverloadedIsPassedOver(t *testing.T) {
	s := gatewayOver(t, config.KindOllama, down, ollamaSays("from the other"))
	if status, text := post(t, s, "/api/chat", question); status != http.StatusOK || !strings.Contains(text, "from the other") {
		t.Errorf("%d %s", status, text)
	}
}

func TestWithoutAnyBackEndTheAnswerSaysSo(t *testing.T) {
	s := gatewayOver(t, config.KindOllama, down)
	status, text := post(t, s, "/api/chat", question)
	if status != http.StatusServiceUnavailable || !strings.Contains(text, "systemctl status arasul-llm") {
		t.Errorf("%d %s", status, text)
	}
	var said struct{ Error struct{ Message string } }
	if _, text = post(t, s, "/v1/chat/completions", question); json.Unmarshal([]byte(text), &said) != nil || said.Error.Message == "" {
		t.Errorf("not in OpenAI's form: %s", text)
	}
}

// A client that asks in Ollama's form is answered in it by an engine that knows
// OpenAI's only.
func TestOllamasFormIsTranslated(t *testing.T) {
	var asked map[string]any
	s := gatewayOver(t, config.KindOpenAI, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/chat/completions" || json.NewDecoder(r.Body).Decode(&asked) != nil {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"one\"}}]}\n\n"+
			"data: {\"choices\":[{\"delta\":{\"content\":\" two\"},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n")
	})
	_, text := post(t, s, "/api/chat", `{"messages": [{"role": "user", "content": "hello"}], "options": {"num_predict": 5}, "format": "json"}`)
	lines := strings.Split(strings.TrimSpace(text), "\n")
	var last struct {
		Done      bool
		EvalCount int `json:"eval_count"`
	}
	if len(lines) != 3 || !strings.Contains(lines[0], `"content":"one"`) || json.Unmarshal([]byte(lines[2]), &last) != nil || !last.Done || last.EvalCount != 2 {
		t.Errorf("got %s", text)
	}
	if asked["max_tokens"] != 5.0 || asked["response_format"] == nil || asked["model"] != "m" {
		t.Errorf("asked %v", asked)
	}
}

func TestWhatBreaksOffIsTold(t *testing.T) {
	s := gatewayOver(t, config.KindOllama, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"message":{"content":"half"},"done":false}`+"\n")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}, ollamaSays("never"))
	_, text := post(t, s, "/api/chat", question)
	if !strings.Contains(text, "half") || !strings.Contains(text, `"error":"`) || strings.Contains(text, "never") {
		t.Errorf("got %s", text)
	}
}

// A client that leaves ends the answer at the back end.
func TestWhoLeavesEndsTheAnswer(t *testing.T) {
	ended := make(chan struct{})
	s := gatewayOver(t, config.KindOllama, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, `{"message":{"content":"x"},"done":false}`+"\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(ended)
	})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/api/chat", strings.NewReader(question))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	cancel()
	<-ended
}

func TestBadRequestsAreNamed(t *testing.T) {
	s := gatewayOver(t, config.KindOllama, ollamaSays("x"))
	for path, rows := range map[string]map[string]string{
		"/api/chat":  {"": "JSON object", "[]": "JSON object", `{"messages": []}`: "messages", `{"model": 7, "messages": [1]}`: "model is not a text"},
		"/api/embed": {`{}`: "text 0", `{"input": []}`: "0 texts", `{"input": ["a", 1]}`: "text 1", `{"input": "` + strings.Repeat("a", maxText+1) + `"}`: "text 0"},
	} {
		for body, want := range rows {
			if status, text := post(t, s, path, body); status != http.StatusBadRequest || !strings.Contains(text, want) {
				t.Errorf("%s %.60s: %d %s", path, body, status, text)
			}
		}
	}
}

func TestTheStatusSaysWhatIsMissing(t *testing.T) {
	g := New(Options{LLM: config.Defaults().LLM, Embeddings: config.Defaults().Embeddings, Log: slog.Default(), Server: func(what string, _ config.BackEnd) Server {
		if what == "llm" {
			return engineAt{}
		}
		return engineAt{err: errors.New("away")}
	}})
	g.llm.look(t.Context())
	g.embed.look(t.Context())
	s := g.Status()
	if s.LLM.Status != api.Degraded || !strings.Contains(s.LLM.Reason, "arasul models pull") || s.Embeddings.Status != api.Down {
		t.Errorf("got %+v", s)
	}
}
