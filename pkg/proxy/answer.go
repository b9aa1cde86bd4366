package proxy

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

const style = `:root{color-scheme:light dark;font:1.1rem/1.5 system-ui,sans-serif}` +
	`body{margin:0;min-height:100vh;display:grid;place-items:center}main{max-width:32rem;padding:2rem}h1{font-size:1.6rem;margin:0 0 .5rem}`

// The style must be inline, since there may be nobody to load it from; the
// policy allows this one and nothing else.
var contentSecurityPolicy = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

var pageTemplate = template.Must(template.New("").Parse(`<!doctype html>
<html lang="{{.Lang}}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
{{if .Reload}}<meta http-equiv="refresh" content="{{.Reload}}">
{{end}}<title>Arasul: {{.Title}}</title><style>{{.Style}}</style></head>
<body><main role="status"><h1>{{.Title}}</h1><p>{{.Text}}</p>
{{with .Run}}<p><progress max="100" value="{{.Percent}}">{{.Percent}} %</progress> {{.Percent}} %: {{$.Step}}</p>
{{end}}</main></body></html>
`))

// answer says on our own behalf what is the matter: to a browser as a page in
// its language, which reloads itself where waiting helps, and to everybody else
// as an RFC 9457 problem. About is the upstream that it concerns, if any.
func answer(w http.ResponseWriter, r *http.Request, a reply, about string) { say(w, r, a, about, nil) }

// say is answer, with how far the update is that explains it.
func say(w http.ResponseWriter, r *http.Request, a reply, about string, run *api.UpdateRun) {
	doNotDrain(w, r)
	h := w.Header()
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept, Accept-Language")
	if a.reload > 0 {
		h.Set("Retry-After", strconv.Itoa(a.reload))
	}
	if v := visitOf(r); v.route == &storageRoute || v.route != nil && a.kind == elsewhere.kind {
		answerStorage(w, r, a, about, v.endpoint)
		return
	}
	isAPI := r.URL.Path == "/api" || strings.HasPrefix(r.URL.Path, "/api/")
	if isAPI || !strings.Contains(r.Header.Get("Accept"), "text/html") {
		h.Set("Content-Type", "application/problem+json")
		w.WriteHeader(a.status)
		_ = json.NewEncoder(w).Encode(struct {
			Type      string    `json:"type"`
			Title     string    `json:"title"`
			Status    int       `json:"status"`
			Detail    string    `json:"detail"`
			Timestamp time.Time `json:"timestamp"`
			Update    *progress `json:"update,omitempty"`
		}{"urn:arasul:problem:" + a.kind, http.StatusText(a.status), a.status, a.english(about), time.Now().UTC(), progressOf(run)})
		return
	}
	lang, says := "en", a.en
	if prefersGerman(r.Header.Get("Accept-Language")) {
		lang, says = "de", a.de
	}
	says.Text = strings.ReplaceAll(says.Text, "$", parts[about][map[string]int{"de": 1}[lang]])
	var page bytes.Buffer
	_ = pageTemplate.Execute(&page, struct {
		words
		Lang   string
		Style  template.CSS
		Reload int
		Run    *api.UpdateRun
		Step   string
	}{says, lang, style, a.reload, run, stepOf(run, lang == "de")})
	h.Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(a.status)
	_, _ = w.Write(page.Bytes())
}

func stepOf(run *api.UpdateRun, german bool) string {
	if run == nil {
		return ""
	}
	return stepText(run, german)
}

// progress is how far an update is, for the page that waits for its end.
type progress struct {
	ID      string `json:"id"`
	To      string `json:"to"`
	Step    string `json:"step"`
	Percent int    `json:"percent"`
	Back    bool   `json:"back"`
}

func progressOf(run *api.UpdateRun) *progress {
	if run == nil {
		return nil
	}
	return &progress{run.ID, run.To, run.Step, run.Percent, run.Back}
}

// prefersGerman says whether an Accept-Language header puts de before en.
func prefersGerman(accept string) bool {
	best, weight := "en", 0.0
	for _, item := range strings.Split(accept, ",") {
		tag, params, _ := strings.Cut(strings.ToLower(item), ";")
		language, _, _ := strings.Cut(strings.TrimSpace(tag), "-")
		q := 1.0
		if v, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			q, _ = strconv.ParseFloat(v, 64)
		}
		if (language == "de" || language == "en") && q > weight {
			best, weight = language, q
		}
	}
	return best == "de"
}
