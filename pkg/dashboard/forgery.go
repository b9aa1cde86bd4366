package dashboard

import (
	"mime"
	"net/http"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// sameSite refuses what another page makes a browser send. Reading changes
// nothing, and is not refused; the WebSocket looks at the Origin itself.
func (d *Dashboard) sameSite(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if protection.Check(r) != nil {
			if d.admission.first("forgery "+who(r.Context()).Address.String(), time.Now()) {
				d.audit(r.Context(), "auth.cross-site", r.Method+" "+r.URL.Path, api.ResultRefused, "another page sent it")
			}
			writeError(w, problemOf(http.StatusForbidden, "cross-site", "This came from another page."))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// onlyJSON refuses bodies of the types that a form of another page can send. A
// release is bytes, which no form sends as such.
func onlyJSON(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		bytes := kind == "application/octet-stream" && r.URL.Path == "/api/update/upload"
		if r.ContentLength != 0 && (err != nil || kind != "application/json" && !bytes) {
			problem(w, http.StatusUnsupportedMediaType, "The body must be JSON, with Content-Type: application/json.")
			return
		}
		next.ServeHTTP(w, r)
	})
}
