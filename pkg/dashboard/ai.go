package dashboard

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"

	"github.com/arasul/arasul/pkg/api"
)

const (
	modelsWithin = 5 * time.Second
	maxPrompt    = 16 << 20         // bytes of a conversation, pictures included
	embedWithin  = 10 * time.Minute // a model may have to be loaded
)

// Gateway is the one way to the models.
type Gateway interface {
	GetJSON(ctx context.Context, path string, v any) error
	Call(ctx context.Context, method, path string, in, out any) error
	Post(ctx context.Context, path string, header http.Header, body io.Reader) (*http.Response, error)
}

// ModelList is the models there are, and what is being done with them.
type ModelList struct {
	Models    []api.InstalledModel `json:"models"`
	Tasks     []api.ModelTask      `json:"tasks" doc:"Newest first; the last 20"`
	Timestamp time.Time            `json:"timestamp"`
}

// ModelTaskAnswer is a task, begun or cancelled.
type ModelTaskAnswer struct {
	api.ModelTask
	Timestamp time.Time `json:"timestamp"`
}

// ChatRequest is what Ollama's /api/chat takes; other fields of it are passed on.
type ChatRequest struct {
	Model    string         `json:"model,omitempty" example:"llama3.2:3b" doc:"The one that is configured unless named"`
	Messages []ChatMessage  `json:"messages" minItems:"1"`
	Stream   *bool          `json:"stream,omitempty" default:"true" doc:"The answer comes as it is made, a line of JSON for each piece"`
	Options  map[string]any `json:"options,omitempty" doc:"temperature, num_predict, …"`
	Format   any            `json:"format,omitempty" doc:"json, or a JSON schema"`
}

// ChatMessage is one turn of a conversation.
type ChatMessage struct {
	Role    string `json:"role" enum:"system,user,assistant,tool"`
	Content string `json:"content"`
}

// ChatAnswer is one piece of an answer in Ollama's form; the last has done.
type ChatAnswer struct {
	Model        string      `json:"model"`
	CreatedAt    time.Time   `json:"created_at"`
	Message      ChatMessage `json:"message"`
	Done         bool        `json:"done"`
	EvalCount    int         `json:"eval_count,omitempty" doc:"Tokens made"`
	EvalDuration int64       `json:"eval_duration,omitempty" doc:"Nanoseconds that it took"`
}

// Vectors are embeddings.
type Vectors struct {
	Model      string      `json:"model"`
	Embeddings [][]float64 `json:"embeddings" doc:"One for each text, in order"`
	Dimensions int         `json:"dimensions"`
	Seconds    float64     `json:"duration_seconds"`
	Timestamp  time.Time   `json:"timestamp"`
}

func (d *Dashboard) aiOperations(a huma.API) {
	get(a, "llm-models", "ai", "/api/llm/models", "Which models there are, and what is being done with them", d.models, 401, 503)
	for _, action := range []string{"pull", "remove"} {
		summary := map[string]string{"pull": "Fetch a model from its registry", "remove": "Remove a model from the disk"}[action]
		huma.Register(a, huma.Operation{
			OperationID: "llm-model-" + action, Method: http.MethodPost, Path: "/api/llm/models/" + action, Tags: []string{"ai"},
			Summary: summary, Description: "It takes its time: the answer is the task, whose progress is in GET /api/llm/models.",
			DefaultStatus: http.StatusAccepted, Errors: []int{401, 409, 503}, MaxBodyBytes: 4 << 10,
		}, func(ctx context.Context, in *modelInput) (*answer[ModelTaskAnswer], error) {
			return d.changeModel(ctx, action, in)
		})
	}
	huma.Register(a, huma.Operation{
		OperationID: "llm-task-cancel", Method: http.MethodPost, Path: "/api/llm/models/tasks/{id}/cancel", Tags: []string{"ai"},
		Summary: "Give up fetching a model", Errors: []int{401, 404, 503}, MaxBodyBytes: 1 << 10,
	}, d.cancelTask)
	huma.Register(a, huma.Operation{
		OperationID: "embeddings", Method: http.MethodPost, Path: "/api/embeddings", Tags: []string{"ai"},
		Summary: "Make vectors of texts", Errors: []int{400, 401, 404, 503, 504}, MaxBodyBytes: 2 << 20,
	}, d.embeddings)
}

// chatRoutes are those that are passed on as they are: the answer is a stream.
func (d *Dashboard) chatRoutes(r chi.Router, doc *huma.OpenAPI) {
	r.Post("/api/llm/chat", d.chat("/api/chat", true))
	r.Post("/api/llm/v1/chat/completions", d.chat("/v1/chat/completions", false))
	schemas := doc.Components.Schemas
	question := schemas.Schema(reflect.TypeFor[ChatRequest](), true, "ChatRequest")
	reply := schemas.Schema(reflect.TypeFor[ChatAnswer](), true, "ChatAnswer")
	doc.AddOperation(&huma.Operation{
		OperationID: "llm-chat", Method: http.MethodPost, Path: "/api/llm/chat", Tags: []string{"ai"},
		Summary: "Talk to a language model", Description: "As Ollama's /api/chat. Ending the request ends the answer.",
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: question}}},
		Responses: map[string]*huma.Response{
			"200": {Description: "The answer, in pieces or whole", Content: map[string]*huma.MediaType{"application/x-ndjson": {Schema: reply}}},
			"400": {Description: "The request is not understood"}, "404": {Description: "There is no such model"},
			"503": {Description: "No server of models answers, or too many wait"}, "504": {Description: "The model did not begin in time"},
		},
	})
	doc.AddOperation(&huma.Operation{
		OperationID: "llm-chat-completions", Method: http.MethodPost, Path: "/api/llm/v1/chat/completions", Tags: []string{"ai"},
		Summary: "Talk to a language model, in OpenAI's form", Description: "For programs that know nothing else; errors are in that form, too.",
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}}}},
		Responses: map[string]*huma.Response{
			"200": {Description: "The answer, as events or, without stream, as JSON", Content: map[string]*huma.MediaType{
				"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}},
			}},
			"400": {Description: "The request is not understood"}, "404": {Description: "There is no such model"},
			"503": {Description: "No server of models answers, or too many wait"}, "504": {Description: "The model did not begin in time"},
		},
	})
}

func gatewayAway() error {
	return problemOf(http.StatusServiceUnavailable, "gateway-away", "The gateway to the models cannot be reached: systemctl status arasul-ai")
}

func (d *Dashboard) models(ctx context.Context, _ *struct{}) (*answer[ModelList], error) {
	if d.opts.Gateway == nil {
		return nil, gatewayAway()
	}
	ctx, cancel := context.WithTimeout(ctx, modelsWithin)
	defer cancel()
	list := ModelList{Models: []api.InstalledModel{}, Tasks: []api.ModelTask{}}
	if err := d.opts.Gateway.GetJSON(ctx, "/models", &list); err != nil {
		d.opts.Log.Warn("models not asked for", "err", err)
		return nil, gatewayAway()
	}
	list.Timestamp = time.Now().UTC()
	return &answer[ModelList]{list}, nil
}

type modelInput struct {
	Body struct {
		Model string `json:"model" minLength:"1" maxLength:"200" pattern:"^[A-Za-z0-9][A-Za-z0-9._/:@-]*$" example:"llama3.2:3b"`
		Kind  string `json:"kind" enum:"chat,embedding"`
	}
}

func (d *Dashboard) changeModel(ctx context.Context, action string, in *modelInput) (*answer[ModelTaskAnswer], error) {
	var task api.ModelTask
	err := d.callGateway(ctx, "/models/"+action, in.Body, &task)
	result := api.ResultSuccess
	if err != nil {
		result = api.ResultFailed
	}
	d.audit(ctx, "models."+action, in.Body.Model, result, "")
	if err != nil {
		return nil, err
	}
	return &answer[ModelTaskAnswer]{ModelTaskAnswer{task, time.Now().UTC()}}, nil
}

type taskInput struct {
	ID string `path:"id" maxLength:"64" pattern:"^[0-9-]+$" example:"1764144000-1" doc:"Of the task"`
}

func (d *Dashboard) cancelTask(ctx context.Context, in *taskInput) (*answer[ModelTaskAnswer], error) {
	var task api.ModelTask
	if err := d.callGateway(ctx, "/tasks/"+in.ID+"/cancel", struct{}{}, &task); err != nil {
		return nil, err
	}
	d.audit(ctx, "models.cancel", task.Model, api.ResultSuccess, "")
	return &answer[ModelTaskAnswer]{ModelTaskAnswer{task, time.Now().UTC()}}, nil
}

// callGateway asks for something short. The error is an answer.
func (d *Dashboard) callGateway(ctx context.Context, path string, in, out any) error {
	if d.opts.Gateway == nil {
		return gatewayAway()
	}
	ctx, cancel := context.WithTimeout(ctx, modelsWithin)
	defer cancel()
	err := d.opts.Gateway.Call(ctx, http.MethodPost, path, in, out)
	var refused interface{ Status() int }
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused) && refused.Status() == http.StatusNotFound:
		return problemOf(http.StatusNotFound, "not-found", "There is nothing of this name.")
	case errors.As(err, &refused) && refused.Status() == http.StatusConflict:
		return problemOf(http.StatusConflict, "no-local-models", "This machine has no server of models of its own: its configuration names others.")
	}
	d.opts.Log.Warn("gateway refuses", "err", err)
	return gatewayAway()
}

type embeddingsInput struct {
	Body struct {
		Model string `json:"model,omitempty" maxLength:"200" doc:"The one that is configured unless named"`
		Input texts  `json:"input" doc:"A text, or up to 512 of them, of 32 KiB at most each"`
	}
}

// texts is one text or several.
type texts []string

// Schema implements huma.SchemaProvider.
func (texts) Schema(huma.Registry) *huma.Schema {
	one := 1
	many, long := 512, 32<<10
	text := &huma.Schema{Type: huma.TypeString, MinLength: &one, MaxLength: &long}
	return &huma.Schema{
		Description: "A text, or up to 512 of them",
		OneOf:       []*huma.Schema{text, {Type: huma.TypeArray, Items: text, MinItems: &one, MaxItems: &many}},
	}
}

// UnmarshalJSON takes both.
func (t *texts) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*t = texts{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(t))
}

func (d *Dashboard) embeddings(ctx context.Context, in *embeddingsInput) (*answer[Vectors], error) {
	if d.opts.Gateway == nil {
		return nil, gatewayAway()
	}
	ctx, cancel := context.WithTimeout(ctx, embedWithin)
	defer cancel()
	began := time.Now()
	body, err := json.Marshal(map[string]any{"model": in.Body.Model, "input": in.Body.Input})
	if err != nil {
		return nil, err
	}
	reply, err := d.opts.Gateway.Post(ctx, "/api/embed", gatewayHeader(), bytes.NewReader(body))
	if err != nil {
		return nil, gatewayAway()
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusOK {
		return nil, gatewayProblem(reply)
	}
	v := Vectors{Embeddings: [][]float64{}}
	if err := json.NewDecoder(io.LimitReader(reply.Body, 64<<20)).Decode(&v); err != nil {
		d.opts.Log.Warn("vectors unread", "err", err)
		return nil, gatewayAway()
	}
	if len(v.Embeddings) > 0 {
		v.Dimensions = len(v.Embeddings[0])
	}
	v.Seconds, v.Timestamp = time.Since(began).Seconds(), time.Now().UTC()
	return &answer[Vectors]{v}, nil
}

func gatewayHeader() http.Header {
	return http.Header{"Content-Type": {"application/json"}, "Arasul-Client": {"dashboard"}}
}

// gatewayProblem makes a problem of what the gateway says in Ollama's form.
func gatewayProblem(reply *http.Response) error {
	var said struct {
		Error string `json:"error"`
	}
	_ = json.NewDecoder(io.LimitReader(reply.Body, 64<<10)).Decode(&said)
	p := problemOf(reply.StatusCode, "model", harmless(said.Error, 500))
	if after := reply.Header.Get("Retry-After"); after != "" {
		return huma.ErrorWithHeaders(p, http.Header{"Retry-After": {after}})
	}
	return p
}

// chat passes a conversation on to the gateway, and the answer back as it comes.
// It ends when the client leaves, and when his session does.
func (d *Dashboard) chat(path string, problems bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		if d.opts.Gateway == nil {
			writeError(w, gatewayAway())
			return
		}
		ctx, cancel := d.whileAdmitted(r.Context())
		defer cancel()
		reply, err := d.opts.Gateway.Post(ctx, path, gatewayHeader(), http.MaxBytesReader(w, r.Body, maxPrompt))
		if err != nil {
			var large *http.MaxBytesError
			switch {
			case errors.As(err, &large):
				writeError(w, problemOf(http.StatusRequestEntityTooLarge, "too-large", "The conversation is larger than 16 MiB."))
			case r.Context().Err() == nil:
				d.opts.Log.Warn("gateway not reached", "err", err)
				writeError(w, gatewayAway())
			}
			return
		}
		defer reply.Body.Close()
		if reply.StatusCode != http.StatusOK && problems {
			writeError(w, gatewayProblem(reply))
			return
		}
		for _, name := range []string{"Content-Type", "Retry-After", "X-Accel-Buffering"} {
			if v := reply.Header.Get(name); v != "" {
				w.Header().Set(name, v)
			}
		}
		w.WriteHeader(reply.StatusCode)
		passOn(w, reply.Body)
	}
}

// passOn writes what comes when it comes.
func passOn(w http.ResponseWriter, from io.Reader) {
	out := http.NewResponseController(w)
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				return
			}
			_ = out.Flush()
		}
		if err != nil {
			return
		}
	}
}
