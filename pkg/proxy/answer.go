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
)

// words is what we say to people in one language.
type words struct{ Lang, Title, Text string }

// Every answer of our own has words in English and German.
var (
	english = map[int]words{
		http.StatusServiceUnavailable:    {"en", "One moment, please", "The dashboard is starting again. This page reloads by itself."},
		http.StatusMisdirectedRequest:    {"en", "Not under this name", "This appliance does not answer to the name in the address bar. Use its own name, such as arasul.local, or its IP address. An administrator can add names in /etc/arasul/arasul.toml, [proxy] hosts."},
		http.StatusRequestEntityTooLarge: {"en", "Too large", "What was sent is larger than this appliance accepts."},
		http.StatusMethodNotAllowed:      {"en", "Not possible", "This can only be read."},
	}
	german = map[int]words{
		http.StatusServiceUnavailable:    {"de", "Einen Moment bitte", "Die Oberfläche startet gerade neu. Diese Seite lädt sich von selbst neu."},
		http.StatusMisdirectedRequest:    {"de", "Nicht unter diesem Namen", "Dieses Gerät hört nicht auf den Namen in der Adresszeile. Verwenden Sie seinen eigenen Namen, etwa arasul.local, oder seine IP-Adresse. Weitere Namen trägt der Administrator in /etc/arasul/arasul.toml unter [proxy] hosts ein."},
		http.StatusRequestEntityTooLarge: {"de", "Zu groß", "Das Gesendete ist größer, als dieses Gerät annimmt."},
		http.StatusMethodNotAllowed:      {"de", "Nicht möglich", "Hier lässt sich nur lesen."},
	}
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
{{if .Reload}}<meta http-equiv="refresh" content="2">
{{end}}<title>Arasul: {{.Title}}</title><style>{{.Style}}</style></head>
<body><main role="status"><h1>{{.Title}}</h1><p>{{.Text}}</p></main></body></html>
`))

// answer says on our own behalf what a status means: to a browser as a page in
// its language, which reloads itself where waiting helps, and to everybody else
// as an RFC 9457 problem.
func answer(w http.ResponseWriter, r *http.Request, status int) {
	h := w.Header()
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "Accept, Accept-Language")

	isAPI := r.URL.Path == "/api" || strings.HasPrefix(r.URL.Path, "/api/")
	if isAPI || !strings.Contains(r.Header.Get("Accept"), "text/html") {
		h.Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(struct {
			Title     string    `json:"title"`
			Status    int       `json:"status"`
			Detail    string    `json:"detail"`
			Timestamp time.Time `json:"timestamp"`
		}{http.StatusText(status), status, english[status].Text, time.Now().UTC()})
		return
	}
	says := english[status]
	if prefersGerman(r.Header.Get("Accept-Language")) {
		says = german[status]
	}
	var page bytes.Buffer
	_ = pageTemplate.Execute(&page, struct {
		words
		Style  template.CSS
		Reload bool
	}{says, style, status == http.StatusServiceUnavailable})
	h.Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes())
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
