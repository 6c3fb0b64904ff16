package portal

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
)

//go:embed page
var pageFiles embed.FS

// contentSecurity lets the page load its own files and ask its own island,
// nothing else: no inline script, no frame, no other host.
const contentSecurity = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// pageRoutes serves page/index.html at / and its other files under /assets/.
func pageRoutes() ([]route, error) {
	entries, err := fs.ReadDir(pageFiles, "page")
	if err != nil {
		return nil, err
	}
	var routes []route
	for _, e := range entries {
		body, err := fs.ReadFile(pageFiles, "page/"+e.Name())
		if err != nil {
			return nil, err
		}
		pattern := "GET /assets/" + e.Name()
		if e.Name() == "index.html" {
			pattern = "GET /{$}"
		}
		h, err := newAsset(e.Name(), body)
		if err != nil {
			return nil, err
		}
		routes = append(routes, route{pattern, h})
	}
	return routes, nil
}

// newAsset answers with body; clients keep it and ask whether it changed.
func newAsset(name string, body []byte) (http.Handler, error) {
	types := map[string]string{
		".html": "text/html; charset=utf-8",
		".css":  "text/css; charset=utf-8",
		".js":   "text/javascript; charset=utf-8",
		".svg":  "image/svg+xml",
	}
	contentType, ok := types[path.Ext(name)]
	if !ok {
		return nil, fmt.Errorf("page file %q: no content type is known for its extension", name)
	}
	sum := sha256.Sum256(body)
	etag := `"` + hex.EncodeToString(sum[:12]) + `"`
	length := strconv.Itoa(len(body))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentSecurity)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", etag)
		if r.Header.Get("If-None-Match") == etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		h.Set("Content-Type", contentType)
		h.Set("Content-Length", length)
		_, _ = w.Write(body) // the client is gone if this errs
	}), nil
}
