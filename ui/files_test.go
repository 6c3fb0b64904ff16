package ui

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

func TestPlaceholder(t *testing.T) {
	f, err := read(fstest.MapFS{"dist/.gitkeep": {}})
	if err != nil {
		t.Fatal(err)
	}
	if f.Built() || len(f.Names()) != 0 || !strings.Contains(string(f.Page("n", "")), "built without its page") {
		t.Errorf("built %v, files %v, page %q", f.Built(), f.Names(), f.Page("n", ""))
	}
}

func TestBuilt(t *testing.T) {
	f, err := read(fstest.MapFS{
		"dist/.gitkeep":             {},
		"dist/index.html":           {Data: []byte(`<meta content="{{nonce}}">`)},
		"dist/assets/a-12.js.gz":    {Data: []byte("zipped")},
		"dist/icon.svg":             {Data: []byte("<svg/>")},
		"dist/assets/marker-34.png": {Data: []byte("png")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(f.Page("abc", "")); got != `<meta content="abc">` {
		t.Errorf("page %s", got)
	}
	js, ok := f.File("assets/a-12.js")
	if !ok || !js.Gzip || !js.Fixed || !strings.HasPrefix(js.Type, "text/javascript") {
		t.Errorf("script %+v, %v", js, ok)
	}
	if icon, ok := f.File("icon.svg"); !ok || icon.Gzip || icon.Fixed || icon.Type != "image/svg+xml" {
		t.Errorf("icon %+v, %v", icon, ok)
	}
	for _, name := range []string{".gitkeep", "index.html", "../placeholder/index.html"} {
		if _, ok := f.File(name); ok {
			t.Errorf("%s is served as a file", name)
		}
	}
}

func TestUnknownType(t *testing.T) {
	_, err := read(fstest.MapFS{"dist/index.html": {}, "dist/a.strange": {Mode: fs.ModePerm}})
	if err == nil || !strings.Contains(err.Error(), "a.strange") {
		t.Errorf("want the file's name, got %v", err)
	}
}

func TestEmbedded(t *testing.T) {
	f, err := New()
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Page("", "")) == 0 {
		t.Error("the page is empty")
	}
}
