// Package load asks the applications for much at once, and measures how they and the
// page do meanwhile.
//
// It speaks to this machine only and stops when it was told to. It does not judge
// the figures, and starts nothing.
package load

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// Options say how much, and where.
type Options struct {
	LLM        int // clients that ask for an answer, one after the other
	Embeddings int // clients that ask for a vector, one after the other
	Workflows  int // runs begun each second
	For        time.Duration

	Gateway   string // host:port
	Webhook   string // URL of a workflow that answers
	Dashboard string // its socket
}

const (
	answerWithin = 2 * time.Minute
	pageEvery    = 100 * time.Millisecond
)

// Run loads the machine and returns what it measured: llm, embeddings, workflows,
// and page, which is the overview's status in between.
func Run(ctx context.Context, o Options) []api.LoadResult {
	ctx, cancel := context.WithTimeout(ctx, o.For)
	defer cancel()
	r := &runner{o: o, tcp: &http.Client{Timeout: answerWithin, Transport: &http.Transport{MaxIdleConnsPerHost: 256}}, page: &http.Client{
		Timeout: answerWithin,
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", o.Dashboard)
		}},
	}}
	llm, vectors, runs, page := &tally{}, &tally{}, &tally{}, &tally{}
	var all sync.WaitGroup
	for range o.LLM {
		all.Go(func() {
			r.again(ctx, llm, 0, func() error {
				return r.post("http://"+o.Gateway+"/v1/chat/completions", `{"messages":[{"role":"user","content":"Say one word."}],"max_tokens":16}`)
			})
		})
	}
	for range o.Embeddings {
		all.Go(func() {
			r.again(ctx, vectors, 0, func() error { return r.post("http://"+o.Gateway+"/v1/embeddings", `{"input":"The invoice is due."}`) })
		})
	}
	if o.Workflows > 0 {
		all.Go(func() { r.each(ctx, &all, runs, time.Second/time.Duration(o.Workflows)) })
	}
	all.Go(func() {
		r.again(ctx, page, pageEvery, func() error { return get(r.page, "http://localhost/api/system/status") })
	})
	all.Wait()
	var out []api.LoadResult
	for name, t := range map[string]*tally{"llm": llm, "embeddings": vectors, "workflows": runs, "page": page} {
		if res := t.result(name, o.For); res.Requests > 0 {
			out = append(out, res)
		}
	}
	slices.SortFunc(out, func(a, b api.LoadResult) int { return bytes.Compare([]byte(a.What), []byte(b.What)) })
	return out
}

type runner struct {
	o         Options
	tcp, page *http.Client
}

// again does the same one after the other until ctx ends.
func (r *runner) again(ctx context.Context, t *tally, pause time.Duration, do func() error) {
	for ctx.Err() == nil {
		t.measure(do)
		if pause > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}
}

// each begins a run of the workflow at every tick, however long they take.
func (r *runner) each(ctx context.Context, all *sync.WaitGroup, t *tally, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			all.Go(func() { t.measure(func() error { return get(r.tcp, r.o.Webhook) }) })
		}
	}
}

func (r *runner) post(url, body string) error {
	answer, err := r.tcp.Post(url, "application/json", bytes.NewReader([]byte(body))) //nolint:noctx // the client has a limit, and a request is seen to its end
	return drained(answer, err)
}

func get(c *http.Client, url string) error {
	answer, err := c.Get(url) //nolint:noctx // as above
	return drained(answer, err)
}

type badStatus int

func (s badStatus) Error() string {
	return "answered " + strconv.Itoa(int(s)) + " " + http.StatusText(int(s))
}

func drained(answer *http.Response, err error) error {
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = badStatus(answer.StatusCode)
	}
	return err
}

// tally collects durations.
type tally struct {
	mu   sync.Mutex
	took []time.Duration
	bad  int
	last string
}

func (t *tally) measure(do func() error) {
	began := time.Now()
	err := do()
	took := time.Since(began)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.took = append(t.took, took)
	if err != nil {
		t.bad++
		t.last = err.Error()
	}
}

func (t *tally) result(what string, over time.Duration) api.LoadResult {
	slices.Sort(t.took)
	at := func(share int) float64 {
		if len(t.took) == 0 {
			return 0
		}
		return t.took[min(len(t.took)-1, len(t.took)*share/100)].Seconds()
	}
	return api.LoadResult{
		What: what, Requests: len(t.took), Failures: t.bad, LastError: t.last, PerSecond: float64(len(t.took)) / over.Seconds(),
		P50: at(50), P95: at(95), Max: at(100),
	}
}
