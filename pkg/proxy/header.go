package proxy

import (
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"slices"
	"strings"
)

// claims are headers in which a proxy tells those behind it who is asking, or
// where to. A client that sends them lies; cleanse also drops all whose name
// begins with one of claimPrefixes.
var (
	claims        = []string{"forwarded", "client-ip", "true-client-ip", "via", "proxy"}
	claimPrefixes = []string{"x-forwarded", "x-real-", "x-client-", "x-cluster-", "x-original-", "x-rewrite-", "x-auth-", "x-remote-", "x-http-method", "x-method-override", "remote-", "cf-", "arasul-"}
)

// cleanse removes what a client claims about itself.
func cleanse(h http.Header) {
	for name := range h {
		// Some readers take X_Forwarded_For for X-Forwarded-For.
		spelled := strings.ReplaceAll(strings.ToLower(name), "_", "-")
		claim := slices.Contains(claims, spelled) || slices.ContainsFunc(claimPrefixes, func(p string) bool { return strings.HasPrefix(spelled, p) })
		if claim {
			delete(h, name)
		}
	}
}

// Our cookies. The browser promises that __Host- ones were set by us over TLS.
const (
	sessionCookie = "__Host-arasul"
	ownCookies    = "__host-arasul" // how the names of all of ours begin, in lower case
)

// consoleCookies are MinIO's. It sets them for all paths.
var consoleCookies = []string{"token", "idp-refresh-token"}

// wants says whether an upstream may see a cookie. Ours open everything, so
// nobody but the dashboard gets them, and the dashboard gets no others: n8n's
// opens n8n.
func wants(upstream, cookie string) bool {
	ours := strings.HasPrefix(strings.ToLower(cookie), ownCookies)
	switch upstream {
	case dashboard, assistant:
		return ours
	case n8n:
		return !ours && !slices.Contains(consoleCookies, cookie)
	case console:
		return slices.Contains(consoleCookies, cookie)
	default:
		return false
	}
}

// keepCookies removes from h the cookies that upstream must not see.
func keepCookies(h http.Header, upstream string) {
	lines := h["Cookie"]
	h.Del("Cookie")
	var kept []string
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			name, _, _ := strings.Cut(pair, "=")
			if pair = strings.TrimSpace(pair); pair != "" && wants(upstream, strings.TrimSpace(name)) {
				kept = append(kept, pair)
			}
		}
	}
	if len(kept) > 0 {
		h.Set("Cookie", strings.Join(kept, "; "))
	}
}

// bearer returns the token of an Authorization header, "" if there is none.
func bearer(h http.Header) string {
	scheme, token, _ := strings.Cut(h.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// origin is what a request says about where it came from, as far as it is true.
func origin(r *http.Request) (client, scheme string) {
	scheme = "http"
	if r.TLS != nil {
		scheme = "https"
	}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return host, scheme
	}
	// The unix socket is a door for this machine's root, who needs no TLS.
	return "127.0.0.1", "https"
}

// address returns what a client counts as, and whether it has an address: who
// comes through the unix socket has none.
func address(r *http.Request) (netip.Addr, bool) {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	return Client(remote.Addr()), err == nil
}

// rewrite turns a request from the network into one to an upstream, which sees
// the host that was asked for and the address it came from.
func (u *upstream) rewrite(r *httputil.ProxyRequest) {
	v := visitOf(r.In)
	h := r.Out.Header
	cleanse(h)
	keepCookies(h, u.name)
	if v.route.login {
		if bearer(h) != "" {
			h.Del("Authorization") // it was for us
		}
		h.Set("Remote-User", v.permit.user)
		if v.permit.groups != "" {
			h.Set("Remote-Groups", v.permit.groups)
		}
	}
	r.SetXForwarded()
	client, scheme := origin(r.In)
	h.Set("X-Forwarded-For", client)
	h.Set("X-Forwarded-Proto", scheme)
	r.Out.Trailer = nil // headers that come late, past all of the above
	r.Out.URL.RawQuery = r.In.URL.RawQuery
	strip(r.Out.URL, v.route.strip)
	r.Out.URL.Scheme = "http"
	r.Out.URL.Host = u.host() // Out.Host stays what was asked for: signatures and Origin checks need it
	if u.name == llm || u.name == embeddings {
		// But Ollama answers to names in .local only, and to pages of such.
		// Which names and pages may, we have looked at.
		r.Out.Host = r.Out.URL.Host
		h.Del("Origin")
	}
}

// notTheirs are headers of answers by which an upstream would speak for the
// whole appliance.
var notTheirs = []string{"Strict-Transport-Security", "Clear-Site-Data", "Service-Worker-Allowed", "Alt-Svc", "Public-Key-Pins", "Nel", "Report-To", "Reporting-Endpoints"}

// sandbox keeps a page from being one of ours: it has an origin of its own.
// n8n says the same about its webhooks, unless a workflow says otherwise.
const sandbox = "sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts allow-top-navigation-by-user-activation"

// tame removes from an answer what its sender has no right to say.
func tame(resp *http.Response, t *route) {
	h := resp.Header
	h.Del(sessionsChanged)
	if t.to == dashboard || t.to == assistant {
		return
	}
	for _, name := range notTheirs {
		h.Del(name)
	}
	cookies := h["Set-Cookie"]
	h.Del("Set-Cookie")
	for _, c := range cookies {
		name, _, _ := strings.Cut(c, "=")
		if !strings.HasPrefix(strings.ToLower(strings.TrimSpace(name)), ownCookies) {
			h.Add("Set-Cookie", c)
		}
	}
	if t.sandboxed {
		h.Add("Content-Security-Policy", sandbox)
		h.Set("X-Content-Type-Options", "nosniff")
	}
}
