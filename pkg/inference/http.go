package inference

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/config"
)

// kind is what a request wants.
type kind string

const (
	chat     kind = "chat"
	generate kind = "generate"
	embed    kind = "embed"
)

// form is whose language a request is in.
type form string

const (
	formOllama form = "ollama"
	formOpenAI form = "openai"
)

// Limits of one request.
const (
	maxBody    = 16 << 20         // bytes; a picture is a few
	maxWhole   = 64 << 20         // of an answer that comes as one
	maxTexts   = 512              // to embed at once
	maxText    = 32 << 10         // bytes of one of them
	firstByte  = 10 * time.Minute // a large model is loaded from a slow disk
	silence    = 2 * time.Minute  // in the middle of an answer
	maxClients = 64               // bytes of a client's name
)

// Handler answers on the gateway's addresses. Where trusted is set, models may be
// changed too: that is the unix socket.
func (g *Gateway) Handler(trusted bool) http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("POST /api/chat", g.handle(g.llm, chat, formOllama))
	m.HandleFunc("POST /api/generate", g.handle(g.llm, generate, formOllama))
	m.HandleFunc("POST /api/embed", g.handle(g.embed, embed, formOllama))
	m.HandleFunc("POST /v1/chat/completions", g.handle(g.llm, chat, formOpenAI))
	m.HandleFunc("POST /v1/embeddings", g.handle(g.embed, embed, formOpenAI))
	m.HandleFunc("GET /v1/models", g.listModels)
	m.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, g.Status()) })
	if trusted {
		m.HandleFunc("GET /models", func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, http.StatusOK, map[string]any{"models": g.Models(), "tasks": g.tasks.list()})
		})
		m.HandleFunc("POST /models/pull", g.change("pull"))
		m.HandleFunc("POST /models/remove", g.change("remove"))
		m.HandleFunc("POST /tasks/{id}/cancel", g.cancel)
	}
	return m
}

// handle serves one request: it waits for its turn, and tries one back end after
// the other until one answers.
func (g *Gateway) handle(e *engine, what kind, f form) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		body, err := readBody(w, r, what)
		if err != nil {
			fail(w, f, http.StatusBadRequest, err.Error())
			return
		}
		model, _ := body["model"].(string)
		if model == "" {
			if model = e.model(); model == "" {
				fail(w, f, http.StatusServiceUnavailable, "no model is installed: fetch one under Models, or with arasul models pull")
				return
			}
			body["model"] = model
		}
		e.tally.began()
		leave, err := e.queue.enter(r.Context(), clientOf(r))
		switch {
		case errors.Is(err, errFull):
			e.tally.failed()
			w.Header().Set("Retry-After", "5")
			fail(w, f, http.StatusServiceUnavailable, "too many requests wait for the models: try again in a moment")
			return
		case err != nil:
			return // the client has gone
		}
		defer leave()
		g.try(w, r, &request{engine: e, what: what, form: f, body: body, model: model, began: began})
	}
}

// request is one on its way.
type request struct {
	engine *engine
	what   kind
	form   form
	body   map[string]any
	model  string
	began  time.Time
}

// try asks the back ends in turn. Only one that has sent nothing yet is passed
// over.
func (g *Gateway) try(w http.ResponseWriter, r *http.Request, q *request) {
	var last error
	for _, b := range q.engine.candidates(q.model, time.Now()) {
		q.engine.took(b)
		sent, err := g.ask(w, r, q, b)
		gone := r.Context().Err() != nil
		if gone {
			q.engine.gave(b, nil, time.Now())
			return
		}
		q.engine.gave(b, err, time.Now())
		if err == nil {
			return
		}
		g.o.Log.Warn("back end failed", "name", b.name, "action", string(q.what), "err", err)
		if sent {
			q.engine.tally.failed()
			return
		}
		last = err
	}
	q.engine.tally.failed()
	if errors.Is(last, context.DeadlineExceeded) {
		fail(w, q.form, http.StatusGatewayTimeout, "the model did not begin to answer in time")
		return
	}
	w.Header().Set("Retry-After", "5")
	fail(w, q.form, http.StatusServiceUnavailable, "no server of models answers: systemctl status arasul-"+q.engine.name)
}

// errOverloaded is an answer that another back end may do better.
var errOverloaded = errors.New("it says that it is overloaded, or broken")

// ask has one back end answer. Sent says whether something of an answer has left.
func (g *Gateway) ask(w http.ResponseWriter, r *http.Request, q *request, b *backEnd) (sent bool, err error) {
	path, body, t, err := q.prepare(b)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	watch := time.AfterFunc(firstByte, func() { cancel(context.DeadlineExceeded) })
	defer watch.Stop()
	answer, err := b.server.Post(ctx, path, body)
	if err != nil {
		return false, cause(ctx, err)
	}
	defer answer.Body.Close()
	switch {
	case answer.StatusCode == http.StatusBadGateway, answer.StatusCode == http.StatusServiceUnavailable:
		return false, errOverloaded
	case answer.StatusCode >= http.StatusInternalServerError:
		return false, fmt.Errorf("%w: status %d", errOverloaded, answer.StatusCode)
	case answer.StatusCode != http.StatusOK: // the client's mistake
		refuse(w, q.form, answer)
		return true, nil
	}
	flow := &flow{q: q, w: w, http: http.NewResponseController(w), back: t, alive: func() { watch.Reset(silence) }}
	if q.streams() {
		err = flow.stream(answer.Body)
	} else {
		err = flow.whole(answer.Body)
	}
	return flow.sent, cause(ctx, err)
}

// cause is why a context of ours was ended, if it was.
func cause(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// streams says whether the client wants the answer as it comes.
func (q *request) streams() bool {
	return q.what != embed && streams(q.body, q.form == formOllama)
}

// prepare makes what is sent to a back end, and what translates its answer, nil
// when that is not needed.
func (q *request) prepare(b *backEnd) (path string, body []byte, t *back, err error) {
	out := q.body
	switch {
	case q.form == formOpenAI && q.what == embed:
		path = "/v1/embeddings"
	case q.form == formOpenAI:
		path = "/v1/chat/completions"
		if q.streams() && out["stream_options"] == nil { // to know how many tokens it were
			out = with(out, "stream_options", map[string]any{"include_usage": true})
		}
	case b.kind == config.KindOpenAI:
		path, out = toOpenAI(q.what, q.body)
		t = &back{what: q.what, model: q.model, began: q.began}
	default:
		path = "/api/" + string(q.what)
	}
	body, err = json.Marshal(out)
	return path, body, t, err
}

func with(m map[string]any, key string, v any) map[string]any {
	out := make(map[string]any, len(m)+1)
	for k, old := range m {
		out[k] = old
	}
	out[key] = v
	return out
}

func readBody(w http.ResponseWriter, r *http.Request, what kind) (map[string]any, error) {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.UseNumber()
	var body map[string]any
	if err := decoder.Decode(&body); err != nil || body == nil {
		return nil, fmt.Errorf("the body is not a JSON object of at most %d MiB", maxBody>>20)
	}
	if m, ok := body["model"]; ok {
		if _, ok := m.(string); !ok {
			return nil, errors.New("model is not a text")
		}
	}
	switch what {
	case chat:
		if list, ok := body["messages"].([]any); !ok || len(list) == 0 {
			return nil, errors.New("messages is missing, or empty")
		}
	case embed:
		return body, checkTexts(body["input"])
	}
	return body, nil
}

func checkTexts(input any) error {
	list, ok := input.([]any)
	if !ok {
		list = []any{input}
	}
	if len(list) == 0 || len(list) > maxTexts {
		return fmt.Errorf("input has %d texts, and not 1 to %d", len(list), maxTexts)
	}
	for i, t := range list {
		text, ok := t.(string)
		if !ok || text == "" || len(text) > maxText {
			return fmt.Errorf("text %d of input is not 1 to %d bytes", i, maxText)
		}
	}
	return nil
}

// clientOf is who asks, so that nobody fills the queue of the others.
func clientOf(r *http.Request) string {
	name := r.Header.Get("Arasul-Client")
	return name[:min(len(name), maxClients)]
}

// fail answers with an error in the client's form.
func fail(w http.ResponseWriter, f form, status int, text string) {
	if f == formOpenAI {
		writeJSON(w, status, map[string]any{"error": map[string]any{"message": text, "type": "arasul", "code": status}})
		return
	}
	writeJSON(w, status, map[string]string{"error": text})
}

// refuse passes on what a back end says is wrong with the request.
func refuse(w http.ResponseWriter, f form, answer *http.Response) {
	data, _ := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	text := strings.TrimSpace(string(data))
	var said struct {
		Error any `json:"error"`
	}
	if json.Unmarshal(data, &said) == nil {
		switch e := said.Error.(type) {
		case string:
			text = e
		case map[string]any:
			if m, ok := e["message"].(string); ok {
				text = m
			}
		}
	}
	fail(w, f, answer.StatusCode, text)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	_ = json.NewEncoder(&b).Encode(v)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

func (g *Gateway) listModels(w http.ResponseWriter, _ *http.Request) {
	data := []map[string]any{}
	for _, m := range g.Models() {
		data = append(data, map[string]any{"id": m.Name, "object": "model", "owned_by": m.BackEnd})
	}
	writeJSON(w, http.StatusOK, map[string]any{"object": "list", "data": data})
}

// change begins to fetch or to remove a model.
func (g *Gateway) change(action string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in struct{ Model, Kind string }
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10)).Decode(&in)
		e := map[string]*engine{"chat": g.llm, "embedding": g.embed}[in.Kind]
		if err != nil || in.Model == "" || e == nil {
			fail(w, formOllama, http.StatusBadRequest, `the body must be {"model": "name", "kind": "chat" or "embedding"}`)
			return
		}
		keeper, err := e.local()
		if err != nil {
			fail(w, formOllama, http.StatusConflict, err.Error())
			return
		}
		writeJSON(w, http.StatusAccepted, g.tasks.start(action, in.Model, in.Kind, func(ctx context.Context, progress func(string, int64, int64)) error {
			if action == "pull" {
				err = keeper.Pull(ctx, in.Model, progress)
			} else {
				err = keeper.Remove(ctx, in.Model)
			}
			e.look(ctx)
			return err
		}))
	}
}

func (g *Gateway) cancel(w http.ResponseWriter, r *http.Request) {
	t, err := g.tasks.cancelTask(r.PathValue("id"))
	if err != nil {
		fail(w, formOllama, http.StatusNotFound, err.Error())
		return
	}
	writeJSON(w, http.StatusOK, t)
}
