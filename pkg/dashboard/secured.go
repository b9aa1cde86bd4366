package dashboard

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

func securitySchemes() map[string]*huma.SecurityScheme {
	return map[string]*huma.SecurityScheme{
		"cookie": {Type: "apiKey", In: "cookie", Name: sessionCookie, Description: "Of a browser that has logged in"},
		"bearer": {Type: "http", Scheme: "bearer", BearerFormat: "JWT", Description: "Of a program that has logged in with bearer: true"},
	}
}

// secured writes the rule of access.go into the document, so that it cannot say
// something else.
func secured(doc *huma.OpenAPI) {
	for path, item := range doc.Paths {
		for method, op := range map[string]*huma.Operation{
			http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodPut: item.Put,
			http.MethodPatch: item.Patch, http.MethodDelete: item.Delete,
		} {
			if op == nil {
				continue
			}
			level := open[method+" "+path]
			if level == forAll {
				op.Security = []map[string][]string{}
				continue
			}
			op.Security = []map[string][]string{{"cookie": {}}, {"bearer": {}}}
			if level == forLocal { // no login needed in the local network
				op.Security = append([]map[string][]string{{}}, op.Security...)
			}
			if op.Responses["401"] == nil {
				op.Responses["401"] = &huma.Response{
					Description: "This needs a login",
					Content: map[string]*huma.MediaType{"application/problem+json": {
						Schema: &huma.Schema{Ref: "#/components/schemas/Problem"},
					}},
				}
			}
		}
	}
}
