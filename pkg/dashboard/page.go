package dashboard

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"
)

// docsPage is the page of the API's description: for the admin, at /api/docs.
const docsPage = "/docs.html"

// page knows the files of the built pages, by URL path. Their content stays in
// the program's file, from where it is served.
type page map[string]asset

// asset is one file in the encodings it was built in; "" is the file itself.
type asset struct {
	contentType string
	etag        string
	encodings   map[string]string // names of files
}

// loadPage looks at files and pairs them with their compressed siblings. A nil
// file system is an empty page.
func loadPage(web fs.FS) (page, error) {
	files := make(map[string]string) // digests of their content
	if web == nil {
		return nil, nil
	}
	err := fs.WalkDir(web, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".") {
			return err
		}
		files["/"+name], err = digest(web, name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading page: %w", err)
	}
	p := make(page)
	for name, sum := range files {
		plain, compressed := strings.CutSuffix(name, ".br")
		if !compressed {
			plain, compressed = strings.CutSuffix(name, ".gz")
		}
		if _, ok := files[plain]; ok && compressed {
			continue // a sibling, not a file of its own
		}
		a := asset{contentType(name), sum, map[string]string{"": name[1:]}}
		for encoding, suffix := range map[string]string{"br": ".br", "gzip": ".gz"} {
			if _, ok := files[name+suffix]; ok {
				a.encodings[encoding] = name[1:] + suffix
			}
		}
		p[name] = a
	}
	return p, nil
}

// digest is the beginning of a file's SHA-256.
func digest(web fs.FS, name string) (string, error) {
	f, err := web.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
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
	if !ok || name == docsPage {
		http.NotFound(w, r)
		return
	}
	d.serveAsset(w, r, name, a)
}

// docs serves the description of the API for people.
func (d *Dashboard) docs(w http.ResponseWriter, r *http.Request) {
	a, ok := d.page[docsPage]
	if !ok {
		problem(w, http.StatusNotFound, "This build of Arasul has no such page. The document is at /api/openapi.json.")
		return
	}
	d.serveAsset(w, r, docsPage, a)
}

func (d *Dashboard) serveAsset(w http.ResponseWriter, r *http.Request, name string, a asset) {
	encoding := a.encoding(r.Header.Values("Accept-Encoding"))
	f, err := d.opts.Web.Open(a.encodings[encoding])
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	content, ok := f.(io.ReadSeeker) // as those of embed are
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
	if encoding != "" {
		h.Set("Content-Encoding", encoding)
	}
	h.Set("Vary", "Accept-Encoding")
	h.Set("ETag", strconv.Quote(strings.TrimSuffix(a.etag+"-"+encoding, "-")))
	http.ServeContent(w, r, "", time.Time{}, content)
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
		if taken[encoding] && a.encodings[encoding] != "" {
			return encoding
		}
	}
	return ""
}
