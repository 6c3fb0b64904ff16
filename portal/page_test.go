package portal

import (
	"io/fs"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/atoll-mesh/atoll/ui"
)

func TestPageIsServed(t *testing.T) {
	r := run(t, Options{})
	var nonces []string
	for _, path := range []string{"/", "/explore", "/alerts/rules", "/probes/anything/below", "/?lang=zh"} {
		code, body, h := r.ask(t, "GET", path, nil)
		if code != 200 || !strings.Contains(body, "<title>Atoll</title>") {
			t.Errorf("%s: %d, %d bytes", path, code, len(body))
		}
		csp := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self';", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: Content-Security-Policy %q misses %q", path, csp, want)
			}
		}
		if strings.Contains(csp, "unsafe") {
			t.Errorf("%s: Content-Security-Policy %q", path, csp)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: headers %v", path, h)
		}
		nonce := regexp.MustCompile(`'nonce-([^']+)'`).FindStringSubmatch(csp)
		if nonce == nil || len(nonce[1]) < 22 {
			t.Fatalf("%s: no nonce in %q", path, csp)
		}
		nonces = append(nonces, nonce[1])
	}
	if nonces[0] == nonces[1] {
		t.Error("two answers have the same nonce")
	}
	for _, path := range []string{"/index.html", "/nowhere", "/assets/", "/assets/none.js", "/assets/../placeholder/index.html", "/assets/..%2f..%2fdoc.go", "/assets/%2e%2e/embed.go"} {
		if code, body, _ := r.ask(t, "GET", path, nil); code == 200 {
			t.Errorf("%s: %d %.60q", path, code, body)
		}
	}
}

func TestPageFiles(t *testing.T) {
	files, err := ui.New()
	if err != nil {
		t.Fatal(err)
	}
	if !files.Built() {
		t.Skip("the application is not built: make ui")
	}
	r := run(t, Options{})
	_, page, _ := r.ask(t, "GET", "/", nil)
	script := regexp.MustCompile(`src="(/assets/[^"]+\.js)"`).FindStringSubmatch(page)
	if script == nil {
		t.Fatalf("the page loads no script: %s", page)
	}
	_, packed, h := r.ask(t, "GET", script[1], func(q *http.Request) { q.Header.Set("Accept-Encoding", "br, gzip") })
	if h.Get("Content-Encoding") != "gzip" || !strings.Contains(h.Get("Cache-Control"), "immutable") || !strings.HasPrefix(h.Get("Content-Type"), "text/javascript") {
		t.Errorf("%s packed: %v", script[1], h)
	}
	code, plain, h := r.ask(t, "GET", script[1], func(q *http.Request) { q.Header.Set("Accept-Encoding", "gzip;q=0") })
	if code != 200 || h.Get("Content-Encoding") != "" || len(plain) <= len(packed) {
		t.Errorf("%s unpacked: %d, %d bytes of %d packed, %v", script[1], code, len(plain), len(packed), h)
	}
}

func TestGraphLinks(t *testing.T) {
	r := run(t, Options{})
	r.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	code, _, h := r.ask(t, "GET", "/graph?g0.expr=up%20%3D%3D%200&g0.tab=1", nil)
	if code != http.StatusFound || h.Get("Location") != "/explore?expr=up+%3D%3D+0" {
		t.Errorf("%d, to %q", code, h.Get("Location"))
	}
}

// TestPageKeepsItsPolicy finds what would let a label's value become markup, and
// addresses of other hosts.
func TestPageKeepsItsPolicy(t *testing.T) {
	bad := map[string]*regexp.Regexp{
		"an address of another host": regexp.MustCompile(`(?i)(src|href|fetch|import)\s*[=(]\s*["'` + "`" + `](https?:)?//`),
		"a way to turn text to code": regexp.MustCompile(`\beval\(|new Function\(|insertAdjacentHTML|outerHTML|document\.write|setHTML|innerHTML\s*=|srcdoc|dangerouslySetInnerHTML`),
	}
	seen := 0
	err := fs.WalkDir(os.DirFS("../ui"), "src", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !regexp.MustCompile(`\.tsx?$`).MatchString(name) {
			return err
		}
		seen++
		text, err := os.ReadFile("../ui/" + name)
		for what, re := range bad {
			if found := re.Find(text); found != nil {
				t.Errorf("ui/%s has %s: %q", name, what, found)
			}
		}
		return err
	})
	if err != nil || seen < 10 {
		t.Errorf("looked into %d files: %v", seen, err)
	}
}
