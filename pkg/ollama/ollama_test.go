package ollama

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// instance behaves like Ollama as far as this package looks: a stopped clock for
// each model, a queue behind a long answer, options that make it load anew.
type instance struct {
	mu     sync.Mutex
	models map[string]*installed
	loaded []Model // of it
	log    []string

	busy    time.Duration // how long a question waits for the answer before it
	stuck   bool          // what is unloaded stays
	broken  string        // models answer with this error
	hanging bool          // nothing is answered at all
	slow    time.Duration // each answer of the API takes so long
}

type installed struct {
	about
	takes time.Duration // for a minimal answer
	loads time.Duration
}

func newInstance(models map[string]*installed) *instance {
	return &instance{models: models}
}

func (o *instance) client() *Client {
	return &Client{address: "there", http: http.Client{Transport: o}}
}

// load puts a model there as a user does.
func (o *instance) load(name string, context int, keep time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.loaded = append(o.loaded, Model{Name: name, Digest: name, Size: 1 << 20, Context: context, Expires: time.Now().Add(keep)})
}

// use is an answer that somebody else got.
func (o *instance) use(keep time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.loaded[0].Expires = time.Now().Add(keep)
}

// asked are the requests since the last call, those of /api/version and /api/ps
// left out.
func (o *instance) asked() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	log := o.log
	o.log = nil
	return log
}

func (o *instance) RoundTrip(r *http.Request) (*http.Response, error) {
	if o.hanging {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if err := pause(r.Context(), o.slow); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	var body request
	if r.Method == http.MethodPost {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			return nil, err
		}
		text, _ := json.Marshal(body)
		o.mu.Lock()
		o.log = append(o.log, r.URL.Path+" "+string(text))
		o.mu.Unlock()
	}
	answer, err := o.answer(r.Context(), r.URL.Path, body)
	if err != nil {
		return nil, err
	}
	if reason, isError := answer.(string); isError {
		w.WriteHeader(http.StatusInternalServerError)
		answer = map[string]string{"error": reason}
	}
	_ = json.NewEncoder(w).Encode(answer)
	return w.Result(), nil
}

func (o *instance) answer(ctx context.Context, path string, body request) (any, error) {
	model := o.models[body.Model]
	switch path {
	case "/api/version":
		return map[string]string{"version": "0.17.4"}, nil
	case "/api/ps":
		o.mu.Lock()
		defer o.mu.Unlock()
		return map[string]any{"models": slices.Clone(o.loaded)}, nil
	case "/api/tags":
		return map[string]any{"models": make([]struct{}, len(o.models))}, nil
	case "/api/show":
		can := "completion"
		if model.embeds {
			can = "embedding"
		}
		return map[string]any{"capabilities": []string{can}, "model_info": map[string]any{"general.architecture": "x", "x.context_length": model.context}}, nil
	}
	if keep, ok := body.KeepAlive.(float64); ok && keep == 0 {
		return map[string]any{"done": true}, pause(ctx, o.forget(body.Model))
	}
	if o.broken != "" {
		return o.broken, nil
	}
	loading := o.ready(body)
	if err := pause(ctx, o.busy+loading+model.takes); err != nil {
		return nil, err
	}
	if path == "/api/embed" {
		return map[string]any{"embeddings": [][]float64{{1}}, "load_duration": loading}, nil
	}
	return map[string]any{"done": true, "load_duration": loading}, nil
}

func (o *instance) forget(name string) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.stuck {
		o.loaded = slices.DeleteFunc(o.loaded, func(m Model) bool { return m.Name == name })
	}
	return 0
}

// ready loads a model if it is not, or if it is with another context.
func (o *instance) ready(body request) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	const byDefault = 4096
	context := byDefault
	if n := body.Options["num_ctx"]; n != 0 {
		context = n
	}
	context = min(context, o.models[body.Model].context)
	keep := 5 * time.Minute
	switch v := body.KeepAlive.(type) {
	case float64:
		keep = 292 * 365 * 24 * time.Hour
	case string:
		keep, _ = time.ParseDuration(v)
	}
	for i, m := range o.loaded {
		if m.Name != body.Model {
			continue
		}
		if body.KeepAlive != nil || time.Until(m.Expires) < forever {
			o.loaded[i].Expires = time.Now().Add(keep)
		}
		if m.Context == context {
			return 0
		}
		o.loaded[i].Context = context
		return o.models[body.Model].loads
	}
	o.loaded = append(o.loaded, Model{Name: body.Model, Digest: body.Model, Size: 1 << 20, Context: context, Expires: time.Now().Add(keep)})
	return o.models[body.Model].loads
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func chat() map[string]*installed {
	return map[string]*installed{"chat": {about: about{context: 8192}, takes: 10 * time.Millisecond, loads: 3 * time.Second}}
}

func TestUnloadFreesAllModels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newInstance(nil)
		o.load("chat", 4096, time.Minute)
		o.load("embed", 512, time.Hour)
		if err := o.client().Unload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(o.loaded) != 0 {
			t.Errorf("still loaded: %v", o.loaded)
		}
	})
}

func TestUnloadNamesAModelThatStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newInstance(nil)
		o.load("chat", 4096, time.Minute)
		o.stuck = true
		start := time.Now()
		err := o.client().Unload(t.Context())
		if err == nil || !strings.Contains(err.Error(), "unloading chat: still loaded") {
			t.Errorf("it says %v", err)
		}
		if took := time.Since(start); took != unloadWithin {
			t.Errorf("it took %s", took)
		}
	})
}

func TestUnloadIsDoneWhenEachModelWasSeenGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newInstance(nil)
		o.load("chat", 4096, time.Minute)
		go func() { // somebody who asks and asks
			time.Sleep(time.Second)
			o.load("other", 4096, time.Minute)
			o.forget("chat")
		}()
		o.stuck = true
		go func() {
			time.Sleep(999 * time.Millisecond)
			o.mu.Lock()
			o.stuck = false
			o.mu.Unlock()
		}()
		if err := o.client().Unload(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestResetSessionLoadsAgainWhatWasThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newInstance(map[string]*installed{
			"pinned": {about: about{context: 8192}},
			"soon":   {about: about{context: 8192}},
			"later":  {about: about{context: 512, embeds: true}},
		})
		o.load("pinned", 4096, 100*365*24*time.Hour)
		o.load("soon", 8192, 20*time.Second)
		o.load("later", 512, 20*time.Minute)
		if err := o.client().ResetSession(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := []string{
			`/api/generate {"model":"pinned","keep_alive":0,"stream":false}`,
			`/api/generate {"model":"soon","keep_alive":0,"stream":false}`,
			`/api/generate {"model":"later","keep_alive":0,"stream":false}`,
			`/api/show {"model":"pinned","stream":false}`,
			`/api/generate {"model":"pinned","prompt":"ok","raw":true,"keep_alive":-1,"options":{"num_ctx":4096,"num_predict":1},"stream":false}`,
			`/api/show {"model":"soon","stream":false}`,
			`/api/generate {"model":"soon","prompt":"ok","raw":true,"options":{"num_predict":1},"stream":false}`,
			`/api/show {"model":"later","stream":false}`,
			`/api/embed {"model":"later","input":"ok","keep_alive":"20m0s","stream":false}`,
		}
		if got := o.asked(); !slices.Equal(got, want) {
			t.Errorf("it asked\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if len(o.loaded) != 3 {
			t.Errorf("loaded: %v", o.loaded)
		}
	})
}

func TestResetSessionSaysWhichModelDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newInstance(chat())
		o.load("chat", 4096, time.Minute)
		o.broken = "llama runner process has terminated"
		err := o.client().ResetSession(t.Context())
		if want := "loading chat: getting /api/generate: 500: llama runner process has terminated"; err == nil || err.Error() != want {
			t.Errorf("it says %v; want %s", err, want)
		}
	})
}

func TestResetSessionOfNothingDoesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newInstance(chat())
		if err := o.client().ResetSession(t.Context()); err != nil || len(o.asked()) != 0 {
			t.Errorf("it asked something, or failed: %v", err)
		}
	})
}

// Rows are what something else on the port may send.
func TestAnswersAreBounded(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"endless":           {200, strings.Repeat(" ", maxBody+1), "answer is over 4194304 bytes"},
		"no JSON":           {200, "<html>", "decoding /api/ps"},
		"a redirect":        {302, "", "getting /api/ps: 302: Found"},
		"a reason":          {404, `{"error":"model 'x'\nnot   found"}`, "getting /api/ps: 404: model 'x' not found"},
		"an endless reason": {500, `{"error":"` + strings.Repeat("ä", 1<<20) + `"}`, "getting /api/ps: 500: " + strings.Repeat("ä", 100) + " …"},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(test.status)
				fmt.Fprint(w, test.body)
			}))
			defer s.Close()
			_, err := New(strings.TrimPrefix(s.URL, "http://")).Models(t.Context())
			if err == nil || !strings.Contains(err.Error(), test.want) || len(err.Error()) > 300 {
				t.Errorf("it says %.400v; want %q", err, test.want)
			}
		})
	}
}

func TestAListenerThatDoesNotAnswerIsGivenUp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := New(l.Addr().String()).Models(ctx); err == nil {
		t.Error("it found models")
	}
}

// FuzzModels reads what /api/ps and /api/show may send.
func FuzzModels(f *testing.F) {
	for _, file := range []string{"testdata/ps.json", "testdata/show.json"} {
		seed, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c := &Client{address: "there", http: http.Client{Transport: canned(body)}}
		models, err := c.Models(t.Context())
		if err != nil {
			return
		}
		w := c.Probe(func() bool { return true })
		w(t.Context())
		for _, m := range models {
			_, _ = c.about(t.Context(), m)
		}
	})
}

// canned answers everything with the same.
type canned []byte

func (b canned) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Body: io.NopCloser(bytes.NewReader(b))}, nil
}
