package dashboard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/postgres/postgrestest"
)

// triesEach is how many requests each operation gets as each visitor.
const triesEach = 24

// leftAlone are operations that go on for ever, or end what the others need;
// each has tests of its own.
var leftAlone = map[string]string{
	"live-stream":     "a WebSocket",
	"update-events":   "goes on for ever",
	"logs-stream":     "goes on for an hour",
	"logout":          "ends the session that the others need",
	"logout-all":      "ends the session that the others need",
	"change-password": "might, with the right one",
}

// Proves the API requirement as a property: whatever is sent to whatever
// operation, the answer is one that the document describes, its body is what the
// document says, and nothing goes wrong on our side but what is said to.
func TestEveryAnswerIsAsTheDocumentSays(t *testing.T) {
	h := newHouse(t)
	fill(t, h.db)
	db := h.db.Open(t, "arasul-dashboard")
	h.opts.History, h.opts.Database, h.opts.Inspector = db, db, db
	h.opts.Logs, h.opts.Restarter = &written{n: 30}, &hands{}
	h.opts.GPU = &recorded{}
	h.opts.Healer = &looked{probes: []api.ProbeResult{{Unit: "arasul-llm.service", Status: api.Up, Models: []api.Model{{Name: "llama"}}}}}
	h.opts.Network = part{answer: `{"interfaces": [], "mdns": "looking", "timestamp": "2026-03-01T10:00:00Z"}`}
	h.opts.Certificates = part{}
	h.opts.Updater = newUpdater(t).client
	h.OnSample(api.Sample{Time: time.Now(), CPUCores: 4})
	h.OnServices([]api.Service{{Name: "metrics", Unit: "arasul-metrics.service", Status: api.Up}, {Name: "llm", Unit: "arasul-llm.service", Status: api.Up}})
	h.OnDatabase(nil)
	h.OnHealer(nil)
	owner := h.setUp()
	seen := map[string]int{}
	var names []string
	for path, item := range h.document.Paths {
		for method, op := range operationsOf(item) {
			if leftAlone[op.OperationID] == "" {
				names = append(names, method+" "+path)
			}
		}
	}
	slices.Sort(names)
	for i, name := range names {
		method, path, _ := strings.Cut(name, " ")
		op := operationsOf(h.document.Paths[path])[method]
		t.Run(name, func(t *testing.T) {
			for visitor, from := range map[string]*browser{"admin": owner, "local network": h.from("192.168.1.77"), "internet": h.from("203.0.113.9")} {
				g := &generator{Rand: rand.New(rand.NewPCG(uint64(i), 20260301)), doc: h.document}
				for range triesEach {
					r := g.request(method, path, op)
					said := fmt.Sprintf("%v %.300q", r.Header, g.body)
					w := from.ask(r)
					seen[op.OperationID+" "+strconv.Itoa(w.Code)]++
					for _, problem := range judged(h.document, op, w) {
						t.Errorf("%s: %s %s\n%s\n%s\n%d %.300s", visitor, method, r.URL, said, problem, w.Code, w.Body)
					}
				}
			}
		})
	}
	for _, want := range []string{
		"logs 200", "logs 422", "logs 401", "self-healing-events 200", "self-healing-events 422", "service-restart 202", "service-restart 404",
		"metrics-history 200", "audit 200", "database-health 200", "service 404",
	} {
		if seen[want] == 0 {
			t.Errorf("no request led to %s: the inputs are too tame", want)
		}
	}
}

// fill puts a past into the database.
func fill(t *testing.T, db postgrestest.Database) {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Second)
	var samples []api.Sample
	for i := range 50 {
		samples = append(samples, api.Sample{Time: now.Add(-time.Duration(i) * time.Minute), CPURatio: 0.5, CPUCores: 4})
	}
	if err := db.Open(t, "arasul-metrics").StoreSamples(t.Context(), samples); err != nil {
		t.Fatal(err)
	}
	var incidents []api.Incident
	for i := range 5 {
		at := now.Add(-time.Duration(i) * time.Hour)
		incidents = append(incidents, api.Incident{
			ID: fmt.Sprintf("20260301T100000-%d", i), Rule: "down", Class: api.ClassService, Policy: "0123456789ab", Unit: "arasul-metrics.service",
			Fault: api.Crashed, Detail: "killed", State: api.IncidentResolved, FaultAt: at, DetectedAt: at, ClosedAt: &at,
			Failures: []api.Failure{{Fault: api.Crashed, Detail: "killed", At: at, DetectedAt: at}}, Count: 1, Actions: []api.Action{},
		})
	}
	if err := db.Open(t, "arasul-healer").MirrorIncidents(t.Context(), incidents); err != nil {
		t.Fatal(err)
	}
}

// judged says what is wrong with an answer.
func judged(doc *huma.OpenAPI, op *huma.Operation, w *httptest.ResponseRecorder) (problems []string) {
	told := op.Responses[strconv.Itoa(w.Code)]
	kind, _, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
	switch {
	case w.Code >= 500 && w.Code != http.StatusServiceUnavailable:
		return []string{fmt.Sprintf("it answered %d", w.Code)}
	case told == nil:
		return []string{fmt.Sprintf("%d is not described", w.Code)}
	case w.Code == http.StatusNoContent:
		if w.Body.Len() > 0 {
			return []string{"no content, and a body"}
		}
		return nil
	case err != nil || told.Content[kind] == nil:
		return []string{fmt.Sprintf("%d as %q is not described", w.Code, w.Header().Get("Content-Type"))}
	case strings.HasSuffix(kind, "json"):
	default:
		return nil
	}
	var body any
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		return []string{"not JSON: " + err.Error()}
	}
	problems = conforms(doc, told.Content[kind].Schema, body)
	if w.Code >= 400 {
		o, _ := body.(map[string]any)
		if kind != problemJSON || o["status"] != float64(w.Code) || o["title"] == "" || o["title"] == nil || o["detail"] == "" || o["detail"] == nil {
			problems = append(problems, "not a problem of RFC 9457")
		}
		if text := w.Body.String(); strings.Contains(text, "pgconn") || strings.Contains(text, "SQLSTATE") || strings.Contains(text, ".go:") {
			problems = append(problems, "it tells of our inside")
		}
	}
	return problems
}

// ask sends a request as this browser.
func (b *browser) ask(r *http.Request) *httptest.ResponseRecorder {
	r.Header.Set("X-Forwarded-For", b.address)
	r.Header.Set("X-Forwarded-Proto", "https")
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	b.h.Handler().ServeHTTP(w, r)
	return w
}

// generator makes requests out of the document: about half of them as it says.
type generator struct {
	*rand.Rand
	doc  *huma.OpenAPI
	body []byte // of the last request
}

// evil are texts that have hurt others.
var evil = []string{
	"", " ", "0", "-1", "null", "undefined", "NaN", "1e999", "99999999999999999999", "true", "[]", "{}", "../../etc/passwd", "..%2f..%2fetc", "%00", "%",
	"' OR '1'='1", "'; DROP TABLE samples; --", "\"", "\\", "<script>alert(1)</script>", "${jndi:ldap://x}", "{{7*7}}", "$(reboot)", "`reboot`",
	"\x00", "\r\nSet-Cookie: a=b", "ü漢🙂", "\u202e", "\xff\xfe", "--help", "*", "_", "A", "2026-13-45T99:99:99Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
	"294277-01-01T00:00:00Z", "-2026-01-01T00:00:00Z", strings.Repeat("a", 5000), strings.Repeat("b", 20_000), strings.Repeat("(", 300),
}

func (g *generator) chance(n int) bool { return g.IntN(n) == 0 }

func (g *generator) request(method, path string, op *huma.Operation) *http.Request {
	query := url.Values{}
	header := http.Header{}
	for _, p := range op.Parameters {
		s := resolved(g.doc, p.Schema)
		text := fmt.Sprint(g.value(s, 0))
		if p.Example != nil && g.chance(2) {
			text = fmt.Sprint(p.Example)
		}
		if g.chance(3) {
			text = evil[g.IntN(len(evil))]
		}
		switch p.In {
		case "path":
			if g.chance(2) {
				text = []string{"metrics", "llm", "20260301T100000-1", "nobody"}[g.IntN(4)]
			}
			if strings.Trim(text, ".") == "" { // names another path
				text = "x"
			}
			path = strings.ReplaceAll(path, "{"+p.Name+"}", url.PathEscape(text))
		case "query":
			if p.Required || g.chance(2) {
				query.Add(p.Name, text)
			}
		case "header":
			if g.chance(3) {
				header.Set(p.Name, strings.Map(func(r rune) rune {
					if r < ' ' || r == 0x7f {
						return -1
					}
					return r
				}, text))
			}
		}
	}
	if g.chance(8) {
		query.Add("nothing", evil[g.IntN(len(evil))])
	}
	var body []byte
	kind := "application/json"
	if op.RequestBody != nil && op.RequestBody.Content[kind] == nil {
		kind = "application/octet-stream"
		body = []byte(evil[g.IntN(len(evil))])
	} else if op.RequestBody != nil {
		s := op.RequestBody.Content[kind].Schema
		value := g.value(s, 0)
		if g.chance(3) {
			value = g.spoil(value)
		}
		body, _ = json.Marshal(value)
		if g.chance(12) {
			body = []byte(evil[g.IntN(len(evil))])
		}
	}
	g.body = body
	r := httptest.NewRequest(method, "https://arasul.local/", bytes.NewReader(body))
	r.URL.Path, _ = url.PathUnescape(path)
	r.URL.RawPath = path
	r.URL.RawQuery = query.Encode()
	r.Header = header
	if len(body) > 0 && !g.chance(10) {
		r.Header.Set("Content-Type", kind)
	}
	return r
}

// value is one that the schema allows, often at its limits.
func (g *generator) value(s *huma.Schema, depth int) any {
	s = resolved(g.doc, s)
	switch {
	case s == nil || depth > 6:
		return nil
	case len(s.Enum) > 0:
		return s.Enum[g.IntN(len(s.Enum))]
	case len(s.Examples) > 0 && g.chance(2):
		return s.Examples[0]
	}
	switch s.Type {
	case huma.TypeObject:
		o := map[string]any{}
		for name, p := range s.Properties {
			if slices.Contains(s.Required, name) || g.chance(2) {
				o[name] = g.value(p, depth+1)
			}
		}
		return o
	case huma.TypeArray:
		return []any{g.value(s.Items, depth+1)}
	case huma.TypeBoolean:
		return g.chance(2)
	case huma.TypeInteger, huma.TypeNumber:
		low, high := 0.0, 1000.0
		if s.Minimum != nil {
			low = *s.Minimum
		}
		if s.Maximum != nil {
			high = *s.Maximum
		}
		return []any{int64(low), int64(high), int64(low + g.Float64()*(high-low))}[g.IntN(3)]
	}
	if s.Format == "date-time" {
		return time.Unix(g.Int64N(4e9), 0).UTC().Format(time.RFC3339)
	}
	most := 40
	if s.MaxLength != nil {
		most = *s.MaxLength
	}
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-"
	text := make([]byte, []int{1, most, 1 + g.IntN(most)}[g.IntN(3)])
	for i := range text {
		text[i] = letters[g.IntN(len(letters))]
	}
	return string(text)
}

// spoil changes one thing of an object into what it must not be.
func (g *generator) spoil(value any) any {
	o, ok := value.(map[string]any)
	if !ok || g.chance(6) {
		return []any{nil, 7, "text", []any{}, true}[g.IntN(5)]
	}
	o = maps.Clone(o)
	var names []string
	for name := range o {
		names = append(names, name)
	}
	slices.Sort(names)
	if len(names) == 0 || g.chance(4) {
		o["nothing"] = evil[g.IntN(len(evil))]
		return o
	}
	name := names[g.IntN(len(names))]
	switch g.IntN(4) {
	case 0:
		delete(o, name)
	case 1:
		o[name] = nil
	case 2:
		o[name] = []any{map[string]any{}, -1, 1.5, []any{"x"}, false}[g.IntN(5)]
	default:
		o[name] = evil[g.IntN(len(evil))]
	}
	return o
}
