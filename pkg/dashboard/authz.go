package dashboard

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// authz answers the proxy's question whether a request that it describes may go
// on to an application (forward authentication as Traefik asks for it): 200 says
// yes and who it is; any other answer is passed on to the client.
func (d *Dashboard) authz(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	id, _ := r.Context().Value(identityKey{}).(*identity)
	if id == nil || id.User == console {
		problem(w, http.StatusForbidden, "This is for the proxy.")
		return
	}
	err := d.authenticate(r.Context(), id)
	if err == nil {
		w.Header().Set("Remote-User", id.User)
		w.WriteHeader(http.StatusOK)
		return
	}
	uri := r.Header.Get("X-Forwarded-Uri")
	d.noteRefusal(r.Context(), r.Header.Get("X-Forwarded-Method")+" "+uri, err)
	var answer huma.StatusError
	if errors.As(err, &answer) && answer.GetStatus() == http.StatusUnauthorized && navigation(r) {
		w.Header().Set("Location", "/?next="+url.QueryEscape(here(uri)))
		w.WriteHeader(http.StatusSeeOther)
		return
	}
	writeError(w, err)
}

// navigation says whether a browser is about to show what it asks for.
func navigation(r *http.Request) bool {
	if method := r.Header.Get("X-Forwarded-Method"); method != http.MethodGet && method != http.MethodHead {
		return false
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}

// here returns uri if it stays on this machine, and else the page. Browsers take
// // and /\ for the beginning of another host.
func here(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(uri, "/") ||
		strings.HasPrefix(uri, "//") || strings.ContainsAny(uri, "\\\t\r\n") {
		return "/"
	}
	return uri
}
