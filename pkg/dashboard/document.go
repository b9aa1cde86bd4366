package dashboard

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

const problemJSON = "application/problem+json"

// common are the answers that operations have in common: who may ask, how
// often, and what is away. The operations name those of their own.
var common = map[int]string{
	http.StatusBadRequest:            "The body is not JSON",
	http.StatusUnauthorized:          "This needs a login, or the session is over",
	http.StatusForbidden:             "The request comes from a page of another site",
	http.StatusNotFound:              "There is nothing of that name",
	http.StatusConflict:              "Not now, or not any more",
	http.StatusRequestEntityTooLarge: "The body is too large",
	http.StatusUnsupportedMediaType:  "The body is not application/json",
	http.StatusUnprocessableEntity:   "What was sent is not what is described here",
	http.StatusTooManyRequests:       "Too many requests; Retry-After says when to come back",
	http.StatusServiceUnavailable:    "What this needs cannot be reached right now; the detail says what that is",
	http.StatusGatewayTimeout:        "What was asked for did not come in time",
}

// complete writes into the document what is true of all operations, and an
// example of every answer.
func complete(doc *huma.OpenAPI) {
	for path, item := range doc.Paths {
		for method, op := range operationsOf(item) {
			if op.Responses == nil {
				op.Responses = map[string]*huma.Response{}
			}
			delete(op.Responses, "default") // each is named
			for _, code := range codes(path, method, op) {
				key := strconv.Itoa(code)
				r := op.Responses[key]
				if r == nil {
					r = &huma.Response{}
					op.Responses[key] = r
				}
				if r.Description == "" || r.Description == http.StatusText(code) {
					r.Description = common[code]
				}
				if len(r.Content) == 0 {
					r.Content = map[string]*huma.MediaType{problemJSON: {Schema: &huma.Schema{Ref: "#/components/schemas/Problem"}}}
				}
				r.Content[problemJSON].Example = problemExample(code)
			}
			for code, r := range op.Responses {
				if r.Content["application/json"] != nil && code[0] == '2' {
					m := r.Content["application/json"]
					m.Example = exampleOf(doc.Components.Schemas, m.Schema, 0)
				}
				if r.Description == "" || r.Description == http.StatusText(http.StatusOK) {
					r.Description = op.Summary
				}
			}
		}
	}
}

// codes are the answers of an operation that are problems.
func codes(path, method string, op *huma.Operation) []int {
	var all []int
	for code := range op.Responses {
		if n, err := strconv.Atoi(code); err == nil && common[n] != "" {
			all = append(all, n)
		}
	}
	if strings.HasPrefix(path, "/api/") && open[method+" "+path] != forAll {
		all = append(all, http.StatusTooManyRequests)
	}
	if open[method+" "+path] == forAdmin {
		all = append(all, http.StatusUnauthorized, http.StatusServiceUnavailable)
	}
	if method != http.MethodGet {
		all = append(all, http.StatusForbidden)
		if op.RequestBody != nil {
			all = append(all, http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func operationsOf(item *huma.PathItem) map[string]*huma.Operation {
	all := map[string]*huma.Operation{
		http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodPut: item.Put,
		http.MethodPatch: item.Patch, http.MethodDelete: item.Delete,
	}
	maps.DeleteFunc(all, func(_ string, op *huma.Operation) bool { return op == nil })
	return all
}

func problemExample(code int) map[string]any {
	return map[string]any{"title": http.StatusText(code), "status": code, "detail": common[code] + ".", "timestamp": "2026-03-01T10:00:00Z"}
}

// exampleOf makes a value of a schema out of the examples of its parts. Fields
// that may be absent are left out unless they have one.
func exampleOf(schemas huma.Registry, s *huma.Schema, depth int) any {
	const deepest = 8
	for s != nil && s.Ref != "" {
		s = schemas.SchemaFromRef(s.Ref)
	}
	switch {
	case s == nil || depth > deepest:
		return nil
	case len(s.Examples) > 0:
		return s.Examples[0]
	case s.Default != nil:
		return s.Default
	case len(s.Enum) > 0:
		return s.Enum[0]
	}
	switch s.Type {
	case huma.TypeObject:
		o := map[string]any{}
		for name, p := range s.Properties {
			if slices.Contains(s.Required, name) || len(p.Examples) > 0 {
				o[name] = exampleOf(schemas, p, depth+1)
			}
		}
		return o
	case huma.TypeArray:
		return []any{exampleOf(schemas, s.Items, depth+1)}
	case huma.TypeInteger, huma.TypeNumber:
		if s.Minimum != nil {
			return *s.Minimum
		}
		return 0
	case huma.TypeBoolean:
		return false
	}
	switch s.Format {
	case "date-time":
		return "2026-03-01T10:00:00Z"
	case "uri":
		return "https://arasul.local/"
	}
	return "text"
}
