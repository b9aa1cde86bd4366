package inference

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// toOpenAI makes of a request in Ollama's form one in OpenAI's, for a back end that
// knows no other, and says where it goes.
func toOpenAI(what kind, body map[string]any) (path string, out map[string]any) {
	out = map[string]any{"model": body["model"]}
	switch what {
	case embed:
		out["input"] = body["input"]
		return "/v1/embeddings", out
	case generate:
		messages := []any{}
		if system, ok := body["system"].(string); ok && system != "" {
			messages = append(messages, map[string]any{"role": "system", "content": system})
		}
		out["messages"] = append(messages, map[string]any{"role": "user", "content": body["prompt"]})
	default:
		out["messages"] = body["messages"]
	}
	if streams(body, true) {
		out["stream"] = true
		out["stream_options"] = map[string]any{"include_usage": true}
	}
	if options, ok := body["options"].(map[string]any); ok {
		for from, to := range map[string]string{
			"temperature": "temperature", "top_p": "top_p", "seed": "seed", "stop": "stop", "num_predict": "max_tokens",
		} {
			if v, ok := options[from]; ok {
				out[to] = v
			}
		}
	}
	switch format := body["format"].(type) {
	case string:
		if format == "json" {
			out["response_format"] = map[string]any{"type": "json_object"}
		}
	case map[string]any:
		out["response_format"] = map[string]any{"type": "json_schema", "json_schema": map[string]any{"name": "answer", "schema": format}}
	}
	return "/v1/chat/completions", out
}

// streams says whether a request wants its answer as it comes.
func streams(body map[string]any, otherwise bool) bool {
	if v, ok := body["stream"].(bool); ok {
		return v
	}
	return otherwise
}

// completion is an answer in OpenAI's form, whole or a piece of it.
type completion struct {
	Model   string `json:"model"`
	Choices []struct {
		Message struct {
			Content string `json:"content"`
		} `json:"message"`
		Delta struct {
			Content string `json:"content"`
		} `json:"delta"`
		FinishReason string `json:"finish_reason"`
	} `json:"choices"`
	Usage *struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
	} `json:"usage"`
	Data []struct {
		Index     int       `json:"index"`
		Embedding []float64 `json:"embedding"`
	} `json:"data"`
}

// back makes Ollama's form of an answer in OpenAI's.
type back struct {
	what   kind
	model  string
	began  time.Time
	first  time.Time
	pieces int
	done   bool
	usage  [2]int // prompt, completion
	reason string
}

// whole translates an answer that came as one.
func (b *back) whole(data []byte) ([]byte, error) {
	var c completion
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("reading the back end's answer: %w", err)
	}
	if b.what == embed {
		vectors := make([][]float64, len(c.Data))
		for _, d := range c.Data {
			if d.Index < 0 || d.Index >= len(vectors) {
				return nil, fmt.Errorf("reading the back end's answer: vector %d of %d", d.Index, len(vectors))
			}
			vectors[d.Index] = d.Embedding
		}
		return json.Marshal(map[string]any{"model": b.model, "embeddings": vectors})
	}
	text := ""
	if len(c.Choices) > 0 {
		text, b.reason = c.Choices[0].Message.Content, c.Choices[0].FinishReason
	}
	if c.Usage != nil {
		b.usage = [2]int{c.Usage.Prompt, c.Usage.Completion}
	}
	line := b.line(text)
	b.finish(line)
	return json.Marshal(line)
}

// event translates one line of a stream of server-sent events; nil: nothing comes
// of it.
func (b *back) event(line []byte) ([]byte, error) {
	data, ok := bytes.CutPrefix(bytes.TrimSpace(line), []byte("data:"))
	if !ok || b.done {
		return nil, nil
	}
	data = bytes.TrimSpace(data)
	if string(data) == "[DONE]" {
		return b.end()
	}
	var c completion
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("reading the back end's answer: %w", err)
	}
	if c.Usage != nil {
		b.usage = [2]int{c.Usage.Prompt, c.Usage.Completion}
	}
	if len(c.Choices) == 0 {
		return nil, nil
	}
	if r := c.Choices[0].FinishReason; r != "" {
		b.reason = r
	}
	text := c.Choices[0].Delta.Content
	if text == "" {
		return nil, nil
	}
	if b.pieces++; b.pieces == 1 {
		b.first = time.Now()
	}
	out, err := json.Marshal(b.line(text))
	return append(out, '\n'), err
}

// end is the last line of a stream.
func (b *back) end() ([]byte, error) {
	if b.done {
		return nil, nil
	}
	line := b.line("")
	b.finish(line)
	out, err := json.Marshal(line)
	return append(out, '\n'), err
}

func (b *back) line(text string) map[string]any {
	line := map[string]any{"model": b.model, "created_at": time.Now().UTC().Format(time.RFC3339Nano), "done": false}
	if b.what == generate {
		line["response"] = text
	} else {
		line["message"] = map[string]any{"role": "assistant", "content": text}
	}
	return line
}

func (b *back) finish(line map[string]any) {
	b.done = true
	now := time.Now()
	if b.first.IsZero() {
		b.first = b.began
	}
	count := b.usage[1]
	if count == 0 {
		count = b.pieces
	}
	line["done"] = true
	line["done_reason"] = strings.Replace(b.reason, "max_tokens", "length", 1)
	line["prompt_eval_count"], line["eval_count"] = b.usage[0], count
	line["total_duration"], line["eval_duration"] = now.Sub(b.began).Nanoseconds(), now.Sub(b.first).Nanoseconds()
}
