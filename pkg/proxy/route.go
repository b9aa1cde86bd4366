package proxy

import (
	"net/http"
	"strings"
	"time"
)

// The upstreams, by the name that /health and the log give them.
const (
	dashboard  = "dashboard"
	n8n        = "n8n"
	console    = "console"    // MinIO's pages
	storage    = "storage"    // MinIO's S3 API
	llm        = "llm"        // Ollama
	embeddings = "embeddings" // a second Ollama
	assistant  = "assistant"  // the dashboard, when it asks the models: that takes its time
)

// unlimited is a body of any size, as long as it keeps coming.
const unlimited = -1

// route is one row of the table: what a path leads to, and on which terms.
type route struct {
	prefix string // ends in a slash, or is the whole path
	to     string // an upstream; "" answers that there is nothing
	strip  string // taken off the front of the path
	login  bool   // only for those whom the dashboard lets pass
	rate   class
	long   bool          // such a request may take minutes: few at a time
	body   int64         // bytes of a request body, at most
	within time.Duration // for the body to arrive; when it is unlimited, between two pieces of it
	// sandboxed answers come from people whom we do not know, or from
	// workflows that repeat what such people say. A browser must not take them
	// for pages of ours.
	sandboxed bool
}

const (
	kilobyte = 1 << 10
	megabyte = 1 << 20

	apiBody     = megabyte // of the dashboard, which reads JSON
	n8nBody     = 16 * megabyte
	consoleBody = unlimited // uploads go through it
	modelBody   = 64 * megabyte

	apiWithin   = 30 * time.Second
	n8nWithin   = 2 * time.Minute
	modelWithin = 2 * time.Minute
	pieceWithin = time.Minute
)

// routes is the whole table. The longest prefix that fits wins, so the order is
// for readers only.
var routes = []route{
	{prefix: "/", to: dashboard, rate: pages, body: apiBody, within: apiWithin},
	{prefix: "/api/", to: dashboard, rate: general, body: apiBody, within: apiWithin},
	{prefix: "/api/auth/", to: dashboard, rate: auth, body: apiBody, within: apiWithin},
	{prefix: "/api/auth/login", to: dashboard, rate: login, body: 16 * kilobyte, within: apiWithin},
	{prefix: "/api/auth/setup", to: dashboard, rate: login, body: 16 * kilobyte, within: apiWithin},
	{prefix: "/api/llm/", to: assistant, rate: models, long: true, body: 16 * megabyte, within: apiWithin},
	{prefix: "/api/llm/models", to: dashboard, rate: general, body: apiBody, within: apiWithin},
	{prefix: "/api/llm/models/", to: dashboard, rate: general, body: apiBody, within: apiWithin},
	{prefix: "/api/embeddings", to: assistant, rate: models, long: true, body: 2 * megabyte, within: apiWithin},
	{prefix: "/api/metrics/", to: dashboard, rate: metrics, body: apiBody, within: apiWithin},
	{prefix: "/api/logs/stream", to: dashboard, rate: general, long: true, body: apiBody, within: apiWithin},
	{prefix: "/api/update/upload", to: dashboard, rate: transfer, long: true, body: 16*megabyte + kilobyte, within: modelWithin},
	{prefix: "/api/update/events", to: dashboard, rate: general, long: true, body: kilobyte, within: apiWithin},
	{prefix: "/metrics", to: dashboard, rate: metrics, body: apiBody, within: apiWithin},
	{prefix: "/health"},   // our own, see health.go
	{prefix: "/internal"}, // what our own programs say to the dashboard
	{prefix: "/internal/"},

	{prefix: "/n8n/", to: n8n, strip: "/n8n", login: true, rate: pages, body: n8nBody, within: n8nWithin},
	{prefix: "/n8n/metrics"}, // for Prometheus on this machine
	{prefix: "/n8n/healthz", to: n8n, strip: "/n8n", rate: pages, body: kilobyte, within: apiWithin},
	{prefix: "/n8n/healthz/readiness", to: n8n, strip: "/n8n", rate: pages, body: kilobyte, within: apiWithin},
	public("/n8n/webhook/"),
	public("/n8n/webhook-test/"),
	public("/n8n/webhook-waiting/"),
	public("/n8n/form/"),
	public("/n8n/form-test/"),
	public("/n8n/form-waiting/"),
	public("/n8n/mcp/"),
	public("/n8n/mcp-test/"),
	public("/n8n/rest/oauth1-credential/callback"),
	public("/n8n/rest/oauth2-credential/callback"),

	{prefix: "/minio/", to: console, strip: "/minio", login: true, rate: pages, body: consoleBody, within: pieceWithin},
	{prefix: "/minio-api/", to: storage, strip: "/minio-api", rate: pages, body: kilobyte, within: apiWithin, sandboxed: true},

	{prefix: "/models/", to: llm, strip: "/models", login: true, rate: models, long: true, body: modelBody, within: modelWithin},
	{prefix: "/models/api/blobs/", to: llm, strip: "/models", login: true, rate: models, long: true, body: unlimited, within: pieceWithin},
	{prefix: "/embeddings/", to: embeddings, strip: "/embeddings", login: true, rate: models, long: true, body: modelBody, within: modelWithin},
	{prefix: "/embeddings/api/blobs/", to: embeddings, strip: "/embeddings", login: true, rate: models, long: true, body: unlimited, within: pieceWithin},
}

// storageRoute is all there is on the host name of S3, whose requests are
// signed: nothing of them may change on the way.
var storageRoute = route{prefix: "/", to: storage, rate: objects, body: unlimited, within: pieceWithin}

// public is a path of n8n that the world may call: a webhook, a form.
func public(prefix string) route {
	return route{prefix: prefix, to: n8n, strip: "/n8n", rate: webhooks, long: true, body: n8nBody, within: n8nWithin, sandboxed: true}
}

// find returns the row for a path. The slash that ends a prefix may be missing
// from the path when nothing follows.
func find(path string) *route {
	var best *route
	for i := range routes {
		r := &routes[i]
		if r.fits(path) && (best == nil || len(r.prefix) > len(best.prefix)) {
			best = r
		}
	}
	return best
}

func (t *route) fits(path string) bool {
	if stem, folder := strings.CutSuffix(t.prefix, "/"); folder {
		return strings.HasPrefix(path, t.prefix) || path == stem
	}
	return path == t.prefix
}

// entrance says whether the path is that of a part without the slash that its
// pages need to find their files.
func (t *route) entrance(r *http.Request) bool {
	return t.strip != "" && r.URL.Path == t.strip && (r.Method == http.MethodGet || r.Method == http.MethodHead)
}
