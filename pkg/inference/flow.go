package inference

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// maxLine bounds a line of a stream.
const maxLine = 4 << 20

// flow passes one answer on, and measures it.
type flow struct {
	q     *request
	w     http.ResponseWriter
	http  *http.ResponseController
	back  *back // translates; nil: passed on as it is
	alive func()

	sent   bool
	first  time.Time // when the first token came
	pieces int
}

// whole passes on an answer that comes as one.
func (f *flow) whole(body io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(body, maxWhole+1))
	switch {
	case err != nil:
		return fmt.Errorf("reading answer: %w", err)
	case len(data) > maxWhole:
		return fmt.Errorf("the answer is larger than %d MiB", maxWhole>>20)
	}
	if f.back != nil {
		if data, err = f.back.whole(data); err != nil {
			return err
		}
	}
	f.w.Header().Set("Content-Type", "application/json")
	f.sent = true
	_, _ = f.w.Write(data) // a client that has gone is no error of the back end's
	f.measure(data)
	return nil
}

// stream passes on an answer line by line, as it comes.
func (f *flow) stream(body io.Reader) error {
	lines := bufio.NewReaderSize(body, 64<<10)
	for {
		line, err := readLine(lines)
		if len(line) > 0 {
			f.alive()
			if err := f.pass(line); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return f.end()
		case err != nil:
			f.broken()
			return fmt.Errorf("reading answer: %w", err)
		}
	}
}

func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxLine {
			return nil, fmt.Errorf("a line of more than %d MiB", maxLine>>20)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

func (f *flow) pass(line []byte) error {
	f.observe(line)
	out := line
	if f.back != nil {
		var err error
		if out, err = f.back.event(line); err != nil {
			f.broken()
			return err
		}
	}
	f.write(out)
	return nil
}

func (f *flow) write(out []byte) {
	if len(out) == 0 {
		return
	}
	if !f.sent {
		contentType := "application/x-ndjson"
		if f.q.form == formOpenAI {
			contentType = "text/event-stream"
		}
		f.w.Header().Set("Content-Type", contentType)
		f.w.Header().Set("Cache-Control", "no-store")
		f.w.Header().Set("X-Accel-Buffering", "no")
		f.sent = true
	}
	_, _ = f.w.Write(out)
	_ = f.http.Flush()
}

// end is the end of a stream that went well, as far as the back end told.
func (f *flow) end() error {
	if f.back != nil {
		last, err := f.back.end()
		if err != nil {
			return err
		}
		f.write(last)
		f.measure(last)
	}
	if !f.sent {
		return errors.New("the answer was empty")
	}
	if f.pieces > 0 && f.back == nil && f.q.form == formOpenAI {
		f.count(f.pieces, time.Since(f.first))
	}
	return nil
}

// broken tells the client, in the middle of a stream, that there will be no more.
func (f *flow) broken() {
	if !f.sent {
		return
	}
	const text = "the model's server broke off in the middle of its answer"
	if f.q.form == formOpenAI {
		f.write([]byte(`data: {"error":{"message":"` + text + `","type":"arasul","code":502}}` + "\n\n"))
		return
	}
	f.write([]byte(`{"error":"` + text + `"}` + "\n"))
}

// observe notes when the first token came, and what the last line says.
func (f *flow) observe(line []byte) {
	if f.pieces == 0 && len(line) > 2 {
		f.first = time.Now()
	}
	if len(line) > 2 {
		f.pieces++
	}
	if f.q.form == formOllama && f.back == nil {
		f.measure(line)
	}
}

// measure reads Ollama's figures out of a line that ends an answer.
func (f *flow) measure(line []byte) {
	var last struct {
		Done     bool  `json:"done"`
		Count    int   `json:"eval_count"`
		Duration int64 `json:"eval_duration"`
		Usage    *struct {
			Completion int `json:"completion_tokens"`
		} `json:"usage"`
	}
	if json.Unmarshal(line, &last) != nil {
		return
	}
	switch {
	case last.Done && last.Count > 0:
		f.count(last.Count, time.Duration(last.Duration))
	case last.Usage != nil && last.Usage.Completion > 0 && f.first.IsZero():
		f.count(last.Usage.Completion, time.Since(f.q.began))
	}
}

func (f *flow) count(tokens int, took time.Duration) {
	m := measured{at: time.Now()}
	if took > 0 {
		m.perSecond = float64(tokens) / took.Seconds()
	}
	if !f.first.IsZero() {
		m.first = f.first.Sub(f.q.began)
	}
	f.q.engine.tally.ended(m)
}
