package dashboard

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"
)

// resolved follows references.
func resolved(doc *huma.OpenAPI, s *huma.Schema) *huma.Schema {
	for s != nil && s.Ref != "" {
		s = doc.Components.Schemas.SchemaFromRef(s.Ref)
	}
	return s
}

// everyOperation calls check with each.
func everyOperation(t *testing.T, check func(t *testing.T, doc *huma.OpenAPI, path, method string, op *huma.Operation)) {
	t.Helper()
	d := newDashboard(t, Options{})
	for path, item := range d.document.Paths {
		for method, op := range operationsOf(item) {
			t.Run(method+" "+path, func(t *testing.T) { check(t, d.document, path, method, op) })
		}
	}
}

// Proves the API requirement: every answer says when it was made, and every
// operation what may go wrong.
func TestEveryOperationIsDescribed(t *testing.T) {
	ids := map[string]bool{}
	everyOperation(t, func(t *testing.T, doc *huma.OpenAPI, path, method string, op *huma.Operation) {
		if op.OperationID == "" || ids[op.OperationID] || op.Summary == "" || len(op.Tags) != 1 {
			t.Errorf("id %q, summary %q, tags %q", op.OperationID, op.Summary, op.Tags)
		}
		ids[op.OperationID] = true
		for _, p := range op.Parameters {
			s := resolved(doc, p.Schema)
			told := p.Example != nil || len(s.Examples) > 0 || s.Default != nil || len(s.Enum) > 0 || s.Type == huma.TypeBoolean || p.In == "header"
			if p.Description == "" && s.Description == "" || !told {
				t.Errorf("parameter %s: description %q, example %v", p.Name, p.Description, p.Example)
			}
		}
		want := []string{}
		if strings.HasPrefix(path, "/api/") && path != "/api/health" && !strings.HasPrefix(path, "/api/auth/status") && path != "/api/auth/password-requirements" {
			want = append(want, "429")
		}
		if open[method+" "+path] == forAdmin {
			want = append(want, "401", "503")
		}
		if method != "GET" {
			want = append(want, "403")
		}
		if strings.Contains(path, "{") {
			want = append(want, "404")
		}
		if slices.ContainsFunc(op.Parameters, func(p *huma.Param) bool { return p.In == "query" }) || op.RequestBody != nil && !strings.HasPrefix(op.OperationID, "llm-chat") {
			want = append(want, "422")
		}
		for _, code := range want {
			if op.Responses[code] == nil {
				t.Errorf("nothing is said of %s", code)
			}
		}
		for code, r := range op.Responses {
			if r.Description == "" {
				t.Errorf("%s has no description", code)
			}
			if n, _ := strconv.Atoi(code); n >= 400 && n != 426 && n != 500 && strings.HasPrefix(path, "/api/") && r.Content[problemJSON] == nil && path != "/api/metrics/live-stream" {
				t.Errorf("%s is no problem of RFC 9457", code)
			}
		}
	})
}

func TestEveryJSONAnswerHasATimestampAndAnExampleThatIsOne(t *testing.T) {
	answers := 0
	everyOperation(t, func(t *testing.T, doc *huma.OpenAPI, path, _ string, op *huma.Operation) {
		for code, r := range op.Responses {
			m := r.Content["application/json"]
			if code[0] != '2' || m == nil || path == "/api/openapi.json" {
				continue
			}
			answers++
			s := resolved(doc, m.Schema)
			if p := resolved(doc, s.Properties["timestamp"]); p == nil || p.Format != "date-time" || !slices.Contains(s.Required, "timestamp") {
				t.Errorf("%s has no timestamp", code)
			}
			if problems := conforms(doc, m.Schema, m.Example); len(problems) > 0 {
				t.Errorf("the example of %s is none: %v\n%v", code, problems, m.Example)
			}
		}
	})
	if answers < 20 {
		t.Errorf("only %d answers were looked at", answers)
	}
}

func TestWhatComesInPagesSaysHowToGoOn(t *testing.T) {
	pages := 0
	everyOperation(t, func(t *testing.T, doc *huma.OpenAPI, _, _ string, op *huma.Operation) {
		r := op.Responses["200"]
		if r == nil || r.Content["application/json"] == nil {
			return
		}
		s := resolved(doc, r.Content["application/json"].Schema)
		if s.Properties["next"] == nil {
			return
		}
		pages++
		var names []string
		for _, p := range op.Parameters {
			names = append(names, p.Name)
		}
		if !slices.Contains(names, "before") || s.Properties["next"].Description == "" || !slices.Contains(names, "limit") && !slices.Contains(names, "lines") {
			t.Errorf("parameters %q", names)
		}
	})
	if pages < 3 {
		t.Errorf("%d operations come in pages", pages)
	}
}

// conforms says what keeps a value from being one of the schema.
func conforms(doc *huma.OpenAPI, s *huma.Schema, value any) []string {
	result := &huma.ValidateResult{}
	huma.Validate(doc.Components.Schemas, s, huma.NewPathBuffer(nil, 0), huma.ModeReadFromServer, asJSON(value), result)
	var problems []string
	for _, e := range result.Errors {
		problems = append(problems, e.Error())
	}
	return problems
}

// asJSON is a value as it comes out of JSON.
func asJSON(value any) any {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	var v any
	_ = json.Unmarshal(data, &v)
	return v
}
