package proxy

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	signOnWithin = 5 * time.Second
	signOnKept   = time.Hour        // one sign-in serves all of the admin's browsers
	signOnPause  = 30 * time.Second // after one that failed
	n8nCookie    = "n8n-auth"
)

// signOn signs the admin in to n8n, so that who is signed in here need not do it
// again there. The cookie is worth something only together with a session of ours:
// without one nothing gets as far as n8n.
type signOn struct {
	ask func(context.Context) (value string, err error)

	mu    sync.Mutex
	value string
	until time.Time // of the value, or of the pause
}

// cookie is the value of n8n's cookie, empty when it cannot be had: n8n then shows
// its own login.
func (s *signOn) cookie(ctx context.Context, now time.Time) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Before(s.until) {
		return s.value, nil
	}
	ctx, cancel := context.WithTimeout(ctx, signOnWithin)
	defer cancel()
	value, err := s.ask(ctx)
	s.value, s.until = value, now.Add(signOnKept)
	if err != nil {
		s.until = now.Add(signOnPause)
	}
	return s.value, err
}

// signOn gives an admitted admin who opens n8n's pages n8n's cookie.
func (p *Proxy) signOn(w http.ResponseWriter, r *http.Request, v *visit) {
	if p.entry.ask == nil || v.route.to != n8n || v.permit.user == "" || !opensPage(r) {
		return
	}
	if _, err := r.Cookie(n8nCookie); err == nil {
		return
	}
	value, err := p.entry.cookie(r.Context(), time.Now())
	if err != nil {
		p.opts.Log.Warn("not signed in to n8n, which shows its own login", "err", err)
	}
	if value == "" {
		return
	}
	_, scheme := origin(r)
	// As n8n sets it itself, so that its own replaces this one.
	http.SetCookie(w, &http.Cookie{Name: n8nCookie, Value: value, Path: "/", HttpOnly: true, Secure: scheme == "https", SameSite: http.SameSiteLaxMode}) //nolint:gosec // n8n is reached over TLS only where there is TLS
	r.AddCookie(&http.Cookie{Name: n8nCookie, Value: value})                                                                                             //nolint:gosec // to loopback
}

// opensPage says whether a person opens a page, as opposed to what a page fetches.
func opensPage(r *http.Request) bool {
	if r.Method != http.MethodGet {
		return false
	}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" {
		return mode == "navigate"
	}
	return strings.Contains(r.Header.Get("Accept"), "text/html")
}
