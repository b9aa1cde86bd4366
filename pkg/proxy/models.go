package proxy

import (
	"net/http"
	"slices"
	"strings"
)

// verb is what may be asked of Ollama under one path.
type verb struct {
	path    string // ends in a slash, or is the whole path
	methods []string
	admin   bool // changes what models there are, fetches them from elsewhere, or sends them there
}

var (
	read = []string{http.MethodGet, http.MethodHead}
	post = []string{http.MethodPost}
)

// verbs is what we know of Ollama. What a later one brings stays closed until
// somebody has read what it does.
var verbs = []verb{
	{"/", read, false},
	{"/api/version", read, false},
	{"/api/tags", read, false},
	{"/api/ps", read, false},
	{"/api/show", post, false},
	{"/api/generate", post, false},
	{"/api/chat", post, false},
	{"/api/embed", post, false},
	{"/api/embeddings", post, false},
	{"/v1/models", read, false},
	{"/v1/models/", read, false},
	{"/v1/chat/completions", post, false},
	{"/v1/completions", post, false},
	{"/v1/embeddings", post, false},
	{"/v1/responses", post, false},
	{"/v1/messages", post, false},

	{"/api/pull", post, true},
	{"/api/push", post, true},
	{"/api/create", post, true},
	{"/api/copy", post, true},
	{"/api/delete", []string{http.MethodDelete}, true},
	{"/api/blobs/", []string{http.MethodHead, http.MethodPost}, true},
}

// verbOf finds what a request to an Ollama is about; nil means nothing that we
// know. The path is the one that Ollama will see.
func verbOf(path string) *verb {
	i := slices.IndexFunc(verbs, func(v verb) bool {
		return path == v.path || v.path != "/" && strings.HasSuffix(v.path, "/") && strings.HasPrefix(path, v.path)
	})
	if i < 0 {
		return nil
	}
	return &verbs[i]
}

// admin is the one account there is; a session or token for less may come.
const admin = "admin"

// mayAsk says whether an Ollama may be asked for this, before anybody has logged in.
func mayAsk(t *route, r *http.Request) (reply, bool) {
	if t.to != llm && t.to != embeddings {
		return reply{}, true
	}
	path := strings.TrimPrefix(r.URL.Path, t.strip)
	if path == "" {
		path = "/"
	}
	v := verbOf(path)
	switch {
	case v == nil:
		return notFound, false
	case !slices.Contains(v.methods, r.Method):
		return notAllowed, false
	}
	return reply{}, true
}

// mayChange says whether who was let in may ask an Ollama for this.
func mayChange(t *route, r *http.Request, who permit) bool {
	if t.to != llm && t.to != embeddings {
		return true
	}
	v := verbOf(strings.TrimPrefix(r.URL.Path, t.strip))
	return v == nil || !v.admin || who.user == admin
}
