package portal

import (
	"strings"
	"testing"

	"github.com/atoll-mesh/atoll/ui"
)

func TestTilesOrigin(t *testing.T) {
	for template, want := range map[string]string{
		"": "",
		"https://tile.openstreetmap.org/{z}/{x}/{y}.png": "https://tile.openstreetmap.org",
		"https://{s}.tiles.example:8443/{z}/{x}/{y}?k=1": "https://*.tiles.example:8443",
		"http://127.0.0.1:8080/{z}/{x}/{y}.png":          "http://127.0.0.1:8080",
	} {
		if got, err := tilesOrigin(template); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", template, got, err, want)
		}
	}
	for _, template := range []string{
		"https://tile.example/{z}/{x}.png", "/{z}/{x}/{y}.png", "javascript:{z}{x}{y}", "https://*/{z}/{x}/{y}",
		"https://a;script-src b/{z}/{x}/{y}", "https://u:p@tile.example/{z}/{x}/{y}", "https://{z}.example/{x}/{y}",
	} {
		if got, err := tilesOrigin(template); err == nil || !strings.Contains(err.Error(), "http.tiles_url") {
			t.Errorf("%s: %q, %v; want an error", template, got, err)
		}
	}
}

func TestPageNamesTheTiles(t *testing.T) {
	cfg := testConfig()
	cfg.TilesURL = `https://{s}.tiles.example/{z}/{x}/{y}.png?a="b"`
	r := run(t, Options{Config: cfg})
	_, body, h := r.ask(t, "GET", "/", nil)
	if want := "img-src 'self' data: blob: https://*.tiles.example;"; !strings.Contains(h.Get("Content-Security-Policy"), want) {
		t.Errorf("policy %q misses %q", h.Get("Content-Security-Policy"), want)
	}
	files, err := ui.New()
	if err != nil {
		t.Fatal(err)
	}
	if want := `name="map-tiles" content="https://{s}.tiles.example/{z}/{x}/{y}.png?a=&#34;b&#34;"`; files.Built() && !strings.Contains(body, want) {
		t.Errorf("the page misses %q", want)
	}
}
