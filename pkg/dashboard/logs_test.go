package dashboard

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// written is a daemon with a journal of n entries, which says more when told.
type written struct {
	n    int
	more chan api.LogEntry
	err  error
	hang bool
	seen chan api.LogQuery
}

func cursor(n int) string {
	return fmt.Sprintf("s=%032x;i=%x;b=%032x;m=1;t=1;x=1", 1, n, 2)
}

func entry(n int) api.LogEntry {
	return api.LogEntry{
		Time: time.Date(2026, 3, 1, 10, 0, n, 0, time.UTC), Unit: "arasul-proxy.service", Severity: "info",
		Message: fmt.Sprintf("line %d", n), Cursor: cursor(n),
	}
}

func (w *written) Entries(_ context.Context, q api.LogQuery) (page api.LogPage, err error) {
	if w.seen != nil {
		w.seen <- q
	}
	from := w.n
	if q.Before != "" {
		_, err = fmt.Sscanf(q.Before[34:], ";i=%x", &from)
	}
	for i := from - 1; i >= 0 && len(page.Entries) < q.Lines; i-- {
		page.Entries = append(page.Entries, entry(i))
	}
	if n := len(page.Entries); n > 0 && page.Entries[n-1].Cursor != cursor(0) {
		page.Next = page.Entries[n-1].Cursor
	}
	return page, errors.Join(err, w.err)
}

func (w *written) Follow(ctx context.Context, q api.LogQuery, opened func(), each func(api.LogEntry) error) error {
	if w.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if w.err != nil {
		return w.err
	}
	if w.seen != nil {
		w.seen <- q
	}
	opened()
	for {
		select {
		case e, ok := <-w.more:
			if !ok {
				return errors.New("stream ended")
			}
			if err := each(e); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// asAdmin lets every question in, as if root asked.
func asAdmin(t *testing.T, d *Dashboard) http.Handler {
	t.Helper()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.Handler().ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), peerKey{}, true)))
	})
}

func TestLogsComeInPages(t *testing.T) {
	d := newDashboard(t, Options{Logs: &written{n: 5}})
	var got []string
	for path := "/api/logs?lines=2"; ; {
		code, body := ask(t, d, path)
		if code != 200 {
			t.Fatalf("%s: %d %v", path, code, body)
		}
		for _, e := range body["entries"].([]any) {
			got = append(got, e.(map[string]any)["message"].(string))
		}
		next, _ := body["next"].(string)
		if next == "" {
			break
		}
		path = "/api/logs?lines=2&before=" + strings.ReplaceAll(next, ";", "%3B")
	}
	if strings.Join(got, ",") != "line 4,line 3,line 2,line 1,line 0" {
		t.Errorf("got %q", got)
	}
}

func TestWhatIsNoFilterOfLogsIsRefused(t *testing.T) {
	d := newDashboard(t, Options{Logs: &written{n: 5}})
	for _, query := range []string{
		"lines=0", "lines=1001", "lines=x", "service=../../etc", "service=a%20b", "service=--file=/etc/shadow", "service=" + strings.Repeat("a", 121),
		"severity=7", "severity=bad", "since=yesterday", "before=x", "before=s=1%0a",
	} {
		if code, _ := ask(t, d, "/api/logs?"+query); code != 422 {
			t.Errorf("%s: %d", query, code)
		}
	}
	for _, query := range []string{"lines=1001", "lines=-1", "service=A"} {
		if code, _ := ask(t, d, "/api/logs/stream?"+query); code != 422 {
			t.Errorf("stream %s: %d", query, code)
		}
	}
	if code, _ := ask(t, d, "/api/logs/download?lines=10001"); code != 422 {
		t.Errorf("download: %d", code)
	}
}

func TestLogsThatCannotBeReadAreAProblem(t *testing.T) {
	for want, logs := range map[int]Logs{
		404: &written{err: noSuch{errors.New("404")}},
		503: &written{err: errors.New("dial unix: no such file")},
	} {
		d := newDashboard(t, Options{Logs: logs})
		for _, path := range []string{"/api/logs", "/api/logs/stream", "/api/logs/download"} {
			if code, body := ask(t, d, path); code != want || strings.Contains(fmt.Sprint(body), "dial") {
				t.Errorf("%s: %d %v", path, code, body)
			}
		}
	}
	d := newDashboard(t, Options{})
	for _, path := range []string{"/api/logs", "/api/logs/stream", "/api/logs/download"} {
		if code, _ := ask(t, d, path); code != 503 {
			t.Errorf("%s without a daemon: %d", path, code)
		}
	}
}

// tail opens the stream and returns what comes, line by line.
func tail(t *testing.T, server *httptest.Server, path string, header http.Header) (lines *bufio.Reader, stop func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	req, err := http.NewRequestWithContext(ctx, "GET", server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s, %s", resp.Status, resp.Header.Get("Content-Type"))
	}
	return bufio.NewReader(resp.Body), func() { cancel(); resp.Body.Close() }
}

func TestLogStreamSendsEntriesWithTheirCursors(t *testing.T) {
	w := &written{more: make(chan api.LogEntry, 1), seen: make(chan api.LogQuery, 1)}
	server := httptest.NewServer(asAdmin(t, newDashboard(t, Options{Logs: w})))
	defer server.Close()
	w.more <- entry(1)
	lines, stop := tail(t, server, "/api/logs/stream?service=proxy&severity=err&lines=7", http.Header{})
	if q := <-w.seen; q.Service != "proxy" || q.Severity != "err" || q.Lines != 7 || q.After != "" {
		t.Errorf("asked for %+v", q)
	}
	for _, want := range []string{
		"retry: 3000\n", "\n", "id: " + cursor(1) + "\n",
		`data: {"time":"2026-03-01T10:00:01Z","unit":"arasul-proxy.service","severity":"info","message":"line 1","cursor":"` + cursor(1) + "\"}\n", "\n",
	} {
		if got, err := lines.ReadString('\n'); got != want || err != nil {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
	stop()
	_, stop = tail(t, server, "/api/logs/stream?lines=7", http.Header{"Last-Event-Id": {cursor(1)}})
	defer stop()
	if q := <-w.seen; q.After != cursor(1) {
		t.Errorf("came back with %+v", q)
	}
}

// A line of a log must not become an event of its own.
func TestLogStreamCannotBeForged(t *testing.T) {
	w := &written{more: make(chan api.LogEntry, 1)}
	server := httptest.NewServer(asAdmin(t, newDashboard(t, Options{Logs: w})))
	defer server.Close()
	evil := entry(1)
	evil.Message = "a\n\ndata: {\"message\":\"forged\"}\r\n\r\nid: 7"
	w.more <- evil
	close(w.more)
	lines, stop := tail(t, server, "/api/logs/stream", http.Header{})
	defer stop()
	text, err := io.ReadAll(lines)
	if err != nil || strings.Count(string(text), "\ndata: ") != 1 || strings.Count(string(text), "\nid: ") != 1 || strings.Contains(string(text), "\r") {
		t.Errorf("%q, %v", text, err)
	}
}

func TestLogFollowersAreCounted(t *testing.T) {
	d := newDashboard(t, Options{Logs: &written{more: make(chan api.LogEntry)}})
	server := httptest.NewServer(asAdmin(t, d))
	defer server.Close()
	var stops []func()
	for range maxLogFollows {
		_, stop := tail(t, server, "/api/logs/stream", http.Header{})
		stops = append(stops, stop)
	}
	if code, _ := ask(t, d, "/api/logs/stream"); code != 503 {
		t.Errorf("one too many: %d", code)
	}
	for _, stop := range stops {
		stop()
	}
	for range maxLogFollows {
		d.follows <- struct{}{} // all have left
	}
}

func TestDownloadIsAFileOfLinesOldestFirst(t *testing.T) {
	d := newDashboard(t, Options{Logs: &written{n: 2500}})
	w := httptest.NewRecorder()
	asAdmin(t, d).ServeHTTP(w, httptest.NewRequest("GET", "/api/logs/download?lines=2200&service=proxy", nil))
	lines := strings.Split(strings.TrimSuffix(w.Body.String(), "\n"), "\n")
	if w.Code != 200 || len(lines) != 2200 || !strings.HasSuffix(lines[0], " arasul-proxy.service info: line 300") || !strings.HasSuffix(lines[2199], "line 2499") {
		t.Errorf("%d, %d lines from %q to %q", w.Code, len(lines), lines[0], lines[len(lines)-1])
	}
	if got := w.Header().Get("Content-Disposition"); !strings.HasPrefix(got, `attachment; filename="arasul-proxy-2`) {
		t.Errorf("Content-Disposition %q", got)
	}
	if got := w.Header().Get("Content-Type"); got != "text/plain; charset=utf-8" {
		t.Errorf("Content-Type %q", got)
	}
}
