package dashboard

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"
)

// page is the built page in memory, by URL path. It is a few hundred kilobytes.
type page map[string]asset

// asset is one file in the encodings it was built in; "" is the file itself.
type asset struct {
	contentType string
	etag        string
	encodings   map[string][]byte
}

// loadPage reads files and pairs them with their compressed siblings. A nil
// file system is an empty page.
func loadPage(web fs.FS) (page, error) {
	files := make(map[string][]byte)
	if web == nil {
		return nil, nil
	}
	err := fs.WalkDir(web, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".") {
			return err
		}
		files["/"+name], err = fs.ReadFile(web, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading page: %w", err)
	}
	p := make(page)
	for name, body := range files {
		plain, compressed := strings.CutSuffix(name, ".br")
		if !compressed {
			plain, compressed = strings.CutSuffix(name, ".gz")
		}
		if _, ok := files[plain]; ok && compressed {
			continue // a sibling, not a file of its own
		}
		a := asset{contentType(name), fmt.Sprintf("%x", sha256.Sum256(body))[:16], map[string][]byte{"": body}}
		for encoding, suffix := range map[string]string{"br": ".br", "gzip": ".gz"} {
			if sibling, ok := files[name+suffix]; ok {
				a.encodings[encoding] = sibling
			}
		}
		p[name] = a
	}
	return p, nil
}

// contentType does not ask the machine's MIME tables, which differ.
func contentType(name string) string {
	known := map[string]string{
		".css": "text/css; charset=utf-8", ".html": "text/html; charset=utf-8", ".ico": "image/x-icon",
		".js": "text/javascript; charset=utf-8", ".json": "application/json", ".map": "application/json",
		".png": "image/png", ".svg": "image/svg+xml", ".txt": "text/plain; charset=utf-8",
		".webmanifest": "application/manifest+json", ".woff2": "font/woff2",
	}
	if t, ok := known[path.Ext(name)]; ok {
		return t
	}
	return "application/octet-stream"
}

// servePage answers whatever is not the API: a file of the page, or the page
// itself for a browser that asks for a path the page knows how to show.
func (d *Dashboard) servePage(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		d.methodNotAllowed(w, r)
		return
	}
	if isAPI(r.URL.Path) || strings.HasPrefix(r.URL.Path, "/internal/") {
		problem(w, http.StatusNotFound, "The API has nothing at this path.")
		return
	}
	name := r.URL.Path
	a, ok := d.page[name]
	if !ok && !strings.HasPrefix(name, "/assets/") && strings.Contains(r.Header.Get("Accept"), "text/html") || name == "/" {
		name = "/index.html"
		a, ok = d.page[name]
		if !ok {
			http.Error(w, "This build of Arasul has no page. The API is at /api/health and /api/openapi.json.", http.StatusNotFound)
			return
		}
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	if strings.HasPrefix(name, "/assets/") {
		h.Set("Cache-Control", "public, max-age=31536000, immutable") // the name changes with the content
	} else {
		h.Set("Cache-Control", "no-cache")
	}
	h.Set("Content-Type", a.contentType)
	encoding := a.encoding(r.Header.Values("Accept-Encoding"))
	if encoding != "" {
		h.Set("Content-Encoding", encoding)
	}
	h.Set("Vary", "Accept-Encoding")
	h.Set("ETag", strconv.Quote(strings.TrimSuffix(a.etag+"-"+encoding, "-")))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.encodings[encoding]))
}

// encoding picks the smallest form that the browser takes.
func (a asset) encoding(accept []string) string {
	taken := make(map[string]bool)
	for _, item := range strings.Split(strings.Join(accept, ","), ",") {
		name, params, _ := strings.Cut(item, ";")
		q := strings.ReplaceAll(params, " ", "")
		refused := strings.HasPrefix(q, "q=0") && strings.Trim(q[len("q=0"):], ".0") == ""
		taken[strings.ToLower(strings.TrimSpace(name))] = !refused
	}
	for _, encoding := range []string{"br", "gzip"} {
		if taken[encoding] && a.encodings[encoding] != nil {
			return encoding
		}
	}
	return ""
}
