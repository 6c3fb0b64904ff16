package portal

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/atoll-mesh/atoll/ui"
)

// contentSecurity lets the page load its own files and ask its own island, nothing
// else. The nonce is for the style element that the component library writes; there
// is no inline script and no other host, but for the map's tiles.
func contentSecurity(nonce, tiles string) string {
	if tiles != "" {
		tiles = " " + tiles
	}
	return "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-" + nonce + "'; img-src 'self' data: blob:" + tiles + "; " +
		"connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
}

// pageRoutes serves the application at / and at each of its views, and its files.
func (p *Portal) pageRoutes() ([]route, error) {
	files, err := ui.New()
	if err != nil {
		return nil, err
	}
	page := p.servePage(files)
	routes := []route{{"GET /{$}", page}, {"GET /graph", http.HandlerFunc(serveGraph)}}
	for _, view := range ui.Views() {
		routes = append(routes, route{"GET /" + view, page}, route{"GET /" + view + "/", page})
	}
	for _, name := range files.Names() {
		if !strings.HasPrefix(name, "assets/") {
			routes = append(routes, route{"GET /" + name, serveFile(files)})
		}
	}
	return append(routes, route{"GET /assets/", serveFile(files)}), nil
}

func (p *Portal) servePage(files *ui.Files) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		nonce := rand.Text()
		p.mu.Lock()
		tiles := p.config.TilesURL
		p.mu.Unlock()
		origin, _ := tilesOrigin(tiles) // the configuration was checked
		h := w.Header()
		h.Set("Content-Security-Policy", contentSecurity(nonce, origin))
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(files.Page(nonce, tiles)) // the client is gone if this errs
	})
}

// serveGraph leads from where Prometheus shows an expression, as links in
// notifications do, to where the application does.
func serveGraph(w http.ResponseWriter, r *http.Request) {
	q := url.Values{}
	if expr := r.URL.Query().Get("g0.expr"); expr != "" {
		q.Set("expr", expr)
	}
	if span := r.URL.Query().Get("g0.range_input"); span != "" {
		q.Set("range", span)
	}
	http.Redirect(w, r, "/explore?"+q.Encode(), http.StatusFound)
}

func serveFile(files *ui.Files) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, ok := files.File(strings.TrimPrefix(r.URL.Path, "/"))
		if !ok {
			http.NotFound(w, r)
			return
		}
		body, err := bodyFor(f, r)
		if err != nil {
			http.Error(w, "internal error: unpack "+r.URL.Path, http.StatusInternalServerError)
			return
		}
		h := w.Header()
		h.Set("Content-Type", f.Type)
		h.Set("Cache-Control", "no-cache")
		if f.Fixed {
			h.Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		if f.Gzip {
			h.Set("Vary", "Accept-Encoding")
			if acceptsGzip(r) {
				h.Set("Content-Encoding", "gzip")
			}
		}
		h.Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body) // the client is gone if this errs
	})
}

// bodyFor unpacks for those few clients that cannot.
func bodyFor(f ui.File, r *http.Request) ([]byte, error) {
	if !f.Gzip || acceptsGzip(r) {
		return f.Body, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(f.Body))
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	return io.ReadAll(z)
}

func acceptsGzip(r *http.Request) bool {
	for coding := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, params, _ := strings.Cut(strings.TrimSpace(coding), ";")
		if name == "gzip" && strings.ReplaceAll(params, " ", "") != "q=0" {
			return true
		}
	}
	return false
}
