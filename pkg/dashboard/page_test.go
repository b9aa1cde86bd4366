package dashboard

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/fstest"
)

func TestPageIsServed(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	d := newDashboard(t, Options{Web: fstest.MapFS{
		".gitkeep":                 file(""),
		"index.html":               file("page"),
		"index.html.br":            file("page-br"),
		"index.html.gz":            file("page-gz"),
		"favicon.svg":              file("icon"),
		"assets/app-1a2b3c.js":     file("script"),
		"assets/app-1a2b3c.js.br":  file("script-br"),
		"assets/logo-1a2b3c.woff2": file("font"),
		"assets/backup.tar.gz":     file("archive"),
	}})
	const html = "text/html,application/xhtml+xml"
	tests := []struct {
		name, path, accept, encodings string
		code                          int
		body, kind, encoding, cache   string
	}{
		{"the page", "/", html, "", 200, "page", "text/html; charset=utf-8", "", "no-cache"},
		{"the page without Accept", "/", "", "", 200, "page", "text/html; charset=utf-8", "", "no-cache"},
		{"brotli first", "/", html, "gzip, deflate, br, zstd", 200, "page-br", "text/html; charset=utf-8", "br", "no-cache"},
		{"gzip", "/", html, "gzip", 200, "page-gz", "text/html; charset=utf-8", "gzip", "no-cache"},
		{"brotli refused", "/", html, "br;q=0, gzip;q=0.5", 200, "page-gz", "text/html; charset=utf-8", "gzip", "no-cache"},
		{"all refused", "/", html, "br; q=0.000, gzip;q=0", 200, "page", "text/html; charset=utf-8", "", "no-cache"},
		{"a path of the page", "/incidents/42", html, "br", 200, "page-br", "text/html; charset=utf-8", "br", "no-cache"},
		{"hashed asset", "/assets/app-1a2b3c.js", "*/*", "br", 200, "script-br", "text/javascript; charset=utf-8", "br", "public, max-age=31536000, immutable"},
		{"asset without siblings", "/assets/logo-1a2b3c.woff2", "*/*", "br, gzip", 200, "font", "font/woff2", "", "public, max-age=31536000, immutable"},
		{"a compressed file of its own", "/assets/backup.tar.gz", "*/*", "", 200, "archive", "application/octet-stream", "", "public, max-age=31536000, immutable"},
		{"other file", "/favicon.svg", "image/*", "", 200, "icon", "image/svg+xml", "", "no-cache"},
		{"old asset is not the page", "/assets/app-old.js", html, "", 404, "", "", "", ""},
		{"missing file is not the page", "/robots.txt", "*/*", "", 404, "", "", "", ""},
		{"sibling is not a file", "/index.html.br", "*/*", "", 404, "", "", "", ""},
		{"hidden file", "/.gitkeep", "*/*", "", 404, "", "", "", ""},
		{"escape", "/assets/../../etc/passwd", "*/*", "", 404, "", "", "", ""},
		{"folder", "/assets/", "*/*", "", 404, "", "", "", ""},
		{"the API is not the page", "/api/incidents", html, "", 404, "", "", "", "no-store"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.URL.Path = tt.path
			r.Header.Set("Accept", tt.accept)
			r.Header.Set("Accept-Encoding", tt.encodings)
			w := httptest.NewRecorder()
			d.Handler().ServeHTTP(w, r)
			h := w.Header()
			if w.Code != tt.code {
				t.Fatalf("status %d, want %d", w.Code, tt.code)
			}
			if h.Get("Cache-Control") != tt.cache {
				t.Errorf("Cache-Control %q", h.Get("Cache-Control"))
			}
			if tt.code != 200 {
				return
			}
			if w.Body.String() != tt.body || h.Get("Content-Type") != tt.kind || h.Get("Content-Encoding") != tt.encoding {
				t.Errorf("got %q as %q in %q", w.Body, h.Get("Content-Type"), h.Get("Content-Encoding"))
			}
			if h.Get("Vary") != "Accept-Encoding" {
				t.Errorf("Vary %q", h.Get("Vary"))
			}
		})
	}
}

func TestUnchangedPageIsNotSentAgain(t *testing.T) {
	d := newDashboard(t, Options{Web: fstest.MapFS{
		"index.html": {Data: []byte("page")}, "index.html.gz": {Data: []byte("zip")},
	}})
	tags := make(map[string]bool)
	for _, encoding := range []string{"", "gzip"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Accept-Encoding", encoding)
		w := httptest.NewRecorder()
		d.Handler().ServeHTTP(w, r)
		tag := w.Header().Get("ETag")
		tags[tag] = true
		r.Header.Set("If-None-Match", tag)
		w = httptest.NewRecorder()
		d.Handler().ServeHTTP(w, r)
		if w.Code != http.StatusNotModified || w.Body.Len() != 0 {
			t.Errorf("encoding %q, ETag %s: status %d", encoding, tag, w.Code)
		}
	}
	if len(tags) != 2 {
		t.Errorf("two encodings share a tag: %v", tags)
	}
}

func TestBuildWithoutAPageSaysSo(t *testing.T) {
	for name, web := range map[string]fstest.MapFS{"empty": {".gitkeep": {}}, "none": nil} {
		w := httptest.NewRecorder()
		opts := Options{}
		if web != nil {
			opts.Web = web
		}
		newDashboard(t, opts).Handler().ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if w.Code != 404 || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%s: status %d, %s", name, w.Code, w.Header().Get("Content-Type"))
		}
	}
}

func TestDescriptionOfTheAPIIsAPageForTheAdmin(t *testing.T) {
	d := newDashboard(t, Options{Web: fstest.MapFS{"index.html": {Data: []byte("page")}, "docs.html": {Data: []byte("docs")}, "docs.html.gz": {Data: []byte("zip")}}})
	w := httptest.NewRecorder()
	d.Handler().ServeHTTP(w, atConsole("GET", "/api/docs", nil))
	if w.Code != 200 || w.Body.String() != "docs" || w.Header().Get("Content-Type") != "text/html; charset=utf-8" || w.Header().Get("Cache-Control") != "no-cache" {
		t.Errorf("%d %q %v", w.Code, w.Body, w.Header())
	}
	for _, path := range []string{"/docs.html", "/api/docs"} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("X-Forwarded-For", "192.168.1.5")
		d.Handler().ServeHTTP(w, r)
		if w.Code == 200 {
			t.Errorf("%s: open to the local network", path)
		}
	}
	w = httptest.NewRecorder()
	newDashboard(t, Options{}).Handler().ServeHTTP(w, atConsole("GET", "/api/docs", nil))
	if w.Code != 404 || w.Header().Get("Content-Type") != problemJSON {
		t.Errorf("a build without it: %d", w.Code)
	}
}
