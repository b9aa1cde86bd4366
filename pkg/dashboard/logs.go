package dashboard

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/logs"
	"github.com/arasul/arasul/pkg/stream"
)

const (
	logsWithin       = 8 * time.Second // a page; the daemon itself takes five at most
	followWithin     = 3 * time.Second // until following has begun
	logHeartbeat     = 15 * time.Second
	maxLogFollows    = 16
	maxDownload      = 10_000  // lines
	maxDownloadBytes = 8 << 20 // bytes
)

// Logs is the daemon that reads the journal. An error that has a method NotFound
// says with it whether there is no such service.
type Logs interface {
	Entries(ctx context.Context, q api.LogQuery) (api.LogPage, error)
	// Follow hands each entry to each until ctx ends; opened is called when it
	// has begun.
	Follow(ctx context.Context, q api.LogQuery, opened func(), each func(api.LogEntry) error) error
}

// Listener gets answers and lines from a daemon.
type Listener interface {
	Asker
	Listen(ctx context.Context, path string, opened func(), each func(line []byte) error) error
}

// LogSocket is Logs over the daemon's socket.
type LogSocket struct{ Daemon Listener }

// Entries implements Logs.
func (s LogSocket) Entries(ctx context.Context, q api.LogQuery) (page api.LogPage, err error) {
	err = s.Daemon.GetJSON(ctx, "/entries?"+logs.Query(q), &page)
	return page, err
}

// Follow implements Logs.
func (s LogSocket) Follow(ctx context.Context, q api.LogQuery, opened func(), each func(api.LogEntry) error) error {
	return s.Daemon.Listen(ctx, "/follow?"+logs.Query(q), opened, func(line []byte) error {
		var e api.LogEntry
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("reading log entry: %w", err)
		}
		return each(e)
	})
}

// LogList is one page of the journal.
type LogList struct {
	api.LogPage
	Timestamp time.Time `json:"timestamp"`
}

// LogFilter is what all questions about the journal have in common.
type LogFilter struct {
	Service  string       `query:"service" maxLength:"120" pattern:"^[a-z0-9-]+(@[A-Za-z0-9_:.-]+)?$" patternDescription:"short name of a service" example:"metrics" doc:"Only what this service says, by its short name, or what systemd says about it; kernel: the kernel. All of ours unless given"`
	Severity api.Severity `query:"severity" enum:"emerg,alert,crit,err,warning,notice,info,debug" example:"warning" doc:"Only entries as bad as this, or worse"`
	Since    time.Time    `query:"since" example:"2026-03-01T00:00:00Z" doc:"Only entries of this second or later"`
}

func (f LogFilter) query(lines int) api.LogQuery {
	return api.LogQuery{Service: f.Service, Severity: f.Severity, Since: f.Since, Lines: lines}
}

type logsInput struct {
	LogFilter
	Before string `query:"before" maxLength:"200" pattern:"^s=[0-9a-f]{32};i=[0-9a-f]{1,16};b=[0-9a-f]{32};m=[0-9a-f]{1,16};t=[0-9a-f]{1,16};x=[0-9a-f]{1,16}$" patternDescription:"cursor of an entry" example:"s=0639c4b1aa4f4a7d8d0e4a3d1a9c2b7e;i=4f2;b=7c1d4f6e8a9b4c3d9e2f1a0b5c6d7e8f;m=2faf080;t=65bfeda352240;x=3c95d937d2153e67" doc:"Only entries older than the one with this cursor; next of the page before asks for the one after it"`
	Lines  int    `query:"lines" minimum:"1" maximum:"1000" default:"200" doc:"Entries per page"`
}

type logStreamInput struct {
	LogFilter
	Lines int    `query:"lines" minimum:"0" maximum:"1000" default:"0" doc:"So many of the newest entries come first"`
	Last  string `header:"Last-Event-ID" maxLength:"200" doc:"A cursor: go on after this entry, and lines does not count. Browsers send it by themselves when they come back"`
}

type logDownloadInput struct {
	LogFilter
	Lines int `query:"lines" minimum:"1" maximum:"10000" default:"10000" doc:"The newest so many entries, 8 MiB at most"`
}

func (d *Dashboard) logOperations(a huma.API) {
	get(a, "logs", "logs", "/api/logs", "The journal, in pages", d.logs, 401, 404, 429, 503)
	entry := a.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[api.LogEntry](), true, "LogEntry")
	huma.Register(a, huma.Operation{
		OperationID: "logs-stream", Method: http.MethodGet, Path: "/api/logs/stream", Tags: []string{"logs"},
		Summary: "The journal, as it grows",
		Description: "Server-sent events: each has a LogEntry as data and its cursor as id. A comment every 15 seconds keeps " +
			"the connection alive. It ends after an hour, or when the session does; a browser comes back by itself.",
		Errors:    []int{401, 404, 429, 503},
		Responses: map[string]*huma.Response{"200": {Description: "The entries", Content: map[string]*huma.MediaType{"text/event-stream": {Schema: entry}}}},
	}, d.logStream)
	huma.Register(a, huma.Operation{
		OperationID: "logs-download", Method: http.MethodGet, Path: "/api/logs/download", Tags: []string{"logs"},
		Summary:     "The journal, as a file",
		Description: "Plain text, the oldest entry first, one line each: time, unit, severity, message.",
		Errors:      []int{401, 404, 429, 503},
		Responses:   map[string]*huma.Response{"200": {Description: "The file", Content: map[string]*huma.MediaType{"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}}}}},
	}, d.logDownload)
}

func (d *Dashboard) logs(ctx context.Context, in *logsInput) (*answer[LogList], error) {
	q := in.query(in.Lines)
	q.Before = in.Before
	page, err := d.logPage(ctx, q)
	if err != nil {
		return nil, err
	}
	return &answer[LogList]{LogList{page, time.Now().UTC()}}, nil
}

// logPage asks the daemon for a page. The error is an answer.
func (d *Dashboard) logPage(ctx context.Context, q api.LogQuery) (api.LogPage, error) {
	if d.opts.Logs == nil {
		return api.LogPage{}, logsAway()
	}
	ctx, cancel := context.WithTimeout(ctx, logsWithin)
	defer cancel()
	page, err := d.opts.Logs.Entries(ctx, q)
	if err != nil {
		return page, d.logProblem(err)
	}
	if page.Entries == nil {
		page.Entries = []api.LogEntry{}
	}
	return page, nil
}

func logsAway() error {
	return huma.Error503ServiceUnavailable("The journal cannot be read right now.")
}

func (d *Dashboard) logProblem(err error) error {
	var unknown interface{ NotFound() bool }
	if errors.As(err, &unknown) && unknown.NotFound() {
		return huma.Error404NotFound("There is no service of that name.")
	}
	d.opts.Log.Warn("journal unread", "err", err)
	return logsAway()
}

// logStream begins to follow before it answers, so that what cannot be followed
// is a problem and not an empty stream.
func (d *Dashboard) logStream(ctx context.Context, in *logStreamInput) (*huma.StreamResponse, error) {
	q := in.query(in.Lines)
	switch {
	case in.Last != "" && !api.IsLogCursor(in.Last):
		return nil, huma.Error422UnprocessableEntity("Last-Event-ID is the cursor of an entry.")
	case in.Last != "":
		q.After = in.Last
	}
	if d.opts.Logs == nil {
		return nil, logsAway()
	}
	select {
	case d.follows <- struct{}{}:
	default:
		return nil, huma.ErrorWithHeaders(huma.Error503ServiceUnavailable("Too many follow the journal."), http.Header{"Retry-After": {"10"}})
	}
	ctx, cancel := d.whileAdmitted(stream.Ending(ctx))
	entries, opened, ended := make(chan api.LogEntry, stream.Buffer), make(chan struct{}), make(chan struct{})
	var failure error // once ended is closed
	go func() {
		defer func() { <-d.follows }()
		defer close(ended)
		failure = d.opts.Logs.Follow(ctx, q, func() { close(opened) }, func(e api.LogEntry) error {
			select {
			case entries <- e:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	patience := time.NewTimer(followWithin)
	defer patience.Stop()
	select {
	case <-opened:
	case <-ended:
		cancel()
		return nil, d.logProblem(failure)
	case <-patience.C:
		cancel()
		return nil, logsAway()
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer cancel()
		hc.SetHeader("Content-Type", "text/event-stream")
		w, _ := hc.BodyWriter().(http.ResponseWriter)
		sendEntries(ctx, w, entries, ended)
	}}, nil
}

// sendEntries sends entries as server-sent events until ctx ends, following has,
// or the client is gone.
func sendEntries(ctx context.Context, w http.ResponseWriter, entries <-chan api.LogEntry, ended <-chan struct{}) {
	out := http.NewResponseController(w)
	send := func(text string) bool {
		_ = out.SetWriteDeadline(time.Now().Add(writeWithin)) // a writer without deadlines has its own limits
		_, err := w.Write([]byte(text))
		return err == nil && out.Flush() == nil
	}
	beat := time.NewTicker(logHeartbeat)
	defer beat.Stop()
	if !send("retry: 3000\n\n") {
		return
	}
	for {
		text := ": still here\n\n"
		select {
		case <-ctx.Done():
			return
		case <-ended: // by the daemon, once an hour or because it restarts; the client comes back
			for len(entries) > 0 { // what came before the end
				if !send(event(<-entries)) {
					return
				}
			}
			return
		case <-beat.C:
		case e := <-entries:
			text = event(e)
		}
		if !send(text) {
			return
		}
	}
}

// event is an entry as a server-sent event. JSON has no line ends in it, and a
// cursor was checked.
func event(e api.LogEntry) string {
	data, _ := json.Marshal(e) // text and a time can always be written
	return "id: " + e.Cursor + "\ndata: " + string(data) + "\n\n"
}

func (d *Dashboard) logDownload(ctx context.Context, in *logDownloadInput) (*huma.StreamResponse, error) {
	select {
	case d.downloads <- struct{}{}:
		defer func() { <-d.downloads }()
	default:
		return nil, huma.ErrorWithHeaders(huma.Error503ServiceUnavailable("Somebody else is downloading."), http.Header{"Retry-After": {"10"}})
	}
	var entries []api.LogEntry
	size := 0
	for q := in.query(0); len(entries) < in.Lines && size < maxDownloadBytes; {
		q.Lines = min(api.MaxLogLines, in.Lines-len(entries))
		page, err := d.logPage(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, e := range page.Entries {
			size += len(logs.Line(e))
		}
		entries = append(entries, page.Entries...)
		if q.Before = page.Next; q.Before == "" {
			break
		}
	}
	var text bytes.Buffer
	for _, e := range slices.Backward(entries) {
		text.WriteString(logs.Line(e))
	}
	of := cmp.Or(in.Service, "all")
	d.audit(ctx, "logs.download", of, api.ResultSuccess, fmt.Sprintf("%d lines", len(entries)))
	name := fmt.Sprintf("arasul-%s-%s.log", of, time.Now().UTC().Format("20060102T150405Z"))
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		hc.SetHeader("Content-Type", "text/plain; charset=utf-8")
		hc.SetHeader("Content-Disposition", `attachment; filename="`+name+`"`)
		_, _ = hc.BodyWriter().Write(text.Bytes())
	}}, nil
}
