package portal

import (
	"io/fs"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func pageTexts(t *testing.T) map[string]string {
	t.Helper()
	entries, err := fs.ReadDir(pageFiles, "page")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, e := range entries {
		body, err := fs.ReadFile(pageFiles, "page/"+e.Name())
		if err != nil {
			t.Fatal(err)
		}
		texts[e.Name()] = string(body)
	}
	return texts
}

func TestPageIsServed(t *testing.T) {
	r := run(t, Options{})
	for name := range pageTexts(t) {
		path := "/assets/" + name
		if name == "index.html" {
			path = "/"
		}
		code, body, h := r.ask(t, "GET", path, nil)
		if code != 200 || body == "" {
			t.Errorf("%s: %d, %d bytes", path, code, len(body))
		}
		csp := h.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: Content-Security-Policy %q misses %q", path, csp, want)
			}
		}
		if strings.Contains(csp, "unsafe") {
			t.Errorf("%s: Content-Security-Policy %q", path, csp)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" || h.Get("Content-Type") == "" {
			t.Errorf("%s: headers %v", path, h)
		}
		code, body, _ = r.ask(t, "GET", path, func(req *http.Request) { req.Header.Set("If-None-Match", h.Get("ETag")) })
		if code != 304 || body != "" {
			t.Errorf("%s unchanged: %d, %d bytes", path, code, len(body))
		}
	}
	if code, _, _ := r.ask(t, "GET", "/index.html", nil); code != 404 {
		t.Errorf("/index.html: %d, the page has one address", code)
	}
}

// TestPageKeepsItsPolicy finds what the Content-Security-Policy would block and
// what would let a label's value become markup.
func TestPageKeepsItsPolicy(t *testing.T) {
	texts := pageTexts(t)
	for name, text := range texts {
		for what, re := range map[string]string{
			"an address of another host": `(?i)(src|href|url|fetch|import)\s*[=(]\s*["']?(https?:)?//`,
			"a way to turn text to code": `\beval\(|new Function|insertAdjacentHTML|outerHTML|document\.write|setHTML|innerHTML\s*=|srcdoc`,
		} {
			if found := regexp.MustCompile(re).FindString(text); found != "" {
				t.Errorf("page/%s has %s: %q", name, what, found)
			}
		}
	}
	html := texts["index.html"]
	for what, re := range map[string]string{
		"an inline script":  `<script(?:[^>]*)>[^<]`,
		"an inline style":   `<style|\sstyle=`,
		"an inline handler": `\son[a-z]+=`,
	} {
		if found := regexp.MustCompile(re).FindString(html); found != "" {
			t.Errorf("page/index.html has %s: %q", what, found)
		}
	}
}

// TestPageHangsTogether checks by name what no compiler checks.
func TestPageHangsTogether(t *testing.T) {
	texts := pageTexts(t)
	html := texts["index.html"]
	for name, text := range texts {
		for _, m := range regexp.MustCompile(`from "\./([a-z]+\.js)"`).FindAllStringSubmatch(text, -1) {
			if _, ok := texts[m[1]]; !ok {
				t.Errorf("page/%s imports %s, which is missing", name, m[1])
			}
		}
		for _, m := range regexp.MustCompile(`import \{ ([^}]+) \} from "\./([a-z]+\.js)"`).FindAllStringSubmatch(text, -1) {
			for _, symbol := range strings.Split(m[1], ", ") {
				if !regexp.MustCompile(`export (async )?(function|const) ` + symbol + `\b`).MatchString(texts[m[2]]) {
					t.Errorf("page/%s imports %s, which page/%s does not export", name, symbol, m[2])
				}
			}
		}
	}
	for _, m := range regexp.MustCompile(`(?:\$|show)\("([a-z-]+)"`).FindAllStringSubmatch(texts["app.js"], -1) {
		if m[1] != "view-" && !strings.Contains(html, `id="`+m[1]+`"`) {
			t.Errorf("page/app.js wants #%s, which page/index.html has not", m[1])
		}
	}
	views := regexp.MustCompile(`const VIEWS = \[([^\]]+)\]`).FindStringSubmatch(texts["app.js"])
	if views == nil {
		t.Fatal("page/app.js lists no VIEWS")
	}
	for _, view := range strings.Split(strings.ReplaceAll(views[1], `"`, ""), ", ") {
		if !strings.Contains(html, `<section id="view-`+view+`"`) || !strings.Contains(html, ` data-view="`+view+`"`) {
			t.Errorf("page/index.html has no section for the view %q, or no link to it", view)
		}
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="assets/([^"]+)"`).FindAllStringSubmatch(html, -1) {
		if _, ok := texts[m[1]]; !ok {
			t.Errorf("page/index.html loads %s, which is missing", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`<(?:input|select|textarea)[^>]*\bid="([^"]+)"`).FindAllStringSubmatch(html, -1) {
		labelled := strings.Contains(html, `for="`+m[1]+`"`) || regexp.MustCompile(`<label><input[^>]*id="`+m[1]+`"`).MatchString(html)
		if !labelled {
			t.Errorf("page/index.html: #%s has no label", m[1])
		}
	}
}
